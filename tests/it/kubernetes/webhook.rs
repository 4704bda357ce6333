//! The webhook as a cluster has it: an API server that speaks TLS only, the tidegate of `config/kubernetes/webhook` that
//! takes it off, and the replica whose listener for hooks it leads to.

use std::path::Path;
use std::{fs, io};

use serde_json::{Value, json};

use super::api::{Api, Authority};
use super::{READY, hold, setup_of};
use crate::support::{Answer, Endpoint, Setup, StreamClient, Tidegate, eventually};

/// What somebody wants of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Delete,
    Evict,
}

/// A replica's second container.
pub(super) struct Container {
    tidegate: Tidegate,
    authority: Authority,
}

impl Container {
    /// Before a replica, with the manifest's config: only where it listens, and where its files are, is the test's own.
    pub(super) fn before(replica: &Tidegate) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kubernetes/webhook");
        let mut config = fs::read_to_string(root.join("webhook.yaml")).unwrap();
        let hook = replica.probes_address().to_string();
        for (theirs, ours) in [
            ("0.0.0.0:9443", "127.0.0.1:0"),
            ("127.0.0.1:9902", &hook),
            ("127.0.0.1:9911", "127.0.0.1:0"),
            ("/etc/webhook/tls/tls.crt", "tls.crt"),
            ("/etc/webhook/tls/tls.key", "tls.key"),
        ] {
            assert_eq!(config.matches(theirs).count(), 1, "{theirs} in {config}");
            config = config.replace(theirs, ours);
        }
        let authority = Authority::new();
        let identity = authority.certifies(NAME);
        let tidegate = Setup::config(&config)
            .with_file("tls.crt", &identity.certificate)
            .with_file("tls.key", &identity.key)
            .start();
        Self {
            tidegate,
            authority,
        }
    }

    /// What the API server is told when it asks whether a pod of `shop` may go.
    #[track_caller]
    pub(super) fn asks(&self, pod: &str, wish: Wish) -> Value {
        let (mut connection, chosen) = self.connect(&self.authority).unwrap();
        assert_eq!(chosen.as_deref(), Some("h2"));
        connection.begin(None);
        let review = review(pod, wish).to_string();
        let length = review.len().to_string();
        let stream = connection.open_with(
            &[
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", "tidegate-webhook.tidegate.svc:443"),
                (":path", "/admission?timeout=5s"),
                ("accept", "application/json, */*"),
                ("content-type", "application/json"),
                ("content-length", &length),
                ("user-agent", "kube-apiserver-admission"),
            ],
            0,
        );
        connection.data(stream, review.as_bytes(), 1);
        let answer = connection.answer(stream);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(answer.field("content-type"), Some("application/json"));
        let answer: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer["response"]["uid"], "review");
        answer["response"].clone()
    }

    /// Whether it may.
    #[track_caller]
    pub(super) fn allows(&self, pod: &str, wish: Wish) -> bool {
        self.asks(pod, wish)["allowed"] == true
    }

    fn connect(&self, trusts: &Authority) -> io::Result<(StreamClient, Option<String>)> {
        let address = self.tidegate.listener("webhook");
        StreamClient::tls_as(NAME, address, &trusts.pem, &["h2", "http/1.1"])
    }
}

