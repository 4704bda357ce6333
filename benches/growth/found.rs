//! What was found, and how it is kept.

use anyhow::Context as _;
use serde_json::json;

use crate::support::curves::{self, Curve, Panel};
use crate::{Asked, Growth, Options};

/// What a request costs at one size.
pub(crate) struct Cost {
    pub(crate) growth: Growth,
    pub(crate) asked: Asked,
    pub(crate) size: usize,
    pub(crate) micros: [f64; 3],
    /// To the smallest size, round by round.
    pub(crate) ratio: [f64; 3],
}

/// What an update costs at one size.
pub(crate) struct Update {
    pub(crate) size: usize,
    pub(crate) how: &'static str,
    /// Until it is in effect, in milliseconds.
    pub(crate) median: f64,
    pub(crate) worst: f64,
    /// Processor time of one update, in microseconds.
    pub(crate) control: f64,
    pub(crate) workers: f64,
}

/// Writes down what was found, where that is asked for.
pub(crate) fn keep(
    options: &Options,
    machine: &str,
    costs: &[Cost],
    updates: &[Update],
) -> anyhow::Result<()> {
    if let Some(file) = &options.json {
        let costs = costs.iter().map(|it| {
            json!({
                "growth": it.growth.name(), "asked": it.asked.name(), "size": it.size,
                "micros": it.micros, "ratio": it.ratio,
            })
        });
        let updates = updates.iter().map(|it| {
            json!({
                "how": it.how, "endpoints": it.size, "median_ms": it.median, "worst_ms": it.worst,
                "control_micros": it.control, "workers_micros": it.workers,
            })
        });
        let all = json!({
            "machine": machine,
            "requests": costs.collect::<Vec<_>>(),
            "updates": updates.collect::<Vec<_>>(),
        });
        std::fs::write(file, format!("{all:#}\n"))?;
    }
    let Some(file) = &options.picture else {
        return Ok(());
    };
    let kinds = [
        (Growth::Services, Asked::Few),
        (Growth::Services, Asked::All),
        (Growth::Endpoints, Asked::Few),
        (Growth::Endpoints, Asked::All),
        (Growth::Clients, Asked::All),
        (Growth::Tunnels, Asked::All),
    ];
    let curve = |(growth, asked): (Growth, Asked)| {
        let own = costs
            .iter()
            .filter(|it| (it.growth, it.asked) == (growth, asked));
        Curve {
            name: match growth {
                Growth::Services | Growth::Endpoints => {
                    format!("{}, {} asked", growth.name(), asked.name())
                }
                Growth::Clients | Growth::Tunnels => growth.name().into(),
            },
            points: own.map(|it| (it.size as f64, it.ratio)).collect(),
        }
    };
    let requests = Panel {
        title: "processor time per request, to that of the smallest size".into(),
        at_least: 2.0,
        curves: kinds.map(curve).into(),
    };
    let of_update = |how: &'static str, whose: &str, value: fn(&Update) -> f64| Curve {
        name: format!("{how}: {whose}"),
        points: updates
            .iter()
            .filter(|it| it.how == how)
            .map(|it| (it.size as f64, [value(it); 3]))
            .collect(),
    };
    let workers = Panel {
        title: "an update, over endpoints: processor time of the workers, \u{b5}s".into(),
        at_least: 200.0,
        curves: vec![
            of_update(API, "workers", |it| it.workers),
            of_update(FILE, "workers", |it| it.workers),
        ],
    };
    std::fs::write(file, curves::draw(&[requests, workers])).context("no picture")
}

pub(crate) const API: &str = "drain by the API";
pub(crate) const FILE: &str = "rename of its file";
