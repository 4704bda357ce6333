//! What the new process asks the old one about drains and endpoints, and the reports that the old one sends, until that is
//! gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::letters;
use crate::control::{
    DrainAnswer, DrainRequest, ElderAnswer, ElderAsk, ElderWish, ElderWord, Handle, PodName,
    PodRequest, ServiceView,
};
use crate::drain::{Cause, Cut, Report};
use crate::net::Courier;

/// The new process's side: sends asks, gives each its answer, and takes reports. Ends when the other side is gone; whoever
/// waits then hears that there is nothing to wait for.
pub(super) async fn ask(mut courier: Courier, mut asks: mpsc::Receiver<ElderAsk>, handle: Handle) {
    let mut waiting: HashMap<u64, oneshot::Sender<ElderAnswer>> = HashMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            biased;
            line = courier.receive() => {
                let Ok(Some(line)) = line else { return };
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(report) = letters::report_of(&line["ended"]) {
                    handle.adopt(report).await;
                } else if let Some((number, word)) = answer(&line)
                    && let Some(asker) = waiting.remove(&number)
                    && let Some(word) = word
                {
                    // Whoever asked may have gone.
                    let _ = asker.send(word);
                }
            }
            Some(asked) = asks.recv() => {
                number += 1;
                let line = wish(number, &asked.wish).to_string();
                if courier.send(&line, &[]).await.is_err() {
                    return;
                }
                waiting.insert(number, asked.answer);
            }
        }
    }
}

/// The old process's side: asks the writer, which may take as long as a drain does, and sends the reports of drains as they
/// end. `handle` is a relay. Once there is nothing more to say, what has been said is sent to its end.
pub(super) async fn serve(
    mut courier: Courier,
    handle: Handle,
    tasks: TaskTracker,
    mut ends: mpsc::UnboundedReceiver<Arc<Report>>,
    last: CancellationToken,
) {
    let (answers, mut answered) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            biased;
            Some(report) = ends.recv() => {
                let line = json!({ "ended": letters::report(&report) }).to_string();
                if courier.send(&line, &[]).await.is_err() {
                    break;
                }
            }
            () = last.cancelled() => return,
            Some((number, word)) = answered.recv() => {
                if courier.send(&said(number, word).to_string(), &[]).await.is_err() {
                    break;
                }
            }
            line = courier.receive() => {
                let Ok(Some(line)) = line else { break };
                let Some((number, wish)) = serde_json::from_str(&line).ok().as_ref().and_then(wished) else {
                    continue;
                };
                let (handle, answers) = (handle.clone(), answers.clone());
                tasks.spawn_local(async move {
                    let word = carried_out(&handle, wish).await;
                    // An error means that the process that asked is gone.
                    let _ = answers.send((number, word));
                });
            }
        }
    }
    debug!("the process that follows is gone, or was not understood");
}

async fn carried_out(handle: &Handle, wish: ElderWish) -> Option<ElderAnswer> {
    match wish {
        ElderWish::Drain(request) => {
            let answer = handle.drain(request).await.ok()?;
            Some(ElderAnswer::Drain(word(&[answer])))
        }
        ElderWish::Lives => handle.services().await.ok().map(lives),
        ElderWish::Running => {
            let drains = handle.drains().await.ok()?;
            Some(ElderAnswer::Running(drains.running))
        }
        ElderWish::Undrain { service, endpoint } => {
            // It may be there no more; there is nothing to say in any case.
            let _ = handle.undrain(&service, &endpoint).await;
            None
        }
        ElderWish::DrainPod(pod, limit) => {
            let request = PodRequest {
                pod,
                cause: Cause::Hook,
                limit,
                elsewhere: Vec::new(),
            };
            let answer = handle.drain_pod(request).await.ok()?;
            let word = word(&answer.endpoints);
            Some(ElderAnswer::Drain(ElderWord {
                drained: answer.drained,
                ..word
            }))
        }
    }
}

/// Those with work or connections.
fn lives(services: Vec<ServiceView>) -> ElderAnswer {
    let lives = services.into_iter().flat_map(|service| {
        let name = service.name;
        let busy = service.endpoints.into_iter();
        busy.filter(|life| life.in_flight > 0 || life.connections > 0)
            .map(move |life| (name.clone(), life))
    });
    ElderAnswer::Lives(lives.collect())
}

fn word(answers: &[DrainAnswer]) -> ElderWord {
    let mut cut = Cut::default();
    for answer in answers {
        cut.request += answer.cut.request;
        cut.stream += answer.cut.stream;
        cut.tunnel += answer.cut.tunnel;
    }
    ElderWord {
        drained: answers.iter().all(|answer| answer.drained),
        fallback: answers.iter().any(|answer| answer.reason == "fallback"),
        in_flight: answers.iter().map(|answer| answer.in_flight).sum(),
        cut,
    }
}

