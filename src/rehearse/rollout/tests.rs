use super::*;
use crate::rehearse::stage::Stage;
use crate::rehearse::stand_in::{Fault, StandIn};

/// Replaces one endpoint without any load.
async fn replace(fault: Fault, way: Way) -> (Arc<Board>, String) {
    let stage = Stage::build().unwrap();
    let board = Arc::new(Board::new());
    let subject = stage.subject.clone();
    let admin = Admin::new(subject.admin, subject.service.clone(), Arc::clone(&board));
    let pace = Pace {
        rest: Duration::ZERO,
        patience: Duration::from_millis(500),
        drain: Duration::from_secs(5),
    };
    let proxy = StandIn::start(&subject, fault);
    let mut rollout = Rollout::start(subject, Arc::clone(&board), admin.clone(), pace, 2)
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let replaced = async {
        admin.ready(Duration::from_secs(5)).await.unwrap();
        rollout.admitted().await.unwrap();
        rollout.retire_oldest(way).await.unwrap();
        stop.cancel();
    };
    tokio::join!(replaced, admin.watch(&stop));
    let file = std::fs::read_to_string(&stage.subject.endpoint_file).unwrap();
    rollout.end().await;
    proxy.stop();
    (board, file)
}

#[tokio::test]
async fn replaces_by_the_file_and_by_the_api() {
    for way in [Way::File, Way::Api] {
        let (board, file) = replace(Fault::None, way).await;
        let drains = board.drains();
        assert!(drains.problems.is_empty(), "{:?}", drains.problems);
        let record = &drains.last[0];
        assert_eq!(
            (record.endpoint.as_str(), record.by),
            ("demo-1", way.as_str())
        );
        assert!(record.detected_ms.is_some() && record.drained_ms.is_some());
        assert_eq!(
            (record.late, record.unfinished, record.duplicated),
            (0, 0, 0)
        );
        assert!(!file.contains("demo-1"));
        assert!(file.contains("demo-2"));
        assert_eq!(board.faces().len(), 1);
        assert_eq!(board.sights.borrow().len(), 1);
        assert!(!board.is_draining());
    }
}

#[tokio::test]
async fn goes_on_without_an_acknowledgement_and_says_so() {
    let (board, _) = replace(Fault::Mute, Way::File).await;
    let drains = board.drains();
    assert_eq!(
        drains.problems,
        ["the drain of demo-1 was not acknowledged"]
    );
    assert_eq!(drains.last[0].detected_ms, None);
}
