//! The webhook that keeps a pod from being deleted before it is drained: a `ValidatingAdmissionWebhook` for pods.
//!
//! The first call about a pod that serves here starts its drain and is refused; so is each later one, until every replica
//! has drained it or the limit is over since the first. Everything else is allowed at once: other pods, other verbs, a pod
//! that is on its way out already, a deletion by force, a rehearsal (`dryRun`). What cannot be understood is no reason to
//! refuse either: the webhook fails open.
//!
//! The API server calls any replica. One that drains a pod because another was called notes it, too, so that whichever is
//! called next goes on where the first has begun.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::ALLOW;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;

use super::guard::{Refusal, read_token};
use super::replicas::Question;
use super::{Admin, api};
use crate::control::PodName;
use crate::drain::Cause;

/// The pods that are kept from going, by `NAMESPACE/NAME`.
#[derive(Debug, Clone, Default)]
pub struct Admissions(Arc<Mutex<HashMap<String, Kept>>>);

/// A pod that is kept from going.
#[derive(Debug)]
struct Kept {
    /// Its deletion was refused for the first time, here or elsewhere.
    since: Instant,
    /// Its endpoints: a pod of the same name has others (P8).
    ids: BTreeSet<String>,
}

/// How often a pod's deletion has been asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    First,
    /// Again; the first time was then.
    Since(Instant),
    /// Too many others are kept.
    TooMany,
}

/// What the API server asks, as far as it matters.
#[derive(Debug, Deserialize)]
struct Review {
    request: Request,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    resource: Resource,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    operation: String,
    #[serde(default)]
    old_object: Option<Object>,
    #[serde(default)]
    options: Option<Options>,
    #[serde(default)]
    dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    #[serde(default)]
    group: String,
    resource: String,
}

#[derive(Debug, Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    #[serde(default)]
    grace_period_seconds: Option<i64>,
}

/// What a request would do to a pod.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Delete(String),
    Evict(String),
    /// Nothing that has to wait.
    Other,
}

/// The webhook.
pub(super) async fn admission(
    State(admin): State<Admin>,
    method: Method,
    body: Bytes,
) -> Result<Response, Refusal> {
    let Some(limit) = admin.settings.borrow().webhook else {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "there is nothing at /admission: set webhook in the config to have it",
        ));
    };
    if method != Method::POST {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this call does not take that method: use POST",
        )
        .with(ALLOW, "POST"));
    }
    let review: Review = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad(format!("the body should be an AdmissionReview: {error}")))?;
    let wish = review.request.wish();
    let refusal = match &wish {
        Wish::Other => None,
        Wish::Delete(pod) | Wish::Evict(pod) => refusal(&admin, pod, limit).await,
    };
    let mut response = json!({ "uid": review.request.uid, "allowed": refusal.is_none() });
    if let Some(message) = refusal {
        // An eviction that is asked to try again is: that is what drains a node. Others read the reason.
        let (code, reason) = match wish {
            Wish::Evict(_) => (429, "TooManyRequests"),
            _ => (409, "Conflict"),
        };
        response["status"] =
            json!({ "status": "Failure", "code": code, "reason": reason, "message": message });
    }
    let answer: Value = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    });
    Ok(Json(answer).into_response())
}

impl Request {
    fn wish(&self) -> Wish {
        let is_pod = self.resource.group.is_empty() && self.resource.resource == "pods";
        if !is_pod || self.dry_run == Some(true) {
            return Wish::Other;
        }
        let old = self.old_object.as_ref().map(|object| &object.metadata);
        let name = match old.and_then(|metadata| metadata.name.as_deref()) {
            Some(name) if self.name.is_empty() => name,
            _ => &self.name,
        };
        let pod = format!("{}/{name}", self.namespace);
        let by_force = |options: &Options| options.grace_period_seconds == Some(0);
        match (&*self.operation, self.sub_resource.as_deref().unwrap_or("")) {
            _ if name.is_empty() => Wish::Other,
            ("CREATE", "eviction") => Wish::Evict(pod),
            // The kubelet deletes what has ended, and that must never wait.
            ("DELETE", "")
                if old.is_some_and(|metadata| metadata.deletion_timestamp.is_some())
                    || self.options.as_ref().is_some_and(by_force) =>
            {
                Wish::Other
            }
            ("DELETE", "") => Wish::Delete(pod),
            _ => Wish::Other,
        }
    }
}

/// Drains a pod. Why it may not go yet; none when it may.
async fn refusal(admin: &Admin, pod: &str, limit: Duration) -> Option<String> {
    let answer = ask(admin, pod).await;
    if answer.drained && answer.serves_nothing() {
        return None;
    }
    let ids: Vec<&str> = answer.endpoints().collect();
    let reason = answer.reason.as_deref().unwrap_or_default();
    let since = match admin.admissions.ask(pod, &ids, limit) {
        Asked::TooMany => return None,
        Asked::First => {
            info!(
                pod,
                reason, "a deletion is refused: the pod is drained first"
            );
            return Some(format!(
                "tidegate drains pod {pod} first ({reason}): try again, for at most {} s",
                limit.as_secs_f32()
            ));
        }
        Asked::Since(since) => since,
    };
    let left = (since + limit).saturating_duration_since(Instant::now());
    if answer.drained || left.is_zero() {
        admin.admissions.forget(pod);
        return None;
    }
    Some(format!(
        "tidegate drains pod {pod} ({reason}): try again, for at most {} s",
        left.as_secs_f32()
    ))
}

