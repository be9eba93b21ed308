//! The ledger's time: the database's clock, checked against two others.
//!
//! A clock that is wrong by an hour would lapse holds and expire lots, as recorded fact. No single clock is therefore
//! believed: that of the database must agree with that of this process, and must not have been overtaken by what is
//! recorded already.

use crate::domain::time::{Span, Timestamp};

/// How far clocks may be apart.
const TOLERANCE: Span = Span::seconds(5);

/// A clock of this process; only ever compared with the database's.
pub type ProcessClock = fn() -> Timestamp;

/// The clock of the operating system.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the process clock that the database's is compared with"
)]
pub fn system_clock() -> Timestamp {
    Timestamp::from_datetime(time::OffsetDateTime::now_utc()).unwrap_or_default()
}

/// The clocks are too far apart to write anything down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ClocksDisagree;

/// What three clocks say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// The database's, read under the head's lock.
    pub(super) database: Timestamp,
    /// This process's, before the database was asked and after it answered.
    pub(super) process: (Timestamp, Timestamp),
    /// How far the ledger's clock is ahead of the database's.
    pub(super) ahead: Span,
    /// When the last event was recorded.
    pub(super) head: Timestamp,
}

impl Clocks {
    /// The ledger's time: the database's, moved on by as much as somebody asked for, and never before the last event.
    pub(super) fn ledger_time(self) -> Result<Timestamp, ClocksDisagree> {
        let (asked, answered) = self.process;
        let is_ahead = |one: Timestamp, other: Timestamp| one.since(other) > TOLERANCE;
        let now = self.database.plus(self.ahead);
        if is_ahead(self.database, answered) || is_ahead(asked, self.database) || is_ahead(self.head, now) {
            return Err(ClocksDisagree);
        }
        Ok(now.max(self.head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds).expect("in range")
    }

    #[test]
    fn clocks_that_agree_give_the_databases_time_but_never_an_earlier_one_than_the_last_event() {
        for (database, asked, answered, head, expected) in [
            (100, 100, 100, 50, Ok(100)),
            (100, 95, 95, 50, Ok(100)),
            (100, 94, 94, 50, Err(ClocksDisagree)),
            (100, 105, 105, 50, Ok(100)),
            (100, 106, 106, 50, Err(ClocksDisagree)),
            (100, 100, 100, 105, Ok(105)),
            (100, 100, 100, 106, Err(ClocksDisagree)),
            // The answer took long: the database may have read its clock at any moment in between.
            (100, 80, 100, 50, Ok(100)),
            (100, 100, 130, 50, Ok(100)),
        ] {
            let (database, process) = (at(database), (at(asked), at(answered)));
            let clocks = Clocks { database, process, ahead: Span::seconds(0), head: at(head) };
            assert_eq!(clocks.ledger_time(), expected.map(at), "{clocks:?}");
        }
    }

    #[test]
    fn a_clock_that_was_moved_on_is_held_against_the_last_event_and_not_against_the_process() {
        let process = (at(100), at(100));
        for (head, expected) in [(50, Ok(1_100)), (1_105, Ok(1_105)), (1_106, Err(ClocksDisagree))] {
            let clocks = Clocks { database: at(100), process, ahead: Span::seconds(1_000), head: at(head) };
            assert_eq!(clocks.ledger_time(), expected.map(at), "{clocks:?}");
        }
    }
}
