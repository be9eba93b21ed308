//! What it means that a call did not succeed: whether Stripe said no, did nothing, or may have done it.
//!
//! Invariants:
//! - a class says what may be done next, a cause says why; nobody needs a status code to decide;
//! - "unknown" is the answer wherever something may have happened: whoever gets it looks before repeating;
//! - Stripe's own words may quote what a person typed, so they are in no `Display` and no `Debug` output, only in
//!   [`CallError::message`], for people who may see such things.

use std::{fmt, time::Duration};

use serde_json::Value;

use super::answer::Answer;
use crate::stripe::fields::Fields;

/// The longest message of Stripe's that is kept, in characters.
const LONGEST_MESSAGE: usize = 500;
/// The longest code, parameter or request id that is kept, in characters.
const LONGEST_TOKEN: usize = 128;

/// A call that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// What may be done next.
    pub class: CallClass,
    /// Why.
    pub cause: CallCause,
}

/// What may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallClass {
    /// Stripe refuses. The same again would be refused again.
    Permanent,
    /// Nothing was done. The same again, with the same key, may succeed.
    Retry {
        /// How long Stripe asks to wait.
        after: Option<Duration>,
    },
    /// It may have been done or not: look before anything is repeated.
    Unknown {
        /// How long Stripe asks to wait.
        after: Option<Duration>,
    },
}

impl CallClass {
    /// A stable name for lists and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Retry { .. } => "retry",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallCause {
    /// Stripe answered with an error of its own.
    Refused(Box<Refusal>),
    /// Something that is not Stripe answered with an error: a gateway, a proxy, a page of HTML.
    NotStripe {
        /// The status of the answer.
        status: u16,
    },
    /// The answer says success and cannot be read, or is not what was asked for.
    Garbled {
        /// What is wrong with it; quotes nothing.
        problem: String,
    },
    /// The answer is larger than any that makes sense.
    TooLarge,
    /// No connection came about, so nothing was sent.
    NotConnected,
    /// The connection ended before there was an answer.
    Lost,
    /// There was no answer in time.
    TimedOut,
    /// Too many calls wait already for their turn under the limit of rate; nothing was sent.
    Busy,
    /// What was looked for is not among so many objects, and there are more.
    TooMany,
}

/// What Stripe says when it refuses.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// Stripe's `type`, such as `invalid_request_error`.
    pub kind: String,
    /// Stripe's `code`, such as `resource_missing`.
    pub code: Option<String>,
    /// Why a bank declined.
    pub decline_code: Option<String>,
    /// The parameter that is wrong.
    pub param: Option<String>,
    /// The request as Stripe's dashboard lists it, `req_…`.
    pub request_id: Option<String>,
    /// Whether Stripe says that the same request is of no use, or of use.
    pub should_retry: Option<bool>,
    message: Option<String>,
}

impl Refusal {
    /// Reads the error of an answer; `None` if it is not in Stripe's form. `secret` is taken out of its words.
    pub(super) fn read(answer: &Answer, secret: &str) -> Option<Self> {
        let body: Value = serde_json::from_slice(&answer.body).ok()?;
        let error = Fields::of("", &body).ok()?.object("error").ok()??;
        let token = |name| error.text(name).ok().flatten().filter(|text| is_token(text)).map(str::to_owned);
        let message = error.text("message").ok().flatten();
        Some(Self {
            status: answer.status,
            kind: token("type")?,
            code: token("code"),
            decline_code: token("decline_code"),
            param: token("param"),
            request_id: answer.request_id.clone().filter(|id| is_token(id)),
            should_retry: answer.should_retry,
            message: message.map(|text| text.replace(secret, "…").chars().take(LONGEST_MESSAGE).collect()),
        })
    }
}

