//! An event as an auditor gets it: one line of an export, in either of two forms.
//!
//! The canonical form is the very text that is sealed. The form of `GET /v1/events` says the same in a few other words,
//! and more: what is not sealed is left out, and what remains is brought into the canonical form.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::merkle::Hash;
use crate::domain::{
    Event, EventBody,
    event::BalanceAfter,
    ids::{AccountNumber, Actor, LedgerSlug, Position, Unit},
    time::Timestamp,
};

/// An event that was read from a line.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Its place.
    pub position: u64,
    /// The hash of the sealed bytes.
    pub leaf: Hash,
    /// What its account is called, if the line says so.
    pub account_name: Option<String>,
    /// The event, without its key, of which only a hash is sealed; or why this version cannot read it.
    pub event: Result<Event, String>,
}

/// The canonical form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    ledger: String,
    position: i64,
    command: i64,
    account: Option<i64>,
    #[serde(rename = "type")]
    type_name: String,
    version: i16,
    unit: Option<String>,
    amount: i64,
    balance_after: Option<i64>,
    held_after: Option<i64>,
    disputed_after: Option<i64>,
    recorded_at: Timestamp,
    effective_at: Option<Timestamp>,
    actor: String,
    key_hash: Option<String>,
    note_hash: Option<String>,
    body: Value,
}

/// Reads a line of the ledger's events.
///
/// # Errors
/// What is wrong with the line, for people: it is none of this ledger's events in either form.
pub fn read_line(ledger: &LedgerSlug, line: &str) -> Result<Record, String> {
    let mut fields: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| format!("the line is no JSON object: {error}"))?;
    let mut account_name = None;
    if !fields.contains_key("ledger") {
        account_name = fields.remove("account_id").and_then(|name| name.as_str().map(str::to_owned));
        fields.remove("request_id");
        if let Some(number) = fields.remove("account_number") {
            fields.insert("account".to_owned(), number);
        }
        fields.insert("ledger".to_owned(), ledger.as_str().into());
    }
    let fields = Value::Object(fields);
    let bytes = serde_json_canonicalizer::to_vec(&fields)
        .map_err(|error| format!("the line has no canonical form: {error}"))?;
    let leaf = Hash::of_leaf(&bytes);
    let fields: Fields =
        serde_json::from_value(fields).map_err(|error| format!("the line is no event: {error}"))?;
    if fields.ledger != ledger.as_str() {
        return Err(format!("the event is of the ledger {}, not of {ledger}", fields.ledger));
    }
    let position = u64::try_from(fields.position).map_err(|_| "the position is negative".to_owned())?;
    Ok(Record { position, leaf, account_name, event: fields.event() })
}

impl Fields {
    fn event(self) -> Result<Event, String> {
        let unit = self.unit.as_deref().map(Unit::parse).transpose().map_err(|_| "the unit is none")?;
        let balance = match (self.balance_after, self.held_after, self.disputed_after) {
            (Some(net), Some(held), Some(disputed)) => Some(BalanceAfter { net, held, disputed }),
            (None, None, None) => None,
            _ => return Err("only a part of the balance is told".to_owned()),
        };
        if balance.is_some() != unit.is_some() {
            return Err("there is a unit without a balance, or a balance without a unit".to_owned());
        }
        let is_hash = |hash: &Option<String>, digits| {
            hash.as_ref().is_none_or(|hash| {
                hash.len() == digits && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            })
        };
        if !is_hash(&self.key_hash, 32) || !is_hash(&self.note_hash, 64) {
            return Err("the hash of the key or of the note is none".to_owned());
        }
        let body = EventBody::parse(&self.type_name, self.version, &self.body.to_string());
        Ok(Event {
            position: Position(self.position),
            command: Position(self.command),
            account: self.account.map(AccountNumber),
            unit,
            amount: self.amount,
            balance,
            recorded_at: self.recorded_at,
            effective_at: self.effective_at,
            actor: Actor::parse(&self.actor).ok_or("the actor is none")?,
            key: None,
            note_hash: None,
            body: body.map_err(|error| error.to_string())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANONICAL: &str = r#"{"account":3,"actor":"operator","amount":-5,"balance_after":95,"body":{"x":1},"command":7,"disputed_after":0,"held_after":0,"key_hash":"00112233445566778899aabbccddeeff","ledger":"acme","position":7,"recorded_at":"2030-01-01T00:00:00Z","type":"credits.spent","unit":"credits","version":1}"#;
    const LISTED: &str = r#"{"position":7,"command":7,"type":"credits.spent","version":1,"account_id":"user-1","account_number":3,"unit":"credits","amount":-5,"balance_after":95,"held_after":0,"disputed_after":0,"recorded_at":"2030-01-01T00:00:00Z","actor":"operator","request_id":"r-1","key_hash":"00112233445566778899aabbccddeeff","body":{"x":1}}"#;

    fn ledger() -> LedgerSlug {
        LedgerSlug::parse("acme").expect("a slug")
    }

    #[test]
    fn both_forms_of_an_event_have_the_same_leaf_which_is_that_of_the_canonical_text() {
        let (canonical, listed) = (read_line(&ledger(), CANONICAL), read_line(&ledger(), LISTED));
        let (canonical, listed) = (canonical.expect("an event"), listed.expect("an event"));
        assert_eq!(canonical.leaf, Hash::of_leaf(CANONICAL.as_bytes()));
        assert_eq!(listed.leaf, canonical.leaf);
        assert_eq!((listed.position, listed.account_name.as_deref()), (7, Some("user-1")));
    }

    #[test]
    fn a_line_that_is_no_event_of_the_ledger_is_refused() {
        for line in ["", "[]", "{}", &CANONICAL.replace("acme", "other"), &CANONICAL.replace("7", "-7")] {
            assert!(read_line(&ledger(), line).is_err(), "{line}");
        }
        assert!(read_line(&ledger(), &CANONICAL.replace("\"amount\"", "\"sum\"")).is_err());
    }

    #[test]
    fn an_event_that_this_version_cannot_read_has_a_leaf_all_the_same() {
        let unknown = CANONICAL.replace("credits.spent", "credits.lent");
        let record = read_line(&ledger(), &unknown).expect("a line");
        assert_eq!(record.leaf, Hash::of_leaf(unknown.as_bytes()));
        let error = record.event.expect_err("unknown");
        assert!(error.contains("credits.lent"), "{error}");
    }
}
