use super::*;
use crate::rehearse::tally::Outcome;

fn drain(by: &'static str, detected: f64, drained: f64) -> DrainRecord {
    DrainRecord {
        endpoint: "demo-1".into(),
        by,
        detected_ms: Some(detected),
        drained_ms: Some(drained),
        in_between: 2,
        late: 0,
        unfinished: 0,
        duplicated: 0,
        outcome: Some("clean".into()),
    }
}

fn board() -> Board {
    let board = Board::new();
    for _ in 0..12_345 {
        let fast = Duration::from_micros(800);
        board
            .tally()
            .record(Class::Get, Outcome::Served, fast, false);
    }
    board.drained(drain("file", 4.0, 1030.0));
    board.drained(drain("api", 0.5, 970.0));
    board.drained(drain("file", 6.0, 20.0));
    board
}

fn failure() -> Failure {
    Failure {
        class: "get",
        stage: "head",
        kind: "head_503".into(),
        status: Some(503),
        reused: true,
        endpoint: None,
        phase: None,
        error: "was answered with an error".into(),
    }
}

#[test]
fn passes_when_nothing_was_lost() {
    let report = Report::of(&board(), 200, Duration::from_millis(20_123));
    assert!(report.passed);
    assert_eq!(
        report.verdict,
        "0 of 12,345 requests failed; 0 reached a draining endpoint; 0 POSTs arrived twice; 3 drains, median 970 ms."
    );
    let text = report.to_text();
    assert!(text.ends_with(&format!("{}\n", report.verdict)), "{text}");
    assert!(text.contains("12,345"), "{text}");
    assert!(text.contains("1.03 s"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 140), "{text}");
}

#[test]
fn fails_for_each_kind_of_loss() {
    let fails = |spoil: fn(&Board)| {
        let board = board();
        spoil(&board);
        let report = Report::of(&board, 200, Duration::from_secs(20));
        assert!(!report.passed, "{}", report.verdict);
        report.to_text()
    };
    let text = fails(|board| {
        let outcome = Outcome::Failed(failure());
        let mut tally = board.tally();
        tally.record(Class::Get, outcome, Duration::ZERO, true);
    });
    assert!(text.contains("1 of 12,346 requests failed"), "{text}");
    assert!(text.contains("head_503 1"), "{text}");
    assert!(
        text.contains("failed: get head_503 at no endpoint"),
        "{text}"
    );
    fails(|board| {
        board.drained(DrainRecord {
            late: 1,
            ..drain("file", 1.0, 1.0)
        });
    });
    fails(|board| {
        board.ledger.arrived(1);
        board.ledger.arrived(1);
    });
    let text = fails(|board| board.problem("demo-7 was not drained in time".into()));
    assert!(text.contains("problem: demo-7"), "{text}");
}

#[test]
fn is_as_complete_for_machines() {
    let report = Report::of(&board(), 200, Duration::from_secs(20));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["passed"], true);
    assert_eq!(json["requests"], 12_345);
    assert_eq!(json["classes"][0]["class"], "get");
    assert_eq!(json["drains"]["file_detection"]["max_ms"], 6.0);
    assert_eq!(json["drains"]["api_detection"]["median_ms"], 0.5);
    assert_eq!(json["drains"]["duration"]["min_ms"], 20.0);
    assert_eq!(json["drains"]["in_between"], 6);
    assert_eq!(
        json["latency"]["draining"]["p50_ms"],
        serde_json::Value::Null
    );
}
