//! What is kept of a comparison: JSON for programs, a picture for readers.

use serde_json::{Value, json};

use crate::outcome::Outcome;
use crate::support::bars::{Bars, Row};
use crate::support::contender::Peer;
use crate::support::stats::Spread;

/// A whole comparison.
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) command: String,
    pub(crate) setup: String,
    /// In the order of the table, with their versions.
    pub(crate) peers: Vec<(Peer, String)>,
    pub(crate) missing: Vec<(Peer, String)>,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Report {
    /// All figures of all rounds.
    pub(crate) fn to_json(&self) -> Value {
        let named = |named: &[(Peer, String)], key: &str| -> Vec<Value> {
            let each = named.iter();
            each.map(|(peer, said)| json!({ "name": peer.name(), key: said }))
                .collect()
        };
        json!({
            "machine": self.machine,
            "command": self.command,
            "setup": self.setup,
            "peers": named(&self.peers, "version"),
            "missing": named(&self.missing, "why"),
            "rows": self.outcomes.iter().map(row).collect::<Vec<_>>(),
        })
    }

    /// What each costs as a ratio to the better of HAProxy and nginx, as bars.
    pub(crate) fn to_picture(&self) -> String {
        let drawn: Vec<Peer> = self
            .peers
            .iter()
            .map(|(peer, _)| *peer)
            .filter(|peer| !matches!(peer, Peer::Haproxy | Peer::Nginx))
            .collect();
        let rows = self.outcomes.iter().filter_map(|outcome| {
            let base = outcome.base()?;
            Some(Row {
                name: outcome.row.title().to_owned(),
                note: format!("{}, to {}", outcome.row.unit(), base.name()),
                bars: drawn
                    .iter()
                    .map(|peer| outcome.ratio(*peer, base))
                    .collect(),
            })
        });
        let versions: Vec<_> = self.peers.iter().map(|(_, it)| it.as_str()).collect();
        Bars {
            title: "What the same work costs".to_owned(),
            explained: [
                "As a ratio to the better of HAProxy and nginx (1×) in the same round: the median of the rounds, with",
                "whiskers from the smallest to the largest. To the left of 1× it costs less. The scale is logarithmic;",
                "a bar at the edge would go on.",
            ]
            .map(str::to_owned)
            .to_vec(),
            series: drawn.iter().map(|peer| peer.name().to_owned()).collect(),
            rows: rows.collect(),
            notes: vec![
                self.machine.clone(),
                self.setup.clone(),
                versions.join(" · "),
            ],
        }
        .into_svg()
    }
}

fn row(outcome: &Outcome) -> Value {
    let base = outcome.base();
    let peers = outcome.turns.iter().map(|(peer, _)| {
        let spread = |figure| outcome.spread(*peer, figure).map(spread);
        json!({
            "name": peer.name(),
            "cost": spread(|turn| Some(turn.cost)),
            "cost_of_each_round": outcome.each(*peer, |turn| Some(turn.cost)),
            "answers_per_second": spread(|turn| Some(turn.pace?.rate)),
            "busy": spread(|turn| Some(turn.pace?.busy)),
            "kernel": spread(|turn| Some(turn.pace?.kernel)),
            "p50_ms": spread(|turn| Some(turn.waits?.p50)),
            "p99_ms": spread(|turn| Some(turn.waits?.p99)),
            "ratio_to_base": base.and_then(|base| outcome.ratio(*peer, base)).map(self::spread),
            "tidegate_to_it": outcome.ratio(Peer::Tidegate, *peer).map(self::spread),
        })
    });
    let failed = outcome.failed.iter();
    let failed = failed.map(|(peer, why)| json!({ "name": peer.name(), "why": why }));
    json!({
        "title": outcome.row.title(),
        "unit": outcome.row.unit(),
        "base": base.map(Peer::name),
        "peers": peers.collect::<Vec<_>>(),
        "failed": failed.collect::<Vec<_>>(),
    })
}

fn spread(it: Spread) -> Value {
    json!({ "min": it.min, "median": it.median, "max": it.max })
}
