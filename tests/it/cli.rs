//! The command line: what it says, where, and with which exit code.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Endpoint, Setup, Tidegate, binary, eventually};

/// What a command ended with.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn tidegate(arguments: &[&str]) -> Ended {
    let output = Command::new(binary())
        .args(arguments)
        .env_remove("TIDEGATE_ADMIN")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A command to a running one. The option stands behind the subcommand, where it works as well as before it.
fn at(running: &Tidegate, arguments: &[&str]) -> Ended {
    let admin = format!("http://{}", running.admin_address());
    tidegate(&[arguments, &["--admin", &admin]].concat())
}

#[test]
fn check_and_run_tell_every_fault_with_its_place_and_exit_1() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tidegate.yaml");
    fs::write(
        &path,
        "listeners: [{ name: http, address: 127.0.0.1 }]\nroutes: [{ service: wep }]\n\
         services: [{ name: web, source: { list: [\"127.0.0.1:1\"] }, balanse: random, connect_timeout: 5 }]\n",
    )
    .unwrap();
    let path = path.to_str().unwrap();
    for command in ["check", "run"] {
        let ended = tidegate(&[command, "-c", path]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{command}");
        let lines: Vec<_> = ended.err.lines().collect();
        assert_eq!(lines.len(), 4, "{}", ended.err);
        for (line, (place, key)) in lines.iter().zip([
            ("1:", "address"),
            ("2:", "service"),
            ("3:", "balanse"),
            ("3:", "connect_timeout"),
        ]) {
            assert!(
                line.starts_with(&format!("{path}:{place}")) && line.contains(key),
                "{line}"
            );
        }
        assert!(
            lines[2].contains("balance"),
            "the nearest known key is named: {}",
            lines[2]
        );
    }
}

#[test]
fn check_accepts_the_configs_of_this_repository() {
    for config in ["config/tidegate.yaml", "config/default.yaml"] {
        let path = format!("{}/{config}", env!("CARGO_MANIFEST_DIR"));
        let ended = tidegate(&["check", "-c", &path]);
        assert_eq!(ended.code, Some(0), "{config}: {}", ended.err);
        assert!(ended.out.contains("ok"), "{}", ended.out);
    }
}

#[test]
fn check_judges_ingress_manifests() {
    let dir = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ingress = |annotation: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\n\
             metadata: {{ name: main, namespace: shop, annotations: {{ {annotation} }} }}\n\
             spec: {{ ingressClassName: nginx, defaultBackend: {{ service: {{ name: web, port: {{ number: 80 }} }} }} }}\n"
        )
    };
    let good = write(
        "good.yaml",
        &ingress("nginx.ingress.kubernetes.io/proxy-buffer-size: 8k"),
    );
    let ended = tidegate(&["check", "--ingress", &good]);
    assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{}", ended.out);
    let lines: Vec<_> = ended.out.lines().collect();
    assert_eq!(
        lines[0],
        format!("{good}: document 1, line 1: Ingress shop/main: works")
    );
    assert_eq!(lines[1], "  route    */ -> shop/web:80");
    assert!(lines[2].starts_with("  class    nginx; set ingressClassName: tidegate"));
    assert!(lines[3].starts_with("  ignored  nginx.ingress.kubernetes.io/proxy-buffer-size: "));
    assert_eq!(
        lines[4],
        "1 Ingress: 1 as they are, 0 not in all, 0 not at all"
    );
    // One that would be open to everybody, and files that are none, fail it; the others are judged all the same.
    let shut = write(
        "shut.yaml",
        &ingress("nginx.ingress.kubernetes.io/auth-url: x"),
    );
    let ended = tidegate(&["check", "--ingress", &shut]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.out.contains("Ingress shop/main: will not work"),
        "{}",
        ended.out
    );
    let torn = write("torn.yaml", "kind: Ingress\nmetadata: [\n");
    let gone = dir.path().join("gone.yaml").display().to_string();
    let ended = tidegate(&["check", "--ingress", &good, &torn, &gone]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.out.contains("1 Ingress: 1 as they are"),
        "{}",
        ended.out
    );
    let faults: Vec<_> = ended.err.lines().collect();
    assert!(faults[0].starts_with(&format!("{torn}:")), "{faults:?}");
    assert!(
        faults[1].starts_with(&format!("{gone}: cannot be read: ")),
        "{faults:?}"
    );
    assert_eq!(tidegate(&["check", "--ingress"]).code, Some(2), "wrong use");
}

