//! Our own limit on how often Stripe is called, so that Stripe has no reason to refuse.
//!
//! Invariants:
//! - in no second are there more calls than allowed, not even in the first: a short burst is paid for by a slower
//!   steady pace;
//! - whoever comes first is served first;
//! - nobody waits for long: a call that would have to is not made, and its caller told so.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tokio::sync::Mutex;

/// How many calls in a row may be made without a pause, at most.
const LONGEST_BURST: u32 = 5;

/// A limit that all calls for one ledger share.
pub struct Limiter {
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
    /// Whoever holds it is next: the limiter itself knows no order.
    turn: Mutex<()>,
    per_second: NonZeroU32,
    longest_wait: Duration,
}

impl Limiter {
    /// Allows so many calls in any second, and lets nobody wait longer than `longest_wait`.
    pub fn new(per_second: NonZeroU32, longest_wait: Duration) -> Self {
        let limiter = RateLimiter::direct(quota(per_second));
        Self { limiter, clock: DefaultClock::default(), turn: Mutex::new(()), per_second, longest_wait }
    }

    /// How many calls a second it allows.
    pub fn per_second(&self) -> NonZeroU32 {
        self.per_second
    }

    /// Waits for a turn; `false` if there is none soon enough.
    pub(super) async fn wait(&self) -> bool {
        tokio::time::timeout(self.longest_wait, self.take_turn()).await.is_ok()
    }

    async fn take_turn(&self) {
        let _turn = self.turn.lock().await;
        while let Err(later) = self.limiter.check() {
            tokio::time::sleep(later.wait_time_from(self.clock.now())).await;
        }
    }
}

/// A burst of b calls and b − 1 fewer a second after it are never more than allowed in any one second.
fn quota(per_second: NonZeroU32) -> Quota {
    let burst = (per_second.get() / 5).clamp(1, LONGEST_BURST);
    let steady = per_second.get() - (burst - 1);
    let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(steady)).allow_burst(at_least_one(burst))
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn no_second_has_more_calls_than_allowed() {
        for allowed in [1, 2, 4, 5, 7, 25, 100, 1000] {
            let clock = FakeRelativeClock::default();
            let per_second = NonZeroU32::new(allowed).expect("not zero");
            let limiter = RateLimiter::direct_with_clock(quota(per_second), clock.clone());
            // Milliseconds at which a call was allowed to somebody who asks all the time.
            let mut calls: Vec<u64> = Vec::new();
            for millisecond in 0..4_000 {
                while limiter.check().is_ok() {
                    calls.push(millisecond);
                }
                clock.advance(Duration::from_millis(1));
            }
            for (first, start) in calls.iter().enumerate() {
                let within = calls[first..].iter().take_while(|call| **call < start + 1_000).count();
                assert!(within <= allowed as usize, "{within} calls in a second where {allowed} are allowed");
            }
            let expected = 4 * allowed as usize;
            assert!(calls.len() * 10 >= expected * 8, "{} of {expected} calls", calls.len());
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_longer_than_agreed() {
        let limiter = Limiter::new(NonZeroU32::MIN, Duration::from_millis(1));
        assert!(limiter.wait().await);
        assert!(!limiter.wait().await, "the next turn is a second away");
    }
}
