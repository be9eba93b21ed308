//! What carries effects out, as the engine sees it: [`Perform`].

use std::{borrow::Cow, future::Future, time::Duration};

use crate::domain::{
    Command,
    effects::Effect,
    ids::{Actor, EffectId, Key, LedgerId, Position},
    time::Timestamp,
};

/// An effect that is to be carried out now.
#[derive(Clone, PartialEq, Debug)]
pub struct Ordered {
    /// Its id: the idempotency key of every call that carries it out, and the mark on everything that it makes.
    pub id: EffectId,
    /// The ledger that it is of.
    pub ledger: LedgerId,
    /// The event that ordered it.
    pub position: Position,
    /// What is to be done.
    pub effect: Effect,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// Which attempt this is, as far as attempts are on record: 1, 2, 3 …
    pub attempt: u32,
}

/// Whoever carries effects out. The engine sees to it that effects of one key come one after the other and none is
/// forgotten; it may hand out the same effect more than once, so whatever is done must be the same done twice.
///
/// An implementation writes `async fn` for both methods.
pub trait Perform: Send + Sync + 'static {
    /// Who will be asked, out of a small fixed set: the name that a circuit breaker, causes of death and metrics go by.
    fn destination(&self, ordered: &Ordered) -> &'static str;

    /// Does it. No transaction is open meanwhile, and it may take its time up to [`super::OutboxSettings::attempt_limit`].
    fn perform(&self, ordered: &Ordered) -> impl Future<Output = Performed> + Send;

    /// Finds out whether it has happened: before it is repeated after an unknown outcome, when it is too old to be
    /// repeated, and when a person has it tried again. Changes nothing outside.
    fn look(&self, ordered: &Ordered) -> impl Future<Output = Looked> + Send;
}

/// What came of an attempt.
#[derive(Clone, PartialEq, Debug)]
pub enum Performed {
    /// It has happened, or is known never to: either way the ledger is told, and then it is done.
    Done(Vec<Report>),
    /// It certainly has not happened, and may later.
    Retry {
        /// Why.
        cause: Cause,
        /// How long the destination wants to be left alone, if it said so.
        after: Option<Duration>,
    },
    /// It may have happened: it is looked for before it is repeated.
    Unknown {
        /// Why.
        cause: Cause,
        /// How long the destination wants to be left alone, if it said so.
        after: Option<Duration>,
    },
    /// It certainly has not happened, and will not before a person has done something.
    Dead {
        /// Why.
        cause: Cause,
    },
}

/// What looking found.
#[derive(Clone, PartialEq, Debug)]
pub enum Looked {
    /// It has happened: the ledger is told, and then it is done.
    Found(Vec<Report>),
    /// It has not happened. It is performed, unless it is too old for that.
    Absent,
    /// It cannot be said now: it is looked for again later.
    Unclear {
        /// Why.
        cause: Cause,
        /// How long the destination wants to be left alone, if it said so.
        after: Option<Duration>,
    },
    /// A person has to find out.
    Dead {
        /// Why.
        cause: Cause,
    },
}

/// A result, as the ledger is told it before the effect leaves the outbox.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// What the ledger is told.
    pub command: Command,
    /// What makes that happen once; `effect:<id>`, with `:2`, `:3` … for further ones, if absent. A fact that arrives by
    /// other ways as well has a key of its own.
    pub key: Option<Key>,
    /// Who says so.
    pub actor: Actor,
}

impl Report {
    /// A result that nobody else reports.
    pub fn of(command: Command) -> Self {
        Self { command, key: None, actor: Actor::System }
    }

    /// A fact that is known under a key of its own, whoever reports it.
    pub fn of_fact(command: Command, key: Key, actor: Actor) -> Self {
        Self { command, key: Some(key), actor }
    }
}

/// Why something did not succeed, in words for programs: never free text, never anything of a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// What kind of failure.
    pub class: Class,
    code: Cow<'static, str>,
}

/// Kinds of failures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The destination understood and declined.
    Refused,
    /// The destination is away or broken. Counts for the circuit breaker.
    Unavailable,
    /// The destination wants less of us.
    Limited,
    /// Nobody knows what the destination did. Counts for the circuit breaker.
    Unclear,
    /// Something on our side is not set up: no key, a wrong key.
    Configuration,
    /// The ledger did not take the result, or could not.
    Ledger,
    /// Too old to be repeated, and not found by looking.
    Expired,
    /// A defect of ours.
    Defect,
}

impl Class {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Limited => "limited",
            Self::Unclear => "unclear",
            Self::Configuration => "configuration",
            Self::Ledger => "ledger",
            Self::Expired => "expired",
            Self::Defect => "defect",
        }
    }
}

/// The longest code that is kept.
const LONGEST_CODE: usize = 64;

impl Cause {
    /// A cause. Of `code`, which groups what died of the same, only lower-case letters, digits and `_` stay.
    pub fn new(class: Class, code: impl Into<Cow<'static, str>>) -> Self {
        let code = code.into();
        let is_fine = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if (1..=LONGEST_CODE).contains(&code.len()) && code.bytes().all(is_fine) {
            return Self { class, code };
        }
        let told = code.chars().take(LONGEST_CODE).map(|character| match character.to_ascii_lowercase() {
            fine if u8::try_from(fine).is_ok_and(is_fine) => fine,
            _ => '_',
        });
        let told: String = told.collect();
        Self { class, code: if told.is_empty() { "unknown".into() } else { told.into() } }
    }

    /// Which failure.
    pub fn code(&self) -> &str {
        &self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_bounded_tokens_whatever_a_destination_says() {
        for (told, kept) in [
            ("resource_missing", "resource_missing"),
            ("HTTP 502", "http_502"),
            ("", "unknown"),
            ("é\n\"", "___"),
        ] {
            assert_eq!(Cause::new(Class::Refused, told).code(), kept);
        }
        assert_eq!(Cause::new(Class::Refused, "x".repeat(300)).code().len(), LONGEST_CODE);
    }
}
