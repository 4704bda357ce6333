//! The endings of P5's table, and P11, as curl sees them. Its exit codes tell a whole answer from a piece of one.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{Endpoint, SLACK, Setup};

/// How curl ends: with a whole answer; with a part of a body of HTTP/1; with a connection that was reset; with a stream of
/// HTTP/2 that was.
const WHOLE: i32 = 0;
const PARTIAL: i32 = 18;
const RESET: i32 = 56;
const STREAM_RESET: i32 = 92;

/// A request that is in flight when the drain comes, and how that looks.
struct Case {
    name: &'static str,
    version: &'static str,
    arguments: &'static [&'static str],
    /// What the endpoint has sent by then.
    sent: &'static str,
    exit: i32,
    status: &'static str,
    body: &'static str,
}

impl Case {
    fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            arguments: &[],
            sent: "",
            exit: WHOLE,
            status: "504",
            body: "504 the endpoint went away before it answered\n",
        }
    }

    fn run(&self, address: SocketAddr) -> Curl {
        let url = format!("http://{address}/held/{}", self.name);
        let mut arguments = vec![self.version, "-N", "-w", "|%{http_code}", &url];
        arguments.extend(self.arguments);
        Curl::start(&arguments)
    }
}

/// A running curl.
struct Curl(Child);

