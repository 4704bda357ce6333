//! What the new process asks the old one about drains, until that is gone.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::control::{
    DrainAnswer, DrainRequest, ElderAsk, ElderWish, ElderWord, Handle, PodName, PodRequest,
};
use crate::drain::{Cause, Cut};
use crate::net::Courier;

/// The new process's side: sends asks, and gives each its answer. Ends when the other side is gone; whoever waits then hears
/// that there is nothing to wait for.
pub(super) async fn ask(mut courier: Courier, mut asks: mpsc::Receiver<ElderAsk>) {
    let mut waiting: HashMap<u64, oneshot::Sender<ElderWord>> = HashMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            biased;
            line = courier.receive() => {
                let Ok(Some(line)) = line else { return };
                if let Some((number, word)) = serde_json::from_str(&line).ok().as_ref().and_then(answer)
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

/// The old process's side: asks the writer, which may take as long as a drain does. `handle` is a relay.
pub(super) async fn serve(mut courier: Courier, handle: Handle, tasks: TaskTracker) {
    let (answers, mut answered) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            biased;
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

async fn carried_out(handle: &Handle, wish: ElderWish) -> Option<ElderWord> {
    match wish {
        ElderWish::Drain(request) => handle.drain(request).await.ok().map(|it| word(&[it])),
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
            Some(ElderWord {
                drained: answer.drained,
                ..word
            })
        }
    }
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
    } else {
        let pod = match line["pod"].as_str() {
            Some(name) => PodName::Name(name.into()),
            None => PodName::Address(line["ip"].as_str()?.parse().ok()?),
        };
        ElderWish::DrainPod(pod, duration(&line["limit_ms"])?)
    };
    Some((line["ask"].as_u64()?, wish))
}

fn said(number: u64, word: Option<ElderWord>) -> Value {
    let word = word.map(|word| {
        json!({
            "drained": word.drained,
            "fallback": word.fallback,
            "in_flight": word.in_flight,
            "cut": [word.cut.request, word.cut.stream, word.cut.tunnel],
        })
    });
    json!({ "answer": number, "word": word })
}

fn answer(line: &Value) -> Option<(u64, Option<ElderWord>)> {
    let number = line["answer"].as_u64()?;
    let word = &line["word"];
    if word.is_null() {
        return Some((number, None));
    }
    let word = ElderWord {
        drained: word["drained"].as_bool()?,
        fallback: word["fallback"].as_bool()?,
        in_flight: word["in_flight"].as_u64()?,
        cut: Cut {
            request: word["cut"][0].as_u64()?,
            stream: word["cut"][1].as_u64()?,
            tunnel: word["cut"][2].as_u64()?,
        },
    };
    Some((number, Some(word)))
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
        assert_eq!(answer(&said(7, Some(word))), Some((7, Some(word))));
        assert_eq!(answer(&said(7, None)), Some((7, None)));
        assert_eq!(answer(&json!({ "answer": 7, "word": {} })), None);
    }
}