impl Admissions {
    /// Another replica was asked about a pod with these endpoints, and has it drained here, too.
    pub(super) fn note(&self, pod: &str, ids: &[&str], limit: Duration) {
        // One of which nothing is known yet is told of again.
        if !ids.is_empty() {
            self.ask(pod, ids, limit);
        }
    }

    fn ask(&self, pod: &str, ids: &[&str], limit: Duration) -> Asked {
        let mut kept = self.lock();
        if let Some(kept) = kept.get_mut(pod) {
            let is_same = |id: &&str| kept.ids.is_empty() || kept.ids.contains(*id);
            if ids.iter().all(is_same) {
                kept.ids.extend(ids.iter().map(|&id| id.to_owned()));
                return Asked::Since(kept.since);
            }
            kept.since = Instant::now();
            kept.ids = ids.iter().map(|&id| id.to_owned()).collect();
            return Asked::First;
        }
        let now = Instant::now();
        kept.retain(|_, kept| now < kept.since + limit + MEMORY);
        if kept.len() >= KEPT_MAX {
            return Asked::TooMany;
        }
        let ids = ids.iter().map(|&id| id.to_owned()).collect();
        kept.insert(pod.to_owned(), Kept { since: now, ids });
        Asked::First
    }

    fn forget(&self, pod: &str) {
        self.lock().remove(pod);
    }

    /// A panic while it was locked would have left nothing half-done.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(admin: &Admin, pod: &str) -> api::HookAnswer {
    let file = admin.settings.borrow().hook_token_file.clone();
    let question = Question {
        pod: PodName::Name(pod.to_owned()),
        cause: Cause::Webhook,
        token: file.and_then(|file| read_token(&file).ok()),
        here: Some(admin.handle.clone()),
    };
    question.ask(&*admin.others, Instant::now() + ANSWER).await
}

/// The API server waits for the answer, and so does whoever deletes.
const ANSWER: Duration = Duration::from_secs(1);
/// After its limit a pod that nobody deleted is forgotten, and begins anew.
const MEMORY: Duration = Duration::from_secs(600);
/// Pods that are kept from going at once; more may go.
const KEPT_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(change: impl FnOnce(&mut Value)) -> Wish {
        let mut request = json!({
            "uid": "u", "operation": "DELETE", "namespace": "shop", "name": "web-1",
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "oldObject": { "metadata": { "name": "web-1" } }, "object": null, "options": {}, "dryRun": false,
        });
        change(&mut request);
        serde_json::from_value::<Request>(request).unwrap().wish()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_refusal_counts_for_a_pod_and_not_for_the_next_of_its_name() {
        let limit = Duration::from_secs(30);
        let kept = Admissions::default();
        let first = Instant::now();
        assert_eq!(kept.ask("shop/web-0", &["u1"], limit), Asked::First);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(kept.ask("shop/web-0", &["u1"], limit), Asked::Since(first));
        assert_eq!(kept.ask("shop/web-0", &[], limit), Asked::Since(first));
        // Known by nobody yet, then by its endpoints.
        kept.note("shop/web-1", &[], limit);
        assert_eq!(kept.ask("shop/web-1", &[], limit), Asked::First);
        let known = kept.ask("shop/web-1", &["u2"], limit);
        assert_eq!(known, Asked::Since(Instant::now()));
        // Another life.
        assert_eq!(kept.ask("shop/web-0", &["u3"], limit), Asked::First);
        // Noted because another replica was asked.
        let noted = Instant::now();
        kept.note("shop/web-2", &["u4"], limit);
        tokio::time::advance(limit + MEMORY - Duration::from_secs(1)).await;
        assert_eq!(kept.ask("shop/web-2", &["u4"], limit), Asked::Since(noted));
        tokio::time::advance(Duration::from_secs(2)).await;
        kept.note("shop/web-3", &["u5"], limit);
        assert_eq!(kept.lock().len(), 1, "the others are forgotten");
    }

    #[test]
    fn only_what_would_end_a_pod_has_to_wait() {
        let delete = || Wish::Delete("shop/web-1".into());
        assert_eq!(wish(|_| {}), delete());
        assert_eq!(wish(|it| it["name"] = "".into()), delete(), "one of many");
        let evict = wish(|it| {
            it["operation"] = "CREATE".into();
            it["subResource"] = "eviction".into();
        });
        assert_eq!(evict, Wish::Evict("shop/web-1".into()));
        for (key, value) in [
            ("dryRun", json!(true)),
            ("operation", json!("UPDATE")),
            ("subResource", json!("status")),
            ("resource", json!({ "group": "", "resource": "services" })),
            ("options", json!({ "gracePeriodSeconds": 0 })),
            (
                "oldObject",
                json!({ "metadata": { "deletionTimestamp": "2026-11-22T10:00:00Z" } }),
            ),
        ] {
            assert_eq!(wish(|it| it[key] = value), Wish::Other, "{key}");
        }
    }
}
