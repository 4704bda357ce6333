//! The admin's sockets: an address and a port, or a file whose permissions say who may ask.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use thiserror::Error;
use tokio_util::either::Either;

use crate::net::Address;

/// Who may use a socket in the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    /// As of a file; to connect takes the right to write.
    pub mode: u32,
    /// Whose it is, by name or number; none: of whoever makes it.
    pub owner: Option<String>,
    /// Its group, likewise.
    pub group: Option<String>,
}

impl Default for SocketFile {
    fn default() -> Self {
        Self {
            mode: 0o600,
            owner: None,
            group: None,
        }
    }
}

/// Whose such a socket becomes, by number; none: of whoever makes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owners {
    /// The user.
    pub user: Option<u32>,
    /// The group.
    pub group: Option<u32>,
}

/// Why the admin side cannot listen.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error("{0}: the port is taken: stop what listens there, or choose another address for admin")]
    InUse(SocketAddr),
    /// Only root may.
    #[error(
        "{0}: not permitted: choose a port from 1024 up for admin, or grant CAP_NET_BIND_SERVICE"
    )]
    Denied(SocketAddr),
    /// It is not an address of this machine.
    #[error("{0}: not an address of this machine: choose one that is for admin, or 0.0.0.0")]
    NotOurs(SocketAddr),
    /// Anything else.
    #[error("{address}: cannot listen: {error}; choose another address for admin")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Of a socket in the file system.
    #[error("unix:{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// A socket that listens, for [`serve`](super::serve).
#[derive(Debug)]
pub enum Listener {
    /// At an address and a port.
    Tcp(std::net::TcpListener),
    /// In the file system.
    Unix(UnixListener),
}

impl Listener {
    /// One that somebody has opened before, for this address.
    #[must_use]
    pub fn of(socket: OwnedFd, address: &Address) -> Self {
        match address {
            Address::Tcp(_) => Self::Tcp(socket.into()),
            Address::Unix(_) => Self::Unix(socket.into()),
        }
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Into::into),
            Self::Unix(listener) => listener.try_clone().map(Into::into),
        }
    }

    /// Where it really is: the system may have chosen the port.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    pub(super) fn accepting(self) -> io::Result<Accepting> {
        Ok(match self {
            Self::Tcp(listener) => Accepting::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Self::Unix(listener) => Accepting::Unix(tokio::net::UnixListener::from_std(listener)?),
        })
    }
}

/// Opens a listening socket, for [`serve`](super::serve).
///
/// # Errors
/// [`BindError`], which names the address and what to do.
pub fn bind(address: &Address, mode: u32, owners: Owners) -> Result<Listener, BindError> {
    match address {
        Address::Tcp(address) => bind_port(*address).map(Listener::Tcp),
        Address::Unix(path) => bind_file(path, mode, owners)
            .map(Listener::Unix)
            .map_err(|why| BindError::File {
                path: path.clone(),
                why,
            }),
    }
}

fn bind_port(address: SocketAddr) -> Result<std::net::TcpListener, BindError> {
    let open = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::PermissionDenied => BindError::Denied(address),
        io::ErrorKind::AddrNotAvailable => BindError::NotOurs(address),
        _ => BindError::Other { address, error },
    })
}

/// The file has its name when its permissions are right, and one that a process has left behind is replaced. For the start,
/// while no other thread makes files: a mask is the whole process's.
fn bind_file(path: &Path, mode: u32, owners: Owners) -> Result<UnixListener, String> {
    nobody_listens(path)?;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let open = || {
        // One of a process that had our number; whatever else it is keeps us from binding.
        let _ = fs::remove_file(&fresh);
        let before = rustix::process::umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(&fresh);
        rustix::process::umask(before);
        let listener = bound?;
        listener.set_nonblocking(true)?;
        if owners.user.is_some() || owners.group.is_some() {
            chown(&fresh, owners.user, owners.group)?;
        }
        fs::set_permissions(&fresh, Permissions::from_mode(mode))?;
        fs::rename(&fresh, path)?;
        Ok(listener)
    };
    open().map_err(|error: io::Error| {
        let _ = fs::remove_file(&fresh);
        format!(
            "cannot be made: {error}; its directory should exist and be this user's to write in"
        )
    })
}

fn nobody_listens(path: &Path) -> Result<(), String> {
    let Ok(about) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !about.file_type().is_socket() {
        return Err("is there and no socket: choose another name, or remove it".into());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err("somebody listens there: stop that, or choose another name".into()),
        // Whoever made it is gone.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(format!(
            "it cannot be told whether somebody listens there: {error}; remove it if not"
        )),
    }
}

/// A listener on the runtime.
#[derive(Debug)]
pub(super) enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Accepting {
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(tcp, _)| Either::Left(tcp)),
            Self::Unix(listener) => listener.accept().await.map(|(unix, _)| Either::Right(unix)),
        }
    }
}

/// A connection.
pub(super) type Socket = Either<tokio::net::TcpStream, tokio::net::UnixStream>;

/// Its descriptor, taken off the runtime.
pub(super) fn into_descriptor(socket: Socket) -> io::Result<OwnedFd> {
    match socket {
        Either::Left(tcp) => tcp.into_std().map(Into::into),
        Either::Right(unix) => unix.into_std().map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(path: &Path, mode: u32) -> Result<Listener, String> {
        let address = Address::Unix(path.into());
        bind(&address, mode, Owners::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn makes_a_file_with_its_permissions_and_replaces_only_what_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let first = made(&path, 0o600).unwrap();
        assert_eq!(mode(&path), 0o600);
        let error = made(&path, 0o600).unwrap_err();
        assert!(error.contains("somebody listens there"), "{error}");
        drop(first);
        let second = made(&path, 0o666).unwrap();
        assert_eq!(mode(&path), 0o666);
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(second);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        let error = made(&path, 0o600).unwrap_err();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
