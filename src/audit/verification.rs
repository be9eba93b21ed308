//! Verifies a whole history, event by event, against a signed head and against what was seen before.

use std::collections::BTreeMap;

use super::{
    checkpoint::Checkpoint,
    memory::{Leaves, Memory, Range},
    merkle::{GrowingTree, Hash},
    record::read_line,
    replay::Replay,
};
use crate::domain::ids::{AccountNumber, LedgerSlug};

/// Something that is not as it has to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which events, if it can be told.
    pub place: Option<Range>,
    /// What is wrong, for people.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place {
            None => write!(formatter, "{}", self.what),
            Some(Range { first, last }) if first == last => {
                write!(formatter, "position {first}: {}", self.what)
            }
            Some(Range { first, last }) => write!(formatter, "positions {first} to {last}: {}", self.what),
        }
    }
}

/// A verification under way.
pub struct Verification {
    ledger: LedgerSlug,
    checkpoint: Checkpoint,
    memory: Option<Memory>,
    tree: GrowingTree,
    leaves: Leaves,
    /// The leaves behind the last whole block that is remembered.
    rest: Vec<Hash>,
    replay: Replay,
    names: BTreeMap<AccountNumber, String>,
    root_then: Option<Hash>,
    findings: Vec<Finding>,
    is_replaying: bool,
}

/// What a verification has come to.
pub struct Verified {
    /// The state that the events lead to.
    pub replay: Replay,
    /// Whether all events could be played.
    pub is_replayed: bool,
    /// What the lines called the accounts, where they said it; the last name of each.
    pub names: BTreeMap<AccountNumber, String>,
    /// What to remember, if nothing is wrong.
    pub memory: Memory,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// Of the events that this head covers.
    pub fn new(ledger: LedgerSlug, checkpoint: Checkpoint, memory: Option<Memory>) -> Self {
        Self {
            ledger,
            checkpoint,
            memory,
            tree: GrowingTree::default(),
            leaves: Leaves::default(),
            rest: Vec::new(),
            replay: Replay::default(),
            names: BTreeMap::new(),
            root_then: None,
            findings: Vec::new(),
            is_replaying: true,
        }
    }

    /// How many events have been taken in.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Whether all events are there that the head covers.
    pub fn is_complete(&self) -> bool {
        self.size() >= self.checkpoint.size
    }

    /// Takes in the next event and answers with its leaf.
    ///
    /// # Errors
    /// A finding after which nothing else can be told.
    pub fn take_in(&mut self, line: &str) -> Result<Hash, Finding> {
        let expected = self.size() + 1;
        let here = |what: String| Finding { place: Some(Range { first: expected, last: expected }), what };
        let record = read_line(&self.ledger, line).map_err(here)?;
        if record.position != expected {
            return Err(here(format!("there is no event; the next one is at {}", record.position)));
        }
        if let (Some(name), Ok(event)) = (record.account_name, &record.event)
            && let Some(number) = event.account
        {
            self.names.insert(number, name);
        }
        if self.is_replaying {
            let played = record.event.and_then(|event| self.replay.play(&event));
            if let Err(what) = played {
                self.is_replaying = false;
                self.findings.push(here(what));
            }
        }
        self.tree.push(record.leaf);
        // Tiles are of no use here.
        drop(self.tree.take_full());
        self.leaves.push(record.leaf);
        if let Some(memory) = &self.memory {
            let blocks = memory.leaves.blocks().len() as u64 * 256;
            if expected > blocks && expected <= memory.size {
                self.rest.push(record.leaf);
            }
            if expected == memory.size {
                self.root_then = Some(self.tree.root());
            }
        }
        Ok(record.leaf)
    }

    /// The hashes of blocks of 256 events.
    pub fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    /// Whether the events have the root that is signed.
    pub fn has_signed_root(&self) -> bool {
        self.tree.size() == self.checkpoint.size && self.tree.root() == self.checkpoint.root
    }

    /// Adds what was found elsewhere.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Compares with the head, and with what is remembered.
    pub fn finish(mut self) -> Verified {
        let Checkpoint { origin, size, root, .. } = &self.checkpoint;
        let (size, found) = (*size, self.tree.size());
        let mut same = 0;
        let mut different = None;
        if let Some(memory) = &self.memory {
            different = memory.leaves.first_difference(&self.leaves, &self.rest);
            if size < memory.size {
                let place = Some(Range { first: size + 1, last: memory.size });
                let what = "a head that was seen before covered these events, and this one does not".into();
                self.findings.push(Finding { place, what });
            } else if self.root_then.is_some_and(|root| root != memory.root) || different.is_some() {
                let what = "they were others when they were seen last: history was changed".into();
                self.findings.push(Finding { place: different, what });
            }
            if different.is_none() {
                same = memory.leaves.compared_with(&self.leaves);
            }
        }
        if found < size {
            let place = Some(Range { first: found + 1, last: size });
            self.findings
                .push(Finding { place, what: "the head covers these events, and they are not there".into() });
        } else if self.tree.root() != *root {
            // The place is no more than where to look: what names a position goes before it.
            let what = format!(
                "the events do not have the root that is signed over the first {size} of them: {}",
                where_to_look(different, same, size)
            );
            self.findings.push(Finding { place: None, what });
        }
        // The first position says most.
        self.findings.sort_by_key(|finding| finding.place.map_or(u64::MAX, |place| place.first));
        let memory = Memory { origin: origin.clone(), size, root: *root, leaves: self.leaves };
        Verified {
            replay: self.replay,
            is_replayed: self.is_replaying,
            names: self.names,
            memory,
            findings: self.findings,
        }
    }
}

