//! What a PostgreSQL client says, as far as finding its COMMIT needs it.
//!
//! Protocol 3, without TLS: first untyped messages (length, code), then typed ones (type byte, length that counts
//! itself, body). A COMMIT is a simple query `Q`, or an execution `E` of a portal bound (`B`) to a statement that
//! was parsed (`P`) from one.

use std::collections::HashSet;

/// The state of one client's stream.
#[derive(Default)]
pub struct Frontend {
    started: bool,
    /// Bytes of a message whose end has not arrived.
    partial: Vec<u8>,
    commit_statements: HashSet<Vec<u8>>,
    commit_portals: HashSet<Vec<u8>>,
}

const STARTUP_VERSION: u32 = 3 << 16;

impl Frontend {
    /// Reads a burst. If it contains a COMMIT, says at which byte of the burst the message begins (0 if it began
    /// in an earlier burst).
    pub fn find_commit(&mut self, burst: &[u8]) -> Option<usize> {
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
                remember(&mut self.commit_statements, name, is_commit_text(&text));
                false
            }
            b'B' => {
                let (portal, statement) = (field(), field());
                let is_commit = self.commit_statements.contains(&statement);
                remember(&mut self.commit_portals, portal, is_commit);
                false
            }
            b'E' => self.commit_portals.contains(&field()),
            _ => false,
        }
    }
}

fn remember(set: &mut HashSet<Vec<u8>>, name: Vec<u8>, is_member: bool) {
    if is_member {
        set.insert(name);
    } else {
        set.remove(&name);
    }
}

/// The last statement of a text counts: `INSERT …; COMMIT` commits as well.
fn is_commit_text(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_uppercase();
    let last = text.trim_end_matches([';', ' ', '\n']).rsplit(';').next().unwrap_or_default().trim();
    ["COMMIT", "COMMIT WORK", "COMMIT TRANSACTION", "END"].contains(&last)
}
