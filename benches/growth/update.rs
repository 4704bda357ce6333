//! What an update of one endpoint costs.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::Options;
use crate::found::{API, FILE, Update};
use crate::grown::Grown;
use crate::support::endpoints::name;
use crate::support::events::Events;
use crate::support::stats::{median, quantile};
use crate::support::tidegate::Tidegate;
use crate::support::workers::Shares;

pub(crate) const UPDATE_HEAD: &str = "\nupdate of one endpoint                endpoints   in effect after    worst   control µs   workers µs";

/// One endpoint after the other is drained by the API and put back, and leaves the file and returns, without any load.
pub(crate) fn update(
    out: &mut impl Write,
    grown: &Grown,
    options: &Options,
) -> anyhow::Result<Vec<Update>> {
    let (tidegate, size) = (&grown.tidegate, u32::try_from(grown.size)?);
    let chosen = |turn: u32| (turn * 7919) % size;
    let drained = each(tidegate, options.changes, |turn| {
        let endpoint = name(chosen(turn));
        let call = format!(
            "{}/api/v1/services/web-0/endpoints/{endpoint}/drain",
            tidegate.admin
        );
        let start = Instant::now();
        ureq::post(&call)
            .send_empty()?
            .body_mut()
            .read_to_string()?;
        let took = start.elapsed();
        ureq::delete(&call).call()?.body_mut().read_to_string()?;
        Ok(took)
    })?;
    let events = Events::listen(&tidegate.admin)?;
    let changed = each(tidegate, options.changes, |turn| {
        let gone = chosen(turn);
        let rest = (0..size).filter(|number| *number != gone);
        let renamed = grown.file.replace(rest)?;
        let took = events.wait_for(&name(gone), "draining")? - renamed;
        grown.file.replace(0..size)?;
        events.wait_for(&name(gone), "ready")?;
        Ok(took)
    })?;
    let mut rows = Vec::new();
    for (how, (mut took, used)) in [(API, drained), (FILE, changed)] {
        // There and back.
        let each = |nanos: u64| nanos as f64 / 1e3 / f64::from(2 * options.changes);
        let row = Update {
            size: grown.size,
            how,
            worst: quantile(&mut took, 1.0),
            median: median(&mut took),
            control: each(used.others),
            workers: each(used.workers),
        };
        writeln!(
            out,
            "{how:36} {:>10} {:>14.2} ms {:>5.1} ms {:>12.0} {:>12.1}",
            row.size, row.median, row.worst, row.control, row.workers
        )?;
        rows.push(row);
    }
    Ok(rows)
}

/// How long each of these changes took, in milliseconds, and what all of them cost.
pub(crate) fn each(
    tidegate: &Tidegate,
    changes: u32,
    change: impl FnMut(u32) -> anyhow::Result<Duration>,
) -> anyhow::Result<(Vec<f64>, Shares)> {
    let before = Shares::of(tidegate.child.pid());
    let took = (0..changes)
        .map(change)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let used = Shares::of(tidegate.child.pid()).since(before);
    let took = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
    Ok((took, used))
}
