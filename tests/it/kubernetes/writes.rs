//! What a controller writes to the API server: statuses and events, by one replica at a time, and never for traffic's sake.

use serde_json::{Value, json};

use super::api::{Api, EVENTS, INGRESSES, LEASES, SERVICES};
use super::ingress::{get, ingress, setup_with, shop};
use crate::support::{Tidegate, eventually};
use rustix::process::Signal;

const STATUS: &str = "patch ingresses/status shop/main";

/// A replica that says it is reached at an address.
fn replica(api: &Api, duration: &str) -> Tidegate {
    let ingress = "https: https, publish: [203.0.113.7, lb.example.com]";
    let lease = format!("lease: {{ duration: {duration} }},");
    setup_with(api, &lease, ingress, "").start()
}

fn says(api: &Api, name: &str) -> Value {
    let object = api.object(INGRESSES, name).unwrap();
    object["status"]["loadBalancer"]["ingress"].clone()
}

fn is_said(api: &Api, name: &str) {
    let wanted = json!([{ "ip": "203.0.113.7" }, { "hostname": "lb.example.com" }]);
    eventually(&format!("{name} says where it is reached"), || {
        (says(api, name) == wanted).then_some(())
    });
}

fn holder(api: &Api) -> String {
    let lease = api.object(LEASES, "tidegate/tidegate").unwrap_or_default();
    lease["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

const GAINED: &str = "this replica writes statuses and events";

#[test]
fn one_of_two_replicas_writes_and_the_other_when_it_is_dead() {
    let (api, _a, _b) = shop();
    api.set_object(INGRESSES, &ingress("main", "tidegate", &[("/", "web")]));
    let first = replica(&api, "1s");
    is_said(&api, "shop/main");
    let second = replica(&api, "1s");
    let held = holder(&api);
    // Every change is seen by both, and written by the holder alone.
    for name in ["b", "c", "d"] {
        api.set_object(INGRESSES, &ingress(name, "tidegate", &[(name, "web")]));
        is_said(&api, &format!("shop/{name}"));
    }
    assert_eq!(holder(&api), held);
    assert_eq!((api.written(STATUS), second.tells(GAINED)), (1, 0));
    // Dead, not gone: nobody lets the lease go.
    drop(first);
    eventually("the other one holds it", || {
        (second.tells(GAINED) > 0).then_some(())
    });
    assert_ne!(holder(&api), held);
    api.set_object(INGRESSES, &ingress("e", "tidegate", &[("/e", "web")]));
    is_said(&api, "shop/e");
    assert_eq!(api.written(STATUS), 1, "only what differs is written");
    let lease = api.object(LEASES, "tidegate/tidegate").unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 2);
}

#[test]
fn a_holder_that_leaves_lets_go() {
    let (api, _a, _b) = shop();
    let tidegate = replica(&api, "60s");
    eventually("it holds the lease", || {
        (!holder(&api).is_empty()).then_some(())
    });
    tidegate.signal(Signal::TERM);
    eventually("it is let go", || holder(&api).is_empty().then_some(()));
}

#[test]
fn what_is_forbidden_is_named_and_traffic_does_not_need_it() {
    let (api, _a, _b) = shop();
    api.set_object(
        INGRESSES,
        &ingress("main", "tidegate", &[("/", "web"), ("/gone", "gone")]),
    );
    for what in ["patch ingresses/status", "create events", "create leases"] {
        api.forbids_to(what, true);
    }
    let tidegate = replica(&api, "1s");
    assert_eq!(get(&tidegate, "/").text(), "a");
    let told = |text: &str| {
        eventually(text, || (tidegate.tells(text) > 0).then_some(()));
    };
    told("forbids to create leases in namespace tidegate; grant create on it");
    api.forbids_to("create leases", false);
    told("forbids to patch ingresses/status in namespace shop; grant patch on it");
    api.forbids_to("patch ingresses/status", false);
    is_said(&api, "shop/main");
    told("forbids to create events in namespace shop; grant create on it");
    api.forbids_to("create events", false);
    eventually("the event is written", || api.objects(EVENTS).pop());
    assert_eq!(get(&tidegate, "/").text(), "a");
}

#[test]
fn of_two_writers_one_is_refused_and_tries_again_with_what_came_meanwhile() {
    let (api, _a, _b) = shop();
    api.conflicts_once("patch ingresses/status");
    api.set_object(INGRESSES, &ingress("main", "tidegate", &[("/", "web")]));
    let _tidegate = replica(&api, "1s");
    is_said(&api, "shop/main");
    assert!(api.has_conflicted());
}

#[test]
fn authors_are_told_by_events_once() {
    let (api, _a, _b) = shop();
    let mut spec = ingress("main", "tidegate", &[("/", "web"), ("/gone", "gone")]);
    spec["metadata"]["annotations"] = json!({ "nginx.ingress.kubernetes.io/rewrite-target": "/" });
    api.set_object(INGRESSES, &spec);
    let first = replica(&api, "1s");
    let all = eventually("both are told", || {
        let all = api.objects(EVENTS);
        (all.len() == 2).then_some(all)
    });
    let reasons: Vec<_> = all.iter().map(|event| event["reason"].clone()).collect();
    assert!(reasons.contains(&"ServiceNotFound".into()), "{reasons:?}");
    assert!(reasons.contains(&"AnnotationIgnored".into()), "{reasons:?}");
    let about = &all[0]["regarding"];
    assert_eq!(
        (&about["kind"], &about["name"]),
        (&"Ingress".into(), &"main".into())
    );
    assert_eq!(all[0]["type"], "Warning");
    drop(first);
    // Whoever follows has the same to say, and it is said already.
    let second = replica(&api, "1s");
    eventually("the other one holds the lease", || {
        (second.tells(GAINED) > 0).then_some(())
    });
    api.set_object(
        INGRESSES,
        &ingress("other", "tidegate", &[("/other", "web")]),
    );
    is_said(&api, "shop/other");
    assert_eq!(api.objects(EVENTS).len(), 2);
}

#[test]
fn in_some_namespaces_only_theirs_count_and_the_published_service_may_stand_elsewhere() {
    let (api, _a, _b) = shop();
    api.set_object(INGRESSES, &ingress("main", "tidegate", &[("/", "web")]));
    let mut other = ingress("main", "tidegate", &[("/other", "web")]);
    other["metadata"]["namespace"] = "elsewhere".into();
    api.set_object(INGRESSES, &other);
    let own = |points: &Value| {
        json!({ "metadata": { "namespace": "tidegate", "name": "tidegate" }, "spec": {},
            "status": { "loadBalancer": { "ingress": points } } })
    };
    api.set_object(SERVICES, &own(&json!([{ "ip": "203.0.113.7" }])));
    let publish = "https: https, publish: { namespace: tidegate, service: tidegate }";
    let tidegate = setup_with(&api, "namespaces: [shop],", publish, "").start();
    assert_eq!(get(&tidegate, "/").text(), "a");
    assert_eq!(
        get(&tidegate, "/other").text(),
        "a",
        "by the path of the one in shop"
    );
    let is_said = |points: Value| {
        eventually("it says where it is reached", || {
            (says(&api, "shop/main") == points).then_some(())
        });
    };
    is_said(json!([{ "ip": "203.0.113.7" }]));
    // The balancer gets another address.
    api.set_object(SERVICES, &own(&json!([{ "hostname": "lb.example.com" }])));
    is_said(json!([{ "hostname": "lb.example.com" }]));
    assert_eq!(says(&api, "elsewhere/main"), json!(null));
    api.delete_object(INGRESSES, "shop/main");
    eventually("it is gone", || {
        (get(&tidegate, "/other").status == 404).then_some(())
    });
}
