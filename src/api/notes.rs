//! The erasable part of a command: what people and clients wrote beside it.

use serde_json::Value;

use super::wire::{Metadata, Reason, Reference};
use crate::domain::command::Note;

/// Reason and metadata as they are stored.
pub fn note(reason: Option<Reason>, metadata: Option<Metadata>) -> Note {
    note_with_reference(reason, None, metadata)
}

/// Reason, reference and metadata as they are stored.
pub fn note_with_reference(
    reason: Option<Reason>,
    reference: Option<Reference>,
    metadata: Option<Metadata>,
) -> Note {
    let reason = reason.map(|reason| ("reason", Value::String(reason.0)));
    let reference = reference.map(|reference| ("reference", Value::String(reference.0)));
    let metadata = metadata.map(Metadata::into_note).filter(|note| !note.is_empty());
    let metadata = metadata.map(|note| ("metadata", Value::Object(note)));
    let parts = [reason, reference, metadata].into_iter().flatten();
    parts.map(|(name, value)| (name.to_owned(), value)).collect()
}
