//! tidegate runs with as little as it can: as another user than root, and never dumped.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, geteuid};

use crate::support::{Endpoint, Setup, binary, eventually, not_tested};

/// Whose every Linux has.
const NOBODY: u32 = 65534;

/// What the kernel tells of a process, or of one of its threads.
fn status(place: &Path, field: &str) -> Vec<String> {
    let text = fs::read_to_string(place.join("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let words = line.unwrap().split_ascii_whitespace();
    words.map(ToOwned::to_owned).collect()
}

fn place(pid: Pid) -> std::path::PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}

#[test]
fn gets_no_new_privileges_and_writes_no_core() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let place = place(tidegate.pid());
    for task in fs::read_dir(place.join("task")).unwrap() {
        assert_eq!(status(&task.unwrap().path(), "NoNewPrivs:"), ["1"]);
    }
    let limits = fs::read_to_string(place.join("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_ascii_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);
    if geteuid().is_root() {
        // What cannot be dumped belongs to root: another process of the same user would not be let in.
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(place.join("fd")).unwrap());
        assert_eq!(owner, 0);
    } else {
        not_tested("only root can look whether nobody else can look into it");
    }
}

#[test]
fn becomes_its_user_with_every_thread_and_is_upgraded_as_that() {
    if !geteuid().is_root() {
        not_tested("only root can become somebody else");
        return;
    }
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let setup = Setup::of(&[&a, &b])
        .rest("user: nobody")
        .rest("state_dir: state");
    let program = setup.dir().join("tidegate");
    fs::copy(binary(), &program).unwrap();
    fs::set_permissions(setup.dir(), Permissions::from_mode(0o755)).unwrap();
    let mut tidegate = setup.command(&[program.to_str().unwrap()]).start();
    let is_nobody = |pid| {
        for task in fs::read_dir(place(pid).join("task")).unwrap() {
            let task = task.unwrap().path();
            // Real, effective, saved, and of files.
            assert_eq!(status(&task, "Uid:"), [&*NOBODY.to_string(); 4]);
            assert_eq!(status(&task, "Gid:"), [&*NOBODY.to_string(); 4]);
            assert!(!status(&task, "Groups:").contains(&"0".to_owned()));
        }
    };
    is_nobody(tidegate.pid());
    tidegate.drain("a", "");
    (0..10).for_each(|_| assert_eq!(tidegate.get("/").text(), "b"));
    assert!(tidegate.dir().join("state/drains.json").is_file());
    let old = tidegate.upgrade();
    assert_eq!(tidegate.ended(old), Some(0));
    is_nobody(tidegate.pid());
    (0..10).for_each(|_| assert_eq!(tidegate.get("/").text(), "b"));
    // A reload goes on, and a port that the user may not have is refused in words.
    let text = fs::read_to_string(tidegate.config()).unwrap();
    assert_eq!(tidegate.reload(&text), "success");
    let low = "listeners: [{ name: low, address: \"127.0.0.1:79\" }, ";
    if fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .unwrap()
        .trim()
        == "1024"
    {
        assert_eq!(
            tidegate.reload(&text.replacen("listeners: [", low, 1)),
            "error"
        );
        eventually("it says why", || {
            (tidegate.tells("ports below 1024 need root") == 1).then_some(())
        });
    } else {
        not_tested("here nobody needs root for ports below 1024");
    }
    assert_eq!(tidegate.get("/").status, 200);
}

/// Runs it with a config that it refuses.
fn refused(setup: &Setup, program: &str, is: impl FnOnce(&mut Command)) -> String {
    let path = setup.dir().join("tidegate.yaml");
    fs::write(&path, setup.text()).unwrap();
    fs::set_permissions(setup.dir(), Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("timeout");
    command.args(["20", program, "run", "-c"]).arg(&path);
    is(&mut command);
    let Output { status, stderr, .. } = command.output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

#[test]
fn refuses_a_user_that_it_cannot_become() {
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]).rest("user: no-such-user");
    let said = refused(&setup, binary(), |_| {});
    assert!(
        said.contains("user no-such-user: there is no such user"),
        "{said}"
    );

    let setup = Setup::of(&[&a]).rest("user: root");
    let program = setup.dir().join("tidegate");
    fs::copy(binary(), &program).unwrap();
    let said = refused(&setup, program.to_str().unwrap(), |command| {
        if geteuid().is_root() {
            command.uid(NOBODY);
        }
    });
    assert!(said.contains("only root can become another user"), "{said}");
}

#[test]
fn refuses_a_key_that_its_user_could_not_read_again() {
    if !geteuid().is_root() {
        not_tested(
            "only root becomes another user, everybody else reads as who they are from the start",
        );
        return;
    }
    let a = Endpoint::start("a");
    let pair = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
    let setup = Setup::of(&[&a])
        .rest("user: nobody")
        .listener("tls: { certificates: [{ cert: a.crt, key: a.key }] }")
        .with_file("a.crt", &pair.cert.pem())
        .with_file("a.key", &pair.signing_key.serialize_pem());
    let key = setup.dir().join("a.key");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let said = refused(&setup, binary(), |_| {});
    assert!(
        said.contains("listener http") && said.contains("a.key"),
        "{said}"
    );
}
