//! One attempt at one effect: look if it may have happened, perform, tell the ledger.
//!
//! The ledger is told before the effect leaves: a crash in between has it carried out again, under the same id, and told
//! again, under the same key, and neither changes anything.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use metrics::counter;
use tokio::time::timeout;

use super::{
    Shared,
    breaker::Health,
    faults::Fault,
    perform::{Cause, Class, Looked, Ordered, Perform, Performed, Report},
};
use crate::{
    domain::ids::{Key, LedgerId, Namespace},
    store::outbox::{StoredCause, claim::WaitingEffect, finish::End},
    telemetry::metrics::OUTBOX_ATTEMPTS,
    writer::{Outcome, Submission, SubmitError},
};

/// How long the ledger is waited for.
const SUBMIT_LIMIT: Duration = Duration::from_secs(10);
/// Under which name failures go that no destination is to blame for.
const NOWHERE: &str = "none";

/// An effect in memory, with the moment at which its age was read.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    pub(super) effect: WaitingEffect,
    pub(super) at: Instant,
}

impl Claimed {
    fn age(&self) -> Duration {
        self.effect.age + self.at.elapsed()
    }

    /// What a performer is to be told of it, if this version can read it.
    pub(super) fn ordered(&self, ledger: LedgerId) -> Option<Ordered> {
        let WaitingEffect { id, place, effect, created_at, attempts, .. } = &self.effect;
        Some(Ordered {
            id: *id,
            ledger,
            position: place.position,
            effect: (*effect)?,
            created_at: *created_at,
            attempt: u32::try_from(*attempts).unwrap_or_default() + 1,
        })
    }
}

/// What came of an attempt, for the outbox and for the breaker.
pub(super) struct Attempted {
    pub(super) end: End,
    pub(super) health: Health,
}

/// Why an effect is not done.
enum Undone {
    Retry { cause: Cause, after: Option<Duration>, must_look: bool },
    Dead { cause: Cause },
}

impl<P: Perform> Shared<P> {
    /// An effect that this version cannot read waits for one that can.
    pub(super) fn unreadable(&self, claimed: &Claimed) -> End {
        let must_look = claimed.effect.must_look;
        let cause = Cause::new(Class::Defect, "unreadable");
        self.end_of(claimed, NOWHERE, false, Undone::Retry { cause, after: None, must_look })
    }

    /// Tries to carry an effect out.
    pub(super) async fn attempt(&self, claimed: &Claimed, ordered: &Ordered) -> Attempted {
        let destination = self.performer.destination(ordered);
        let blocks = ordered.effect.dead_blocks_key();
        let done = self.carry_out(claimed, ordered).await;
        let health = match &done {
            Ok(()) => Health::Well,
            Err(Undone::Retry { cause, .. } | Undone::Dead { cause }) => match cause.class {
                Class::Unavailable | Class::Unclear => Health::Ill,
                Class::Refused | Class::Limited | Class::Expired => Health::Well,
                Class::Configuration | Class::Ledger | Class::Defect => Health::Untold,
            },
        };
        let outcome = match &done {
            Ok(()) => "done",
            Err(Undone::Retry { must_look: false, .. }) => "retry",
            Err(Undone::Retry { must_look: true, .. }) => "unknown",
            Err(Undone::Dead { .. }) => "dead",
        };
        counter!(OUTBOX_ATTEMPTS, "kind" => ordered.effect.kind(), "outcome" => outcome).increment(1);
        let end = match done {
            Ok(()) => End::Done,
            Err(undone) => self.end_of(claimed, destination, blocks, undone),
        };
        Attempted { end, health }
    }

    async fn carry_out(&self, claimed: &Claimed, ordered: &Ordered) -> Result<(), Undone> {
        let is_too_old = claimed.age() >= self.settings.repeat_limit;
        let must_look = claimed.effect.must_look || is_too_old;
        if must_look {
            let looked = self.guarded(self.performer.look(ordered)).await;
            self.settings.faults.reach(Fault::AfterLook);
            match looked {
                Ok(Looked::Found(reports)) => return self.report(ordered, reports).await,
                Ok(Looked::Absent) if is_too_old => {
                    return Err(Undone::Dead { cause: Cause::new(Class::Expired, "not_repeated") });
                }
                Ok(Looked::Absent) => {}
                Ok(Looked::Unclear { cause, after }) => {
                    return Err(Undone::Retry { cause, after, must_look });
                }
                Ok(Looked::Dead { cause }) => return Err(Undone::Dead { cause }),
                Err(cause) => return Err(Undone::Retry { cause, after: None, must_look }),
            }
        }
        self.settings.faults.reach(Fault::BeforePerform);
        let performed = self.guarded(self.performer.perform(ordered)).await;
        self.settings.faults.reach(Fault::AfterPerform);
        match performed {
            Ok(Performed::Done(reports)) => self.report(ordered, reports).await,
            Ok(Performed::Retry { cause, after }) => {
                let must_look = claimed.effect.must_look;
                Err(Undone::Retry { cause, after, must_look })
            }
            Ok(Performed::Unknown { cause, after }) => Err(Undone::Retry { cause, after, must_look: true }),
            Ok(Performed::Dead { cause }) => Err(Undone::Dead { cause }),
            Err(cause) => Err(Undone::Retry { cause, after: None, must_look: true }),
        }
    }

