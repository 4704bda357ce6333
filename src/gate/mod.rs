//! The gate: a counted door that lets everything out and, once closed, nothing in.
//!
//! Draining an endpoint must be a point in time, not a period in which some threads know and others do not (P1). So
//! "closed" and "how many are inside" live in one atomic word, entering is a compare-and-swap that fails once the word is
//! closed, and the end of the drain is the one transition to "closed and empty", seen by exactly one caller (P6).
//!
//! Counting first and undoing later would be shorter. Loom shows it firing the edge several times and stepping back from
//! drained to draining, so it is not done.
//!
//! * Law 1: once [`Gate::close`] returned, no [`Gate::enter`] succeeds, and once [`Gate::narrow`] returned, only
//!   [`Gate::enter_session`] does.
//! * Law 2: [`Edge::Idle`] is returned exactly once in a gate's life.
//!
//! This module does no I/O and knows no clock and no runtime.

mod sync;
mod word;

use sync::{AtomicU64, Ordering};
use word::Word;
pub use word::{Edge, Phase, Refused};

/// A counted gate. Open when new.
#[derive(Debug)]
pub struct Gate {
    word: AtomicU64,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// An open, empty gate.
    #[must_use]
    pub fn new() -> Self {
        Self {
            word: AtomicU64::new(Word::OPEN.bits()),
        }
    }

    /// Takes a place inside.
    ///
    /// # Errors
    /// [`Refused::Draining`] once the gate is closed, for ever after.
    pub fn enter(&self) -> Result<(), Refused> {
        self.update(|word| word.enter().map(|next| (next, ())))
    }

    /// Takes a place inside for a session: also while the gate is narrow. True when it is.
    ///
    /// # Errors
    /// [`Refused::Draining`] once the gate is closed, for ever after.
    pub fn enter_session(&self) -> Result<bool, Refused> {
        self.update(|word| {
            let narrow = word.phase() != Phase::Ready;
            word.enter_narrow().map(|next| (next, narrow))
        })
    }

    /// Gives a place back; the answer is [`Edge::Idle`] when this was the last one of a closed gate.
    ///
    /// A call without a place taken before is a bug of the caller and changes nothing.
    pub fn leave(&self) -> Edge {
        let left = self.update(|word| word.leave().ok_or(()));
        debug_assert!(left.is_ok(), "a place was given back that nobody had taken");
        left.unwrap_or(Edge::Busy)
    }

    /// Closes the gate: the linearization point of a drain. Idempotent.
    pub fn close(&self) -> (Edge, u64) {
        let closed: Result<_, std::convert::Infallible> = self.update(|word| {
            let (next, edge) = word.close();
            Ok((next, (edge, word.in_flight())))
        });
        match closed {
            Ok(found) => found,
            Err(never) => match never {},
        }
    }

    /// Closes the gate to all but sessions, which still enter until it is closed: no [`Gate::enter`] succeeds any more.
    /// Returns how many were inside. A narrow gate is not drained, however empty. Idempotent.
    pub fn narrow(&self) -> u64 {
        let narrowed: Result<_, std::convert::Infallible> =
            self.update(|word| Ok((word.narrow(), word.in_flight())));
        match narrowed {
            Ok(inside) => inside,
            Err(never) => match never {},
        }
    }

    /// Marks a drained gate as gone; `false` when it is not drained.
    pub fn bury(&self) -> bool {
        self.update(|word| word.bury().map(|next| (next, ())).ok_or(()))
            .is_ok()
    }

    /// The phase at some moment during the call.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.read().phase()
    }

    /// The number inside at some moment during the call.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.read().in_flight()
    }

    fn read(&self) -> Word {
        // Acquire: who reads "drained" also sees what the last one inside did before leaving.
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    fn update<T, E>(&self, transition: impl Fn(Word) -> Result<(Word, T), E>) -> Result<T, E> {
        // Relaxed is enough for the first guess: a stale one only fails the compare-and-swap.
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let (next, found) = transition(Word::from_bits(seen))?;
            // AcqRel: leaving releases the work done inside, and the edge (or the closer) acquires it. A total order of
            // this one word is all that laws 1 and 2 need.
            match self
                .word
                .compare_exchange(seen, next.bits(), Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Ok(found),
                Err(now) => seen = now,
            }
        }
    }
}
