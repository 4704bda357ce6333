//! The calls, one function each.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::time::Instant;

use super::guard::{Refusal, read_token};
use super::query::Parameters;
use super::replicas::Question;
use super::{Admin, api};
use crate::control::{DrainRequest, PodAnswer, PodName, PodRequest};
use crate::drain::Cause;
use crate::endpoint::EndpointKey;

/// Alive.
pub(super) async fn healthz(State(admin): State<Admin>) -> Result<Response, Refusal> {
    if !admin.probes.alive.load(Ordering::Relaxed) {
        return Err(unavailable("a thread of tidegate has died: restart it"));
    }
    Ok(ok())
}

/// Every source has delivered its first set, or once had, and the listeners accept.
pub(super) async fn readyz(State(admin): State<Admin>) -> Result<Response, Refusal> {
    if let Some(waiting) = admin.probes.waiting() {
        return Err(unavailable(format!(
            "not ready: the cluster's objects are not known yet: {waiting}"
        )));
    }
    let waiting = admin.handle.waiting_for().await?;
    if !waiting.is_empty() && !admin.probes.complete.load(Ordering::Relaxed) {
        let names: Vec<_> = waiting.iter().map(|name| name.as_str()).collect();
        return Err(unavailable(format!(
            "not ready: no endpoints yet from the source of {}; look into tidegate's log for what it waits for",
            names.join(", ")
        )));
    }
    if !admin.probes.accepting.load(Ordering::Relaxed) {
        return Err(unavailable(
            "not ready: the listeners do not accept; send requests to another replica",
        ));
    }
    admin.probes.complete.store(true, Ordering::Relaxed);
    Ok(ok())
}

/// As ready, until a shutdown begins.
pub(super) async fn lbz(admin: State<Admin>) -> Result<Response, Refusal> {
    if admin.probes.leaving.load(Ordering::Relaxed) {
        return Err(unavailable(
            "tidegate is leaving: send requests to another replica",
        ));
    }
    readyz(admin).await
}

/// Prometheus' text.
pub(super) async fn metrics(State(admin): State<Admin>) -> Response {
    let text = (admin.metrics)().await;
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

/// Every service.
pub(super) async fn services(State(admin): State<Admin>) -> Result<Response, Refusal> {
    let services = admin.handle.services().await?;
    let size = services.iter().map(|service| service.endpoints.len()).sum();
    answer(size, move || api::Services::from(services)).await
}

/// One service.
pub(super) async fn service(
    State(admin): State<Admin>,
    Path(service): Path<String>,
) -> Result<Response, Refusal> {
    let service = admin.handle.service(&service).await?;
    answer(service.endpoints.len(), move || api::Service::from(service)).await
}

/// The drains under way and those that are over.
pub(super) async fn drains(State(admin): State<Admin>) -> Result<Response, Refusal> {
    let drains = admin.handle.drains().await?;
    let size = drains.running.len() + drains.done.len();
    answer(size, move || api::Drains::from(drains)).await
}

/// The config in force.
pub(super) async fn config(State(admin): State<Admin>) -> Json<serde_json::Value> {
    Json((admin.config)())
}

/// A drain, or its end: the calls on an endpoint.
pub(super) async fn endpoint(
    State(admin): State<Admin>,
    method: Method,
    uri: Uri,
) -> Result<Response, Refusal> {
    let (service, endpoint) = named(&uri)?;
    match method {
        Method::POST => {
            let parameters = Parameters::read(&uri, &["timeout", "wait"])?;
            let request = DrainRequest {
                service,
                endpoint,
                timeout: parameters.duration("timeout")?,
                wait: parameters.flag("wait")?,
            };
            let answer = admin.handle.drain(request).await?;
            Ok(Json(api::DrainAnswer::from(answer)).into_response())
        }
        Method::DELETE => {
            Parameters::read(&uri, &[])?;
            let answer = admin.handle.undrain(&service, &endpoint).await?;
            Ok(Json(api::UndrainAnswer::from(answer)).into_response())
        }
        _ => Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this call does not take that method: use POST to drain, DELETE to put back",
        )
        .with(ALLOW, "POST,DELETE")),
    }
}

