//! An endpoint that streams without an end, each message in two halves with time between them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use super::{Kind, MESSAGE};

/// The endpoint.
pub(super) struct StreamingEndpoint {
    name: String,
    address: SocketAddr,
    echoes: Arc<AtomicUsize>,
}

impl StreamingEndpoint {
    /// Listens.
    pub(super) fn start(handle: &Handle, name: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        socket.listen(1024).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let echoes = Arc::<AtomicUsize>::default();
        let (own, counter) = (name.to_owned(), echoes.clone());
        handle.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut phase = 0.0f64;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, own.clone(), counter.clone(), phase));
                // The golden ratio spreads any number of them evenly: streams that wait for the ends of their messages at
                // the same moments would end at the same moments.
                phase = (phase + 0.618_034).fract();
            }
        });
        Self {
            name: name.to_owned(),
            address,
            echoes,
        }
    }

    /// Its name, which is its id.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its line in an endpoint file.
    pub(super) fn line(&self) -> String {
        format!("- {{ address: \"{}\", id: {} }}\n", self.address, self.name)
    }

    /// How many clients' answers to a Close have come.
    pub(super) fn echoes(&self) -> usize {
        self.echoes.load(Ordering::SeqCst)
    }
}

/// One connection: a request, and messages for as long as somebody takes them.
async fn serve(mut stream: TcpStream, name: String, echoes: Arc<AtomicUsize>, phase: f64) {
    stream.set_nodelay(true).unwrap();
    let mut head = Vec::new();
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut head).await, Ok(read) if read > 0) {
            return;
        }
    }
    let kind = match head.split(|byte| *byte == b' ').nth(1) {
        Some(b"/socket") => Kind::Socket,
        Some(b"/events") => Kind::Events,
        _ => Kind::Call,
    };
    if stream.write_all(kind.head().as_bytes()).await.is_err() {
        return;
    }
    // The first one comes whole and at once: it tells a client where it is.
    let mut halves = vec![kind.message(&name, 0)];
    let mut number = 0;
    let mut next = Instant::now();
    let mut came = [0; 1024];
    loop {
        tokio::select! {
            biased;
            read = stream.read(&mut came) => match read {
                // A Close under a mask; what else comes is a request's body.
                Ok(read) if read > 0 && kind == Kind::Socket => {
                    assert_eq!(came[..2], [0x88, 0x82], "more than an answer to the Close");
                    echoes.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Ok(read) if read > 0 => {}
                _ => return,
            },
            () = sleep_until(next) => {
                if halves.is_empty() {
                    number += 1;
                    halves = split(&kind.message(&name, number), number);
                }
                let half = kind.framed(&halves.remove(0));
                if stream.write_all(&half).await.is_err() {
                    return;
                }
                next += if number == 0 {
                    (MESSAGE * 2).mul_f64(phase)
                } else {
                    MESSAGE
                };
            }
        }
    }
}

/// Cuts a message at a place that moves from one to the next.
fn split(message: &[u8], number: usize) -> Vec<Vec<u8>> {
    let at = 1 + number * 5 % (message.len() - 1);
    vec![message[..at].to_vec(), message[at..].to_vec()]
}

impl Kind {
    fn head(self) -> &'static str {
        match self {
            Self::Socket => {
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            }
            Self::Events => {
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            }
            Self::Call => {
                "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"
            }
        }
    }

    /// A message that tells who sends it, and which one it is.
    fn message(self, name: &str, number: usize) -> Vec<u8> {
        let (first, second) = (format!("{name} "), format!("{number};"));
        let length = |text: &str| u8::try_from(text.len()).unwrap();
        let mut message = Vec::new();
        match self {
            Self::Socket => {
                message.extend([0x01, length(&first)]);
                message.extend(first.as_bytes());
                message.extend([0x80, length(&second)]);
                message.extend(second.as_bytes());
            }
            Self::Events => message.extend(format!("data: {first}{second}\n\n").as_bytes()),
            Self::Call => {
                message.extend([0, 0, 0, 0, length(&first) + length(&second)]);
                message.extend(format!("{first}{second}").as_bytes());
            }
        }
        message
    }

    fn framed(self, piece: &[u8]) -> Vec<u8> {
        if self == Self::Socket {
            return piece.to_vec();
        }
        [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
    }
}
