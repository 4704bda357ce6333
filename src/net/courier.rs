//! Lines and sockets, carried between two processes over a pair of Unix sockets: how a running tidegate and the new one that
//! is to follow it talk (`SCM_RIGHTS`).
//!
//! A letter is a line of text with sockets attached. The kernel hands sockets over in the order of the bytes that they came
//! with, so the line says how many are its own, and nothing else is needed to tell whose they are.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// One end of the connection.
#[derive(Debug)]
pub struct Courier {
    stream: UnixStream,
    bytes: Vec<u8>,
    sockets: VecDeque<OwnedFd>,
}

/// Sockets of one letter: the kernel takes 253.
pub const SOCKETS_MAX: usize = 128;

/// A line that is longer is not from one of us.
const LINE_MAX: usize = 64 * 1024 * 1024;
const READ: usize = 16 * 1024;

impl Courier {
    /// Takes an end, on the runtime of this thread.
    ///
    /// # Errors
    /// As the runtime's registration.
    pub fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: UnixStream::from_std(stream)?,
            bytes: Vec::new(),
            sockets: VecDeque::new(),
        })
    }

    /// Sends a line, which has no line's end in it, and up to [`SOCKETS_MAX`] sockets. Not to be given up half-way.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn send(&self, line: &str, sockets: &[OwnedFd]) -> io::Result<()> {
        let mut line = line.as_bytes().to_vec();
        line.push(b'\n');
        let mut sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        let mut sent = 0;
        while sent < line.len() {
            let send = || send(&self.stream, &line[sent..], &sockets);
            sent += self.stream.async_io(Interest::WRITABLE, send).await?;
            // They went with the first byte.
            sockets.clear();
        }
        Ok(())
    }

    /// The next line; none when the other side is gone. Its sockets are taken afterwards. May be given up and called again.
    ///
    /// # Errors
    /// When what comes is no letter.
    pub async fn receive(&mut self) -> io::Result<Option<String>> {
        let mut looked_at = 0;
        loop {
            let end = self.bytes[looked_at..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(end) = end.map(|end| end + looked_at) {
                let rest = self.bytes.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.bytes, rest);
                line.pop();
                return String::from_utf8(line).map(Some).map_err(io::Error::other);
            }
            looked_at = self.bytes.len();
            if looked_at > LINE_MAX {
                return Err(io::Error::other("a letter without an end"));
            }
            let Self {
                stream,
                bytes,
                sockets,
            } = self;
            let read = stream
                .async_io(Interest::READABLE, || receive(stream, bytes, sockets))
                .await;
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next sockets of those that have come.
    ///
    /// # Errors
    /// When fewer have come.
    pub fn sockets(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if count > self.sockets.len() {
            return Err(io::Error::other("sockets were lost on their way"));
        }
        Ok(self.sockets.drain(..count).collect())
    }
}

fn send(stream: &UnixStream, bytes: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !attached.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other("too many sockets for one letter"));
    }
    let sent = sendmsg(
        stream,
        &[IoSlice::new(bytes)],
        &mut attached,
        SendFlags::NOSIGNAL,
    )?;
    Ok(sent)
}

fn receive(
    stream: &UnixStream,
    bytes: &mut Vec<u8>,
    sockets: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let mut room = [0; READ];
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut room)],
        &mut attached,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in attached.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            sockets.extend(came);
        }
    }
    bytes.extend_from_slice(&room[..received.bytes]);
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Courier, Courier) {
        let (a, b) = UnixStream::pair().unwrap();
        (Courier::new(a).unwrap(), Courier::new(b).unwrap())
    }

    fn listeners(count: usize) -> Vec<OwnedFd> {
        (0..count)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap().into())
            .collect()
    }

    #[tokio::test]
    async fn sockets_arrive_with_their_letter_and_still_listen() {
        let (here, mut there) = pair();
        let (first, second) = (listeners(3), listeners(SOCKETS_MAX));
        here.send("first", &first).await.unwrap();
        here.send("between", &[]).await.unwrap();
        here.send("second", &second).await.unwrap();
        assert_eq!(there.receive().await.unwrap().unwrap(), "first");
        let came = there.sockets(3).unwrap();
        assert_eq!(there.receive().await.unwrap().unwrap(), "between");
        assert_eq!(there.receive().await.unwrap().unwrap(), "second");
        assert_eq!(there.sockets(SOCKETS_MAX).unwrap().len(), SOCKETS_MAX);
        assert!(there.sockets(1).is_err(), "there are no more");
        let listener = |socket: &OwnedFd| TcpListener::from(socket.try_clone().unwrap());
        let address = listener(&first[1]).local_addr().unwrap();
        drop(first);
        let came = listener(&came[1]);
        assert_eq!(came.local_addr().unwrap(), address);
        TcpStream::connect(address).unwrap();
        came.accept().unwrap();
        drop(here);
        assert_eq!(there.receive().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_letter_may_be_longer_than_the_kernels_buffer() {
        let (here, mut there) = pair();
        let long = "x".repeat(3 << 20);
        let sockets = listeners(2);
        let (sent, came) = tokio::join!(here.send(&long, &sockets), there.receive());
        sent.unwrap();
        assert_eq!(came.unwrap().unwrap(), long);
        assert_eq!(there.sockets(2).unwrap().len(), 2);
    }
}