impl Curl {
    #[track_caller]
    fn start(arguments: &[&str]) -> Self {
        let curl = Command::new("curl")
            .args([
                "-q",
                "-sS",
                "--no-progress-meter",
                "--noproxy",
                "*",
                "--max-time",
                "20",
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(curl.expect("curl is missing: run `sh tests/setup.sh`"))
    }

    /// Waits for its end. Returns its exit code and what it printed, on both pipes.
    fn end(mut self) -> (i32, String, String) {
        let read = |mut pipe: Box<dyn std::io::Read + Send>| {
            thread::spawn(move || {
                let mut text = String::new();
                pipe.read_to_string(&mut text).unwrap();
                text
            })
        };
        let output = read(Box::new(self.0.stdout.take().unwrap()));
        let errors = read(Box::new(self.0.stderr.take().unwrap()));
        let code = self.0.wait().unwrap().code().unwrap();
        (code, output.join().unwrap(), errors.join().unwrap())
    }
}

/// The rows of P5's table that a client of plain HTTP can meet.
fn cases(version: &'static str) -> Vec<Case> {
    let cut = if version == "--http1.1" {
        PARTIAL
    } else {
        STREAM_RESET
    };
    vec![
        Case::new("nothing-yet", version),
        Case {
            sent: "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart",
            exit: cut,
            status: "200",
            body: "part",
            ..Case::new("sized-body", version)
        },
        Case {
            sent: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
            exit: cut,
            status: "200",
            body: "part",
            ..Case::new("chunked-body", version)
        },
        Case {
            arguments: &["-T", ".", "-H", "expect:"],
            ..Case::new("upload", version)
        },
        Case {
            sent: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
            status: "200",
            body: "data: 1\n\n",
            ..Case::new("events", version)
        },
        Case {
            arguments: &["-d", "x"],
            sent: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
            exit: cut,
            status: "200",
            body: "data: 1\n\n",
            ..Case::new("events-by-post", version)
        },
        Case {
            sent: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
            exit: cut,
            status: "200",
            body: "data: 1\n\n",
            ..Case::new("events-encoded", version)
        },
    ]
}

#[test]
fn curl_sees_every_ending_of_the_table() {
    let mut all = cases("--http1.1");
    all.extend(cases("--http2-prior-knowledge"));
    all.push(Case {
        sent: "HTTP/1.1 200 OK\r\n\r\npart",
        exit: RESET,
        status: "200",
        body: "part",
        ..Case::new("without-a-length", "--http1.0")
    });

    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    // One worker: what reaches it later is done later.
    let tidegate = Setup::of(&[&a]).workers(1).start();
    let running: Vec<_> = all
        .iter()
        .map(|case| {
            let mut curl = case.run(tidegate.address());
            let exchange = a.held();
            if case.name == "upload" {
                // Its input stays open: the upload never ends.
                curl.0.stdin.as_mut().unwrap().write_all(b"part").unwrap();
                exchange.body_of(4);
            }
            exchange.send(case.sent);
            (curl, exchange)
        })
        .collect();
    assert_eq!(
        tidegate.get("/").text(),
        "a",
        "what was sent has been passed on"
    );
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let deadline = Instant::now() + Duration::from_millis(500);
    tidegate.drain("a", "?timeout=500ms");
    for ((curl, exchange), case) in running.into_iter().zip(&all) {
        let (exit, output, errors) = curl.end();
        let about = format!("{} {}: {errors}", case.name, case.version);
        assert_eq!(exit, case.exit, "{about}");
        assert_eq!(output, format!("{}|{}", case.body, case.status), "{about}",);
        assert!(
            deadline.elapsed() < Duration::from_millis(250) + SLACK,
            "{about}"
        );
        exchange.end();
    }
    let report = tidegate.report("a");
    assert_eq!(
        (&report["cut"]["request"], &report["finished"]),
        (&13.into(), &2.into())
    );
}

/// A tidegate that leaves under a load of curl, and another one at the next address that has the same name.
fn leaves_under(arguments: &[&str]) {
    let a = Endpoint::start("a");
    let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
    let setup = || {
        Setup::of(&[&a])
            .with_file("a.crt", &made.cert.pem())
            .with_file("a.key", &made.signing_key.serialize_pem())
            .listener("tls: { certificates: [{ cert: a.crt, key: a.key }] }")
            .rest("shutdown: { wait_period: 1s, grace_period: 8s }")
    };
    let mut first = setup().start();
    let port = first.address().port();
    let second = setup();
    let there = format!("127.0.0.2:{port}");
    let text = second.text().replacen("127.0.0.1:0", &there, 1);
    let _second = second.with_config(&text).start();

    let ca = first.dir().join("a.crt");
    let url = format!("https://shop.test:{port}/held/[1-{REQUESTS}]");
    let name = format!("shop.test:{port}:127.0.0.1,127.0.0.2");
    let show = "%{http_code} %{http_version} %{remote_ip}\\n";
    let mut all = vec!["--cacert", ca.to_str().unwrap(), "--resolve", &name, &url];
    all.extend(["-o", "/dev/null", "-w", show]);
    all.extend(arguments);
    let curl = Curl::start(&all);
    for turn in 0..REQUESTS {
        let exchange = a.held();
        // Slow enough for the load to outlast the end.
        thread::park_timeout(Duration::from_millis(8));
        exchange.answer("a");
        if turn == 20 {
            first.signal(Signal::TERM);
        }
    }
    let (exit, output, errors) = curl.end();
    assert_eq!(exit, WHOLE, "{errors}");
    let version = arguments[0].trim_start_matches("--http");
    let by = |place: &str| {
        let line = format!("200 {version} {place}");
        output.lines().filter(|own| **own == line).count()
    };
    let (by_first, by_second) = (by("127.0.0.1"), by("127.0.0.2"));
    assert_eq!(by_first + by_second, REQUESTS, "{output}");
    assert!(by_first > 20 && by_second > 20, "{by_first}, {by_second}");
    assert_eq!(a.count(), REQUESTS, "none was sent twice");
    assert_eq!(first.exit().code(), Some(0));
}

#[test]
fn our_own_end_costs_a_keep_alive_client_nothing() {
    leaves_under(&["--http1.1"]);
}

#[test]
fn our_own_end_costs_a_client_of_http2_nothing() {
    leaves_under(&["--http2", "--parallel", "--parallel-max", "8"]);
}

/// Enough to be at it before, while and after the first tidegate leaves.
const REQUESTS: usize = 300;
