//! Position tokens: how a read is told what it must have seen.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::ServiceError;
use crate::{
    domain::ids::Position,
    store::reads::Moment,
    writer::{Accepted, Incarnation},
};

/// How long a read waits for what it must have seen.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Pauses between looks at a projection begin with this and double up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A position and the history that it is of; clients pass it on as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PositionToken {
    incarnation: Incarnation,
    position: Position,
}

impl PositionToken {
    /// The end of the ledger when a write was answered.
    pub fn of(accepted: &Accepted) -> Self {
        Self { incarnation: accepted.incarnation, position: accepted.head }
    }

    /// A position of a history.
    pub(super) fn at(incarnation: Incarnation, position: Position) -> Self {
        Self { incarnation, position }
    }

    /// The position alone.
    pub(super) fn position(self) -> Position {
        self.position
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (incarnation, position) = bytes.split_at(16);
        let position = i64::from_be_bytes(position.try_into().ok()?);
        let incarnation = Incarnation(Uuid::from_slice(incarnation).ok()?);
        (position >= 0).then_some(Self { incarnation, position: Position(position) })
    }

    /// Whether a reader that has seen that history up to `position` has seen what the token asks for.
    ///
    /// # Errors
    /// [`ServiceError::HistoryLost`] if the token is of another history.
    fn is_reached(self, incarnation: Incarnation, position: Position) -> Result<bool, ServiceError> {
        if incarnation != self.incarnation {
            return Err(ServiceError::HistoryLost);
        }
        Ok(position >= self.position)
    }
}

/// Whether the snapshot has what the caller has seen. It is never behind a write that was answered, so there is nothing
/// to wait for.
pub(super) fn check_seen(moment: &Moment, seen: Option<PositionToken>) -> Result<(), ServiceError> {
    match seen.map(|token| token.is_reached(moment.incarnation, moment.position)).transpose()? {
        None | Some(true) => Ok(()),
        Some(false) => Err(ServiceError::HistoryLost),
    }
}

/// Waits for a projection to have what a caller has to see. Between two reads nothing is held.
pub(super) struct Waiting {
    deadline: Instant,
    pause: Duration,
}

impl Waiting {
    /// Begins to wait.
    pub fn begin() -> Self {
        Self { deadline: Instant::now() + LONGEST_WAIT, pause: FIRST_PAUSE }
    }

    /// Takes a while, after which the projection is to be read again.
    ///
    /// # Errors
    /// [`ServiceError::PositionNotReached`] if there is no more time.
    pub async fn pause(&mut self) -> Result<(), ServiceError> {
        if Instant::now() + self.pause >= self.deadline {
            return Err(ServiceError::PositionNotReached);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

impl fmt::Display for PositionToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(self.incarnation.0.as_bytes());
        bytes[16..].copy_from_slice(&self.position.0.to_be_bytes());
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl Serialize for PositionToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PositionToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("is no position token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_knows_its_history() {
        let incarnation = Incarnation(Uuid::from_u128(7));
        let token = PositionToken { incarnation, position: Position(41) };
        assert_eq!(PositionToken::parse(&token.to_string()), Some(token));
        assert_eq!(token.is_reached(incarnation, Position(40)), Ok(false));
        assert_eq!(token.is_reached(incarnation, Position(41)), Ok(true));
        let other = Incarnation(Uuid::from_u128(8));
        assert_eq!(token.is_reached(other, Position(50)), Err(ServiceError::HistoryLost));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let negative = PositionToken { incarnation: Incarnation(Uuid::nil()), position: Position(-1) };
        for text in ["", "abc", "äöü", &negative.to_string(), &"A".repeat(33)] {
            assert_eq!(PositionToken::parse(text), None, "{text}");
        }
    }
}
