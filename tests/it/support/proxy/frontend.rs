//! What a PostgreSQL client says, as far as finding its COMMIT and its prepared statements needs it.
//!
//! Protocol 3, without TLS: first untyped messages (length, code), then typed ones (type byte, length that counts
//! itself, body). A COMMIT is a simple query `Q`, or an execution `E` of a portal bound (`B`) to a statement that
//! was parsed (`P`) from one.

use std::collections::{HashMap, HashSet};

/// The state of one client's stream.
#[derive(Default)]
pub struct Frontend {
    started: bool,
    /// Bytes of a message whose end has not arrived.
    partial: Vec<u8>,
    /// The texts of prepared statements, by name.
    statements: HashMap<Vec<u8>, Vec<u8>>,
    commit_portals: HashSet<Vec<u8>>,
}

const STARTUP_VERSION: u32 = 3 << 16;

impl Frontend {
    /// Reads a burst. If it contains a COMMIT, says at which byte of the burst the message begins (0 if it began
    /// in an earlier burst).
    ///
    /// Where a prepared statement is to be executed with whose text `is_misnamed` agrees, another name is put in the place
    /// of the statement's, which the server does not know.
    pub fn find_commit(
        &mut self,
        burst: &mut [u8],
        mut is_misnamed: impl FnMut(&[u8]) -> bool,
    ) -> Option<usize> {
        let carried = self.partial.len();
        let mut stream = std::mem::take(&mut self.partial);
        stream.extend_from_slice(burst);
        let mut found = None;
        let mut at = 0;
        while let Some(length) = self.message_length(&stream[at..]) {
            let message = &stream[at..at + length];
            if self.is_commit(message) && found.is_none() {
                found = Some(at.saturating_sub(carried));
            }
            // One whose name has left with an earlier burst is executed as it is, and not counted.
            let name_at = self.bound(message).and_then(|(name_at, text)| {
                let name_at = (at + name_at).checked_sub(carried)?;
                is_misnamed(text).then_some(name_at)
            });
            if let Some(name_at) = name_at {
                burst[name_at] = b'?';
            }
            at += length;
        }
        self.partial = stream.split_off(at);
        found
    }

    /// The length of the first message, with its type byte, if all of it is there.
    fn message_length(&self, stream: &[u8]) -> Option<usize> {
        let prefix = usize::from(self.started);
        let length = stream.get(prefix..prefix + 4)?.try_into().ok()?;
        let length = prefix + usize::try_from(u32::from_be_bytes(length)).ok()?;
        (stream.len() >= length).then_some(length)
    }

    /// If a message binds a named statement: where in the message the name begins, and the statement's text.
    fn bound(&self, message: &[u8]) -> Option<(usize, &[u8])> {
        if !self.started || message[0] != b'B' {
            return None;
        }
        let mut fields = message[5..].split(|byte| *byte == 0);
        let (portal, name) = (fields.next()?, fields.next()?);
        let text = self.statements.get(name).filter(|_| !name.is_empty())?;
        Some((5 + portal.len() + 1, text))
    }

    fn is_commit(&mut self, message: &[u8]) -> bool {
        if !self.started {
            let code = message.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
            self.started = code.is_some_and(|code| (code & 0xffff_0000) == STARTUP_VERSION);
            return false;
        }
        let mut fields = message[5..].split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let mut field = || fields.next().unwrap_or_default();
        match message[0] {
            b'Q' => is_commit_text(&field()),
            b'P' => {
                let (name, text) = (field(), field());
                self.statements.insert(name, text);
                false
            }
            b'B' => {
                let (portal, statement) = (field(), field());
                if self.statements.get(&statement).is_some_and(|text| is_commit_text(text)) {
                    self.commit_portals.insert(portal);
                } else {
                    self.commit_portals.remove(&portal);
                }
                false
            }
            b'E' => self.commit_portals.contains(&field()),
            _ => false,
        }
    }
}

/// The last statement of a text counts: `INSERT …; COMMIT` commits as well.
fn is_commit_text(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_uppercase();
    let last = text.trim_end_matches([';', ' ', '\n']).rsplit(';').next().unwrap_or_default().trim();
    ["COMMIT", "COMMIT WORK", "COMMIT TRANSACTION", "END"].contains(&last)
}
