//! P11: the binary is replaced under its clients (`SIGUSR2`), and nobody notices; what does not come up changes nothing.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use rustix::process::Signal;

use crate::load::{Load, PING, tunnel};
use crate::support::{Answer, Client, Endpoint, Setup, Tidegate, binary, eventually, not_tested};

#[test]
fn upgrades_in_a_row_lose_no_request_no_stream_and_no_tunnel() {
    let asked = std::env::var("TIDEGATE_UPGRADES").ok();
    let (plain, streams) = if asked.is_some() { (64, 8) } else { (8, 2) };
    let count = asked.map_or(10, |count| count.parse().unwrap());
    let a = Endpoint::start("a");
    let mut tidegate = Setup::of(&[&a]).start();
    let load = Load::on(tidegate.address(), plain, streams);
    let mut memory = Vec::new();
    for _ in 0..count {
        let (mut client, exchange) = tunnel(&tidegate, &a);
        load.goes_on();
        let old = tidegate.upgrade();
        load.goes_on();
        exchange.send(PING);
        assert_eq!(
            client.take(PING.len()),
            PING,
            "the old process goes on with it"
        );
        drop((client, exchange));
        assert_eq!(tidegate.ended(old), Some(0));
        load.goes_on();
        memory.push((tidegate.resident_kib(), tidegate.descriptors()));
    }
    load.was_never_disturbed();
    eprintln!("KiB and descriptors of each process: {memory:?}");
    // What is handed on from one to the next is bounded; each would have what leaked of all before it.
    let (first, last) = (memory[0], memory[memory.len() - 1]);
    assert!(last.0 < first.0 + 8 * 1024, "{memory:?}");
    assert!(last.1 < first.1 + 64, "{memory:?}");
    tidegate.ready();
    assert_eq!(tidegate.admin("GET", "/lbz").status, 200);
    let torn = |line: &serde_json::Value| !line.is_object();
    assert!(
        !tidegate.access_log().iter().any(torn),
        "lines of both stay whole"
    );
    assert_eq!(tidegate.tells("\"forced\":0"), count);
    assert_eq!(tidegate.tells("\"cut\":0"), count);
}

#[test]
fn a_new_config_with_fewer_workers_leaves_no_socket_alone() {
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]).workers(4);
    let text = setup.text();
    let mut tidegate = setup.start();
    for workers in [1, 3] {
        let changed = text.replace("workers: 4", &format!("workers: {workers}"));
        fs::write(tidegate.config(), changed).unwrap();
        let old = tidegate.upgrade();
        assert_eq!(tidegate.ended(old), Some(0));
        // The kernel spreads them over all sockets.
        (0..60).for_each(|_| assert_eq!(tidegate.get("/").status, 200));
    }
}

#[test]
fn a_listener_that_the_new_config_has_no_more_leaves_well() {
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]);
    let text = setup.text();
    let second = "{ name: second, address: \"127.0.0.1:0\" }";
    let both = text.replacen("listeners: [", &format!("listeners: [{second}, "), 1);
    let mut tidegate = setup.with_config(&both).start();
    let (first, second) = (tidegate.address(), tidegate.listener("second"));
    fs::write(tidegate.config(), &text).unwrap();
    let old = tidegate.upgrade();
    assert_eq!(tidegate.ended(old), Some(0));
    assert!(TcpStream::connect(second).is_err(), "nobody listens there");
    assert_eq!(Client::connect(first).get("/").status, 200);
}

/// Tries an upgrade that fails, and checks that nothing has changed. Returns what was said about it.
#[track_caller]
fn fails(tidegate: &Tidegate, load: &Load) -> String {
    const FAILED: &str = "upgrade failed; this process goes on";
    let before = tidegate.tells(FAILED);
    tidegate.signal(Signal::USR2);
    eventually("the upgrade fails", || {
        (tidegate.tells(FAILED) > before).then_some(())
    });
    load.goes_on();
    assert_eq!(tidegate.admin("GET", "/lbz").status, 200);
    let line = tidegate.told(FAILED).unwrap();
    line["error"].as_str().unwrap().to_owned()
}

