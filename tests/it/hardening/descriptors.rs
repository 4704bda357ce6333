//! A process that may open no more files.

use std::fs;
use std::net::TcpStream;
use std::thread::park_timeout;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use tokio::time::Instant;

use super::cpu_seconds;
use crate::support::{Client, Endpoint, Setup, Tidegate, eventually};

fn open_files(tidegate: &Tidegate) -> u64 {
    let files = fs::read_dir(format!("/proc/{}/fd", tidegate.pid().as_raw_nonzero()));
    files.unwrap().count() as u64
}

fn allow_files(tidegate: &Tidegate, most: u64) {
    let before = prlimit(
        Some(tidegate.pid()),
        Resource::Nofile,
        Rlimit {
            current: Some(most),
            // It has inherited ours.
            maximum: getrlimit(Resource::Nofile).maximum,
        },
    );
    before.unwrap();
}

#[test]
fn without_descriptors_it_neither_spins_nor_falls_silent() {
    let a = Endpoint::start("a");
    let tidegate = Setup::of(&[&a]).start();
    let mut kept = tidegate.connect();
    assert_eq!(kept.get("/").status, 200);
    allow_files(&tidegate, open_files(&tidegate) + 4);
    let waiting: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(tidegate.address()).unwrap())
        .collect();
    eventually("it cannot accept", || {
        tidegate.told("cannot accept; pausing")
    });
    let (began, used) = (Instant::now(), cpu_seconds(&tidegate));
    let mut answers = 0;
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(tidegate.admin("GET", "/healthz").status, 200);
        answers += 1;
        park_timeout(Duration::from_millis(100));
    }
    let used = cpu_seconds(&tidegate) - used;
    assert!(used < 0.5, "{used} s of the processor in 3 s");
    assert!(answers >= 5, "{answers} answers of the admin side");
    assert_eq!(kept.get("/").status, 200, "who is there is served");
    allow_files(&tidegate, 1024);
    let mut client = Client::connect(tidegate.address());
    assert_eq!(client.get("/").status, 200, "and who comes, again");
    drop(waiting);
}

#[test]
fn clients_leave_descriptors_for_everything_else() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a]).files(256).start();
    let mut clients: Vec<Client> = (0..300).map(|_| tidegate.connect()).collect();
    let refused = |clients: &mut Vec<Client>| {
        clients
            .iter_mut()
            .filter_map(|client| (!client.is_open()).then_some(()))
            .count()
    };
    eventually("those that are too many are closed", || {
        (refused(&mut clients) >= 300 - 64).then_some(())
    });
    assert!(open_files(&tidegate) < 256);
    assert_eq!(tidegate.admin("GET", "/readyz").status, 200);
    tidegate.file().set(&[a.line(""), b.line("")]);
    tidegate.is("b", "ready");
    let mut served = 0;
    for client in &mut clients {
        if client.is_open() {
            assert_eq!(client.get("/").status, 200);
            served += 1;
        }
    }
    assert_eq!(served, 64);
    assert_eq!(tidegate.tells("cannot accept"), 0);
    clients.clear();
    eventually("there is room again", || {
        let mut client = tidegate.connect();
        client.try_send("GET / HTTP/1.1\r\nHost: s\r\n\r\n");
        (client.try_response()?.status == 200).then_some(())
    });
    assert_eq!(tidegate.connect().get("/").status, 200);
}
