//! Many services, and a service with many endpoints. `TIDEGATE_KUBERNETES=20 ... -- --nocapture` makes it the cluster of the
//! README: 2,000 services with 25 endpoints each, and one with 10,000; without it a twentieth of that.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::api::Api;
use crate::support::{SLACK, Setup};

/// By what the sizes here are multiplied.
fn scale() -> usize {
    let given = std::env::var("TIDEGATE_KUBERNETES");
    given.map_or(1, |text| text.parse().unwrap())
}

/// A pod that nobody asks for anything.
fn pod(number: usize, is_leaving: bool) -> Value {
    let [_, a, b, c] = u32::try_from(number).unwrap().to_be_bytes();
    json!({
        "addresses": [format!("127.{a}.{b}.{}", c.max(1))],
        "conditions": { "ready": !is_leaving, "serving": true, "terminating": is_leaving },
        "targetRef": { "kind": "Pod", "namespace": "shop", "name": format!("pod-{number}"), "uid": format!("uid-{number}") },
        "nodeName": format!("node-{}", number % 100),
        "zone": "zone-a",
    })
}

fn ports() -> Value {
    json!([{ "name": "http", "port": 9, "protocol": "TCP" }])
}

fn setup(api: &Api, services: &[String]) -> Setup {
    let routes = services
        .iter()
        .map(|name| format!("  - {{ host: {name}.test, service: {name} }}\n"));
    let sources = services.iter().map(|name| {
        format!("  - {{ name: {name}, source: {{ kubernetes: {{ namespace: shop, service: {name}, port: http }} }} }}\n")
    });
    Setup::without_file()
        .with_file("kubeconfig", &api.kubeconfig())
        .with_config(&format!(
            "listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]\nroutes:\n{}services:\n{}\
             admin: {{ address: \"127.0.0.1:0\" }}\nworkers: 2\n",
            routes.collect::<String>(),
            sources.collect::<String>(),
        ))
}

/// 98 MiB were measured at the most for 50,000 endpoints in 2,000 services; the aim is 150.
const KIB_MAX: u64 = 120 * 1024;

#[test]
fn many_services_take_little_memory() {
    const EACH: usize = 25;
    let api = Api::start();
    let services: Vec<String> = (0..100 * scale()).map(|n| format!("web-{n}")).collect();
    for (number, service) in services.iter().enumerate() {
        let pods: Vec<_> = (0..EACH).map(|n| pod(number * EACH + n, false)).collect();
        api.put_of(service, &format!("{service}-x"), &ports(), &json!(pods));
    }
    let tidegate = setup(&api, &services).start();
    let last = services.last().unwrap();
    let known = tidegate.admin("GET", &format!("/api/v1/services/{last}"));
    let endpoints = known.json()["endpoints"].as_array().unwrap().len();
    assert_eq!(endpoints, EACH);
    let (kib, peak) = (tidegate.resident_kib(), tidegate.peak_kib());
    println!(
        "{} services with {EACH} endpoints each: {:.1} MiB, {:.1} MiB at the most",
        services.len(),
        kib as f64 / 1024.0,
        peak as f64 / 1024.0
    );
    assert!(peak < KIB_MAX, "{kib} KiB, {peak} KiB at the most");
}

#[test]
fn a_termination_among_many_endpoints_is_heard_at_once() {
    const EACH: usize = 100;
    const CHANGES: usize = 100;
    let api = Api::start();
    let slices = 5 * scale();
    let slice = |number: usize, left: usize| {
        let pods: Vec<_> = (0..EACH)
            .map(|n| pod(number * EACH + n, n < left))
            .collect();
        api.put_of("web", &format!("web-{number}"), &ports(), &json!(pods));
    };
    (0..slices).for_each(|number| slice(number, 0));
    let tidegate = setup(&api, &["web".to_owned()]).start();
    let events = tidegate.events();
    let mut lags = Vec::new();
    for change in 0..CHANGES {
        let (number, left) = (change % slices, change / slices + 1);
        let told = SystemTime::now();
        slice(number, left);
        let id = format!("uid-{}", number * EACH + left - 1);
        let event = events.wait("drain_start", &id);
        let time = event["time"].as_str().unwrap();
        let began = humantime::parse_rfc3339(time).unwrap();
        // The event's time is cut off at milliseconds.
        lags.push(began.duration_since(told).unwrap_or_default());
    }
    lags.sort_unstable();
    let (median, late) = (lags[CHANGES / 2], lags[CHANGES * 99 / 100]);
    println!(
        "{} endpoints in {slices} slices: from the event to the closed gate {median:?} in the median, {late:?} in the 99th \
         percentile of {CHANGES}",
        slices * EACH
    );
    assert!(late < Duration::from_millis(5) + SLACK, "{lags:?}");
}
