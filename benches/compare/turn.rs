//! One proxy's turn at one kind of work.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::row::Row;
use crate::support::contender::Contender;
use crate::support::cpu::RunTime;
use crate::support::h2load::{self, Work};
use crate::support::load::Load;
use crate::support::stats::quantile;
use crate::support::syscalls;

/// What it came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turn {
    /// In the row's unit: less is better.
    pub(crate) cost: f64,
    /// Of work that takes processor time.
    pub(crate) pace: Option<Pace>,
    /// Of requests that came at a rate.
    pub(crate) waits: Option<Waits>,
}

/// How fast it went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Answers per second.
    pub(crate) rate: f64,
    /// The share of its core that the proxy used.
    pub(crate) busy: f64,
    /// The share of that which was spent in the kernel.
    pub(crate) kernel: f64,
}

/// How long clients waited, in milliseconds from when their requests were due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) time: Duration,
    pub(crate) connections: usize,
    pub(crate) rate: f64,
}

const WARM_UP: Duration = Duration::from_millis(250);

/// Large answers by so many clients: more would only stand in sockets.
const LARGE_AT_ONCE: usize = 16;

/// Keeps a proxy busy, and looks at what that costs it.
pub(crate) fn take(
    contender: &Contender,
    row: Row,
    measure: Measure,
    dir: &Path,
) -> anyhow::Result<Turn> {
    let pids = contender.child.pids();
    let Measure {
        time,
        connections,
        rate,
    } = measure;
    let connect = || Load::connect(contender.address, connections, row.size());
    match row {
        Row::Tls => over_tls(contender, row, Work::Tls, measure),
        Row::Handshakes => over_tls(contender, row, Work::Handshakes, measure),
        Row::Http2 => over_tls(contender, row, Work::Http2, measure),
        Row::Paced => {
            let mut load = connect()?;
            load.pace(rate, WARM_UP)?;
            let mut turn = timed(&pids, row, || load.pace(rate, time))?;
            let waits = load.waits().iter().map(|wait| wait.as_secs_f64() * 1e3);
            let mut waits: Vec<f64> = waits.collect();
            turn.waits = Some(Waits {
                p50: quantile(&mut waits, 0.5),
                p99: quantile(&mut waits, 0.99),
            });
            Ok(turn)
        }
        Row::Syscalls => {
            let mut load = connect()?;
            load.saturate(WARM_UP)?;
            let (answers, calls) = syscalls::count(&pids, dir, || load.saturate(time))?;
            Ok(Turn {
                cost: calls as f64 / answers as f64,
                ..Turn::default()
            })
        }
        _ => {
            let mut load = match row {
                Row::Websocket => Load::tunnels(contender.address, connections, row.size())?,
                Row::OneMib => {
                    let clients = connections.min(LARGE_AT_ONCE);
                    Load::connect(contender.address, clients, row.size())?
                }
                _ => connect()?,
            };
            load.saturate(WARM_UP)?;
            timed(&pids, row, || load.saturate(time))
        }
    }
}

/// By another program's clients, which connect anew for each turn: the handshakes of kept connections are counted, too, about
/// 1 % of it.
fn over_tls(contender: &Contender, row: Row, work: Work, measure: Measure) -> anyhow::Result<Turn> {
    let Measure {
        time, connections, ..
    } = measure;
    timed(&contender.child.pids(), row, || {
        h2load::run(work, contender.tls, row.size(), connections, time)
    })
}

/// The processor time of these processes while something is done, per answer.
fn timed(
    pids: &[u32],
    row: Row,
    work: impl FnOnce() -> anyhow::Result<u64>,
) -> anyhow::Result<Turn> {
    let (before, start) = (RunTime::of(pids), Instant::now());
    let answers = work()? as f64;
    let (used, took) = (RunTime::of(pids) - before, start.elapsed());
    let ticks = (used.user_ticks + used.system_ticks).max(1) as f64;
    Ok(Turn {
        cost: row.in_unit(used.nanoseconds as f64 / 1e3 / answers),
        pace: Some(Pace {
            rate: answers / took.as_secs_f64(),
            busy: used.nanoseconds as f64 / took.as_nanos() as f64,
            kernel: used.system_ticks as f64 / ticks,
        }),
        waits: None,
    })
}
