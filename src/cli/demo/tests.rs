use clap::Parser;

use super::*;
use crate::rehearse::stand_in::{Fault, StandIn};
use crate::rehearse::{LiveEndpoint, Subject};

impl Proxy for StandIn {
    fn stop(self) -> anyhow::Result<()> {
        Self::stop(self);
        Ok(())
    }
}

/// Starts a stand-in from the config that a rehearsal has written, as the real one would be.
fn stand_in(config: &Path) -> anyhow::Result<StandIn> {
    let text = std::fs::read_to_string(config)?;
    let mut addresses = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("address: "))
        .map(|address| address.trim_matches('"').parse().unwrap());
    let subject = Subject {
        proxy: addresses.next().unwrap(),
        admin: addresses.next().unwrap(),
        endpoint_file: config.with_file_name("endpoints.yaml"),
        service: "demo".into(),
    };
    Ok(StandIn::start(&subject, Fault::None))
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    demo: DemoArgs,
}

fn live(drains: u64) -> Live {
    let drain = |n| DrainRecord {
        endpoint: format!("demo-{n}"),
        by: "file",
        detected_ms: Some(4.0),
        drained_ms: Some(1020.0),
        in_between: 0,
        late: 0,
        unfinished: 0,
        duplicated: 0,
        outcome: Some("clean".into()),
    };
    Live {
        elapsed: Duration::from_millis(12_300),
        endpoints: vec![LiveEndpoint {
            id: "demo-9".into(),
            address: ([127, 0, 0, 1], 9009).into(),
            state: "ready",
            in_flight: 3,
            requests: 1234,
        }],
        requests: 2400,
        failed: 0,
        raced: 0,
        in_flight: 12,
        missed: 0,
        reached_draining: 0,
        at_rest_ms: Some(0.8),
        draining_ms: None,
        drains,
        last_drains: (1..=drains).map(drain).collect(),
    }
}

#[test]
fn reads_its_arguments() {
    let line = Line::try_parse_from(["demo", "--for", "20s", "--rate", "50", "--output", "json"]);
    let args = line.unwrap_or_else(|error| panic!("{error}")).demo;
    assert_eq!(args.duration, Some(Duration::from_secs(20)));
    assert_eq!((args.rate, args.output), (50, Output::Json));
    for wrong in [["--for", "20"], ["--rate", "0"], ["--output", "xml"]] {
        assert!(Line::try_parse_from([&["demo"], &wrong[..]].concat()).is_err());
    }
}

#[test]
fn says_each_thing_once_in_lines() {
    let mut display = Display::new(Output::Text, false);
    let first = display.news(&live(2));
    assert_eq!(first.lines().count(), 3, "{first}");
    assert!(
        first.starts_with(
            "demo-1    by file  known  4.00 ms  drained   1.02 s  0 too late  clean\n"
        ),
        "{first}"
    );
    assert!(first.contains("12 s  2,400 requests  0 failed"), "{first}");
    assert_eq!(display.news(&live(2)), "");
    let next = display.news(&live(3));
    assert!(
        next.starts_with("demo-3") && next.lines().count() == 1,
        "{next}"
    );
}

#[test]
fn draws_the_next_frame_over_the_last() {
    let mut display = Display::new(Output::Text, true);
    let frame = frame(&live(9), "Enough.");
    assert!(
        frame.contains("demo-9") && frame.contains("1,234"),
        "{frame}"
    );
    assert!(
        frame.contains("demo-4 ") && !frame.contains("demo-3 "),
        "{frame}"
    );
    assert!(frame.ends_with("Enough.\n"), "{frame}");
    assert!(frame.lines().all(|line| line.len() <= 80), "{frame}");
    assert!(frame.lines().count() < 22, "{frame}");
    assert!(!display.redraw(&frame).contains("A\r"));
    let up = format!("\x1b[{}A\r", frame.lines().count());
    assert!(display.redraw(&frame).contains(&up));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn args(duration: Option<Duration>, output: Output) -> DemoArgs {
    DemoArgs {
        duration,
        rate: 100,
        output,
    }
}

#[test]
fn ends_after_its_time_with_nothing_but_json() {
    let args = args(Some(Duration::from_millis(300)), Output::Json);
    let mut out = Vec::new();
    let display = Display::new(args.output, false);
    let never = async || std::future::pending().await;
    let code = play(&args, stand_in, display, &mut out, &runtime(), never).unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(report["passed"], true);
}

#[test]
fn ends_with_a_summary_when_asked() {
    let args = args(None, Output::Text);
    let mut out = Vec::new();
    let display = Display::new(args.output, false);
    let mut signals = 0;
    let once = async || {
        signals += 1;
        if signals > 1 {
            std::future::pending().await
        }
        130
    };
    let code = play(&args, stand_in, display, &mut out, &runtime(), once).unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("proxy      http://127.0.0.1:"), "{text}");
    assert!(text.contains("requests failed; 0 reached"), "{text}");
}

#[test]
fn says_why_the_proxy_did_not_start() {
    let args = args(None, Output::Json);
    let display = Display::new(args.output, false);
    let fails = |_: &Path| anyhow::bail!("no");
    let never = async || std::future::pending().await;
    let played = play::<StandIn>(&args, fails, display, &mut Vec::new(), &runtime(), never);
    let fault = played.unwrap_err();
    assert_eq!(format!("{fault:#}"), "the proxy could not be started: no");
}

/// A terminal that was closed.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn ends_when_nobody_can_see_it() {
    let args = args(None, Output::Text);
    let display = Display::new(args.output, false);
    let never = async || std::future::pending().await;
    assert!(play(&args, stand_in, display, &mut Closed, &runtime(), never).is_err());
}
