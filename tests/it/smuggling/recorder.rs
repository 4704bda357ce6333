//! An endpoint that reads strictly, answers what is whole, and keeps what is not canonical.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::strict::{Canonical, take};

/// What came.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) requests: Vec<Canonical>,
    /// What another reader could take differently, and why.
    pub(super) faults: Vec<String>,
}

/// The endpoint.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    pub(super) record: Arc<Mutex<Record>>,
}

impl Recorder {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::<Mutex<Record>>::default();
        let shared = record.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let shared = shared.clone();
                thread::spawn(move || converse(stream, &shared));
            }
        });
        Self { address, record }
    }
}

fn converse(mut stream: TcpStream, record: &Mutex<Record>) {
    let mut unread = Vec::new();
    let mut piece = [0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        unread.extend_from_slice(&piece[..read]);
        loop {
            match take(&unread) {
                Ok(None) => break,
                Ok(Some((request, length))) => {
                    unread.drain(..length);
                    record.lock().unwrap().requests.push(request);
                    if !unread.is_empty() {
                        // Nobody pipelines to an endpoint: what follows a request before its answer is a second reading.
                        fault(record, "bytes behind a request", &unread);
                    }
                    // Whoever asked may have gone.
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                }
                Err(why) => {
                    fault(record, &why, &unread);
                    return;
                }
            }
        }
    }
}

fn fault(record: &Mutex<Record>, why: &str, bytes: &[u8]) {
    let text = bytes.escape_ascii().to_string();
    record.lock().unwrap().faults.push(format!("{why}: {text}"));
}