#[test]
fn check_warns_of_a_missing_endpoint_file_and_exits_0() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tidegate.yaml");
    fs::write(&path, Setup::without_file().text()).unwrap();
    let ended = tidegate(&["check", "-c", path.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.err.contains("web.yaml"), "{}", ended.err);
}

#[test]
fn an_address_that_is_taken_is_one_line_and_exit_1() {
    let a = Endpoint::start("a");
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tidegate.yaml");
    let config = Setup::without_file()
        .text()
        .replacen("127.0.0.1:0", &a.address().to_string(), 1);
    fs::write(&path, config).unwrap();
    let ended = tidegate(&["run", "-c", path.to_str().unwrap()]);
    assert_eq!(
        (ended.code, ended.err.lines().count()),
        (Some(1), 1),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains(&a.address().port().to_string()),
        "{}",
        ended.err
    );
}

#[test]
fn wrong_use_is_2_and_help_is_0() {
    assert_eq!(tidegate(&["nonsense"]).code, Some(2));
    assert_eq!(tidegate(&["drain", "web"]).code, Some(2));
    assert_eq!(
        tidegate(&["drain", "web", "a", "--timeout", "5"]).code,
        Some(2)
    );
    for command in ["run", "check", "demo", "status", "drain", "undrain"] {
        let ended = tidegate(&[command, "--help"]);
        assert_eq!(ended.code, Some(0), "{command}");
        assert!(ended.out.lines().count() > 5, "{command}");
    }
    assert!(tidegate(&["--version"]).out.starts_with("tidegate "));
}

#[test]
fn status_shows_endpoints_and_drains() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let running = Setup::of(&[&a, &b]).start();
    running.drain("a", "?wait=true");
    let table = at(&running, &["status"]);
    assert_eq!(table.code, Some(0), "{}", table.err);
    for word in [
        "web",
        "a",
        "drained",
        "b",
        "ready",
        &a.address().to_string(),
    ] {
        assert!(table.out.contains(word), "{word} in {}", table.out);
    }
    let json = at(&running, &["status", "web", "--output", "json"]);
    let service: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(service["endpoints"][0]["state"], "drained");
    let none = at(&running, &["status", "none"]);
    assert_eq!(
        (none.code, none.err.lines().count()),
        (Some(1), 1),
        "{}",
        none.err
    );
}

#[test]
fn drain_and_undrain_do_what_they_say() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let running = Setup::of(&[&a, &b]).start();
    let ended = at(&running, &["drain", "web", "a", "--wait"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    assert_eq!(running.get("/").text(), "b");
    assert_eq!(
        at(&running, &["undrain", "web", &a.address().to_string()]).code,
        Some(0)
    );
    assert_eq!(running.is("a", "ready")["in_flight"], 0);
}

#[test]
fn a_drain_that_is_waited_for_ends_with_what_became_of_it() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let running = Setup::of(&[&a]).start();
    let fallback = at(
        &running,
        &["drain", "web", "a", "--wait", "--timeout", "200ms"],
    );
    assert_eq!(fallback.code, Some(4), "{}{}", fallback.out, fallback.err);
    running.undrain("a");
    let mut client = running.connect();
    client.ask("/held");
    let _exchange = a.held();
    running.file().set(&[a.line(""), b.line("")]);
    running.is("b", "ready");
    let cut = at(
        &running,
        &["drain", "web", "a", "--wait", "--timeout", "200ms"],
    );
    assert_eq!(cut.code, Some(3), "{}{}", cut.out, cut.err);
    let unknown = at(&running, &["drain", "web", "x"]);
    assert_eq!(
        (unknown.code, unknown.err.lines().count()),
        (Some(1), 1),
        "{}",
        unknown.err
    );
}

