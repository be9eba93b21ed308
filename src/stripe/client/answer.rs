//! Which class an answer of Stripe's is of.
//!
//! | answer | class |
//! | --- | --- |
//! | 2xx with the JSON object that was asked for | success |
//! | 429, from whomever | retry: a limit of rate is met before anything is done |
//! | any error with `Stripe-Should-Retry: true` | retry |
//! | an error of type `idempotency_error` | unknown: an earlier attempt had other parameters, and may have succeeded |
//! | 408, 424, 409 | retry; 409 with `Stripe-Should-Retry: false`: unknown |
//! | another 4xx in Stripe's form | permanent |
//! | 5xx in Stripe's form | retry; with `Stripe-Should-Retry: false`: unknown, since a repeat only replays it |
//! | 4xx in another form | retry: it was turned away before it reached Stripe |
//! | 5xx in another form | unknown: a gateway that lost its patience does not know what happened behind it |
//! | 2xx that cannot be read, 1xx, 3xx | unknown |
//! | no connection | retry: nothing was sent |
//! | lost connection, no answer in time | unknown |
//!
//! A call that only reads changes nothing, so what would be unknown may simply be tried again.

use std::time::Duration;

use serde_json::Value;

use super::error::{CallCause, CallClass, CallError, IDEMPOTENCY_ERROR, Refusal};
use crate::stripe::json;

/// An answer as it came.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) request_id: Option<String>,
    pub(super) should_retry: Option<bool>,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// What it means to a call that changes something, or to one that only reads. `secret` is kept out of errors.
    pub(super) fn judge(self, is_change: bool, secret: &str) -> Result<Value, CallError> {
        if (200..300).contains(&self.status) {
            let body = json::parse(&self.body).and_then(|value| {
                value.is_object().then_some(value).ok_or_else(|| "the body is not an object".to_owned())
            });
            return body.map_err(|problem| garbled(problem, is_change));
        }
        let refusal = Refusal::read(&self, secret);
        let class = self.class(refusal.as_ref());
        let cause = match refusal {
            Some(refusal) => CallCause::Refused(Box::new(refusal)),
            None => CallCause::NotStripe { status: self.status },
        };
        Err(CallError { class: of_call(class, is_change), cause })
    }

    fn class(&self, refusal: Option<&Refusal>) -> CallClass {
        let retry = CallClass::Retry { after: self.retry_after };
        let unknown = CallClass::Unknown { after: self.retry_after };
        if self.status == 429 || self.should_retry == Some(true) {
            return retry;
        }
        let is_final = self.should_retry == Some(false);
        match (refusal, self.status) {
            (Some(refusal), _) if refusal.kind == IDEMPOTENCY_ERROR && self.status != 409 => unknown,
            (Some(_), 409 | 500..=599) if is_final => unknown,
            (Some(_), 408 | 409 | 424 | 500..=599) | (None, 400..=499) => retry,
            (Some(_), 400..=499) => CallClass::Permanent,
            _ => unknown,
        }
    }
}

/// A success that cannot be used.
pub(super) fn garbled(problem: String, is_change: bool) -> CallError {
    doubtful(CallCause::Garbled { problem }, is_change)
}

/// Something that leaves open what happened.
pub(super) fn doubtful(cause: CallCause, is_change: bool) -> CallError {
    CallError { class: of_call(CallClass::Unknown { after: None }, is_change), cause }
}

fn of_call(class: CallClass, is_change: bool) -> CallClass {
    match class {
        CallClass::Unknown { after } if !is_change => CallClass::Retry { after },
        class => class,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: CallClass = CallClass::Retry { after: None };
    const UNKNOWN: CallClass = CallClass::Unknown { after: None };

    fn stripes(kind: &str) -> Vec<u8> {
        format!(r#"{{"error":{{"type":"{kind}","message":"no"}}}}"#).into_bytes()
    }

    fn class(status: u16, should_retry: Option<bool>, body: Vec<u8>, is_change: bool) -> Option<CallClass> {
        let answer = Answer { status, request_id: None, should_retry, retry_after: None, body };
        answer.judge(is_change, "secret").err().map(|error| error.class)
    }

    #[test]
    fn every_answer_in_stripes_form_has_its_class() {
        let permanent = Some(CallClass::Permanent);
        let table = [
            (400, None, permanent),
            (400, Some(false), permanent),
            (400, Some(true), Some(RETRY)),
            (401, None, permanent),
            (402, Some(false), permanent),
            (403, None, permanent),
            (404, None, permanent),
            (408, None, Some(RETRY)),
            (409, None, Some(RETRY)),
            (409, Some(true), Some(RETRY)),
            (409, Some(false), Some(UNKNOWN)),
            (424, None, Some(RETRY)),
            (429, None, Some(RETRY)),
            (429, Some(false), Some(RETRY)),
            (500, None, Some(RETRY)),
            (500, Some(true), Some(RETRY)),
            (500, Some(false), Some(UNKNOWN)),
            (503, None, Some(RETRY)),
            (302, None, Some(UNKNOWN)),
        ];
        for (status, should_retry, expected) in table {
            let found = class(status, should_retry, stripes("api_error"), true);
            assert_eq!(found, expected, "{status} {should_retry:?}");
        }
        assert_eq!(class(400, None, stripes(IDEMPOTENCY_ERROR), true), Some(UNKNOWN));
        assert_eq!(class(409, None, stripes(IDEMPOTENCY_ERROR), true), Some(RETRY));
    }

    #[test]
    fn answers_of_others_say_less() {
        let html = || b"<html><h1>502 Bad Gateway</h1></html>".to_vec();
        for status in [500, 502, 503, 504, 301] {
            assert_eq!(class(status, None, html(), true), Some(UNKNOWN), "{status}");
        }
        for status in [400, 403, 404, 407, 413, 429] {
            assert_eq!(class(status, None, html(), true), Some(RETRY), "{status}");
        }
        for body in [html(), Vec::new(), b"[]".to_vec(), br#"{"id":1,"id":2}"#.to_vec()] {
            assert_eq!(class(200, None, body, true), Some(UNKNOWN));
        }
    }

    #[test]
    fn a_call_that_only_reads_leaves_nothing_unknown() {
        for (status, should_retry) in [(500, Some(false)), (502, None), (409, Some(false))] {
            assert_eq!(class(status, should_retry, stripes("api_error"), false), Some(RETRY), "{status}");
        }
        assert_eq!(class(502, None, b"<html>".to_vec(), false), Some(RETRY));
        assert_eq!(class(200, None, b"<html>".to_vec(), false), Some(RETRY));
        assert_eq!(class(404, None, stripes("invalid_request_error"), false), Some(CallClass::Permanent));
    }

    #[test]
    fn how_long_to_wait_is_passed_on() {
        let after = Some(Duration::from_secs(7));
        let answer =
            |status, body| Answer { status, request_id: None, should_retry: None, retry_after: after, body };
        let error = answer(429, Vec::new()).judge(true, "secret").expect_err("no success");
        assert_eq!(error.class, CallClass::Retry { after });
        let error = answer(503, Vec::new()).judge(true, "secret").expect_err("no success");
        assert_eq!(error.class, CallClass::Unknown { after });
    }
}