/// A pod's preStop hook: drains it wherever it serves and answers when it is safe to stop.
pub(super) async fn hook(State(admin): State<Admin>, uri: Uri) -> Result<Response, Refusal> {
    let parameters = Parameters::read(&uri, &["pod", "ip", "limit", "here", "seen", "by"])?;
    let pod = pod(&parameters)?;
    let limit = parameters.duration("limit")?.unwrap_or(HOOK_LIMIT);
    if limit > HOOK_LIMIT_MAX {
        return Err(Refusal::bad(format!(
            "parameter limit: {:?} should be at most 10m",
            parameters.text("limit").unwrap_or_default()
        )));
    }
    let others = (admin.others)();
    let alone = parameters.flag("here")? || others.is_ok_and(|others| others.is_empty());
    let answer = if alone {
        let seen = parameters.text("seen").unwrap_or_default().split(',');
        let request = PodRequest {
            pod,
            cause: match parameters.text("by") {
                Some("webhook") => Cause::Webhook,
                _ => Cause::Hook,
            },
            limit,
            elsewhere: seen
                .filter(|id| (1..=ID_MAX).contains(&id.len()))
                .map(Into::into)
                .collect(),
        };
        let refused = refused_elsewhere(&request);
        let answer = hook_here(&admin, request).await?;
        let limit = admin.settings.borrow().webhook;
        if let (Some((pod, seen)), Some(limit)) = (refused, limit) {
            let seen = seen.iter().map(EndpointKey::as_str);
            let ids: Vec<&str> = answer.endpoints().chain(seen).collect();
            admin.admissions.note(&pod, &ids, limit);
        }
        answer
    } else {
        let file = admin.settings.borrow().hook_token_file.clone();
        let question = Question {
            pod,
            cause: Cause::Hook,
            // Without a token the others refuse, and say so.
            token: file.and_then(|file| read_token(&file).ok()),
            here: Some(admin.handle.clone()),
        };
        question.ask(&*admin.others, Instant::now() + limit).await
    };
    Ok(Json(answer).into_response())
}

/// The pod whose deletion another replica's webhook has refused, and the endpoints that it knows.
fn refused_elsewhere(request: &PodRequest) -> Option<(String, Vec<EndpointKey>)> {
    match &request.pod {
        PodName::Name(pod) if request.cause == Cause::Webhook => {
            Some((pod.clone(), request.elsewhere.clone()))
        }
        _ => None,
    }
}

/// This replica's own answer.
async fn hook_here(admin: &Admin, request: PodRequest) -> Result<api::HookAnswer, Refusal> {
    // The writer keeps the limit itself; this one makes sure that nothing holds a pod's end up beyond it (P15).
    let patience = request.limit + HOOK_SLACK;
    let asked = admin.handle.drain_pod(request);
    let answer = match tokio::time::timeout(patience, asked).await {
        Ok(answer) => answer?,
        Err(_) => PodAnswer {
            drained: false,
            reason: "tidegate did not answer within the limit".into(),
            endpoints: Vec::new(),
        },
    };
    Ok(answer.into())
}

fn pod(parameters: &Parameters) -> Result<PodName, Refusal> {
    match (parameters.text("pod"), parameters.text("ip")) {
        (Some(pod), None) => Ok(PodName::Name(pod_name(pod)?.into())),
        (None, Some(ip)) => ip.parse().map(PodName::Address).map_err(|_| {
            Refusal::bad(format!(
                "parameter ip: {ip:?} should be an address, as 10.0.0.7"
            ))
        }),
        _ => Err(Refusal::bad(
            "which pod? give one of the parameters pod=NAMESPACE/NAME and ip=ADDRESS",
        )),
    }
}

/// axum would answer a HEAD by what a GET does.
pub(super) async fn head_of_hook() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this call does not take that method: use GET or POST",
    )
    .with(ALLOW, "GET,POST")
}

