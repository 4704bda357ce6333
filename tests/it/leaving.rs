//! P11 at its edges: connections that come while the listeners close, and listeners that change while they serve.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::support::{Client, End, Endpoint, PATIENCE, Setup, eventually};

/// One request on a connection of its own. `None`: nobody let it in.
fn once(address: SocketAddr) -> Option<Result<(), String>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    let done = stream
        .write_all(b"GET / HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n")
        .and_then(|()| stream.read_to_end(&mut answer));
    Some(match done {
        Ok(_) if answer.starts_with(b"HTTP/1.1 200") => Ok(()),
        Ok(_) => Err(String::from_utf8_lossy(&answer).into_owned()),
        Err(error) => Err(error.to_string()),
    })
}

#[test]
fn in_a_storm_of_connections_nobody_who_was_let_in_is_turned_away() {
    let a = Endpoint::start("a");
    let shutdown = "shutdown: { wait_period: 0s, grace_period: 10s }";
    let mut tidegate = Setup::of(&[&a]).rest(shutdown).start();
    let address = tidegate.address();
    let served = Arc::new(AtomicUsize::new(0));
    let closed = Arc::new(AtomicBool::new(false));
    let storm: Vec<_> = (0..8)
        .map(|_| {
            let (served, closed) = (served.clone(), closed.clone());
            thread::spawn(move || {
                while !closed.load(Ordering::Relaxed) {
                    match once(address) {
                        Some(Ok(())) => drop(served.fetch_add(1, Ordering::Relaxed)),
                        Some(Err(error)) => return Err(error),
                        None => closed.store(true, Ordering::Relaxed),
                    }
                }
                Ok(())
            })
        })
        .collect();
    eventually("the storm is there", || {
        (served.load(Ordering::Relaxed) > 100).then_some(())
    });
    tidegate.signal(Signal::TERM);
    for client in storm {
        assert_eq!(client.join().unwrap(), Ok(()));
    }
    assert_eq!(tidegate.exit().code(), Some(0));
    assert_eq!(tidegate.access_log().len(), a.count());
}

#[test]
fn a_listener_changes_and_its_connections_stay() {
    let a = Endpoint::start("a");
    let setup = Setup::of(&[&a]);
    let text = setup.text();
    let tidegate = setup.start();
    let mut old = tidegate.connect();
    old.ask("/held");
    let exchange = a.held();
    let changed = text.replace("name: http, ", "name: http, debug_headers: true, ");
    assert_eq!(tidegate.reload(&changed), "success");
    let new = tidegate.get("/");
    assert_eq!(new.head.field("x-tidegate-endpoint"), Some("a"));
    exchange.answer("done");
    assert_eq!(old.response().text(), "done");
    assert_eq!(old.get("/").status, 200, "it is still open");
    let renamed = changed.replace("name: http, ", "name: other, ");
    let address = tidegate.address();
    let fixed = |text: &str| text.replacen("127.0.0.1:0", &address.to_string(), 1);
    assert_eq!(
        tidegate.reload(&fixed(&changed)),
        "error",
        "the kernel's choice is not a wish: the port is taken"
    );
    assert_eq!(tidegate.get("/").status, 200, "and nothing has changed");
    assert_eq!(tidegate.reload(&renamed), "success");
    let mut client = Client::connect(tidegate.listener("other"));
    assert_eq!(client.get("/").status, 200);
    assert_eq!(old.end(), End::Fin, "the old listener has left");
}
