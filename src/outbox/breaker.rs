//! Circuit breakers: a destination that fails again and again is left alone for a while, and then tried with a single
//! effect.
//!
//! Effects for it wait where they are: an outage does not turn the outbox into retries.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::gauge;
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

use super::backoff::spread;
use crate::telemetry::metrics::OUTBOX_BREAKERS_OPEN;

/// When a destination is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerSettings {
    /// After how many failures without a success between them.
    pub failures: u32,
    /// For how long at first; twice as long after each attempt that fails.
    pub first_pause: Duration,
    /// For how long at most.
    pub longest_pause: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 5, first_pause: Duration::from_secs(5), longest_pause: Duration::from_secs(60) }
    }
}

/// What an attempt says of its destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Health {
    /// It answers.
    Well,
    /// It is away or broken.
    Ill,
    /// Nothing.
    Untold,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One effect tries whether it is back.
    Trying {
        pause: Duration,
    },
}

/// The breakers of one ledger, by destination.
pub(super) struct Breakers {
    settings: BreakerSettings,
    states: Mutex<HashMap<&'static str, State>>,
    changed: Notify,
}

impl Breakers {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self { settings, states: Mutex::default(), changed: Notify::new() }
    }

    /// Waits until the destination may be asked and there is room. Whoever waits for a destination takes up no room.
    pub(super) async fn admit<'b>(
        &'b self,
        destination: &'static str,
        room: &'b Semaphore,
    ) -> (Option<SemaphorePermit<'b>>, Admission<'b>) {
        loop {
            let changed = self.changed.notified();
            // Closed only if nobody works here any more.
            let permit = room.acquire().await.ok();
            let until = match self.try_admit(destination, Instant::now()) {
                Ok(admission) => return (permit, admission),
                Err(until) => until,
            };
            drop(permit);
            match until {
                Some(until) => tokio::select! { () = sleep_until(until) => {}, () = changed => {} },
                None => changed.await,
            }
        }
    }

    /// Leave to ask, or until when to wait for it; without a time, until somebody else has asked.
    fn try_admit(&self, destination: &'static str, now: Instant) -> Result<Admission<'_>, Option<Instant>> {
        let mut states = self.states();
        let state = states.entry(destination).or_insert(State::Closed { failures: 0 });
        match *state {
            State::Closed { .. } => Ok(Admission { breakers: self, destination, is_trial: false }),
            State::Open { until, pause } if until <= now => {
                *state = State::Trying { pause };
                Ok(Admission { breakers: self, destination, is_trial: true })
            }
            State::Open { until, .. } => Err(Some(until)),
            State::Trying { .. } => Err(None),
        }
    }

    fn learn(&self, destination: &'static str, health: Health, is_trial: bool, now: Instant) {
        let mut states = self.states();
        let Some(state) = states.get_mut(destination) else { return };
        let BreakerSettings { failures: limit, first_pause, longest_pause } = self.settings;
        let was_closed = matches!(state, State::Closed { .. });
        let open = |pause: Duration| State::Open { until: now + spread(pause), pause };
        *state = match (*state, health) {
            (_, Health::Well) => State::Closed { failures: 0 },
            (State::Closed { failures }, Health::Ill) if failures + 1 < limit => {
                State::Closed { failures: failures + 1 }
            }
            (State::Closed { .. }, Health::Ill) => open(first_pause),
            (State::Trying { pause }, Health::Ill) if is_trial => open((pause * 2).min(longest_pause)),
            // Whoever tries has not found out: the next one tries.
            (State::Trying { pause }, Health::Untold) if is_trial => State::Open { until: now, pause },
            (state, Health::Ill | Health::Untold) => state,
        };
        match (was_closed, matches!(state, State::Closed { .. })) {
            (true, false) => {
                tracing::warn!(destination, "a destination of effects is left alone for a while");
                gauge!(OUTBOX_BREAKERS_OPEN, "destination" => destination).increment(1.0);
            }
            (false, true) => {
                tracing::info!(destination, "a destination of effects is back");
                gauge!(OUTBOX_BREAKERS_OPEN, "destination" => destination).decrement(1.0);
            }
            _ => {}
        }
        drop(states);
        self.changed.notify_waiters();
    }

    fn states(&self) -> MutexGuard<'_, HashMap<&'static str, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Breakers {
    fn drop(&mut self) {
        for (destination, state) in self.states().iter() {
            if !matches!(state, State::Closed { .. }) {
                gauge!(OUTBOX_BREAKERS_OPEN, "destination" => *destination).decrement(1.0);
            }
        }
    }
}

/// Leave to ask a destination once. Whoever drops it has found out nothing.
pub(super) struct Admission<'b> {
    breakers: &'b Breakers,
    destination: &'static str,
    is_trial: bool,
}

impl Admission<'_> {
    /// Says how the destination was.
    pub(super) fn tell(self, health: Health) {
        self.tell_at(health, Instant::now());
    }

    fn tell_at(mut self, health: Health, now: Instant) {
        self.breakers.learn(self.destination, health, self.is_trial, now);
        self.is_trial = false;
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            self.breakers.learn(self.destination, Health::Untold, true, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn breakers() -> Arc<Breakers> {
        Arc::new(Breakers::new(BreakerSettings { failures: 2, ..BreakerSettings::default() }))
    }

    fn is_admitted(breakers: &Breakers, now: Instant) -> bool {
        breakers.try_admit("there", now).is_ok()
    }

    fn tell(breakers: &Breakers, health: Health, now: Instant) {
        breakers.try_admit("there", now).expect("leave to ask").tell_at(health, now);
    }

    #[test]
    fn a_destination_that_fails_is_left_alone_and_then_tried_with_one_effect() {
        let (breakers, start) = (breakers(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        tell(&breakers, Health::Ill, start);
        assert!(is_admitted(&breakers, start));
        tell(&breakers, Health::Ill, start);
        assert!(!is_admitted(&breakers, at(2)));
        assert!(breakers.try_admit("elsewhere", start).is_ok());
        let trial = breakers.try_admit("there", at(5)).expect("leave to ask");
        assert!(!is_admitted(&breakers, at(5)), "one at a time");
        trial.tell_at(Health::Ill, at(5));
        assert!(!is_admitted(&breakers, at(9)), "twice as long");
        tell(&breakers, Health::Well, at(15));
        assert!(is_admitted(&breakers, at(15)));
        tell(&breakers, Health::Ill, at(15));
        assert!(is_admitted(&breakers, at(15)), "a success between failures counts");
    }

    #[test]
    fn a_trial_that_finds_out_nothing_leaves_room_for_the_next() {
        let (breakers, start) = (breakers(), Instant::now());
        tell(&breakers, Health::Ill, start);
        tell(&breakers, Health::Ill, start);
        let later = start + Duration::from_secs(6);
        drop(breakers.try_admit("there", later));
        assert!(is_admitted(&breakers, later));
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_the_destination_is_back() {
        let (breakers, start) = (breakers(), Instant::now());
        tell(&breakers, Health::Ill, start);
        tell(&breakers, Health::Ill, start);
        let waiting = tokio::spawn({
            let breakers = Arc::clone(&breakers);
            async move {
                let room = Semaphore::new(1);
                let (_permit, admission) = breakers.admit("there", &room).await;
                admission.tell(Health::Well);
            }
        });
        tell(&breakers, Health::Well, start + Duration::from_secs(6));
        tokio::time::timeout(Duration::from_secs(4), waiting)
            .await
            .expect("before the pause ends")
            .expect("no panic");
    }
}
