//! The source that never changes: a list in the config.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{Heard, Observation, Observed, ObservedState, Observer, Source};

/// Endpoints listed in the config: all ready, each known by its address.
#[derive(Debug, Clone)]
pub struct Fixed {
    observation: Arc<Observation>,
}

impl Fixed {
    /// A source of these addresses. One that is listed twice counts once.
    #[must_use]
    pub fn new(addresses: &[SocketAddr]) -> Self {
        let mut known = HashSet::new();
        let endpoints: Vec<_> = addresses
            .iter()
            .filter(|address| known.insert(**address))
            .map(|address| Observed {
                key: address.to_string().as_str().into(),
                address: *address,
                pod: None,
                zone: None,
                weight: 1,
                state: ObservedState::Ready,
                drain_timeout: None,
                latched: false,
                pod_end: None,
            })
            .collect();
        Self {
            observation: Arc::new(endpoints.into()),
        }
    }
}

impl Source for Fixed {
    fn kind(&self) -> &'static str {
        "list"
    }

    fn run(self: Box<Self>, out: Observer, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let told = out.tell(Heard::Observation(self.observation));
            if stop.run_until_cancelled(told).await.is_some() {
                stop.cancelled().await;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn tells_its_list_once_and_waits_for_the_stop() {
        let addresses = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80"].map(|a| a.parse().unwrap());
        let (out, mut news) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let source = Box::new(Fixed::new(&addresses));
        assert_eq!(source.kind(), "list");
        let running = tokio::spawn(source.run(Observer::new("web".into(), 7, out), stop.clone()));
        let first = news.recv().await.unwrap();
        assert_eq!((first.service, first.generation), ("web".into(), 7));
        let Heard::Observation(observation) = first.what else {
            panic!("{:?}", first.what)
        };
        let keys: Vec<_> = observation.endpoints().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["10.0.0.1:80", "10.0.0.2:80"]);
        assert!(
            observation
                .endpoints()
                .all(|e| e.state == ObservedState::Ready && e.weight == 1 && !e.latched)
        );
        stop.cancel();
        running.await.unwrap();
        assert!(news.recv().await.is_none());
    }

    #[tokio::test]
    async fn stops_while_the_writer_is_busy() {
        let (out, _news) = mpsc::channel(1);
        let observer = Observer::new("web".into(), 1, out);
        observer.tell(Heard::Same).await;
        let stop = CancellationToken::new();
        stop.cancel();
        Box::new(Fixed::new(&[])).run(observer, stop).await;
    }
}