fn wish(number: u64, wish: &ElderWish) -> Value {
    match wish {
        ElderWish::Drain(request) => json!({
            "ask": number,
            "drain": [request.service, request.endpoint],
            "timeout_ms": request.timeout.map(ms),
            "wait": request.wait,
        }),
        ElderWish::Undrain { service, endpoint } => {
            json!({ "ask": number, "undrain": [service, endpoint] })
        }
        ElderWish::DrainPod(PodName::Name(name), limit) => {
            json!({ "ask": number, "pod": name, "limit_ms": ms(*limit) })
        }
        ElderWish::DrainPod(PodName::Address(address), limit) => {
            json!({ "ask": number, "ip": address, "limit_ms": ms(*limit) })
        }
        ElderWish::Lives => json!({ "ask": number, "tell": "lives" }),
        ElderWish::Running => json!({ "ask": number, "tell": "running" }),
    }
}

fn wished(line: &Value) -> Option<(u64, ElderWish)> {
    let text = |value: &Value| value.as_str().map(String::from);
    let duration = |value: &Value| value.as_u64().map(Duration::from_millis);
    let wish = if line["drain"].is_array() {
        ElderWish::Drain(DrainRequest {
            service: text(&line["drain"][0])?,
            endpoint: text(&line["drain"][1])?,
            timeout: duration(&line["timeout_ms"]),
            wait: line["wait"].as_bool()?,
        })
    } else if line["undrain"].is_array() {
        ElderWish::Undrain {
            service: text(&line["undrain"][0])?,
            endpoint: text(&line["undrain"][1])?,
        }
    } else if line["tell"] == "lives" {
        ElderWish::Lives
    } else if line["tell"] == "running" {
        ElderWish::Running
    } else {
        let pod = match line["pod"].as_str() {
            Some(name) => PodName::Name(name.into()),
            None => PodName::Address(line["ip"].as_str()?.parse().ok()?),
        };
        ElderWish::DrainPod(pod, duration(&line["limit_ms"])?)
    };
    Some((line["ask"].as_u64()?, wish))
}

fn said(number: u64, answer: Option<ElderAnswer>) -> Value {
    let word = answer.map(|answer| match answer {
        ElderAnswer::Drain(word) => json!({
            "drained": word.drained,
            "fallback": word.fallback,
            "in_flight": word.in_flight,
            "cut": letters::cut(word.cut),
        }),
        ElderAnswer::Lives(all) => {
            let all = all.iter().map(|(name, life)| letters::life(name, life));
            json!({ "lives": all.collect::<Vec<_>>() })
        }
        ElderAnswer::Running(all) => {
            json!({ "running": all.iter().map(letters::running).collect::<Vec<_>>() })
        }
    });
    json!({ "answer": number, "word": word })
}

fn answer(line: &Value) -> Option<(u64, Option<ElderAnswer>)> {
    let number = line["answer"].as_u64()?;
    let word = &line["word"];
    if word.is_null() {
        return Some((number, None));
    }
    if let Some(all) = word["lives"].as_array() {
        let all = all.iter().filter_map(letters::life_of).collect();
        return Some((number, Some(ElderAnswer::Lives(all))));
    }
    if let Some(all) = word["running"].as_array() {
        let all = all.iter().filter_map(letters::running_of).collect();
        return Some((number, Some(ElderAnswer::Running(all))));
    }
    let word = ElderWord {
        drained: word["drained"].as_bool()?,
        fallback: word["fallback"].as_bool()?,
        in_flight: word["in_flight"].as_u64()?,
        cut: letters::cut_of(&word["cut"])?,
    };
    Some((number, Some(ElderAnswer::Drain(word))))
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_and_its_answer_are_read_as_they_were_written() {
        let second = Duration::from_secs(1);
        for asked in [
            ElderWish::Drain(DrainRequest {
                service: "web".into(),
                endpoint: "a/b \"c\"".into(),
                timeout: Some(second),
                wait: true,
            }),
            ElderWish::Undrain {
                service: "web".into(),
                endpoint: "a".into(),
            },
            ElderWish::DrainPod(PodName::Name("n/p".into()), second),
            ElderWish::DrainPod(PodName::Address("::1".parse().unwrap()), second),
            ElderWish::Lives,
            ElderWish::Running,
        ] {
            let (number, read) = wished(&wish(7, &asked)).unwrap();
            assert_eq!(number, 7);
            assert_eq!(format!("{read:?}"), format!("{asked:?}"));
        }
        let word = ElderWord {
            drained: false,
            fallback: true,
            in_flight: 3,
            cut: Cut {
                request: 1,
                stream: 2,
                tunnel: 3,
            },
        };
        let read = |answered| answer(&said(7, answered));
        assert!(
            matches!(read(Some(ElderAnswer::Drain(word))), Some((7, Some(ElderAnswer::Drain(it)))) if it == word)
        );
        assert!(matches!(read(None), Some((7, None))));
        for all in [ElderAnswer::Lives(vec![]), ElderAnswer::Running(vec![])] {
            let written = format!("{all:?}");
            assert_eq!(
                format!("{:?}", read(Some(all)).unwrap().1.unwrap()),
                written
            );
        }
        assert!(answer(&json!({ "answer": 7, "word": {} })).is_none());
    }
}
