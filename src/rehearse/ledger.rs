//! Which of the numbered, unrepeatable requests arrived, over all endpoints: none may arrive twice (P10).

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Who has seen what. It remembers the last [`REMEMBERED`] numbers; a second arrival comes within seconds or never.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    seen: HashSet<u64>,
    order: VecDeque<u64>,
    repeated: u64,
}

impl Ledger {
    /// Notes an arrival.
    pub(super) fn arrived(&self, number: u64) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if !pages.seen.insert(number) {
            pages.repeated += 1;
            return;
        }
        pages.order.push_back(number);
        if pages.order.len() > REMEMBERED
            && let Some(oldest) = pages.order.pop_front()
        {
            pages.seen.remove(&oldest);
        }
    }

    /// How many arrivals were not the first.
    pub(super) fn repeated(&self) -> u64 {
        self.pages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .repeated
    }
}

const REMEMBERED: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_arrives_again_and_forgets_the_oldest() {
        let ledger = Ledger::default();
        for number in 0..=REMEMBERED as u64 {
            ledger.arrived(number);
        }
        assert_eq!(ledger.repeated(), 0);
        ledger.arrived(7);
        ledger.arrived(7);
        assert_eq!(ledger.repeated(), 2);
        assert_eq!(ledger.pages.lock().unwrap().seen.len(), REMEMBERED);
    }
}
