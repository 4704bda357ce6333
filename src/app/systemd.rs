//! What systemd is told (`sd_notify(3)`): a datagram to the socket it names. Without one nothing is told.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::control::Handle;

/// The service manager, if there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Systemd {
    to: Option<Arc<(UnixDatagram, SocketAddr)>>,
}

/// How long the manager waits for a sign of life, in microseconds, and of whom.
pub(super) const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
pub(super) const WATCHDOG_PID: &str = "WATCHDOG_PID";

impl Systemd {
    /// The one that started this process.
    pub(super) fn from_env() -> Self {
        let place = env::var_os("NOTIFY_SOCKET").filter(|place| !place.is_empty());
        let open = |place: &[u8]| -> io::Result<_> {
            let address = match place.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(place))?,
            };
            let socket = UnixDatagram::unbound()?;
            // It is never worth waiting for.
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        };
        let to = place.and_then(|place| {
            open(place.as_bytes())
                .inspect_err(|error| debug!(%error, "NOTIFY_SOCKET cannot be used"))
                .ok()
        });
        Self {
            to: to.map(Arc::new),
        }
    }

    /// Started, or reloaded.
    pub(super) fn ready(&self) {
        self.say("READY=1");
    }

    /// Reads its config again; [`ready`](Self::ready) follows.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// Leaves, which takes so long at the most.
    pub(super) fn stopping(&self, most: Duration) {
        let most = most.as_micros();
        self.say(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={most}"));
    }

    /// Another process is the service from now on.
    pub(super) fn followed_by(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}"));
    }

    /// Gives signs of life, twice as often as the manager asks for, each after the writer has answered: one that hangs is to
    /// be noticed. None when it does not ask.
    pub(super) fn watchdog(&self, handle: &Handle, tasks: &TaskTracker) -> Option<JoinHandle<()>> {
        self.to.as_ref()?;
        let read = |name| env::var(name).ok()?.parse::<u64>().ok();
        let pause = Duration::from_micros(read(WATCHDOG_USEC).filter(|usec| *usec > 0)?) / 2;
        let other = |pid: u64| pid != u64::from(std::process::id());
        if read(WATCHDOG_PID).is_some_and(other) {
            return None;
        }
        let (manager, writer) = (self.clone(), handle.alone());
        let watch = async move {
            while writer.waiting_for().await.is_ok() {
                manager.say("WATCHDOG=1");
                tokio::time::sleep(pause).await;
            }
        };
        Some(tasks.spawn_local(watch))
    }

    fn say(&self, text: &str) {
        let Some((socket, address)) = self.to.as_deref() else {
            return;
        };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            debug!(%error, "the service manager cannot be told");
        }
    }
}
