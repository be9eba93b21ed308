//! What all row mappings share: reading values that the domain has types for.

use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use crate::domain::{event::UnreadableEvent, time::Timestamp};

/// A row that does not hold what this version expects.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// A column is missing or of another type.
    #[error(transparent)]
    Column(#[from] tokio_postgres::Error),
    /// A value is not valid.
    #[error("column {column} holds no valid {column}")]
    Value {
        /// Which column.
        column: &'static str,
    },
    /// State that cannot be read.
    #[error("the stored {what} cannot be read: {reason}")]
    State {
        /// Of which kind.
        what: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// Written by a newer version of the service.
    #[error("the stored {what} has version {found}, this version reads up to {known}")]
    Newer {
        /// State of which kind.
        what: &'static str,
        /// Its version.
        found: i16,
        /// The newest version that is known here.
        known: i16,
    },
    /// An event that cannot be read.
    #[error(transparent)]
    Event(#[from] UnreadableEvent),
}

impl RowError {
    /// Whether a newer version of the service wrote it.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Newer { .. } | Self::Event(UnreadableEvent::Unknown { .. }))
    }
}

/// The moment as the domain knows it.
///
/// # Errors
/// [`RowError::Value`] for a moment before 1970 or after 9999.
pub fn timestamp(moment: OffsetDateTime, column: &'static str) -> Result<Timestamp, RowError> {
    Timestamp::from_datetime(moment).ok_or(RowError::Value { column })
}

/// Reads stored state, given as JSON text, refusing that of newer versions before its shape is looked at.
///
/// # Errors
/// [`RowError::Newer`] or [`RowError::State`].
pub fn state<T: DeserializeOwned>(
    what: &'static str,
    found: i16,
    known: i16,
    json: &str,
) -> Result<T, RowError> {
    if found > known {
        return Err(RowError::Newer { what, found, known });
    }
    serde_json::from_str(json).map_err(|error| RowError::State { what, reason: error.to_string() })
}
