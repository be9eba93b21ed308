//! The clock of a test ledger: read, and moved on, so that expiries and lapses can be tried without waiting for them.

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::{Created, Found, Written},
    auth::{Admin, Authorised, Read},
    error::{Failure, Reading, Writing},
    idempotency::{IdempotencyKey, fingerprint},
    payload::Json,
    tags::Tag,
};
use crate::domain::{
    Command, EventBody,
    amount::Amount,
    command::AdvanceClock,
    time::{Span, Timestamp},
};

/// By how much the clock is to be moved on.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct ClockAdvance {
    /// How many seconds: 86400 for a day. The clock can be at most a hundred years ahead, and never goes back.
    pub seconds: Amount,
}

/// A clock that was moved on.
#[derive(Clone, Debug, Object)]
pub struct AdvancedClock {
    /// What time it was in the ledger right after that.
    pub now: Timestamp,
    /// How many seconds it was ahead of the database's clock then.
    pub ahead_seconds: i64,
    /// The position of the event.
    pub position: i64,
}

/// What time it is in the ledger.
#[derive(Clone, Debug, Object)]
pub struct LedgerClock {
    /// The time that everything is judged at.
    pub now: Timestamp,
    /// How many seconds that is ahead of the database's clock: 0 unless a test ledger's clock was moved on.
    pub ahead_seconds: i64,
}

/// The resource.
pub struct TestClock;

#[OpenApi(tag = "Tag::TestMode")]
impl TestClock {
    /// Advance a test ledger's clock
    ///
    /// Everything after it happens at the later time: lots expire, holds lapse. In live mode this is refused.
    #[oai(path = "/v1/test/clock/advance", method = "post", operation_id = "advance_test_clock")]
    async fn advance(
        &self,
        caller: Authorised<Admin>,
        /// Marks repeats of this request: they are answered as it was, and the clock is moved once.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<ClockAdvance>,
    ) -> Result<Created<AdvancedClock>, Failure<Writing>> {
        let print = fingerprint("POST /v1/test/clock/advance", &[], &body.sent);
        let command = Command::AdvanceClock(AdvanceClock { seconds: body.content.seconds });
        let accepted = caller.submit(command, Some(key.0), print).await?;
        let (event, advanced) = Written::of(&accepted).find(|body| match body {
            EventBody::ClockAdvanced(advanced) => Some(advanced),
            _ => None,
        })?;
        let answer = AdvancedClock {
            now: event.recorded_at.plus(Span::seconds(advanced.seconds)),
            ahead_seconds: advanced.ahead,
            position: event.position.0,
        };
        Ok(Created::new(&accepted, answer))
    }

    /// Read the ledger's clock
    #[oai(path = "/v1/test/clock", method = "get", operation_id = "read_test_clock")]
    async fn read(&self, caller: Authorised<Read>) -> Result<Found<LedgerClock>, Failure<Reading>> {
        let (now, ahead) = caller.service.clock(&caller.caller).await?;
        Ok(Found(LedgerClock { now, ahead_seconds: ahead.whole_seconds() }))
    }
}
