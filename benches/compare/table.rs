//! What is told as text: each row when it is through, and all of them in one table at the end.

use std::io::Write;

use crate::outcome::Outcome;
use crate::support::contender::Peer;
use crate::support::stats::Spread;

/// A row by itself, with what led to its ratios.
pub(crate) fn detail(out: &mut impl Write, outcome: &Outcome) -> anyhow::Result<()> {
    let row = outcome.row;
    writeln!(out, "\n{}, {}", row.title(), row.unit())?;
    writeln!(
        out,
        "{:9} {:>8} {:>17} {:>7} {:>10} {:>5} {:>17} {:>17}  tidegate to it",
        "", "median", "min–max", "kernel", "answers/s", "busy", "p50 ms", "p99 ms",
    )?;
    for (peer, _) in &outcome.turns {
        let Some(cost) = outcome.spread(*peer, |turn| Some(turn.cost)) else {
            continue;
        };
        let pace = |figure| outcome.spread(*peer, figure).map(|it| it.median);
        let kernel = pace(|turn| Some(turn.pace?.kernel));
        let rate = pace(|turn| Some(turn.pace?.rate));
        let busy = pace(|turn| Some(turn.pace?.busy));
        let p50 = outcome.spread(*peer, |turn| Some(turn.waits?.p50));
        let p99 = outcome.spread(*peer, |turn| Some(turn.waits?.p99));
        let ratio = outcome
            .ratio(Peer::Tidegate, *peer)
            .filter(|_| *peer != Peer::Tidegate);
        writeln!(
            out,
            "{:9} {:>8.2} {:>17} {:>7} {:>10} {:>5} {:>17} {:>17}  {}",
            peer.name(),
            cost.median,
            format!("{:.2}–{:.2}", cost.min, cost.max),
            kernel.map_or_else(String::new, percent),
            rate.map_or_else(String::new, |rate| format!("{rate:.0}")),
            busy.map_or_else(String::new, percent),
            p50.map_or_else(String::new, ranged),
            p99.map_or_else(String::new, ranged),
            ratio.map_or_else(String::new, ranged),
        )?;
    }
    for (peer, why) in &outcome.failed {
        writeln!(out, "{:9} left out: {why}", peer.name())?;
    }
    out.flush()?;
    Ok(())
}

/// What a row of tidegate's costs as a ratio to the better of HAProxy and nginx, and to each of the peers.
pub(crate) fn whole(
    out: &mut impl Write,
    outcomes: &[Outcome],
    peers: &[Peer],
) -> anyhow::Result<()> {
    let peers: Vec<_> = peers
        .iter()
        .filter(|peer| **peer != Peer::Tidegate)
        .collect();
    writeln!(
        out,
        "\nratio of tidegate's cost to each in the same round: median (min–max); below 1 tidegate costs less\n"
    )?;
    write!(out, "{:30}", "")?;
    write!(out, "{:>27}", "better of HAProxy and nginx")?;
    for peer in &peers {
        write!(out, "{:>20}", peer.name())?;
    }
    writeln!(out)?;
    for outcome in outcomes {
        write!(out, "{:30}", outcome.row.title())?;
        let base = outcome.base();
        let best = base.and_then(|base| outcome.ratio(Peer::Tidegate, base));
        write!(out, "{:>27}", best.map_or_else(dash, ranged))?;
        for peer in &peers {
            let ratio = outcome.ratio(Peer::Tidegate, **peer);
            write!(out, "{:>20}", ratio.map_or_else(dash, ranged))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn ranged(it: Spread) -> String {
    format!("{:.2} ({:.2}–{:.2})", it.median, it.min, it.max)
}

/// Not measured.
fn dash() -> String {
    "–".to_owned()
}