#[test]
fn what_does_not_come_up_changes_nothing() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let setup = Setup::of(&[&a, &b]).rest("shutdown: { upgrade_timeout: 1s }");
    let program = setup.dir().join("tidegate");
    fs::copy(binary(), &program).unwrap();
    let text = setup.text();
    let mut tidegate = setup.command(&[program.to_str().unwrap()]).start();
    let load = Load::on(tidegate.address(), 2, 1);

    fs::write(tidegate.config(), "listeners: [").unwrap();
    assert!(fails(&tidegate, &load).contains("exit status: 1"));

    // A source that has nothing to say is waited for, until the time is over.
    let more = "services: [{ name: other, source: { file: { path: other.yaml } } }, ";
    fs::write(tidegate.config(), text.replace("services: [", more)).unwrap();
    assert!(fails(&tidegate, &load).contains("upgrade_timeout"));

    // It is asked as ever.
    tidegate.drain("b", "");
    tidegate.undrain("b");

    fs::write(tidegate.config(), &text).unwrap();
    replace(&program, "#!/bin/sh\nexit 7\n");
    assert!(fails(&tidegate, &load).contains("exit status: 7"));

    let fresh = program.with_extension("new");
    fs::copy(binary(), &fresh).unwrap();
    fs::rename(&fresh, &program).unwrap();
    let old = tidegate.upgrade();
    assert_eq!(tidegate.ended(old), Some(0));
    load.goes_on();
    load.was_never_disturbed();
}

fn replace(program: &Path, script: &str) {
    let fresh = program.with_extension("new");
    fs::write(&fresh, script).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&fresh, program).unwrap();
}

#[test]
fn another_upgrade_meanwhile_is_refused_and_a_reload_waits() {
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]);
    let text = setup.text();
    let mut tidegate = setup.start();
    let more = "services: [{ name: other, source: { file: { path: other.yaml } } }, ";
    fs::write(tidegate.config(), text.replace("services: [", more)).unwrap();
    tidegate.signal(Signal::USR2);
    eventually("it is started", || {
        tidegate.told("upgrade: a new process is started")
    });
    tidegate.signal(Signal::USR2);
    eventually("it is refused", || {
        tidegate.told("an upgrade is under way; another one is refused")
    });
    tidegate.signal(Signal::HUP);
    let other = tidegate.dir().join("other.yaml");
    fs::write(other, "endpoints: []\n").unwrap();
    let old = tidegate.taken_over();
    assert_eq!(tidegate.ended(old), Some(0));
    eventually("the new process reloads", || tidegate.told("reloaded"));
}

#[test]
fn leaving_meanwhile_ends_both() {
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]).rest("shutdown: { wait_period: 0s, grace_period: 5s }");
    let text = setup.text();
    let mut tidegate = setup.start();
    let more = "services: [{ name: other, source: { file: { path: other.yaml } } }, ";
    fs::write(tidegate.config(), text.replace("services: [", more)).unwrap();
    tidegate.signal(Signal::USR2);
    eventually("it is started", || {
        tidegate.told("upgrade: a new process is started")
    });
    tidegate.signal(Signal::TERM);
    // The log ends when nobody holds it any more: both are gone.
    assert_eq!(tidegate.exit().code(), Some(0));
}

#[test]
fn a_drain_speaks_for_the_old_process_too() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let mut tidegate = Setup::of(&[&a]).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let old = tidegate.upgrade();
    tidegate.is("b", "ready");
    let asked = tidegate.drain("a", "");
    assert_eq!(asked["drained"], false, "the old one has a request there");
    assert_eq!(asked["in_flight"], 1);
    let admin = tidegate.admin_address();
    let wait = move || {
        let path = "/api/v1/services/web/endpoints/a/drain?wait=true";
        Answer::to(admin, "POST", path, "").ok()
    };
    let waiting = thread::spawn(wait);
    // An answer behind the wait: it had its chance to be wrong.
    assert_eq!(tidegate.drain("a", "")["in_flight"], 1);
    assert!(!waiting.is_finished());
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
    assert_eq!(waiting.join().unwrap()["drained"], true);
    assert_eq!(tidegate.ended(old), Some(0));
    assert_eq!(tidegate.drain("a", "?wait=true")["drained"], true);
}

