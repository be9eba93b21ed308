//! Keys: the same key with the same parameters gets the same answer for a day, whatever the answer was.
//!
//! As at Stripe, an answer is kept from the moment at which the request was carried out, an internal error included;
//! requests that were refused for their parameters or for a conflict leave the key free.

use serde_json::{Value, json};

use super::{
    answer::{Class, Failure, Rendered},
    store::Kind,
    world::Transaction,
};

/// How long answers are kept, in seconds.
pub(super) const KEPT_SECONDS: i64 = 24 * 3600;

/// What the longest key may have, in characters.
const LONGEST_KEY: usize = 255;

/// A request that has a key.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    pub key: String,
    /// Method, path and parameters, canonical.
    pub fingerprint: String,
}

/// What a key was used for.
pub(super) enum Known {
    Nothing,
    Answered { rendered: Rendered, original_request: String },
}

/// # Errors
/// If the key is no key.
pub(super) fn check(key: &str) -> Result<(), Failure> {
    if key.is_empty() || key.chars().count() > LONGEST_KEY {
        let message = format!(
            "The idempotency key provided in the Idempotency-Key header is too long: {} characters of at most {LONGEST_KEY}.",
            key.chars().count()
        );
        return Err(Failure::parameters(message));
    }
    Ok(())
}

/// Looks a key up.
///
/// # Errors
/// If it was used with other parameters.
pub(super) fn look_up(transaction: &Transaction<'_>, keyed: &Keyed) -> Result<Known, Failure> {
    let Some(known) = transaction.store.get(Kind::IdempotentRequest, &keyed.key) else {
        return Ok(Known::Nothing);
    };
    if known["fingerprint"] != keyed.fingerprint.as_str() {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '{}' if you meant to execute a different request.",
            keyed.key
        );
        return Err(Failure::new(Class::KeyReused, message));
    }
    let status = known["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
    let mut rendered = Rendered::replay(status, text(&known["body"]));
    rendered.should_retry = known["should_retry"].as_bool();
    Ok(Known::Answered { rendered, original_request: text(&known["request"]) })
}

/// Keeps an answer under its key.
pub(super) fn keep(transaction: &mut Transaction<'_>, keyed: &Keyed, rendered: &Rendered, request_id: &str) {
    let record = json!({
        "created": transaction.now(),
        "fingerprint": keyed.fingerprint,
        "status": rendered.status,
        "body": rendered.body,
        "should_retry": rendered.should_retry,
        "request": request_id,
    });
    transaction.store.put(Kind::IdempotentRequest, &keyed.key, record);
}

/// The key's first request has no answer yet.
pub(super) fn in_flight(key: &str) -> Failure {
    let message = format!(
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through): {key}. Please try again later."
    );
    Failure::new(Class::Conflict, message).code("idempotency_key_in_use")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
