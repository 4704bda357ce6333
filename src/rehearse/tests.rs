use super::stand_in::{Fault, StandIn};
use super::*;

/// Rehearses with a stand-in until some requests and some drains are over.
async fn rehearse(fault: Fault) -> Report {
    let settings = Settings {
        rest: Duration::from_millis(20),
        ..Settings::default()
    };
    let mut rehearsal = Rehearsal::prepare(settings).unwrap();
    let proxy = StandIn::start(rehearsal.subject(), fault);
    rehearsal.begin();
    let report = loop {
        tokio::select! {
            report = rehearsal.ended() => break report.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                let live = rehearsal.live();
                if live.requests >= 300 && live.drains >= 2 {
                    rehearsal.stop();
                }
            }
        }
    };
    let directory = rehearsal.config().parent().unwrap().to_owned();
    proxy.stop();
    drop(rehearsal);
    assert!(!directory.exists());
    report
}

#[tokio::test]
async fn finds_nothing_wrong_with_a_proxy_that_keeps_its_word() {
    let report = rehearse(Fault::None).await;
    assert!(report.passed, "{}", report.to_text());
    assert!(report.requests > 100);
    assert!(report.drains.count >= 2);
    for drain in &report.drains.last {
        assert_eq!(drain.outcome.as_deref(), Some("clean"));
        assert!(drain.detected_ms.is_some() && drain.drained_ms.is_some());
    }
    assert!(report.drains.file_detection.max_ms.is_some());
    assert!(report.drains.api_detection.max_ms.is_some());
    assert!(report.latency.draining.requests > 0);
}

#[tokio::test]
async fn finds_requests_that_reach_a_draining_endpoint() {
    let report = rehearse(Fault::Leaks).await;
    assert!(!report.passed);
    assert!(report.reached_draining > 0);
}

#[tokio::test]
async fn finds_requests_that_are_sent_twice() {
    let report = rehearse(Fault::Repeats).await;
    assert!(!report.passed);
    assert!(report.duplicated > 0);
}

#[tokio::test]
async fn finds_an_endpoint_that_is_not_as_drained_as_is_said() {
    let report = rehearse(Fault::Hasty).await;
    assert!(!report.passed);
    assert!(report.drains.last.iter().any(|drain| drain.unfinished > 0));
    assert!(report.problems[0].contains("said to be drained"));
}

#[tokio::test]
async fn ends_early_without_a_proxy() {
    let mut rehearsal = Rehearsal::prepare(Settings::default()).unwrap();
    rehearsal.begin();
    rehearsal.stop();
    assert_eq!(rehearsal.ended().await.unwrap().requests, 0);
}
