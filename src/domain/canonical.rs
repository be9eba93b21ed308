//! The bytes of an event that are hashed: RFC 8785 JSON of its fields. Storage may change, these may not.

use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    command::Note,
    event::Event,
    ids::{LedgerSlug, Unit},
    time::Timestamp,
};

#[derive(Serialize)]
struct Fields<'a> {
    ledger: &'a LedgerSlug,
    position: i64,
    command: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<i64>,
    #[serde(rename = "type")]
    type_name: &'static str,
    version: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a Unit>,
    amount: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance_after: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_after: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disputed_after: Option<i64>,
    recorded_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_at: Option<Timestamp>,
    actor: String,
    /// Keys are a client's text: only their hash is sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note_hash: Option<String>,
    body: serde_json::Value,
}

/// The canonical bytes of an event of that ledger.
///
/// # Errors
/// None that an event of ours can cause; serde's signature asks for it.
pub fn canonical_bytes(ledger: &LedgerSlug, event: &Event) -> serde_json::Result<Vec<u8>> {
    let fields = Fields {
        ledger,
        position: event.position.0,
        command: event.command.0,
        account: event.account.map(|number| number.0),
        type_name: event.body.type_name(),
        version: event.body.version(),
        unit: event.unit.as_ref(),
        amount: event.amount,
        balance_after: event.balance.map(|balance| balance.net),
        held_after: event.balance.map(|balance| balance.held),
        disputed_after: event.balance.map(|balance| balance.disputed),
        recorded_at: event.recorded_at,
        effective_at: event.effective_at,
        actor: event.actor.to_string(),
        key_hash: event.key.as_ref().map(|key| hex(&key.hash())),
        note_hash: event.note_hash.as_ref().map(|hash| hex(hash)),
        body: serde_json::from_str(&event.body.to_json()?)?,
    };
    serde_json_canonicalizer::to_vec(&fields)
}

/// SHA-256 over the canonical bytes of an event.
///
/// # Errors
/// As [`canonical_bytes`].
pub fn event_hash(ledger: &LedgerSlug, event: &Event) -> serde_json::Result<[u8; 32]> {
    Ok(Sha256::digest(canonical_bytes(ledger, event)?).into())
}

/// SHA-256 over the salt and the RFC 8785 JSON of a note: what the event holds of its erasable part.
pub fn note_hash(salt: &[u8; 16], note: &Note) -> [u8; 32] {
    // A map of JSON values always serialises; an empty one stands in for the error that cannot be.
    let content = serde_json_canonicalizer::to_vec(note).unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(&content);
    hasher.finalize().into()
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}
