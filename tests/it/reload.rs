//! The config read again: what changes drains what it leaves behind (P8), and a broken one changes nothing.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::load::{Load, PING, tunnel};
use crate::support::{Client, End, Endpoint, Setup, Tidegate, eventually};

/// Services by their endpoints, and the routes, in one config.
fn config(routes: &str, services: &[(&str, &Endpoint)]) -> String {
    let service = |(name, endpoint): &(&str, &Endpoint)| {
        format!(
            "- {{ name: {name}, source: {{ list: [\"{}\"] }} }}\n",
            endpoint.address()
        )
    };
    let services: String = services.iter().map(service).collect();
    format!(
        "listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]\nroutes: [{routes}]\nservices:\n{services}\
         admin: {{ address: \"127.0.0.1:0\" }}\n"
    )
}

/// The cause of the one drain that is over.
fn cause(tidegate: &Tidegate) -> String {
    eventually("the drain is over", || {
        let drains = tidegate.admin("GET", "/api/v1/drains").ok();
        drains["drains"][0]["cause"].as_str().map(str::to_owned)
    })
}

#[test]
fn a_route_that_is_repointed_drains_what_it_leaves() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let services = [("one", &a), ("two", &b)];
    let tidegate = Setup::config(&config("{ service: one }", &services)).start();
    let mut client = tidegate.connect();
    assert_eq!(client.get("/").text(), "a");
    let mut busy = tidegate.connect();
    busy.ask("/held");
    let exchange = a.held();
    assert_eq!(
        tidegate.reload(&config("{ service: two }", &services)),
        "success"
    );
    assert_eq!(client.get("/").text(), "b", "on the same connection");
    exchange.answer("done");
    assert_eq!(busy.response().text(), "done");
    assert_eq!(cause(&tidegate), "route");
    a.all_closed();

    assert_eq!(
        tidegate.reload(&config("{ service: one }", &services)),
        "success"
    );
    assert_eq!(client.get("/").text(), "a", "and back, in a new life");
}

#[test]
fn a_service_that_is_removed_finishes_its_work_and_is_gone() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let both = config(
        "{ path: /held, service: one }, { service: two }",
        &[("one", &a), ("two", &b)],
    );
    let tidegate = Setup::config(&both).start();
    let mut client = tidegate.connect();
    client.ask("/held");
    let exchange = a.held();
    assert_eq!(
        tidegate.reload(&config("{ service: two }", &[("two", &b)])),
        "success"
    );
    let services = || {
        tidegate.admin("GET", "/api/v1/services").ok()["services"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(services(), 2, "it drains");
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
    eventually("the service is gone", || (services() == 1).then_some(()));
    assert!(
        !tidegate
            .admin("GET", "/metrics")
            .text()
            .contains("service=\"one\""),
        "and its series, too"
    );
    assert_eq!(tidegate.get("/").text(), "b");
}

#[test]
fn a_new_service_is_routed_to_once_it_has_its_endpoints() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::config(&config("{ service: one }", &[("one", &a)])).start();
    let address = tidegate.address();
    let client = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        loop {
            let response = client.get("/");
            assert_eq!(response.status, 200, "no moment without endpoints");
            if response.text() == "b" {
                return;
            }
        }
    });
    assert_eq!(
        tidegate.reload(&config("{ service: two }", &[("two", &b)])),
        "success"
    );
    client.join().unwrap();
}

#[test]
fn a_broken_config_changes_nothing_and_is_told_everywhere() {
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]);
    let good = setup.text();
    let tidegate = setup.start();
    let events = tidegate.events();
    for broken in [
        "",
        "listeners: [",
        &good.replace("service: web", "service: wep"),
        &good.replace("workers", "worker"),
    ] {
        assert_eq!(tidegate.reload(broken), "error");
        let answer = tidegate.admin("GET", "/api/v1/config").ok();
        let errors = answer["last_reload"]["errors"].as_array().unwrap();
        assert!(
            errors[0].as_str().unwrap().contains("tidegate.yaml:"),
            "{errors:?}"
        );
        assert_eq!(
            answer["config"]["services"][0]["name"], "web",
            "the one in force"
        );
        assert_eq!(tidegate.get("/").text(), "a");
    }
    assert_eq!(
        tidegate.metric("tidegate_config_reload_total{result=\"error\"}"),
        Some(4.0)
    );
    events.wait_for("the event", |event| {
        event["event"] == "config" && event["to"] == "error"
    });
    eventually("each is in the log", || {
        (tidegate.tells("the running config stays in force") >= 4).then_some(())
    });
    assert_eq!(tidegate.reload(&good), "success");
}

