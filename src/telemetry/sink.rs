//! A thread that writes, so that no worker ever waits for a full pipe or a slow disk.
//!
//! Lines go into a bounded queue. When it is full they are lost and counted: traffic never waits for its log.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{FileType, Stat, fstat};

/// The queue of a writing thread.
#[derive(Debug)]
pub(super) struct Sink {
    /// Boxed, as the queue takes the room for all that it may hold when it is made.
    queue: SyncSender<Box<Lines>>,
    counts: Arc<Counts>,
}

/// Whole lines, each with its end.
#[derive(Debug)]
struct Lines {
    text: Box<[u8]>,
    count: u64,
}

/// What has become of the lines.
#[derive(Debug, Default)]
struct Counts {
    put: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
    /// Bytes in the queue.
    waiting: AtomicUsize,
}

impl Clone for Sink {
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

/// Lines that may wait.
const WAITING_MAX: u64 = 65_536;

/// Bytes that may wait: clients choose how long a line is, and nobody may read the log.
const WAITING_BYTES: usize = 32 * 1024 * 1024;

/// After it has written all there was the thread naps this long: to wake it for every page costs more than to write the page.
const NAP: Duration = Duration::from_millis(5);

/// So much is gathered for a write, if so much waits.
const GATHERED: usize = 48 * 1024;

impl Sink {
    /// Starts the thread. It writes at most so many bytes at a time, if the lines allow.
    pub(super) fn start(
        name: &str,
        out: impl Write + Send + 'static,
        at_once: usize,
    ) -> std::io::Result<(Self, Drainpipe)> {
        let (queue, lines) = sync_channel(WAITING_MAX as usize);
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = sync_channel::<()>(0);
        let (finished, done) = sync_channel(1);
        let shared = counts.clone();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                write_all(&lines, &stopped, (out, at_once), &shared);
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

    /// Hands so many lines over, or counts them as lost.
    pub(super) fn put(&self, text: Box<[u8]>, count: u64) {
        let counts = &self.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Counted first, so that `flush` never believes that everything is written too early.
        let before = counts.put.fetch_add(count, Ordering::Relaxed);
        let waiting = before.saturating_sub(read(&counts.written) + read(&counts.lost));
        let bytes = text.len();
        let all = counts.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let lines = Box::new(Lines { text, count });
        let is_full = waiting >= WAITING_MAX || all > WAITING_BYTES;
        if is_full || self.queue.try_send(lines).is_err() {
            counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
            counts.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Lines lost so far, and from now on.
    pub(super) fn losses(&self) -> Losses {
        Losses {
            counts: self.counts.clone(),
        }
    }
}

/// How many lines were lost; knows it without keeping the queue open.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    counts: Arc<Counts>,
}

impl Losses {
    /// Lines lost so far.
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
    /// Returns how many lines are lost or, when the time is over, may still be.
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

fn write_all(
    lines: &Receiver<Box<Lines>>,
    nap: &Receiver<()>,
    (mut out, at_once): (impl Write, usize),
    counts: &Counts,
) {
    let mut buffer = Vec::with_capacity(128 * 1024);
    while let Ok(first) = lines.recv() {
        let mut count = first.count;
        buffer.extend_from_slice(&first.text);
        while buffer.len() < GATHERED
            && let Ok(next) = lines.try_recv()
        {
            buffer.extend_from_slice(&next.text);
            count += next.count;
        }
        counts.waiting.fetch_sub(buffer.len(), Ordering::Relaxed);
        let written = pieces(&buffer, at_once)
            .try_for_each(|piece| out.write_all(piece))
            .and_then(|()| out.flush())
            .is_ok();
        if written {
            &counts.written
        } else {
            &counts.lost
        }
        .fetch_add(count, Ordering::Relaxed);
        let is_behind = buffer.len() >= GATHERED;
        buffer.clear();
        if !is_behind {
            // Nobody ever sends here: this is a sleep that the end of the process cuts short.
            let _ = nap.recv_timeout(NAP);
        }
    }
}

/// Whole lines, as many as fit at a time. A line that does not fit goes alone.
fn pieces(mut lines: &[u8], at_once: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let within = &lines[..lines.len().min(at_once)];
        let end = memchr::memrchr(b'\n', within).or_else(|| memchr::memchr(b'\n', lines));
        let (piece, rest) = lines.split_at(end.map_or(lines.len(), |end| end + 1));
        lines = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// How much may be written to it as one: during an upgrade two processes write to the same pipe, and nobody's line shall
/// have another's in it. What is written to a file is one anyway.
pub(super) fn at_once(out: &impl AsFd) -> usize {
    let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode).is_file();
    if fstat(out).is_ok_and(is_file) {
        usize::MAX
    } else {
        PIPE_BUF
    }
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
    fn writes_whole_lines_in_pieces_that_a_pipe_takes_as_one() {
        let long = "y".repeat(PIPE_BUF);
        let text = format!("{}{long}\nend\nrest", "a line\n".repeat(1000));
        let all: Vec<_> = pieces(text.as_bytes(), PIPE_BUF).collect();
        assert_eq!(all.concat(), text.as_bytes());
        let (last, lines) = all.split_last().unwrap();
        assert_eq!(*last, b"rest");
        for piece in lines {
            assert!(piece.ends_with(b"\n"));
            let single = memchr::memchr_iter(b'\n', piece).count() == 1;
            assert!(piece.len() <= PIPE_BUF || single);
        }
        assert!(lines.len() <= 5, "{}", lines.len());
        assert_eq!(pieces(text.as_bytes(), usize::MAX).count(), 2);
        assert_eq!(pieces(b"", PIPE_BUF).count(), 0);
    }

    #[test]
    fn writes_everything_before_it_ends() {
        let out = Shared::default();
        let (sink, pipe) = Sink::start("test", out.clone(), PIPE_BUF).unwrap();
        (0..5_000).for_each(|n| sink.put(format!("{n}\n{n}\n").into_bytes().into(), 2));
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
        let (sink, pipe) = Sink::start("test", Stuck(stuck), PIPE_BUF).unwrap();
        let losses = sink.losses();
        (0..100).for_each(|_| sink.put((*b"line\n").into(), 1));
        assert_eq!(losses.count(), 0, "nobody knows yet");
        // Any number may come at once, but no more than may wait.
        sink.put((*b"many\n").into(), WAITING_MAX);
        assert_eq!(losses.count(), 0);
        sink.put((*b"more\n").into(), 3);
        assert_eq!(losses.count(), 3);
        drop(sink);
        assert_eq!(pipe.finish(Duration::ZERO), 103 + WAITING_MAX);
        drop(unstick);
    }

    #[test]
    fn long_lines_wait_only_as_far_as_memory_is_allowed_to_them() {
        let (unstick, stuck) = sync_channel(0);
        let (sink, pipe) = Sink::start("test", Stuck(stuck), PIPE_BUF).unwrap();
        let losses = sink.losses();
        let long = || vec![b'x'; 1024 * 1024].into_boxed_slice();
        // One may be with the thread, and waits no more then.
        (0..40).for_each(|_| sink.put(long(), 1));
        let lost = losses.count();
        assert!((7..=8).contains(&lost), "{lost}");
        drop(sink);
        assert_eq!(pipe.finish(Duration::ZERO), 40);
        drop(unstick);
    }
}
