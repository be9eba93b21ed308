//! How far a long command is and how fast, at most once a second.

use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// Tells on standard output how far the folding or checking of one ledger's events is.
pub(super) struct Rate {
    what: String,
    started: Instant,
    told: Instant,
    done: i64,
}

impl Rate {
    pub(super) fn new(what: String) -> Self {
        let now = Instant::now();
        Self { what, started: now, told: now, done: 0 }
    }

    /// `done` of `all` events are dealt with.
    pub(super) fn report(&mut self, done: i64, all: i64) {
        self.done = done;
        if self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            println!("{}: {done} of {all} events, {} a second", self.what, self.per_second());
        }
    }

    /// Everything is dealt with.
    pub(super) fn finish(self) {
        let seconds = self.started.elapsed().as_secs_f64();
        println!("{}: {} events in {seconds:.1} s, {} a second", self.what, self.done, self.per_second());
    }

    fn per_second(&self) -> i64 {
        let milliseconds = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX).max(1);
        self.done.saturating_mul(1_000) / milliseconds
    }
}