/// As the API server writes it.
fn review(pod: &str, wish: Wish) -> Value {
    let object = match wish {
        Wish::Delete => json!({
            "operation": "DELETE", "requestSubResource": "", "object": null,
            "oldObject": { "kind": "Pod", "apiVersion": "v1", "metadata": { "name": pod, "namespace": "shop", "uid": "u" } },
            "options": { "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1" },
        }),
        Wish::Evict => json!({
            "operation": "CREATE", "subResource": "eviction", "requestSubResource": "eviction", "oldObject": null,
            "object": { "kind": "Eviction", "apiVersion": "policy/v1", "metadata": { "name": pod, "namespace": "shop" } },
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        }),
    };
    let mut request = json!({
        "uid": "review", "name": pod, "namespace": "shop", "dryRun": false,
        "kind": { "group": "", "version": "v1", "kind": "Pod" },
        "resource": { "group": "", "version": "v1", "resource": "pods" },
        "userInfo": { "username": "admin", "groups": ["system:masters", "system:authenticated"] },
    });
    let known = request.as_object_mut().unwrap();
    known.extend(object.as_object().unwrap().clone());
    json!({ "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request })
}

fn setup(api: &Api, limit: &str) -> Setup {
    setup_of(api, "", &format!("webhook: {{ limit: {limit} }}"))
}

#[test]
fn what_serves_here_is_held_until_it_is_drained_or_the_limit_is_over() {
    let api = Api::start();
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    api.set(&a, READY);
    api.set(&b, READY);
    let tidegate = setup(&api, "2s").start();
    let webhook = Container::before(&tidegate);
    tidegate.is("b", "ready");
    assert!(webhook.allows("pod-of-somebody-else", Wish::Delete));
    let (mut client, held) = hold(&tidegate, &a, &[&a, &b]);
    let first = webhook.asks("pod-a", Wish::Evict);
    assert_eq!(
        (&first["allowed"], &first["status"]["code"]),
        (&false.into(), &429.into())
    );
    let why = first["status"]["message"].as_str().unwrap();
    assert!(why.contains("shop/pod-a"), "{first}");
    let again = webhook.asks("pod-a", Wish::Evict);
    assert_eq!(again["allowed"], false, "it has work in flight: {again}");
    eventually("the limit is over", || {
        webhook.allows("pod-a", Wish::Evict).then_some(())
    });
    held.answer("a");
    client.response();
    let report = tidegate.report("a");
    assert_eq!(
        (&report["cause"], &report["outcome"]),
        (&"webhook".into(), &"clean".into())
    );
    // Idle: refused once, and then it may go.
    let c = Endpoint::start("c");
    api.set(&c, READY);
    tidegate.is("c", "ready");
    let first = webhook.asks("pod-b", Wish::Delete);
    assert_eq!(
        (&first["allowed"], &first["status"]["code"]),
        (&false.into(), &409.into())
    );
    assert!(webhook.allows("pod-b", Wish::Delete));
}

#[test]
fn whichever_replica_is_asked_goes_on_where_another_has_begun() {
    let api = Api::start();
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    api.set(&a, READY);
    api.set(&b, READY);
    let peers = "webhook: { limit: 60s }\npeers: { kubernetes: { namespace: shop, service: peers, port: admin } }";
    let replicas = [(); 2].map(|()| setup_of(&api, "", peers).start());
    for (name, replica) in ["one", "two"].iter().zip(&replicas) {
        api.put_peer(name, replica.probes_address(), READY);
    }
    for replica in &replicas {
        eventually("it knows the other", || {
            let asked = replica.admin("GET", "/drain?pod=shop/none&limit=1s").ok();
            (asked["replicas"].as_array()?.len() == 2).then_some(())
        });
    }
    let webhooks = replicas.each_ref().map(Container::before);
    // Idle, and drained by the first call: the next one need not be refused for being the first elsewhere.
    assert!(!webhooks[0].allows("pod-b", Wish::Delete));
    assert!(webhooks[1].allows("pod-b", Wish::Delete));
    // In flight: it is known there, too, that it was refused before, and since when.
    let c = Endpoint::start("c");
    api.set(&c, READY);
    for replica in &replicas {
        replica.is("c", "ready");
    }
    let (mut client, held) = hold(&replicas[1], &a, &[&a, &c]);
    let said = |webhook: &Container| {
        let answer = webhook.asks("pod-a", Wish::Evict);
        assert_eq!(answer["allowed"], false, "it has work in flight: {answer}");
        answer["status"]["message"].as_str().unwrap().to_owned()
    };
    let first = said(&webhooks[0]);
    assert!(first.contains("drains pod shop/pod-a first ("), "{first}");
    eventually("the other has answered", || {
        let again = said(&webhooks[0]);
        (!again.contains("unconfirmed")).then_some(())
    });
    let there = said(&webhooks[1]);
    assert!(there.contains("drains pod shop/pod-a ("), "{there}");
    held.answer("a");
    client.response();
    assert!(webhooks[1].allows("pod-a", Wish::Evict));
}

#[test]
fn who_does_not_trust_the_certificate_sees_nothing() {
    let api = Api::start();
    let a = Endpoint::start("a");
    api.set(&a, READY);
    let tidegate = setup(&api, "2s").start();
    let webhook = Container::before(&tidegate);
    let refused = webhook.connect(&Authority::new());
    assert!(refused.is_err());
    assert_eq!(tidegate.is("a", "ready")["id"], "a");
    // Only the hook's own path is led on.
    let (mut connection, _) = webhook.connect(&webhook.authority).unwrap();
    connection.begin(None);
    for path in ["/drain?pod=shop/pod-a", "/metrics", "/"] {
        assert_eq!(connection.get(path).status(), 404, "{path}");
    }
}

#[test]
fn there_is_no_webhook_unless_it_is_asked_for() {
    let api = Api::start();
    let a = Endpoint::start("a");
    api.set(&a, READY);
    let tidegate = setup_of(&api, "", "").start();
    let ask = |tidegate: &Tidegate, method: &str| {
        Answer::to(tidegate.probes_address(), method, "/admission", "").status
    };
    assert_eq!(ask(&tidegate, "POST"), 404);
    let with = setup(&api, "2s").start();
    assert_eq!(ask(&with, "POST"), 400, "no review");
    assert_eq!(ask(&with, "GET"), 405);
}

/// What the manifests' Service is called, and so the certificate.
const NAME: &str = "tidegate-webhook.tidegate.svc";
