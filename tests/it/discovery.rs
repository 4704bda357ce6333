//! P9: a source that cannot see changes nothing, and every way in which a file changes is seen.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Endpoint, EndpointFile, Setup, Tidegate, eventually};

#[test]
fn a_file_written_in_place_and_one_replaced_by_rename_are_both_seen() {
    let (a, b, c) = (
        Endpoint::start("a"),
        Endpoint::start("b"),
        Endpoint::start("c"),
    );
    let tidegate = Setup::of(&[&a]).start();
    tidegate
        .file()
        .overwrite(&EndpointFile::of(&[a.line(""), b.line("")]));
    tidegate.is("b", "ready");
    tidegate.file().set(&[a.line(""), b.line(""), c.line("")]);
    tidegate.is("c", "ready");
    tidegate.file().overwrite(&EndpointFile::of(&[c.line("")]));
    tidegate.is_gone("a");
    tidegate.is_gone("b");
    assert_eq!(tidegate.get("/").text(), "c");
}

#[test]
fn a_file_half_written_is_not_believed() {
    use std::io::Write as _;
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let events = tidegate.events();
    let whole = EndpointFile::of(&[a.line("weight: 2"), b.line("")]);
    let (front, back) = whole.split_at(whole.find("id: b").unwrap() - 40);
    let mut file = fs::File::create(tidegate.file().path()).unwrap();
    file.write_all(front.as_bytes()).unwrap();
    file.flush().unwrap();
    for _ in 0..30 {
        tidegate.get("/");
    }
    file.write_all(back.as_bytes()).unwrap();
    drop(file);
    eventually("the whole file is read", || {
        (tidegate.lives("a")[0]["weight"] == 2).then_some(())
    });
    assert!(
        events
            .all()
            .iter()
            .all(|event| event["event"] != "drain_start"),
        "{:?}",
        events.all()
    );
    assert_eq!(tidegate.lives("b").len(), 1);
}

#[test]
fn a_file_behind_a_symlink_is_followed_as_a_config_map_swaps_it() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let setup = Setup::without_file();
    let dir = setup.file().path().parent().unwrap().to_owned();
    let version = |name: &str, lines: &[String]| {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("web.yaml"), EndpointFile::of(lines)).unwrap();
        symlink(name, dir.join("..data.new")).unwrap();
        fs::rename(dir.join("..data.new"), dir.join("..data")).unwrap();
    };
    version("..1", &[a.line("")]);
    symlink("..data/web.yaml", dir.join("web.yaml")).unwrap();
    let tidegate = setup.start();
    assert_eq!(tidegate.get("/").text(), "a");
    version("..2", &[b.line("")]);
    fs::remove_dir_all(dir.join("..1")).unwrap();
    tidegate.is("b", "ready");
    tidegate.is_gone("a");
    version("..3", &[a.line(""), b.line("")]);
    tidegate.is("a", "ready");
}

#[test]
fn losing_the_file_changes_nothing_but_what_is_told() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    for (name, lose) in [
        (
            "gone",
            (|tidegate| fs::remove_file(tidegate.file().path()).unwrap()) as fn(&Tidegate),
        ),
        ("empty", |tidegate| tidegate.file().replace("")),
        ("no YAML", |tidegate| {
            tidegate
                .file()
                .replace("endpoints: [ { address: \"127.0.0.1:1\"")
        }),
        ("wrong", |tidegate| {
            tidegate
                .file()
                .replace("endpoints:\n  - { address: \"127.0.0.1:x\" }\n")
        }),
        ("unknown key", |tidegate| {
            tidegate.file().replace("endpoints: []\nextra: 1\n")
        }),
        ("cut short", |tidegate| {
            tidegate.file().overwrite("endpoints:\n")
        }),
        ("a folder", |tidegate| {
            fs::remove_file(tidegate.file().path()).unwrap();
            fs::create_dir(tidegate.file().path()).unwrap();
        }),
    ] {
        let tidegate = Setup::of(&[&a, &b]).start();
        let events = tidegate.events();
        let up = "tidegate_source_up{service=\"web\",source=\"file\"}";
        assert_eq!(tidegate.metric(up), Some(1.0));
        lose(&tidegate);
        eventually(&format!("{name}: it is told"), || {
            (tidegate.metric(up) == Some(0.0)).then_some(())
        });
        events.wait_for("the source is down", |event| {
            event["event"] == "source" && event["to"] == "down"
        });
        let service = tidegate.admin("GET", "/api/v1/services/web").ok();
        assert!(
            service["source_fault"]
                .as_str()
                .is_some_and(|fault| !fault.is_empty()),
            "{name}: {service}"
        );
        assert_eq!(tidegate.admin("GET", "/readyz").status, 200, "{name}");
        assert!(
            tidegate.lives("a")[0]["state"] == "ready"
                && tidegate.lives("b")[0]["state"] == "ready",
            "{name}"
        );
        assert_eq!(tidegate.get("/").status, 200, "{name}");

        // It comes back, and what it says counts again.
        let _ = fs::remove_dir(tidegate.file().path());
        tidegate.file().set(&[b.line("")]);
        tidegate.is_gone("a");
        assert_eq!(tidegate.metric(up), Some(1.0), "{name}");
        events.wait_for("the source is up", |event| {
            event["event"] == "source" && event["to"] == "up"
        });
    }
}

