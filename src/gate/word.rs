//! The word of a gate: one packed value, its pure transitions, and the phase that follows from it.
//!
//! Everything an endpoint's life can be is in these 64 bits, so a wrong combination cannot be written down. The phase is
//! derived and never stored beside the count.
//!
//! ```text
//! bit 63    closed: no more entries
//! bit 62    gone: buried, and empty for ever
//! bit 61    narrow: no more entries but of sessions
//! bits 0–60 in flight
//! ```

/// Where a life stands. It only moves forward (law 3).
///
/// ```text
/// ready ──close, narrow──▶ draining ──last one leaves a closed one──▶ drained ──bury──▶ gone
///   └───────────────────close while empty──────────────────────────────▲
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Open: work may enter.
    Ready,
    /// Closed with work inside, or narrow: open to sessions alone.
    Draining,
    /// Closed and empty.
    Drained,
    /// Buried by its owner; nothing refers to it but late guests.
    Gone,
}

/// Why a start was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The gate is closed.
    Draining,
    /// The count cannot grow any more; a bug elsewhere, refused rather than wrapped.
    Full,
}

/// What a transition found at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// This call, and no other, made the gate closed and empty (law 2).
    Idle,
    /// Nothing to tell.
    Busy,
}

/// The packed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const CLOSED: u64 = 1 << 63;
const GONE: u64 = 1 << 62;
const NARROW: u64 = 1 << 61;
const COUNT: u64 = NARROW - 1;

impl Word {
    pub(super) const OPEN: Self = Self(0);

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn phase(self) -> Phase {
        if self.0 & GONE != 0 {
            Phase::Gone
        } else if self.0 & (CLOSED | NARROW) == 0 {
            Phase::Ready
        } else if self.0 & CLOSED != 0 && self.0 & COUNT == 0 {
            Phase::Drained
        } else {
            Phase::Draining
        }
    }

    pub(super) const fn in_flight(self) -> u64 {
        self.0 & COUNT
    }

    /// One more inside, unless closed or narrow.
    pub(super) const fn enter(self) -> Result<Self, Refused> {
        if self.0 & NARROW != 0 {
            Err(Refused::Draining)
        } else {
            self.enter_narrow()
        }
    }

    /// One more inside that belongs to a session, unless closed.
    pub(super) const fn enter_narrow(self) -> Result<Self, Refused> {
        if self.0 & (CLOSED | GONE) != 0 {
            Err(Refused::Draining)
        } else if self.0 & COUNT == COUNT {
            Err(Refused::Full)
        } else {
            Ok(Self(self.0 + 1))
        }
    }

    /// One less inside. `None` when nobody is inside, which only a broken guard could ask for.
    pub(super) const fn leave(self) -> Option<(Self, Edge)> {
        if self.0 & COUNT == 0 {
            return None;
        }
        let next = Self(self.0 - 1);
        let edge = if matches!(next.phase(), Phase::Drained) {
            Edge::Idle
        } else {
            Edge::Busy
        };
        Some((next, edge))
    }

    /// Closed from now on. Closing twice changes nothing and sees no edge.
    pub(super) const fn close(self) -> (Self, Edge) {
        let next = Self(self.0 | CLOSED);
        let edge = if self.0 & !NARROW == Self::OPEN.0 {
            Edge::Idle
        } else {
            Edge::Busy
        };
        (next, edge)
    }

    /// Closed to all but sessions from now on. A closed one stays closed.
    pub(super) const fn narrow(self) -> Self {
        if self.0 & CLOSED == 0 {
            Self(self.0 | NARROW)
        } else {
            self
        }
    }

    /// Buried. Only a drained gate can be.
    pub(super) const fn bury(self) -> Option<Self> {
        if self.0 & !NARROW == CLOSED {
            Some(Self(CLOSED | GONE))
        } else {
            None
        }
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The naive model: what the packed word must never disagree with.
    #[derive(Debug, Default)]
    struct Model {
        closed: bool,
        narrow: bool,
        gone: bool,
        inside: u64,
        edges: u32,
    }

    impl Model {
        fn phase(&self) -> Phase {
            match (self.gone, self.closed, self.inside) {
                (true, ..) => Phase::Gone,
                (_, false, _) if self.narrow => Phase::Draining,
                (_, false, _) => Phase::Ready,
                (_, true, 0) => Phase::Drained,
                (_, true, _) => Phase::Draining,
            }
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Enter,
        EnterSession,
        Leave,
        Narrow,
        Close,
        Bury,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Enter),
            3 => Just(Step::EnterSession),
            6 => Just(Step::Leave),
            1 => Just(Step::Narrow),
            1 => Just(Step::Close),
            1 => Just(Step::Bury)
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_model_and_only_moves_forward(steps in prop::collection::vec(step(), 0..200)) {
            let mut word = Word::OPEN;
            let mut model = Model::default();
            let mut edges = 0;
            for step in steps {
                let before = word.phase();
                match step {
                    Step::Enter => match word.enter() {
                        Ok(next) => {
                            prop_assert!(!model.closed && !model.narrow && !model.gone);
                            model.inside += 1;
                            word = next;
                        }
                        Err(refused) => {
                            prop_assert_eq!(refused, Refused::Draining);
                            prop_assert!(model.closed || model.narrow || model.gone);
                        }
                    },
                    Step::EnterSession => match word.enter_narrow() {
                        Ok(next) => {
                            prop_assert!(!model.closed && !model.gone);
                            model.inside += 1;
                            word = next;
                        }
                        Err(refused) => {
                            prop_assert_eq!(refused, Refused::Draining);
                            prop_assert!(model.closed || model.gone);
                        }
                    },
                    Step::Narrow => {
                        word = word.narrow();
                        model.narrow |= !model.closed;
                    }
                    Step::Leave => match word.leave() {
                        Some((next, edge)) => {
                            model.inside -= 1;
                            if model.closed && model.inside == 0 { model.edges += 1; }
                            edges += u32::from(edge == Edge::Idle);
                            word = next;
                        }
                        None => prop_assert_eq!(model.inside, 0),
                    },
                    Step::Close => {
                        let (next, edge) = word.close();
                        if !model.closed && model.inside == 0 { model.edges += 1; }
                        model.closed = true;
                        edges += u32::from(edge == Edge::Idle);
                        word = next;
                    }
                    Step::Bury => match word.bury() {
                        Some(next) => {
                            prop_assert_eq!(model.phase(), Phase::Drained);
                            model.gone = true;
                            word = next;
                        }
                        None => prop_assert_ne!(model.phase(), Phase::Drained),
                    },
                }
                prop_assert_eq!(word.phase(), model.phase());
                prop_assert_eq!(word.in_flight(), model.inside);
                prop_assert!(word.phase() >= before, "a life moved backwards");
                prop_assert_eq!(edges, model.edges);
                prop_assert!(edges <= 1, "drained twice");
            }
        }
    }

    #[test]
    fn refuses_rather_than_wraps() {
        let full = Word::from_bits(COUNT);
        assert_eq!(full.enter(), Err(Refused::Full));
        assert_eq!(full.phase(), Phase::Ready);
    }
}
