//! Pauses between tries: jittered, and longer and longer, up to half a minute, for a server that refuses. One that is away
//! is looked for every second: that burdens nobody, and its return is seen soon.

use std::time::Duration;

/// How often something was tried in vain.
#[derive(Debug, Default)]
pub(super) struct Pause {
    tries: u32,
}

impl Pause {
    pub(super) fn next(&mut self, is_away: bool) -> Duration {
        let whole = if is_away {
            PAUSE_MIN
        } else {
            let whole = PAUSE_MIN * 2u32.saturating_pow(self.tries).min(30);
            self.tries = (self.tries + 1).min(5);
            whole.min(PAUSE_MAX)
        };
        whole
            .mul_f64(0.75 + 0.5 * fastrand::f64())
            .clamp(PAUSE_MIN.mul_f64(0.75), PAUSE_MAX)
    }
}

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_half_a_minute_and_stays_a_second_for_a_server_that_is_away() {
        let mut pause = Pause::default();
        let ms = Duration::from_millis;
        for whole in [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let drawn = pause.next(false);
            let limits = ms(whole * 3 / 4)..=ms((whole * 5 / 4).min(30_000));
            assert!(limits.contains(&drawn), "{whole}: {drawn:?}");
            assert!((ms(750)..=ms(1250)).contains(&pause.next(true)));
        }
    }
}