/// Whether a text is one of Stripe's names and not prose.
fn is_token(text: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte))
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Stripe refuses: {} {}", self.status, self.code.as_ref().unwrap_or(&self.kind))?;
        if let Some(decline_code) = &self.decline_code {
            write!(formatter, " ({decline_code})")?;
        }
        if let Some(param) = &self.param {
            write!(formatter, ", parameter `{param}`")?;
        }
        match &self.request_id {
            Some(id) => write!(formatter, ", request {id}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl CallError {
    /// A stable name of the cause, to group by: Stripe's own code where there is one.
    pub fn code(&self) -> &str {
        match &self.cause {
            CallCause::Refused(refusal) => refusal.code.as_ref().unwrap_or(&refusal.kind),
            CallCause::NotStripe { .. } => "not_stripe",
            CallCause::Garbled { .. } => "garbled_answer",
            CallCause::TooLarge => "answer_too_large",
            CallCause::NotConnected => "not_connected",
            CallCause::Lost => "connection_lost",
            CallCause::TimedOut => "timed_out",
            CallCause::Busy => "rate_limit_queue_full",
            CallCause::TooMany => "too_many_objects",
        }
    }

    /// The status of the answer, if there was one that says no.
    pub fn status(&self) -> Option<u16> {
        match &self.cause {
            CallCause::Refused(refusal) => Some(refusal.status),
            CallCause::NotStripe { status } => Some(*status),
            _ => None,
        }
    }

    /// Stripe's own words: for people who may see personal data, never for a log.
    pub fn message(&self) -> Option<&str> {
        match &self.cause {
            CallCause::Refused(refusal) => refusal.message.as_deref(),
            _ => None,
        }
    }

    /// The parameter that Stripe finds wrong.
    pub fn param(&self) -> Option<&str> {
        match &self.cause {
            CallCause::Refused(refusal) => refusal.param.as_deref(),
            _ => None,
        }
    }

    /// Whether Stripe says that there is no such object (in this mode).
    pub fn is_missing_object(&self) -> bool {
        matches!(&self.cause, CallCause::Refused(refusal) if refusal.code.as_deref() == Some("resource_missing"))
    }

    /// Whether Stripe knows the key of the request from a request with other parameters: an earlier attempt, made
    /// when something was different. Whether that one succeeded has to be looked up.
    pub fn is_key_reused(&self) -> bool {
        matches!(&self.cause, CallCause::Refused(refusal) if refusal.kind == IDEMPOTENCY_ERROR)
    }

    /// Whether the key of the request is of no use any more: Stripe keeps a failure under it and repeats it for at least a
    /// day, or has seen it with other parameters. If a look shows that nothing was made, another key has to be taken.
    pub fn is_key_spent(&self) -> bool {
        let is_kept = |refusal: &Refusal| refusal.status >= 500 && refusal.should_retry == Some(false);
        self.is_key_reused() || matches!(&self.cause, CallCause::Refused(refusal) if is_kept(refusal))
    }

    /// Whether the API key is wrong, was revoked, or may not do this.
    pub fn is_unauthorised(&self) -> bool {
        matches!(&self.cause, CallCause::Refused(refusal) if matches!(refusal.status, 401 | 403))
    }

    /// Whether the API key is good, and restricted so that it may not do this.
    pub fn is_forbidden(&self) -> bool {
        matches!(&self.cause, CallCause::Refused(refusal) if refusal.status == 403)
    }
}

/// Stripe's type of the error that a key was used before with other parameters.
pub(super) const IDEMPOTENCY_ERROR: &str = "idempotency_error";

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            CallCause::Refused(refusal) => fmt::Display::fmt(refusal, formatter),
            CallCause::NotStripe { status } => {
                write!(formatter, "something that is not Stripe answered with status {status}")
            }
            CallCause::Garbled { problem } => write!(formatter, "Stripe's answer cannot be used: {problem}"),
            CallCause::TooLarge => formatter.write_str("Stripe's answer is too large"),
            CallCause::NotConnected => formatter.write_str("Stripe cannot be reached; nothing was sent"),
            CallCause::Lost => formatter.write_str("the connection to Stripe ended before its answer"),
            CallCause::TimedOut => formatter.write_str("Stripe did not answer in time"),
            CallCause::Busy => {
                formatter.write_str("too many calls wait for their turn at Stripe; nothing was sent")
            }
            CallCause::TooMany => {
                formatter.write_str("Stripe has too many objects to look through; it is not among the first")
            }
        }
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Refusal> {
        let answer = Answer {
            status: 400,
            request_id: Some("req_1".to_owned()),
            should_retry: None,
            retry_after: None,
            body: body.as_bytes().to_vec(),
        };
        Refusal::read(&answer, "sk_test_secret")
    }

    #[test]
    fn an_error_of_stripes_is_read_and_its_words_kept_apart() {
        let body = r#"{"error":{"type":"invalid_request_error","code":"resource_missing","param":"line_items[0][price]",
                       "message":"No such customer: 'ada@example.com' for sk_test_secret"}}"#;
        let refusal = read(body).expect("an error");
        let error = CallError { class: CallClass::Permanent, cause: CallCause::Refused(Box::new(refusal)) };
        let expected =
            "Stripe refuses: 400 resource_missing, parameter `line_items[0][price]`, request req_1";
        assert_eq!(error.to_string(), expected);
        assert!(!format!("{error:?}").contains("example.com"));
        assert_eq!(error.message(), Some("No such customer: 'ada@example.com' for …"));
        assert_eq!((error.code(), error.status()), ("resource_missing", Some(400)));
        assert!(error.is_missing_object() && !error.is_key_reused() && !error.is_unauthorised());
    }

    #[test]
    fn what_is_not_in_stripes_form_is_not_stripes() {
        for body in
            ["", "<html>502</html>", "[]", "{}", r#"{"error":"no"}"#, r#"{"error":{"message":"no type"}}"#]
        {
            assert_eq!(read(body), None, "{body}");
        }
    }

    #[test]
    fn a_code_that_is_prose_is_left_out() {
        let refusal = read(r#"{"error":{"type":"api_error","code":"for ada@example.com","param":""}}"#);
        let refusal = refusal.expect("an error");
        assert_eq!((refusal.code, refusal.param), (None, None));
    }
}
