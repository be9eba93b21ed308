//! How long to wait before the next attempt.

use std::time::Duration;

/// Waits that grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// After the first attempt.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(600) }
    }
}

impl Backoff {
    /// The wait after so many attempts in vain: each twice as long as the one before, spread so that what failed together
    /// does not come back together; never shorter than the destination asked for.
    pub(super) fn after(&self, attempts: u32, asked_for: Option<Duration>) -> Duration {
        let doublings = attempts.saturating_sub(1).min(30);
        let grown = self.first.saturating_mul(1 << doublings).min(self.longest);
        let asked_for = asked_for.unwrap_or_default();
        if asked_for >= grown { asked_for + spread(grown) - grown / 2 } else { spread(grown).max(asked_for) }
    }
}

/// Between a half and the whole of a duration, at random.
pub(super) fn spread(duration: Duration) -> Duration {
    duration.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let backoff = Backoff::default();
        for (attempts, longest) in [(1, 1), (2, 2), (5, 16), (11, 600), (4_000_000_000, 600)] {
            let waits: Vec<Duration> = (0..64).map(|_| backoff.after(attempts, None)).collect();
            let longest = Duration::from_secs(longest);
            assert!(waits.iter().all(|wait| (longest / 2..=longest).contains(wait)), "{attempts}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]));
        }
    }

    #[test]
    fn a_destination_is_left_alone_as_long_as_it_asks() {
        let backoff = Backoff::default();
        for asked_for in [1, 30, 3_600].map(Duration::from_secs) {
            assert!(backoff.after(1, Some(asked_for)) >= asked_for);
            assert!(backoff.after(1, Some(asked_for)) <= asked_for + Duration::from_secs(1));
            assert!(backoff.after(20, Some(asked_for)) >= asked_for);
        }
    }
}