#[test]
fn a_fault_is_told_with_its_place() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    tidegate
        .file()
        .replace("endpoints:\n  - { address: \"127.0.0.1:80\", id: x, stat: ready }\n");
    eventually("the log tells line and key", || {
        (tidegate.tells("web.yaml:2:") > 0).then_some(())
    });
    assert!(tidegate.tells("stat") > 0);
}

#[test]
fn an_empty_set_is_obeyed() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    tidegate.file().replace("endpoints: []\n");
    tidegate.is_gone("a");
    assert_eq!(tidegate.get("/").status, 503);
    assert_eq!(
        tidegate.admin("GET", "/readyz").status,
        200,
        "the source has delivered"
    );
}

#[test]
fn without_its_file_it_is_not_ready_and_says_so() {
    let a = Endpoint::start("a");
    let tidegate = Setup::without_file().start_unready();
    let answer = tidegate.admin("GET", "/readyz");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("web"), "{}", answer.text());
    assert_eq!(tidegate.admin("GET", "/healthz").status, 200);
    assert_eq!(tidegate.get("/").status, 503);
    tidegate.file().set(&[a.line("")]);
    tidegate.ready();
    assert_eq!(tidegate.get("/").text(), "a");
}

#[test]
fn endpoint_slices_are_understood_and_followed() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let setup = Setup::without_file();
    let one = slice(
        "web-1",
        a.address().port(),
        &pod("a", "{ ready: true, serving: true, terminating: false }"),
    );
    let two = slice("web-2", b.address().port(), &pod("b", "{ ready: null }"));
    setup.file().replace(&format!("{one}---\n{two}"));
    let tidegate = setup.start();
    let life = tidegate.is("uid-a", "ready");
    assert_eq!(
        (&life["pod"], &life["address"]),
        (&"default/a".into(), &a.address().to_string().into())
    );
    let mut client = tidegate.connect();
    client.ask("/held");
    let first = eventually("it is somewhere", || {
        if a.count() > 0 {
            Some(&a)
        } else {
            (b.count() > 0).then_some(&b)
        }
    });
    let exchange = first.held();

    // The pod begins to terminate, serves no longer, and leaves.
    let name = first.name();
    let other = if name == "a" { &two } else { &one };
    let port = first.address().port();
    for conditions in [
        "{ ready: false, serving: true, terminating: true }",
        "{ ready: false, serving: false, terminating: true }",
    ] {
        let leaving = slice("web-x", port, &pod(name, conditions));
        tidegate.file().replace(&format!("{leaving}---\n{other}"));
        let life = tidegate.is(&format!("uid-{name}"), "draining");
        assert_eq!(life["reason"], "source");
        assert_ne!(tidegate.get("/").text(), name);
    }
    // Never unlearned for a uid, whatever arrives later.
    let updates = || {
        tidegate.metric(
            "tidegate_source_updates_total{result=\"success\",service=\"web\",source=\"file\"}",
        )
    };
    let before = updates();
    let back = slice("web-x", port, &pod(name, "{ ready: true }"));
    tidegate.file().replace(&format!("{back}---\n{other}"));
    eventually("it is read", || (updates() > before).then_some(()));
    assert_eq!(
        tidegate.lives(&format!("uid-{name}"))[0]["state"],
        "draining"
    );
    for _ in 0..10 {
        assert_ne!(tidegate.get("/").text(), name);
    }
    exchange.answer("done");
    assert_eq!(client.response().text(), "done");
    tidegate.file().replace(other);
    tidegate.is_gone(&format!("uid-{name}"));
    assert_eq!(tidegate.logged("/held")["pod"], format!("default/{name}"));
}

#[test]
fn a_list_of_slices_with_nulls_and_named_ports_is_understood() {
    let a = Endpoint::start("a");
    let port = a.address().port();
    let setup = Setup::without_file();
    setup.file().replace(&format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\
         {{\"apiVersion\": \"discovery.k8s.io/v1\", \"kind\": \"EndpointSlice\", \"metadata\": {{\"name\": \"e\", \"namespace\": \"default\"}}, \
           \"addressType\": \"IPv4\", \"endpoints\": null, \"ports\": null}}, \
         {{\"apiVersion\": \"discovery.k8s.io/v1\", \"kind\": \"EndpointSlice\", \"metadata\": {{\"name\": \"f\", \"namespace\": \"default\"}}, \
           \"addressType\": \"IPv4\", \"endpoints\": [{{\"addresses\": [\"127.0.0.1\"], \"conditions\": {{}}}}], \
           \"ports\": [{{\"name\": \"metrics\", \"port\": 1, \"protocol\": \"TCP\"}}, {{\"name\": \"http\", \"port\": {port}, \"protocol\": \"TCP\"}}]}}]}}"
    ));
    let text = setup
        .text()
        .replace("path: web.yaml", "path: web.yaml, port: http");
    let tidegate = setup.with_config(&text).start();
    assert_eq!(tidegate.get("/").text(), "a");
    tidegate.is(&a.address().to_string(), "ready");
}

fn slice(name: &str, port: u16, endpoint: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{ name: {name}, namespace: default, labels: {{ kubernetes.io/service-name: web }} }}\n\
         addressType: IPv4\nports: [{{ name: http, port: {port}, protocol: TCP }}]\nendpoints:\n{endpoint}"
    )
}

fn pod(name: &str, conditions: &str) -> String {
    format!(
        "- addresses: [127.0.0.1]\n  conditions: {conditions}\n  \
         targetRef: {{ kind: Pod, namespace: default, name: {name}, uid: uid-{name} }}\n"
    )
}
