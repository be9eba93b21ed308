//! What an error of the database means for whoever sent the statement. Constraint names are not looked at: they do not
//! come back from every kind of server.

use tokio_postgres::{Error, error::SqlState};

/// What to do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorClass {
    /// The connection is gone, or its server cannot be written to: whether anything took effect is a question.
    Connection,
    /// Something is there already: look again and decide again.
    Conflict,
    /// Somebody was in the way: the same again may succeed.
    Retry,
    /// The server has no room or no time: nothing took effect.
    Resources,
    /// The values, or what stands in the database: the same again fails again.
    Data,
}

impl ErrorClass {
    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Conflict => "conflict",
            Self::Retry => "retry",
            Self::Resources => "resources",
            Self::Data => "data",
        }
    }
}

/// The SQLSTATE that our statements raise on purpose when a row is not as expected: a division by zero, since none of
/// them divides otherwise.
const FENCE: SqlState = SqlState::DIVISION_BY_ZERO;

/// The class of an error.
pub fn class_of(error: &Error) -> ErrorClass {
    let Some(state) = error.code() else {
        let is_about_values = std::error::Error::source(error)
            .is_some_and(|source| !source.is::<std::io::Error>() && !error.is_closed());
        return if is_about_values { ErrorClass::Data } else { ErrorClass::Connection };
    };
    if matches!(*state, SqlState::UNIQUE_VIOLATION | FENCE) {
        return ErrorClass::Conflict;
    }
    if matches!(*state, SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED) {
        return ErrorClass::Retry;
    }
    if matches!(*state, SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE) {
        return ErrorClass::Resources;
    }
    if *state == SqlState::READ_ONLY_SQL_TRANSACTION {
        return ErrorClass::Connection;
    }
    match &state.code()[..2] {
        // Connection exceptions, operator intervention (shutdowns), and time-outs of idle sessions.
        "08" | "57" | "25" => ErrorClass::Connection,
        // Resources, system errors.
        "53" | "58" => ErrorClass::Resources,
        _ => ErrorClass::Data,
    }
}

/// What may be logged of an error: its code and where it arose. The server's own words may quote what was written.
pub fn describe(error: &Error) -> String {
    let Some(cause) = error.as_db_error() else { return error.to_string() };
    let mut text = format!("SQLSTATE {}", cause.code().code());
    for (what, name) in [("table", cause.table()), ("constraint", cause.constraint())] {
        if let Some(name) = name {
            text.push_str(&format!(", {what} {name}"));
        }
    }
    text
}

/// What may be logged of an error and of what caused it, outermost first: as [`describe`] where the database speaks.
pub fn describe_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts = Vec::new();
    for cause in causes {
        match cause.downcast_ref::<Error>() {
            Some(refusal) => {
                texts.push(describe(refusal));
                break;
            }
            None => texts.push(cause.to_string()),
        }
    }
    texts.join(": ")
}
