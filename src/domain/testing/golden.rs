//! The stored shapes of events, which must stay readable for ever.
//!
//! `tests/golden/events/<type>.v<version>.json` holds bodies as some release wrote them: together every field and every
//! variant. A file is never changed once it has been released; a new version of an event gets a new file. The files of
//! `tests/golden/canonical` hold whole events beside the bytes that are hashed of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde::Deserialize;
use serde_json::Value;

use crate::domain::{
    canonical::{canonical_bytes, event_hash, hex},
    event::{BalanceAfter, Event, EventBody, UnreadableEvent},
    ids::{AccountNumber, Actor, Key, LedgerSlug, Namespace, Position, Unit},
    time::Timestamp,
};

/// The names of all moves of a target.
pub const MOVES: [&str; 13] = [
    "own_taken",
    "own_returned",
    "own_clawed",
    "own_unclawed",
    "absorbed",
    "unabsorbed",
    "other_taken",
    "other_returned",
    "debt_made",
    "debt_cancelled",
    "settlement_returned",
    "written_off",
    "write_off_undone",
];

/// Every file of a folder under `tests/golden`, by name.
fn golden_files(folder: &str) -> BTreeMap<String, String> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", folder].iter().collect();
    let entries = fs::read_dir(&path).expect("the golden files are there");
    let files = entries.map(|entry| {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("a readable file"))
    });
    files.collect()
}

/// The event type, its version and the bodies of a golden file.
fn golden_bodies(name: &str, text: &str) -> (String, i16, Vec<Value>) {
    let stem = name.strip_suffix(".json").expect("a JSON file");
    let (type_name, version) = stem.rsplit_once(".v").expect("<type>.v<version>.json");
    let bodies = serde_json::from_str(text).expect("a list of bodies");
    (type_name.to_owned(), version.parse().expect("a version"), bodies)
}

#[test]
fn every_event_type_that_is_written_has_a_golden_file() {
    let files = golden_files("events");
    for (type_name, version) in EventBody::TYPES {
        let name = format!("{type_name}.v{version}.json");
        let (_, _, bodies) = golden_bodies(&name, files.get(&name).expect(&name));
        assert!(!bodies.is_empty(), "{name}");
    }
}

#[test]
fn every_golden_body_is_read_and_written_again_as_it_was() {
    for (name, text) in golden_files("events") {
        let (type_name, version, bodies) = golden_bodies(&name, &text);
        for body in bodies {
            let stored = body.to_string();
            let read = EventBody::parse(&type_name, version, &stored);
            let read = read.unwrap_or_else(|error| panic!("{name}: {error}: {stored}"));
            // Of its own version too, or the sealed bytes of an old event would be others.
            assert_eq!((read.type_name(), read.version()), (type_name.as_str(), version), "{name}: {stored}");
            assert_eq!(read.to_json().expect("serialises"), stored, "{name}");
        }
    }
}

#[test]
fn a_body_with_a_field_too_many_or_too_few_is_not_read() {
    for (name, text) in golden_files("events") {
        let (type_name, version, bodies) = golden_bodies(&name, &text);
        let mut body = bodies.into_iter().next_back().expect("a body");
        let fields = body.as_object_mut().expect("a body is an object");
        let is_optional = |value: &Value| value.is_null();
        let needed = fields.iter().find(|(_, value)| !is_optional(value)).map(|(name, _)| name.clone());
        let mut variants = vec![Value::from(fields.clone())];
        variants[0]["surplus"] = Value::from(1);
        if let Some(needed) = needed {
            fields.remove(&needed);
            variants.push(body);
        }
        for variant in variants {
            let error = EventBody::parse(&type_name, version, &variant.to_string());
            assert!(matches!(error, Err(UnreadableEvent::Malformed { .. })), "{name}: {variant}");
        }
    }
}

#[test]
fn an_event_of_a_later_version_is_told_from_a_broken_one() {
    let error = EventBody::parse("credits.spent", 999, "{}").expect_err("not known");
    assert_eq!(error.to_string(), "event type credits.spent version 999 is not known to this version");
    let error = EventBody::parse("credits.borrowed", 1, "{}").expect_err("not known");
    assert_eq!(error, UnreadableEvent::Unknown { type_name: "credits.borrowed".into(), version: 1 });
    let error = EventBody::parse("credits.spent", 1, "{}").expect_err("broken").to_string();
    assert!(
        error.starts_with("event of type credits.spent version 1 is malformed: missing field"),
        "{error}"
    );
}

#[test]
fn the_golden_bodies_hold_every_move_and_every_status() {
    let files = golden_files("events");
    let mut seen = BTreeSet::new();
    for text in files.values() {
        collect_words(&serde_json::from_str(text).expect("JSON"), &mut seen);
    }
    let statuses = ["pending", "succeeded", "failed", "cancelled", "inquiry", "open", "won", "lost"];
    for word in MOVES.iter().chain(&statuses) {
        assert!(seen.contains(*word), "no golden body has `{word}`");
    }
}

fn collect_words(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            words.insert(text.clone());
        }
        Value::Array(values) => values.iter().for_each(|value| collect_words(value, words)),
        Value::Object(fields) => fields.values().for_each(|value| collect_words(value, words)),
        _ => {}
    }
}

/// A whole event and what is hashed of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    ledger: String,
    position: i64,
    command: i64,
    account: Option<i64>,
    unit: Option<String>,
    amount: i64,
    balance: Option<BalanceAfter>,
    recorded_at: Timestamp,
    effective_at: Option<Timestamp>,
    actor: String,
    key: Option<(Namespace, String)>,
    note_hash: Option<[u8; 32]>,
    #[serde(rename = "type")]
    type_name: String,
    version: i16,
    body: Value,
    /// The canonical bytes, as text.
    canonical: String,
    /// SHA-256 over them, in hexadecimal digits.
    hash: String,
}

impl Vector {
    fn event(&self) -> Event {
        let body = EventBody::parse(&self.type_name, self.version, &self.body.to_string());
        Event {
            position: Position(self.position),
            command: Position(self.command),
            account: self.account.map(AccountNumber),
            unit: self.unit.as_deref().map(|unit| Unit::parse(unit).expect("a unit")),
            amount: self.amount,
            balance: self.balance,
            recorded_at: self.recorded_at,
            effective_at: self.effective_at,
            actor: Actor::parse(&self.actor).expect("an actor"),
            key: self.key.as_ref().map(|(namespace, text)| Key::new(*namespace, text).expect("a key")),
            note_hash: self.note_hash,
            body: body.expect("a body"),
        }
    }
}

#[test]
fn the_bytes_that_are_hashed_never_change() {
    let files = golden_files("canonical");
    assert!(!files.is_empty());
    for (name, text) in files {
        let vector: Vector = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let ledger = LedgerSlug::parse(&vector.ledger).expect("a slug");
        let event = vector.event();
        let bytes = canonical_bytes(&ledger, &event).expect("serialises");
        assert_eq!(String::from_utf8(bytes).expect("UTF-8"), vector.canonical, "{name}");
        assert_eq!(hex(&event_hash(&ledger, &event).expect("serialises")), vector.hash, "{name}");
    }
}