#[test]
fn nobody_there_is_one_line_and_exit_1() {
    let nobody = Endpoint::refusing("nobody");
    let admin = format!("http://{}", nobody.address());
    for arguments in [
        &["status"][..],
        &["drain", "web", "a"],
        &["undrain", "web", "a"],
    ] {
        let ended = tidegate(&[arguments, &["--admin", &admin]].concat());
        assert_eq!(
            (ended.code, ended.err.lines().count()),
            (Some(1), 1),
            "{}",
            ended.err
        );
    }
}

#[test]
fn the_admin_may_be_named_by_the_environment_and_the_token_by_a_file() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let running = Setup::of(&[&a, &b])
        .admin("token_file: token")
        .with_file("token", "secret\n")
        .start();
    let drain = |arguments: &[&str]| {
        let admin = format!("http://{}", running.admin_address());
        let output = Command::new(binary())
            .args(["drain", "web", "a"])
            .args(arguments)
            .env("TIDEGATE_ADMIN", admin)
            .output()
            .unwrap();
        output.status.code()
    };
    assert_eq!(drain(&[]), Some(1));
    let file = running.dir().join("token");
    assert_eq!(drain(&["--token-file", file.to_str().unwrap()]), Some(0));
}

#[test]
fn the_demo_loses_nothing_and_ends_by_itself_with_a_summary() {
    let ended = tidegate(&["demo", "--for", "3s", "--output", "json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["passed"], true, "{report}");
    assert!(report.to_string().contains("drain"));
}

#[test]
fn run_reads_its_config_from_where_it_was_started() {
    let dir = TempDir::new().unwrap();
    let mut child = Command::new(binary())
        .arg("check")
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().flush().unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), err.lines().count()),
        (Some(1), 1),
        "{err}"
    );
    assert!(
        err.contains("config/tidegate.yaml") && err.contains("/etc/tidegate/tidegate.yaml"),
        "{err}"
    );
}

/// The admin side in a file, and commands that find it there.
#[test]
fn an_admin_side_in_a_file_is_asked_by_whoever_may_and_goes_over_in_an_upgrade() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let setup = Setup::of(&[&a, &b]);
    let place = setup.dir().join("admin.sock");
    let keys = "address: \"unix:admin.sock\", socket: { mode: \"0660\" }, probes_address";
    let text = setup
        .text()
        .replacen("admin: { address", &format!("admin: {{ {keys}"), 1);
    // What somebody has left behind is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&place).unwrap());
    let mut tidegate = setup.with_config(&text).start_unready();
    let about = std::fs::metadata(&place).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o660);
    let admin = format!("unix:{}", place.display());
    let run = |words: &[&str]| {
        let mut command = Command::new(binary());
        command.args(words).args(["--admin", &admin]);
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    for _ in 0..2 {
        let status = eventually("both are ready", || {
            let (code, text) = run(&["status", "web"]);
            assert_eq!(code, Some(0), "{text}");
            (text.matches("ready").count() == 2).then_some(text)
        });
        assert!(status.contains("web"), "{status}");
        assert_eq!(run(&["drain", "web", "a", "--wait"]).0, Some(0));
        (0..4).for_each(|_| assert_eq!(tidegate.get("/").text(), "b"));
        assert_eq!(run(&["undrain", "web", "a"]).0, Some(0));
        let (code, text) = run(&["wait", "--pod", "shop/none", "--limit", "5s"]);
        assert!(code == Some(0) && text.starts_with("drained"), "{text}");
        let old = tidegate.upgrade();
        assert_eq!(tidegate.ended(old), Some(0));
    }
    // It is another process's now: a third one does not take it away.
    let path = tidegate.config();
    let other = Command::new("timeout")
        .args(["20", binary(), "run", "-c"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(said.contains("somebody listens there"), "{said}");
    assert_eq!(run(&["status"]).0, Some(0));
    let moved = text.replacen("admin.sock", "other.sock", 1);
    std::fs::write(&path, moved).unwrap();
    tidegate.signal(rustix::process::Signal::HUP);
    eventually("it says that it stays", || {
        (tidegate.tells("admin.address") == 1).then_some(())
    });
    assert_eq!(run(&["status"]).0, Some(0));
}