#[test]
fn what_is_told_of_drains_covers_the_old_process_until_it_is_gone() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let mut tidegate = Setup::of(&[&a, &b]).start();
    tidegate.drain("b", "?wait=true");
    tidegate.undrain("b");
    let before = tidegate.report("b");
    tidegate.drain("b", "?wait=true");
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    let old = tidegate.upgrade();

    let told = tidegate.admin("GET", "/api/v1/drains").ok();
    let done = told["drains"].as_array().unwrap();
    assert!(done.contains(&before), "what was over before: {told:#}");
    let a_now = tidegate.is("a", "ready");
    assert_eq!(a_now["in_flight"], 1, "{a_now}");
    assert!(a_now["connections"].as_u64() >= Some(1), "{a_now}");
    let in_flight = "tidegate_in_flight{service=\"web\"}";
    assert_eq!(tidegate.metric(in_flight), Some(1.0));

    tidegate.undrain("b");
    let events = tidegate.events();
    let drains = "tidegate_drains_total{outcome=\"clean\",service=\"web\"}";
    let so_far = tidegate.metric(drains).unwrap_or_default();
    tidegate.drain("a", "");
    assert_eq!(tidegate.lives("a")[0]["state"], "draining", "not over");
    let told = tidegate.admin("GET", "/api/v1/drains").ok();
    let holds = |it: &serde_json::Value| it["held_by"][0]["kind"] == "request";
    assert!(
        told["running"].as_array().unwrap().iter().any(holds),
        "{told:#}"
    );
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
    let ended = events.wait_for("the old one's drain is over", |event| {
        event["event"] == "drain_end" && event["report"]["finished"] == 1
    });
    assert_eq!(tidegate.report("a"), ended["report"], "the newest");
    assert_eq!(tidegate.metric(drains), Some(so_far + 2.0), "one of each");
    assert_eq!(tidegate.ended(old), Some(0));
    let told = tidegate.admin("GET", "/api/v1/drains").ok();
    assert_eq!(told["running"].as_array().unwrap().len(), 0);
    assert_eq!(tidegate.report("a"), ended["report"], "it outlasts it");
}

#[test]
fn what_the_old_process_cuts_at_its_own_end_is_told_by_the_new_one() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let setup = Setup::of(&[&a]).rest("shutdown: { wait_period: 0s, grace_period: 2s }");
    let mut tidegate = setup.start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let _exchange = a.held();
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let old = tidegate.upgrade();
    tidegate.drain("a", "");
    assert_eq!(client.response().status, 504);
    assert_eq!(tidegate.ended(old), Some(0));
    let report = tidegate.report("a");
    assert_eq!(report["in_flight_at_start"], 1, "{report:#}");
}

#[test]
fn an_operators_drain_outlasts_an_upgrade_with_and_without_a_state_dir() {
    for rest in ["", "state_dir: state"] {
        let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
        let mut tidegate = Setup::of(&[&a, &b]).rest(rest).start();
        tidegate.drain("a", "");
        for _ in 0..2 {
            let old = tidegate.upgrade();
            assert_eq!(tidegate.lives("a")[0]["reason"], "operator");
            (0..10).for_each(|_| assert_eq!(tidegate.get("/").text(), "b"));
            assert_eq!(tidegate.ended(old), Some(0));
        }
        tidegate.undrain("a");
        tidegate.upgrade();
        assert_eq!(tidegate.lives("a")[0]["state"], "ready");
    }
}

#[test]
fn as_the_first_process_it_refuses_and_says_why() {
    let unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork"];
    let can = std::process::Command::new(unshare[0])
        .args(&unshare[1..])
        .arg("true")
        .status();
    if !can.is_ok_and(|status| status.success()) {
        not_tested("nobody may make process namespaces here");
        return;
    }
    let a = Endpoint::start("a");
    let command = [&unshare[..], &["--kill-child", binary()]].concat();
    let tidegate = Setup::of(&[&a]).command(&command).start();
    let outer = tidegate.pid().as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
    let inner = children.trim().parse().unwrap();
    let inner = rustix::process::Pid::from_raw(inner).unwrap();
    rustix::process::kill_process(inner, Signal::USR2).unwrap();
    let line = eventually("it refuses", || {
        tidegate.told("no upgrade; this process goes on")
    });
    assert!(
        line["error"].as_str().unwrap().contains("process 1"),
        "{line}"
    );
    assert_eq!(tidegate.get("/").status, 200);
}
