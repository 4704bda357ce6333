//! A thread that writes, so that no worker ever waits for a full pipe or a slow disk.
//!
//! Lines go into a bounded queue. When it is full they are lost and counted: traffic never waits for its log.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How to turn a record into bytes.
pub(super) type Render<T> = Box<dyn Fn(T, &mut Vec<u8>) + Send>;

/// The queue of a writing thread.
#[derive(Debug)]
pub(super) struct Sink<T> {
    /// Boxed, as the queue takes the room for all that it may hold when it is made.
    queue: SyncSender<Box<T>>,
    counts: Arc<Counts>,
}

/// What has become of the records.
#[derive(Debug, Default)]
struct Counts {
    put: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
}

impl<T> Clone for Sink<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            counts: self.counts.clone(),
        }
    }
}

/// The writing thread, for whoever waits for its end.
#[derive(Debug)]
pub(super) struct Drainpipe {
    thread: Option<JoinHandle<()>>,
    done: Receiver<()>,
    counts: Arc<Counts>,
    _stop: SyncSender<()>,
}

/// Records that may wait.
const QUEUE_MAX: usize = 65_536;

/// After each write the thread naps this long, so that a busy worker does not pay for waking it on every line.
const NAP: Duration = Duration::from_millis(2);

impl<T: Send + 'static> Sink<T> {
    /// Starts the thread.
    pub(super) fn start(
        name: &str,
        out: impl Write + Send + 'static,
        render: Render<T>,
    ) -> std::io::Result<(Self, Drainpipe)> {
        let (queue, records) = sync_channel(QUEUE_MAX);
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = sync_channel::<()>(0);
        let (finished, done) = sync_channel(1);
        let shared = counts.clone();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                write_all(&records, &stopped, out, &render, &shared);
                // Nobody may be waiting for it.
                let _ = finished.send(());
            })?;
        let pipe = Drainpipe {
            thread: Some(thread),
            done,
            counts: counts.clone(),
            _stop: stop,
        };
        Ok((Self { queue, counts }, pipe))
    }

    /// Hands a record over, or counts it as lost.
    pub(super) fn put(&self, record: T) {
        // Counted first, so that `flush` never believes that everything is written too early.
        self.counts.put.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Box::new(record)).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records lost so far, and from now on.
    pub(super) fn losses(&self) -> Losses {
        Losses {
            counts: self.counts.clone(),
        }
    }
}

/// How many records were lost; knows it without keeping the queue open.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    counts: Arc<Counts>,
}

impl Losses {
    /// Records lost so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }
}

impl Drainpipe {
    /// Waits until everything that was put so far is written or lost, for so long at the most.
    pub(super) fn flush(&self, limit: Duration) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let wanted = read(&self.counts.put);
        let began = tokio::time::Instant::now();
        while read(&self.counts.written) + read(&self.counts.lost) < wanted
            && began.elapsed() < limit
        {
            // The thread ends only with the process; this waits a moment for it to come on.
            let _ = self.done.recv_timeout(NAP);
        }
    }

    /// Waits until everything is written, for so long at the most. All [`Sink`]s have to be dropped before.
    /// Returns how many records are lost or, when the time is over, may still be.
    pub(super) fn finish(mut self, limit: Duration) -> u64 {
        if self.done.recv_timeout(limit).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // It has said that it is done; a panic in it has been printed.
            let _ = thread.join();
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        read(&self.counts.put).saturating_sub(read(&self.counts.written))
    }
}

fn write_all<T>(
    records: &Receiver<Box<T>>,
    nap: &Receiver<()>,
    mut out: impl Write,
    render: &Render<T>,
    counts: &Counts,
) {
    let mut buffer = Vec::with_capacity(64 * 1024);
    while let Ok(first) = records.recv() {
        let mut count = 1;
        render(*first, &mut buffer);
        while buffer.len() < 48 * 1024
            && let Ok(next) = records.try_recv()
        {
            render(*next, &mut buffer);
            count += 1;
        }
        let written = pieces(&buffer)
            .try_for_each(|piece| out.write_all(piece))
            .and_then(|()| out.flush())
            .is_ok();
        if written {
            &counts.written
        } else {
            &counts.lost
        }
        .fetch_add(count, Ordering::Relaxed);
        buffer.clear();
        // Nobody ever sends here: this is a sleep that the end of the process cuts short.
        let _ = nap.recv_timeout(NAP);
    }
}

/// Whole lines, as many at a time as a pipe takes in one go: during an upgrade two processes write to the same one, and
/// nobody's line shall have another's in it. A line that is longer goes alone.
fn pieces(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let within = &lines[..lines.len().min(PIPE_BUF)];
        let end = memchr::memrchr(b'\n', within).or_else(|| memchr::memchr(b'\n', lines));
        let (piece, rest) = lines.split_at(end.map_or(lines.len(), |end| end + 1));
        lines = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What POSIX and Linux write to a pipe as one.
const PIPE_BUF: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn writes_whole_lines_in_pieces_that_a_pipe_takes() {
        let long = "y".repeat(PIPE_BUF);
        let text = format!("{}{long}\nend\nrest", "a line\n".repeat(1000));
        let all: Vec<_> = pieces(text.as_bytes()).collect();
        assert_eq!(all.concat(), text.as_bytes());
        let (last, lines) = all.split_last().unwrap();
        assert_eq!(*last, b"rest");
        for piece in lines {
            assert!(piece.ends_with(b"\n"));
            let single = memchr::memchr_iter(b'\n', piece).count() == 1;
            assert!(piece.len() <= PIPE_BUF || single);
        }
        assert!(lines.len() <= 5, "{}", lines.len());
        assert_eq!(pieces(b"").count(), 0);
    }

    #[test]
    fn writes_everything_before_it_ends() {
        let out = Shared::default();
        let render: Render<u32> = Box::new(|n, buffer| writeln!(buffer, "{n}").unwrap());
        let (sink, pipe) = Sink::start("test", out.clone(), render).unwrap();
        (0..10_000).for_each(|n| sink.put(n));
        assert_eq!(sink.losses().count(), 0);
        drop(sink);
        assert_eq!(pipe.finish(Duration::from_secs(10)), 0);
        assert_eq!(
            out.0
                .lock()
                .unwrap()
                .iter()
                .filter(|b| **b == b'\n')
                .count(),
            10_000
        );
    }

    /// Never takes a byte.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_still_waits_when_the_time_is_over_may_be_lost() {
        let (unstick, stuck) = sync_channel(0);
        let render: Render<u32> = Box::new(|n, buffer| writeln!(buffer, "{n}").unwrap());
        let (sink, pipe) = Sink::start("test", Stuck(stuck), render).unwrap();
        let losses = sink.losses();
        (0..100).for_each(|n| sink.put(n));
        drop(sink);
        assert_eq!(losses.count(), 0, "nobody knows yet");
        assert_eq!(pipe.finish(Duration::ZERO), 100);
        drop(unstick);
    }
}
