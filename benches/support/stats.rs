//! What many measurements come to.

/// The value below which this share of the values lies (nearest rank). Sorts them.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

/// The value in the middle.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value in the middle, between the two that hold the middle of all such values with 95 % confidence: by their ranks
/// alone, whatever the values are distributed like.
pub(crate) fn median_within(values: &mut [f64]) -> (f64, f64, f64) {
    let middle = median(values);
    let n = values.len();
    // Of n values k lie below the true median with the chance that k of n coins fall so.
    let mut chance = 0.5f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let (mut below, mut rank) = (0.0, 0);
    while rank < n / 2 && below + chance <= 0.025 {
        below += chance;
        chance *= (n - rank) as f64 / (rank + 1) as f64;
        rank += 1;
    }
    let at = |rank: usize| values.get(rank).copied().unwrap_or(f64::NAN);
    let low = rank.saturating_sub(1);
    (at(low), middle, at(n.saturating_sub(1 + low)))
}

/// The value in the middle of several, and between which they lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of these; none if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        let median = median(&mut values);
        Some(Self {
            min: *values.first()?,
            median,
            max: *values.last()?,
        })
    }

    /// Of the quotients of what was measured in the same round.
    pub(crate) fn of_ratios(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        Self::of(ours.iter().zip(theirs).map(|(us, it)| us / it))
    }
}
