//! What systemd asks of a service: it is told when tidegate is ready, reloads, stops and is replaced, and may open the
//! sockets itself.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use rustix::process::Signal;

use crate::support::{Answer, Endpoint, PATIENCE, Setup, binary};

/// What systemd hears.
struct Manager(UnixDatagram);

impl Manager {
    #[track_caller]
    fn hears(&self) -> String {
        let mut text = [0; 1024];
        let length = self.0.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }
}

fn managed(a: &Endpoint) -> (Setup, Manager) {
    let setup = Setup::of(&[a]).rest("shutdown: { wait_period: 0s, grace_period: 5s }");
    let place = setup.dir().join("notify");
    let socket = UnixDatagram::bind(&place).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let setup = setup.environment("NOTIFY_SOCKET", place.to_str().unwrap());
    (setup, Manager(socket))
}

#[test]
fn tells_when_it_is_ready_reloads_and_stops() {
    let a = Endpoint::start("a");
    let (setup, manager) = managed(&a);
    let text = setup.text();
    let mut tidegate = setup.start();
    assert_eq!(manager.hears(), "READY=1");
    for config in [&text, "listeners: ["] {
        tidegate.reload(config);
        let told = manager.hears();
        let since = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(since.parse::<u64>().unwrap() > 0);
        assert_eq!(manager.hears(), "READY=1", "also when nothing has changed");
    }
    tidegate.signal(Signal::TERM);
    let told = manager.hears();
    assert_eq!(told, "STOPPING=1\nEXTEND_TIMEOUT_USEC=7000000");
    assert_eq!(tidegate.exit().code(), Some(0));
}

#[test]
fn tells_which_process_is_the_service_after_an_upgrade() {
    let a = Endpoint::start("a");
    let (setup, manager) = managed(&a);
    let mut tidegate = setup.start();
    assert_eq!(manager.hears(), "READY=1");
    let old = tidegate.upgrade();
    let new = tidegate.pid().as_raw_nonzero();
    let mut told = [manager.hears(), manager.hears()];
    told.sort();
    assert_eq!(told, [format!("MAINPID={new}"), "READY=1".into()]);
    assert_eq!(tidegate.ended(old), Some(0));
    tidegate.signal(Signal::TERM);
    let told = manager.hears();
    assert!(
        told.starts_with("STOPPING=1"),
        "the old one said nothing of its end: {told}"
    );
}

#[test]
fn gives_signs_of_life_while_the_writer_answers_and_only_the_newest_process_does() {
    const SIGN: &str = "WATCHDOG=1";
    let a = Endpoint::start("a");
    let (setup, manager) = managed(&a);
    let own_pid = "WATCHDOG_PID=$$ exec \"$0\" \"$@\"";
    let setup = setup
        .rest("state_dir: state")
        .environment("WATCHDOG_USEC", "100000");
    let mut tidegate = setup.command(&["sh", "-c", own_pid, binary()]).start();
    assert_eq!(manager.hears(), "READY=1");
    (0..3).for_each(|_| assert_eq!(manager.hears(), SIGN));

    let old = tidegate.upgrade();
    assert_eq!(tidegate.ended(old), Some(0));
    let main = format!("MAINPID={}", tidegate.pid().as_raw_nonzero());
    while manager.hears() != main {}
    // What the old one may have said at the last moment is behind it.
    let signs = (0..4).filter(|_| manager.hears() == SIGN).count();
    assert!(signs >= 3, "the new one goes on");

    // Its file is a pipe that nobody reads: the writer hangs as on a dead disk.
    let name = format!("drains.json.{}", tidegate.pid().as_raw_nonzero());
    let pipe = tidegate.dir().join("state").join(name);
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let admin = tidegate.admin_address();
    let drain = "/api/v1/services/web/endpoints/a/drain";
    let asks = std::thread::spawn(move || Answer::to(admin, "POST", drain, ""));
    let silence = Some(std::time::Duration::from_millis(600));
    manager.0.set_read_timeout(silence).unwrap();
    let mut text = [0; 64];
    let heard = (0..200).take_while(|_| manager.0.recv(&mut text).is_ok());
    assert!(heard.count() < 200, "it lives although nobody answers");
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    std::fs::read(&pipe).unwrap();
    assert_eq!(manager.hears(), SIGN, "it is well again");
    asks.join().unwrap();
}

#[test]
fn an_abstract_name_is_one_too() {
    let a = Endpoint::start("a");
    let name = format!("tidegate-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager(UnixDatagram::bind_addr(&address).unwrap());
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let place = format!("@{name}");
    let _tidegate = Setup::of(&[&a])
        .environment("NOTIFY_SOCKET", &place)
        .start();
    assert_eq!(manager.hears(), "READY=1");
}

/// Does what systemd does: the socket is descriptor 3, and the variables tell whose it is.
const ACTIVATE: [&str; 4] = [
    "sh",
    "-c",
    "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 0</dev/null",
    binary(),
];

fn listening() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[test]
fn goes_on_with_a_socket_that_systemd_has_opened_and_leaves_it_as_it_is() {
    let a = Endpoint::start("a");
    let (socket, address) = listening();
    // It came before anybody served.
    let mut early = TcpStream::connect(address).unwrap();
    early
        .write_all(b"GET / HTTP/1.0\r\nHost: s\r\n\r\n")
        .unwrap();
    let setup = Setup::of(&[&a]).rest("shutdown: { wait_period: 0s, grace_period: 5s }");
    let text = setup
        .text()
        .replacen("127.0.0.1:0", &address.to_string(), 1);
    let setup = setup.with_config(&text).command(&ACTIVATE);
    let mut tidegate = setup
        .stdin(OwnedFd::from(socket.try_clone().unwrap()))
        .start();
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    (0..20).for_each(|_| assert_eq!(tidegate.get("/").status, 200));
    let old = tidegate.upgrade();
    assert_eq!(tidegate.ended(old), Some(0));
    (0..20).for_each(|_| assert_eq!(tidegate.get("/").status, 200));
    tidegate.signal(Signal::TERM);
    let gone = tidegate.pid();
    assert_eq!(tidegate.ended(gone), Some(0));
    // Systemd has it still, and starts the service again for whoever comes.
    let _late = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    socket.accept().unwrap();
}

#[test]
fn refuses_a_socket_that_no_listener_wants() {
    let a = Endpoint::start("a");
    let (socket, address) = listening();
    let setup = Setup::of(&[&a]);
    let path = setup.dir().join("tidegate.yaml");
    std::fs::write(&path, setup.text()).unwrap();
    let output = Command::new("timeout")
        .arg("20")
        .args(ACTIVATE)
        .args(["run", "-c"])
        .arg(&path)
        .stdin(OwnedFd::from(socket))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(&address.to_string()) && said.contains("ListenStream="),
        "{said}"
    );
}
