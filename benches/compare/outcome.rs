//! What all turns at one kind of work come to.

use crate::row::Row;
use crate::support::contender::Peer;
use crate::support::stats::Spread;
use crate::turn::Turn;

/// A row of the comparison.
pub(crate) struct Outcome {
    pub(crate) row: Row,
    /// One turn of each proxy for each round.
    pub(crate) turns: Vec<(Peer, Vec<Turn>)>,
    /// Who could not do it, and why.
    pub(crate) failed: Vec<(Peer, String)>,
}

impl Outcome {
    pub(crate) fn new(row: Row, peers: impl IntoIterator<Item = Peer>) -> Self {
        Self {
            row,
            turns: peers.into_iter().map(|peer| (peer, Vec::new())).collect(),
            failed: Vec::new(),
        }
    }

    /// Takes a turn down, or a failure, which ends a peer's part in the row: one that did half of the work is not compared.
    pub(crate) fn note(&mut self, peer: Peer, turn: anyhow::Result<Turn>) -> anyhow::Result<()> {
        match turn {
            Ok(turn) => {
                let own = self.turns.iter_mut().find(|(it, _)| *it == peer);
                if let Some((_, turns)) = own {
                    turns.push(turn);
                }
            }
            Err(error) if peer == Peer::Tidegate => return Err(error),
            Err(error) => {
                self.turns.retain(|(it, _)| *it != peer);
                self.failed.push((peer, format!("{error:#}")));
            }
        }
        Ok(())
    }

    /// Whether a peer is still in it.
    pub(crate) fn has(&self, peer: Peer) -> bool {
        self.turns.iter().any(|(it, _)| *it == peer)
    }

    /// A figure of each of a peer's turns; none if it has no such figure.
    pub(crate) fn each(&self, peer: Peer, figure: fn(&Turn) -> Option<f64>) -> Option<Vec<f64>> {
        let (_, turns) = self.turns.iter().find(|(it, _)| *it == peer)?;
        turns.iter().map(figure).collect()
    }

    /// The same, summed up.
    pub(crate) fn spread(&self, peer: Peer, figure: fn(&Turn) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.each(peer, figure)?)
    }

    /// What a peer's work costs, as a ratio to another's in the same round.
    pub(crate) fn ratio(&self, peer: Peer, to: Peer) -> Option<Spread> {
        let cost = |turn: &Turn| Some(turn.cost);
        Spread::of_ratios(&self.each(peer, cost)?, &self.each(to, cost)?)
    }

    /// The better of HAProxy and nginx: the one whose median is lower. It is the same one in all rounds, since the lower of
    /// two in each round would be lower than either.
    pub(crate) fn base(&self) -> Option<Peer> {
        let median = |peer| {
            self.spread(peer, |turn| Some(turn.cost))
                .map(|it| it.median)
        };
        [Peer::Haproxy, Peer::Nginx]
            .into_iter()
            .filter_map(|peer| Some((peer, median(peer)?)))
            .min_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(peer, _)| peer)
    }
}