#[test]
fn a_listener_comes_and_goes_and_its_connections_finish() {
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]);
    let one = setup.text();
    let two = one.replace(
        "listeners: [",
        "listeners: [{ name: more, address: \"127.0.0.1:0\" }, ",
    );
    let tidegate = setup.start();
    assert_eq!(tidegate.reload(&two), "success");
    let address = tidegate.listener("more");
    let mut busy = Client::connect(address);
    busy.ask("/held");
    let exchange = a.held();
    assert_eq!(tidegate.reload(&one), "success");
    eventually("the listener is closed", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    exchange.answer("done");
    let response = busy.response();
    assert_eq!(
        (response.text().as_str(), response.head.field("connection")),
        ("done", Some("close"))
    );
    assert_eq!(busy.end(), End::Fin);
    assert_eq!(tidegate.get("/").text(), "a", "the other one stays");
}

#[test]
fn an_operators_drain_outlasts_a_reload() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let setup = Setup::of(&[&a, &b]);
    let text = setup.text();
    let tidegate = setup.start();
    tidegate.drain("a", "?wait=true");
    assert_eq!(
        tidegate.reload(&format!("{text}access_log: {{ sample: 0.5 }}\n")),
        "success"
    );
    for _ in 0..20 {
        assert_eq!(tidegate.get("/").text(), "b");
    }
    assert_eq!(tidegate.lives("a")[0]["state"], "drained");
}

#[test]
fn a_services_settings_change_without_a_new_life() {
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]).workers(1);
    let text = setup.text();
    let tidegate = setup.start();
    tidegate.get("/");
    assert_eq!(
        tidegate.reload(&text.replace("name: web, ", "name: web, request_timeout: 100ms, ")),
        "success"
    );
    let mut client = tidegate.connect();
    client.ask("/held");
    let _exchange = a.held();
    assert_eq!(client.response().status, 504);
    assert_eq!(a.requests()[1].connection, 0, "the pool is still there");
}

#[test]
fn what_cannot_change_stays_and_says_so() {
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]);
    let text = setup.text();
    let tidegate = setup.start();
    assert_eq!(
        tidegate.reload(&text.replace("workers: 2", "workers: 3")),
        "success"
    );
    eventually("it says so", || {
        (tidegate.tells("cannot change without a restart") == 1).then_some(())
    });
    assert_eq!(
        tidegate.admin("GET", "/api/v1/config").ok()["config"]["workers"],
        2
    );
}

#[test]
fn the_file_is_watched_when_asked_for() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let services = [("one", &a), ("two", &b)];
    let text = |service: &str| {
        format!(
            "{}reload_on_change: true\n",
            config(&format!("{{ service: {service} }}"), &services)
        )
    };
    let tidegate = Setup::config(&text("one")).start();
    let fresh = tidegate.dir().join("fresh");
    fs::write(&fresh, text("two")).unwrap();
    fs::rename(&fresh, tidegate.config()).unwrap();
    eventually("the new routes are in force", || {
        (tidegate.get("/").text() == "b").then_some(())
    });
    fs::write(tidegate.config(), text("one")).unwrap();
    eventually("and when it is written in place", || {
        (tidegate.get("/").text() == "a").then_some(())
    });
}