/// Everything else.
pub(super) async fn unknown(uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!(
            "there is nothing at {:?}: the calls are / /healthz /readyz /lbz /metrics /drain and /api/v1/{{services,drains,events,config}}",
            uri.path()
        ),
    )
}

/// The service and the endpoint of `/api/v1/services/{service}/endpoints/{id}/drain`. Taken from the path as it was sent, so
/// that an id may hold slashes, encoded or not, and end in `/drain` itself.
fn named(uri: &Uri) -> Result<(String, String), Refusal> {
    let parts = uri
        .path()
        .strip_prefix("/api/v1/services/")
        .and_then(|rest| rest.split_once("/endpoints/"))
        .and_then(|(service, rest)| Some((service, rest.strip_suffix("/drain")?)))
        .filter(|(service, id)| !service.is_empty() && !id.is_empty());
    let Some((service, id)) = parts else {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "there is nothing here: the call is /api/v1/services/SERVICE/endpoints/ID/drain",
        ));
    };
    let decode = |text: &str| {
        percent_decode_str(text)
            .decode_utf8()
            .map(String::from)
            .map_err(|_| Refusal::bad(format!("{text:?} should be UTF-8, percent-encoded")))
    };
    Ok((decode(service)?, decode(id)?))
}

fn pod_name(pod: &str) -> Result<&str, Refusal> {
    match pod.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok(pod)
        }
        _ => Err(Refusal::bad(format!(
            "parameter pod: {pod:?} should be NAMESPACE/NAME"
        ))),
    }
}

/// Writes an answer. A large one is written on another thread: a drain that is asked for meanwhile must not wait for it.
async fn answer<T: Serialize>(
    size: usize,
    shape: impl FnOnce() -> T + Send + 'static,
) -> Result<Response, Refusal> {
    let write = move || serde_json::to_vec(&shape());
    let written = if size > LARGE {
        tokio::task::spawn_blocking(write)
            .await
            .map_err(|error| failed(&error))?
    } else {
        write()
    };
    let text = written.map_err(|error| failed(&error))?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

fn failed(error: &dyn std::error::Error) -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("the answer could not be written: {error}; report this as a bug"),
    )
}

fn ok() -> Response {
    "ok\n".into_response()
}

fn unavailable(why: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// How long a hook waits when it does not say; below the usual grace period of a pod, 30 s.
const HOOK_LIMIT: Duration = Duration::from_secs(25);
/// For the writer's answer to arrive, once the limit is over.
const HOOK_SLACK: Duration = Duration::from_millis(250);
/// The longest that a hook may wait.
const HOOK_LIMIT_MAX: Duration = Duration::from_secs(600);
/// An id that another replica knows; longer ones are no pod's.
const ID_MAX: usize = 253;
/// An answer with more entries than this is written on another thread.
const LARGE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ids_with_slashes_and_colons() {
        let id = |rest: &str| {
            let uri = format!("/api/v1/services/web/endpoints/{rest}")
                .parse()
                .unwrap();
            named(&uri).map(|(service, id)| {
                assert_eq!(service, "web");
                id
            })
        };
        for (rest, expected) in [
            ("web-1/drain", "web-1"),
            ("10.0.0.1:80/drain", "10.0.0.1:80"),
            ("10.0.0.1%3A80/drain", "10.0.0.1:80"),
            ("a/b/drain", "a/b"),
            ("a%2Fb/drain", "a/b"),
            ("a%2Fdrain/drain", "a/drain"),
            ("a/drain/drain", "a/drain"),
            ("caf%C3%A9/drain?wait=true", "café"),
            ("x/endpoints/y/drain", "x/endpoints/y"),
        ] {
            assert_eq!(id(rest).unwrap(), expected, "{rest}");
        }
        for rest in ["web-1", "web-1/undrain", "/drain", "a%2Fdrain", "%ff/drain"] {
            assert!(id(rest).is_err(), "{rest}");
        }
    }
}
