//! Endpoint slices: what they mean together is what a plain reading says.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate::discovery::ObservedState;
use tidegate::discovery::file::parse;

use crate::dice::time;

/// An endpoint in a slice: who, where, and what its three conditions say, if anything.
type Shown = (u8, u8, [u8; 3]);

fn condition(dice: u8) -> Value {
    match dice % 4 {
        0 => json!(true),
        1 => json!(false),
        2 => Value::Null,
        _ => json!("absent"),
    }
}

fn endpoint((who, place, conditions): &Shown) -> Value {
    let named: serde_json::Map<String, Value> = ["ready", "serving", "terminating"]
        .iter()
        .zip(conditions)
        .map(|(name, dice)| ((*name).to_owned(), condition(*dice)))
        .filter(|(_, value)| *value != "absent")
        .collect();
    json!({
        "addresses": [format!("10.0.0.{}", place % 4 + 1)],
        "conditions": named,
        "targetRef": { "kind": "Pod", "namespace": "shop", "name": format!("web-{}", who % 4), "uid": format!("u-{}", who % 4) },
    })
}

fn says(dice: u8, unsaid: bool) -> bool {
    condition(dice).as_bool().unwrap_or(unsaid)
}

#[test]
fn slices_mean_what_a_plain_reading_says() {
    bolero::check!()
        .with_type::<Vec<Vec<Shown>>>()
        .with_iterations(usize::MAX)
        .with_test_time(time())
        .for_each(|dice| {
            let slices: Vec<Vec<Shown>> = dice.iter().take(3).map(|slice| slice.iter().take(4).copied().collect()).collect();
            if slices.is_empty() {
                return;
            }
            let items: Vec<Value> = slices
                .iter()
                .enumerate()
                .map(|(number, slice)| {
                    json!({
                        "apiVersion": "discovery.k8s.io/v1",
                        "kind": "EndpointSlice",
                        "metadata": { "name": format!("web-{number}"), "namespace": "shop", "labels": { "kubernetes.io/service-name": "web" } },
                        "addressType": "IPv4",
                        "ports": [{ "port": 80 }],
                        "endpoints": if slice.is_empty() { Value::Null } else { slice.iter().map(endpoint).collect() },
                    })
                })
                .collect();
            let text = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
            let observation = parse(&text, None).unwrap_or_else(|faults| panic!("{faults:?}: {text}"));
            // Who is shown at all, and who is shown as terminating anywhere.
            let mut shown: BTreeMap<String, bool> = BTreeMap::new();
            for (who, _, [_, _, terminating]) in slices.iter().flatten() {
                *shown.entry(format!("u-{}", who % 4)).or_default() |= says(*terminating, false);
            }
            let keys: Vec<&str> = observation.endpoints().map(|observed| observed.key.as_str()).collect();
            assert_eq!(keys.len(), shown.len(), "each once: {keys:?}");
            let mut used = Vec::new();
            for observed in observation.endpoints() {
                let terminating = shown[observed.key.as_str()];
                assert_eq!(
                    terminating,
                    matches!(observed.state, ObservedState::Draining { .. }),
                    "{observed:?} of {text}"
                );
                if observed.state == ObservedState::Ready {
                    assert!(!used.contains(&observed.address), "two at {}: {text}", observed.address);
                    used.push(observed.address);
                    let is_ready = |(who, _, [ready, ..]): &&Shown| {
                        format!("u-{}", who % 4) == observed.key.as_str() && says(*ready, true)
                    };
                    assert!(slices.iter().flatten().any(|shown| is_ready(&shown)), "{observed:?} of {text}");
                }
            }
        });
}
