//! One page at a time, as large as the database can take, down to the one event that it cannot.
//!
//! A page that fails because of an event is tried again with half its size, so that everything before the event is
//! folded and the event is found; the events after a failed half are never folded first. A page of one event that fails
//! halts the ledger's build, or is passed over, if the projection is one of statistics. A build that is being replaced by a
//! newer one is not halted: what writes new kinds of events during an upgrade brings the build that knows them.

use std::time::{Duration, Instant};

use deadpool_postgres::PoolError;
use tokio_postgres::{Client, Error};

use crate::store::{
    errors::describe,
    pool::Database,
    projections::{
        Build, LedgerId,
        fold::{FoldError, GivenUp, Page, fold_page, give_up},
    },
};

/// How long a page may take: short enough that no transaction keeps dead versions of rows alive for long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// A page that is folded in less may be larger the next time.
    quick: Duration,
    /// A page that takes longer is to be smaller the next time.
    slow: Duration,
}

impl Pace {
    /// Of what follows the events: others wait for it.
    pub const FOLLOWING: Self = Self { quick: Duration::from_millis(250), slow: Duration::from_secs(1) };
    /// Of what is filled anew: every row that a page touches is written once a page.
    pub const FILLING: Self = Self { quick: Duration::from_millis(750), slow: Duration::from_secs(2) };
}

/// How many events the next page of one ledger and build has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageSize {
    events: i64,
    largest: i64,
    pace: Pace,
}

/// What one attempt came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Events were folded.
    Folded {
        /// How many.
        events: i64,
        /// Whether the build is where the head was.
        is_level: bool,
        /// How long that took.
        took: Duration,
        /// Whether that was longer than a page may take.
        is_slow: bool,
    },
    /// There is nothing to fold.
    Level,
    /// Somebody else is at it.
    Passed,
    /// Nothing was folded, and the next page is smaller.
    Smaller {
        /// Whether the database gave up after a page's longest time.
        is_slow: bool,
    },
    /// An event could not be folded and was passed over.
    Parked,
    /// An event stands in the way.
    Halted,
    /// An event stands in the way, and a newer build may take over.
    Awaiting {
        /// The event's.
        position: i64,
    },
}

/// Why a step failed: nothing that the events are to blame for.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// No connection.
    #[error("no connection to the database")]
    Connection(#[from] PoolError),
    /// A refusal.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// That an event cannot be folded could not be recorded.
    #[error("that a projection cannot fold an event could not be recorded")]
    Record(#[source] tokio_postgres::Error),
}

impl PageSize {
    /// Begins with pages of `events`, which may grow up to `largest`, the larger one.
    pub const fn new(events: i64, largest: i64, pace: Pace) -> Self {
        Self { events, largest, pace }
    }

    /// Returns whether a page that took so long took too long.
    fn after(&mut self, took: Duration) -> bool {
        let is_slow = took > self.pace.slow;
        if is_slow {
            self.halve(self.events);
        } else if took < self.pace.quick {
            self.events = (self.events * 2).min(self.largest);
        }
        is_slow
    }

    fn halve(&mut self, events: i64) {
        self.events = (events / 2).max(1);
    }
}

/// Folds the next page of a ledger into a build.
///
/// # Errors
/// See [`StepError`]: to be tried again later.
pub async fn step(
    database: &Database,
    ledger: LedgerId,
    build: &Build,
    size: &mut PageSize,
) -> Result<Step, StepError> {
    let mut client = database.pool().get().await?;
    let started = Instant::now();
    match fold_page(database, &mut client, ledger, build, size.events).await {
        Ok(Page::Folded { events, is_level }) => {
            let took = started.elapsed();
            let is_slow = size.after(took);
            Ok(Step::Folded { events, is_level, took, is_slow })
        }
        Ok(Page::Level) => Ok(Step::Level),
        Ok(Page::Passed) => Ok(Step::Passed),
        Ok(Page::Halted) => Ok(Step::Halted),
        Err(FoldError::Events { events, .. }) if events.count() > 1 => {
            size.halve(events.count());
            Ok(Step::Smaller { is_slow: false })
        }
        Err(FoldError::TooLong { events, .. }) if events.count() > 1 => {
            size.halve(events.count());
            Ok(Step::Smaller { is_slow: true })
        }
        Err(FoldError::Events { events, source }) => {
            stand_before(&mut client, ledger, build, events.after, &source).await.map_err(StepError::Record)
        }
        Err(other) => Err(other.into()),
    }
}

/// What becomes of a build and the event after a position that it cannot fold.
async fn stand_before(
    client: &mut Client,
    ledger: LedgerId,
    build: &Build,
    after: i64,
    refusal: &Error,
) -> Result<Step, Error> {
    let category = refusal.code().map_or("unknown", |code| code.code()).to_owned();
    let reason = refusal.as_db_error().map_or("unknown", |refusal| refusal.message()).to_owned();
    let given_up = give_up(client, ledger, build, after, &category, &reason).await?;
    let consequence = if build.parks { "it is passed over" } else { "the projection has stopped" };
    if given_up == GivenUp::Recorded {
        let (position, error) = (after + 1, describe(refusal));
        tracing::error!(
            projection = build.projection, build = build.build, %ledger, position, error, consequence,
            "an event cannot be folded"
        );
    }
    Ok(match given_up {
        GivenUp::Awaited => Step::Awaiting { position: after + 1 },
        GivenUp::Recorded | GivenUp::Moved if build.parks => Step::Parked,
        GivenUp::Recorded | GivenUp::Moved => Step::Halted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_while_they_are_quick_and_shrink_when_they_are_slow() {
        let mut size = PageSize::new(1_000, 3_000, Pace::FOLLOWING);
        for (milliseconds, is_slow, events) in
            [(10, false, 2_000), (10, false, 3_000), (500, false, 3_000), (2_000, true, 1_500)]
        {
            assert_eq!(size.after(Duration::from_millis(milliseconds)), is_slow, "{milliseconds}");
            assert_eq!(size.events, events, "{milliseconds}");
        }
    }

    #[test]
    fn halving_ends_at_one_event() {
        let mut size = PageSize::new(5, 10, Pace::FOLLOWING);
        for expected in [2, 1, 1] {
            size.halve(size.events);
            assert_eq!(size.events, expected);
        }
    }
}