#[test]
fn reloads_one_after_the_other_lose_nothing() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let services = [("one", &a), ("two", &b)];
    let tidegate = Setup::config(&config("{ service: one }", &services)).start();
    let (address, stop) = (tidegate.address(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let client = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        while !stopped.load(Ordering::SeqCst) {
            assert_eq!(client.get("/").status, 200);
        }
    });
    for turn in 0..30 {
        let (service, endpoint) = if turn % 2 == 0 {
            ("two", &b)
        } else {
            ("one", &a)
        };
        let so_far = endpoint.count();
        assert_eq!(
            tidegate.reload(&config(&format!("{{ service: {service} }}"), &services)),
            "success"
        );
        eventually("requests go there", || {
            (endpoint.count() > so_far + 5 || client.is_finished()).then_some(())
        });
    }
    stop.store(true, Ordering::SeqCst);
    client.join().unwrap();
}

#[test]
fn the_log_level_changes_unless_it_was_typed() {
    let a = Endpoint::start("a");
    let (info, warn) = ("log: { level: info }", "log: { level: warn }");
    let setup = Setup::of(&[&a]).rest(info);
    let text = setup.text();
    let tidegate = setup.start();
    assert_eq!(tidegate.reload(&text.replace(info, warn)), "success");
    assert_eq!(tidegate.tells("reloaded"), 0, "it is below the new level");
    assert_eq!(tidegate.reload(&text), "success");
    eventually("it tells again", || {
        (tidegate.tells("reloaded") == 1).then_some(())
    });
    let slip = text.replace(info, "log: { level: inof }");
    assert_eq!(tidegate.reload(&slip), "error");
    let told = tidegate.admin("GET", "/api/v1/config").ok();
    assert_eq!(told["config"]["log"]["level"], "info");
    let fault = &told["last_reload"]["errors"][0];
    assert!(fault.to_string().contains("level: is "), "{fault}");

    let typed = Setup::of(&[&a]).rest(info).argument("--log=info");
    let text = typed.text();
    let tidegate = typed.start();
    assert_eq!(tidegate.reload(&text.replace(info, warn)), "success");
    eventually("the typed one stays", || {
        (tidegate.tells("reloaded") == 1 && tidegate.tells("log.level") == 1).then_some(())
    });
}

/// `TIDEGATE_RELOADS` says how many; a thousand take some minutes.
#[test]
fn reloads_in_a_row_disturb_nobody_and_leave_nothing_behind() {
    let count = std::env::var("TIDEGATE_RELOADS").map_or(30, |count| count.parse().unwrap());
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]);
    let text = setup.text();
    let tidegate = setup.start();
    let load = Load::on(tidegate.address(), 64, 8);
    let (mut client, exchange) = tunnel(&tidegate, &a);
    load.goes_on();
    // Each alters something else: a listener more, a service's limits, a route more.
    let texts = [
        text.replace(
            "listeners: [",
            "listeners: [{ name: more, address: \"127.0.0.1:0\" }, ",
        ),
        text.replace(
            "name: web, ",
            "name: web, connect_timeout: 2s, balance: random, ",
        ),
        text.replace("routes: [", "routes: [{ path: /more, service: web }, "),
        text.replace("workers: ", "access_log: { sample: 0.5 }\nworkers: "),
    ];
    let mut memory = Vec::new();
    for number in 0..count {
        assert_eq!(tidegate.reload(&texts[number % texts.len()]), "success");
        if number % 10 == 9 {
            memory.push((tidegate.resident_kib(), tidegate.descriptors()));
        }
    }
    load.goes_on();
    exchange.send(PING);
    assert_eq!(client.take(PING.len()), PING, "a tunnel stays what it is");
    load.was_never_disturbed();
    eprintln!("KiB and descriptors after each tenth: {memory:?}");
    // What an allocator keeps comes with the first ones.
    let (first, last) = (memory[0], memory[memory.len() - 1]);
    assert!(
        last.0 < first.0 + 8 * 1024,
        "KiB and descriptors: {memory:?}"
    );
    // How many connections to the endpoint the load needs changes with the machine's mood: each client has one at the most.
    let clients = 64 + 8 + 1;
    assert!(
        last.1 <= 2 * clients + ITS_OWN,
        "KiB and descriptors: {memory:?}"
    );
}

/// Descriptors that tidegate has without a client, some forty: listeners, the log, what wakes its threads; and what comes and
/// goes meanwhile. One more for each reload is too many.
const ITS_OWN: usize = 64;