/// Between which positions something is wrong, as closely as it can be told by what is remembered: a place that is another
/// one, or that the first `same` events are as they were.
fn where_to_look(different: Option<Range>, same: u64, size: u64) -> String {
    match different {
        Some(Range { first, last }) => format!("what is wrong lies between the positions {first} and {last}"),
        None if same >= size => {
            "they are those that were seen before, so it is the head that is another one".to_owned()
        }
        None if same > 0 => format!(
            "what is wrong lies between the positions {} and {size}, behind what was seen before",
            same + 1
        ),
        None => format!(
            "what is wrong lies between the positions 1 and {size}, and nothing is remembered that tells it more closely"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{canonical::canonical_bytes, testing::Harness};

    fn lines() -> (LedgerSlug, Vec<String>) {
        let ledger = LedgerSlug::parse("acme").expect("a slug");
        let bytes = Harness::new(1).events.into_iter().map(|mut event| {
            // Of a key only the hash is sealed; here it does not matter.
            event.key = None;
            let bytes = canonical_bytes(&ledger, &event).expect("bytes");
            String::from_utf8(bytes).expect("text")
        });
        let lines = bytes.collect();
        (ledger, lines)
    }

    fn head(lines: &[String]) -> Checkpoint {
        let mut tree = GrowingTree::default();
        lines.iter().for_each(|line| tree.push(Hash::of_leaf(line.as_bytes())));
        Checkpoint { origin: "log".into(), size: tree.size(), root: tree.root(), succeeds: None }
    }

    fn verified(lines: &[String], head: Checkpoint, memory: Option<Memory>) -> Verified {
        let (ledger, _) = self::lines();
        let mut verification = Verification::new(ledger, head, memory);
        for line in lines {
            if let Err(finding) = verification.take_in(line) {
                verification.add(finding);
                break;
            }
        }
        verification.finish()
    }

    fn words(verified: &Verified) -> Vec<String> {
        verified.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_history_that_nobody_touched_is_verified_and_goes_on_from_what_is_remembered() {
        let (_, lines) = lines();
        assert!(lines.len() > 5);
        let earlier = verified(&lines[..4], head(&lines[..4]), None);
        assert_eq!(words(&earlier), [""; 0]);
        let memory = serde_json::to_string(&earlier.memory).expect("a text");
        let memory = serde_json::from_str(&memory).expect("what it was");
        let later = verified(&lines, head(&lines), Some(memory));
        assert_eq!(words(&later), [""; 0]);
        assert!(later.is_replayed);
        assert_eq!(later.memory.size, lines.len() as u64);
    }

    #[test]
    fn changed_dropped_and_swapped_events_are_found_and_named() {
        let (_, lines) = lines();
        let signed = head(&lines);
        let mut dropped = lines.clone();
        dropped.remove(2);
        assert!(
            words(&verified(&dropped, signed.clone(), None))[0].starts_with("position 3: there is no event")
        );
        let mut swapped = lines.clone();
        swapped.swap(1, 2);
        assert!(
            words(&verified(&swapped, signed.clone(), None))[0].starts_with("position 2: there is no event")
        );
        let short = &lines[..lines.len() - 1];
        let last = lines.len();
        let expected = format!("position {last}: the head covers these events, and they are not there");
        assert_eq!(words(&verified(short, signed, None)), [expected]);
    }

    #[test]
    fn where_a_changed_event_has_to_be_looked_for_is_told_as_closely_as_what_is_remembered_allows() {
        let (_, lines) = lines();
        let (signed, size) = (head(&lines), lines.len());
        let changed_at = |place: usize| {
            let mut changed = lines.clone();
            changed[place - 1] = changed[place - 1].replacen("operator", "system", 1);
            assert_ne!(changed, lines);
            changed
        };
        let seen = |size: usize| Some(verified(&lines[..size], head(&lines[..size]), None).memory);
        for (place, memory, first, last) in [
            (4, None, 1, size),
            (4, seen(3), 4, size),
            (4, seen(2), 3, size),
            (4, seen(5), 4, 4),
            (4, seen(size), 4, 4),
        ] {
            let found = words(&verified(&changed_at(place), signed.clone(), memory));
            let between = format!("lies between the positions {first} and {last}");
            assert!(found.last().is_some_and(|last| last.contains(&between)), "{between}: {found:?}");
        }
        let other = Checkpoint { root: Hash::of_leaf(b"another"), ..signed };
        let found = words(&verified(&lines, other, seen(size)));
        assert!(found[0].ends_with("so it is the head that is another one"), "{found:?}");
    }

    #[test]
    fn a_rewritten_history_with_a_new_head_is_found_by_who_remembers_the_old_one() {
        let (_, lines) = lines();
        let before = verified(&lines, head(&lines), None).memory;
        let mut rewritten = lines.clone();
        rewritten[3] = rewritten[3].replacen("operator", "system", 1);
        assert_ne!(rewritten, lines);
        let found = words(&verified(&rewritten, head(&rewritten), Some(before.clone())));
        assert_eq!(found, ["position 4: they were others when they were seen last: history was changed"]);
        let short = &lines[..3];
        let found = words(&verified(short, head(short), Some(before)));
        assert!(found[0].starts_with("positions 4 to "), "{found:?}");
    }
}