    /// Has a performer neither hang nor take others with it.
    async fn guarded<T>(&self, work: impl Future<Output = T>) -> Result<T, Cause> {
        match timeout(self.settings.attempt_limit, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Err(Cause::new(Class::Defect, "panicked")),
            Err(_) => Err(Cause::new(Class::Unclear, "timed_out")),
        }
    }

    /// Tells the ledger. If that fails the effect has happened all the same, and is looked for next time.
    async fn report(&self, ordered: &Ordered, reports: Vec<Report>) -> Result<(), Undone> {
        for (number, report) in (1_usize..).zip(reports) {
            let key = report.key.map_or_else(|| own_key(ordered, number), Ok);
            let key = key.map_err(|_| Undone::Dead { cause: Cause::new(Class::Defect, "invalid_key") })?;
            let submission = Submission {
                command: report.command,
                key: Some(key),
                fingerprint: None,
                actor: report.actor,
                request_id: None,
            };
            let submitted = timeout(SUBMIT_LIMIT, self.writers.submit(ordered.ledger, submission)).await;
            match submitted.unwrap_or(Err(SubmitError::OutcomeUnknown)) {
                Ok(Outcome::Accepted(_)) => {}
                Ok(Outcome::Rejected(rejection)) => {
                    tracing::error!(effect = %ordered.id, %rejection, "the ledger does not take what came of an effect");
                    return Err(Undone::Dead { cause: Cause::new(Class::Ledger, "rejected") });
                }
                Err(error) => {
                    let cause = Cause::new(Class::Ledger, code_of(error));
                    return Err(Undone::Retry { cause, after: None, must_look: true });
                }
            }
        }
        self.settings.faults.reach(Fault::AfterReport);
        Ok(())
    }

    fn end_of(&self, claimed: &Claimed, destination: &str, blocks: bool, undone: Undone) -> End {
        let attempts = claimed.effect.attempts.saturating_add(1);
        let stored = |cause: &Cause| StoredCause {
            destination: destination.to_owned(),
            class: cause.class.as_str().to_owned(),
            code: cause.code().to_owned(),
        };
        match undone {
            Undone::Retry { cause, after, must_look } => {
                // Whoever asks for more than the time in which a repeat is safe gets that.
                let after = after.map(|after| after.min(self.settings.repeat_limit));
                let delay = self.settings.backoff.after(u32::try_from(attempts).unwrap_or_default(), after);
                End::Later { attempts, must_look, delay, cause: stored(&cause) }
            }
            Undone::Dead { cause } => {
                let (class, code) = (cause.class.as_str(), cause.code());
                tracing::warn!(effect = %claimed.effect.id, destination, class, code, "an effect waits for a person");
                End::Dead { attempts, blocks, cause: stored(&cause) }
            }
        }
    }
}

/// The key of a result that nobody else reports.
fn own_key(ordered: &Ordered, number: usize) -> Result<Key, crate::domain::ids::InvalidName> {
    let text = match number {
        1 => format!("effect:{}", ordered.id),
        further => format!("effect:{}:{further}", ordered.id),
    };
    Key::new(Namespace::System, &text)
}

fn code_of(error: SubmitError) -> &'static str {
    match error {
        SubmitError::UnknownLedger => "unknown_ledger",
        SubmitError::Overloaded => "overloaded",
        SubmitError::Unavailable => "unavailable",
        SubmitError::OutcomeUnknown => "outcome_unknown",
        SubmitError::ClockSkew => "clock_skew",
        SubmitError::NewerVersion => "newer_version",
        SubmitError::ShuttingDown => "shutting_down",
        SubmitError::Internal => "internal",
    }
}
