//! What a call that did not succeed means for the outbox.

use std::time::Duration;

use crate::{
    credentials::NoStripe,
    outbox::{Cause, Class, Looked, Performed},
    store::reads::ReadError,
    stripe::client::{CallCause, CallClass, CallError},
};

/// How long an effect waits for a key that a person has to give.
const WITHOUT_KEY: Duration = Duration::from_secs(30);

/// Why an effect could not be carried out, or looked for.
#[derive(Debug)]
pub(super) enum Failed {
    /// It has not happened, and may later.
    Later(Cause, Option<Duration>),
    /// It may have happened.
    Unknown(Cause, Option<Duration>),
    /// It has not happened, and a person must do something.
    Dead(Cause),
}

impl Failed {
    pub(super) fn performed(self) -> Performed {
        match self {
            Self::Later(cause, after) => Performed::Retry { cause, after },
            Self::Unknown(cause, after) => Performed::Unknown { cause, after },
            Self::Dead(cause) => Performed::Dead { cause },
        }
    }

    /// Nothing is changed by looking: whatever failed may be tried again.
    pub(super) fn looked(self) -> Looked {
        match self {
            Self::Later(cause, after) | Self::Unknown(cause, after) => Looked::Unclear { cause, after },
            Self::Dead(cause) => Looked::Dead { cause },
        }
    }
}

/// A cause with a code of ours.
pub(super) fn cause(class: Class, code: &str) -> Cause {
    Cause::new(class, code.to_owned())
}

impl From<NoStripe> for Failed {
    /// Nothing was sent: the effect waits until a person has given the key, or the database is back.
    fn from(error: NoStripe) -> Self {
        let class = if error.is_permanent() { Class::Configuration } else { Class::Ledger };
        Self::Later(cause(class, error.code()), error.is_permanent().then_some(WITHOUT_KEY))
    }
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Row(error) if !error.is_newer() => {
                tracing::error!(%error, "what an effect needs cannot be read");
                Self::Dead(cause(Class::Defect, "unreadable"))
            }
            _ => Self::Later(cause(Class::Ledger, "database_unavailable"), None),
        }
    }
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        let is_limited = matches!(&error.cause, CallCause::Busy) || error.status() == Some(429);
        match error.class {
            // An earlier attempt was made when something was different: what became of it has to be looked up.
            CallClass::Permanent if error.is_key_reused() => {
                Self::Unknown(cause(Class::Unclear, error.code()), None)
            }
            CallClass::Permanent if error.is_unauthorised() => {
                Self::Dead(cause(Class::Configuration, error.code()))
            }
            CallClass::Permanent => Self::Dead(cause(Class::Refused, error.code())),
            CallClass::Retry { after } if is_limited => {
                Self::Later(cause(Class::Limited, error.code()), after)
            }
            CallClass::Retry { after } => Self::Later(cause(Class::Unavailable, error.code()), after),
            CallClass::Unknown { after } => Self::Unknown(cause(Class::Unclear, error.code()), after),
        }
    }
}
