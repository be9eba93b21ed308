//! What must hold of the events themselves: positions, commands, keys, notes, time and balances.

use std::collections::BTreeMap;

use super::findings::Findings;
use crate::domain::canonical::note_hash;
use crate::domain::ids::{Namespace, Position};
use crate::domain::time::Timestamp;
use crate::domain::{Event, EventBody};
use crate::store::verification::{Ends, EventPage, StoredEvent, StoredNote};

/// Checks events page by page, in order.
#[derive(Default)]
pub(super) struct EventChecker {
    position: i64,
    recorded_at: Timestamp,
    command: Option<OpenCommand>,
    commands: usize,
    keys: usize,
    notes: usize,
    erased_notes: usize,
    clock_ahead: i64,
    is_stuck: bool,
}

/// The command that the next event may belong to.
struct OpenCommand {
    first: Position,
    missing: i32,
}

impl EventChecker {
    /// The last position that was checked.
    pub(super) fn position(&self) -> i64 {
        self.position
    }

    /// Whether an event could not follow from those before it: what they lead to cannot be compared.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Checks the events after the last ones.
    pub(super) fn check(&mut self, page: &EventPage, findings: &mut Findings) {
        let mut notes: BTreeMap<i64, &StoredNote> =
            page.notes.iter().map(|note| (note.position, note)).collect();
        for stored in &page.events {
            self.check_gap(stored.position, findings);
            self.position = stored.position;
            let note = notes.remove(&stored.position);
            match &stored.event {
                Ok(event) => self.check_event(stored, event, note, findings),
                Err(error) => {
                    findings.position(stored.position, format!("the event cannot be read: {error}"))
                }
            }
        }
        self.check_gap(page.until + 1, findings);
        self.position = self.position.max(page.until);
        for position in notes.keys() {
            findings.position(*position, "there is a note, but no event");
        }
        for position in &page.shared_keys {
            findings.position(position.0, "another event has the same key");
        }
        for position in &page.wrong_balances {
            findings.position(position.0, "the balance is not the one before it plus the amount");
            findings.give_up();
        }
        if let Some(position) = page.stuck {
            findings.position(position.0, "it cannot follow from the events before it");
            self.is_stuck = true;
        }
    }

    /// All events are checked; the ledger ended so a moment later.
    pub(super) fn finish(&mut self, ends: &Ends, findings: &mut Findings) {
        self.end_command(findings);
        let ahead = ends.clock_ahead.unwrap_or_default();
        if ends.last == self.position && ahead != self.clock_ahead {
            findings
                .ledger(format!("the clock is {ahead} s ahead, by the events it is {} s", self.clock_ahead));
        }
    }

    /// What was checked, for people.
    pub(super) fn summary(&self) -> String {
        let Self { position, commands, keys, notes, erased_notes, .. } = self;
        format!(
            "positions 1 to {position} checked: {commands} commands, {keys} keys, {notes} notes \
             ({erased_notes} erased)"
        )
    }

    fn check_gap(&self, position: i64, findings: &mut Findings) {
        match position - self.position {
            ..=1 => {}
            2 => findings.position(position - 1, "there is no event"),
            _ => findings.position(self.position + 1, format!("there are no events up to {}", position - 1)),
        }
    }

    fn check_event(
        &mut self,
        stored: &StoredEvent,
        event: &Event,
        note: Option<&StoredNote>,
        findings: &mut Findings,
    ) {
        let position = stored.position;
        if event.recorded_at < self.recorded_at {
            findings.position(position, "it was recorded before the event before it");
        }
        self.recorded_at = event.recorded_at;
        if let EventBody::ClockAdvanced(advanced) = &event.body {
            self.clock_ahead += advanced.seconds;
            if advanced.ahead != self.clock_ahead {
                findings.position(position, "the clock is not as far ahead as it was moved");
            }
        }
        if matches!(event.body, EventBody::AccountOpened(_))
            && event.account.map(|account| account.0) != Some(position)
        {
            findings.position(position, "an account's number must be the position that it was opened at");
        }
        self.check_command(stored, event, findings);
        self.check_key(stored, event, findings);
        self.check_note(event, note, findings);
    }

    fn check_command(&mut self, stored: &StoredEvent, event: &Event, findings: &mut Findings) {
        if event.command == event.position {
            self.end_command(findings);
            self.commands += 1;
            let missing = stored.command_size.unwrap_or(0) - 1;
            self.command = Some(OpenCommand { first: event.command, missing });
            return;
        }
        match &mut self.command {
            Some(command) if command.first == event.command && command.missing > 0 => command.missing -= 1,
            _ => findings.position(stored.position, format!("it does not follow command {}", event.command)),
        }
    }

    fn end_command(&mut self, findings: &mut Findings) {
        if let Some(OpenCommand { first, missing }) = self.command.take()
            && missing != 0
        {
            findings.position(first.0, format!("the command lacks {missing} of its events"));
        }
    }

    fn check_key(&mut self, stored: &StoredEvent, event: &Event, findings: &mut Findings) {
        let Some(key) = &event.key else {
            if stored.key_hash.is_some() {
                findings.position(stored.position, "there is the hash of a key, but no key");
            }
            return;
        };
        self.keys += 1;
        if event.command != event.position {
            findings.position(stored.position, "a key stands on an event that is not its command's first");
        }
        if stored.key_hash.as_deref() != Some(&key.hash()) {
            findings.position(stored.position, "the hash of its key is not that of its key");
        }
        if key.namespace == Namespace::Client && !stored.has_fingerprint {
            findings.position(stored.position, "a client's key has no fingerprint of its request");
        }
    }

    fn check_note(&mut self, event: &Event, note: Option<&StoredNote>, findings: &mut Findings) {
        let position = event.position.0;
        match (event.note_hash, note) {
            (None, None) => {}
            (Some(_), None) => self.erased_notes += 1,
            (None, Some(_)) => findings.position(position, "there is a note that the event does not know"),
            (Some(hash), Some(note)) => {
                self.notes += 1;
                let salt = <[u8; 16]>::try_from(note.salt.as_slice());
                let found = salt.ok().zip(note.content.as_ref().ok());
                if found.map(|(salt, content)| note_hash(&salt, content)) != Some(hash) {
                    findings.position(position, "its note has been changed");
                }
            }
        }
    }
}

/// Checks that the head is where the events end.
pub(super) fn check_ends(ends: &Ends, findings: &mut Findings) {
    if ends.head != ends.last {
        findings.ledger(format!("the head is at {}, the last event at {}", ends.head, ends.last));
    } else if ends.last > 0 {
        if ends.last_batch != Some(ends.head_batch) {
            findings.position(ends.last, "the head does not belong to the batch of the last event");
        }
        if ends.last_recorded_at != Some(ends.head_recorded_at) {
            findings.position(ends.last, "the head's time is not that of the last event");
        }
    }
    if !ends.key_index_is_valid {
        findings.ledger("the unique index on keys is missing or not valid");
    }
}
