//! How many answers in a row make a verdict: one alone may be chance.

/// The answers of an endpoint, as far as they matter.
#[derive(Debug)]
pub(super) struct Row {
    failing: bool,
    /// Answers in a row that say otherwise.
    against: u32,
}

impl Row {
    pub(super) fn new(failing: bool) -> Self {
        Self {
            failing,
            against: 0,
        }
    }

    /// Notes an answer. True when it changes the verdict: it was the last of `healthy` good ones in a row, or of
    /// `unhealthy` bad ones.
    pub(super) fn note(&mut self, good: bool, healthy: u32, unhealthy: u32) -> bool {
        if good != self.failing {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if good { healthy } else { unhealthy };
        let changes = self.against >= needed;
        if changes {
            (self.failing, self.against) = (!good, 0);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_so_many_in_a_row() {
        let mut row = Row::new(false);
        let answers = [
            (true, false),
            (false, false),
            (false, false),
            // One good answer, and all begins anew.
            (true, false),
            (false, false),
            (false, false),
            (false, true),
            (false, false),
            (true, false),
            (false, false),
            (true, false),
            (true, true),
            (true, false),
        ];
        for (step, (good, changes)) in answers.into_iter().enumerate() {
            assert_eq!(row.note(good, 2, 3), changes, "{step}");
        }
    }

    #[test]
    fn what_fails_already_has_to_pass() {
        let mut row = Row::new(true);
        assert!(!row.note(false, 1, 3));
        assert!(row.note(true, 1, 3));
    }
}
