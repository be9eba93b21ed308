//! Compares what the service says with what the events lead to. What it does not say, and what cannot be compared, is told.

use super::source::Service;
use crate::audit::memory::Range;
use crate::audit::record::read_line;
use crate::audit::verification::{Finding, Verified};

/// What came of a comparison with what the service says.
pub(super) enum Compared {
    /// So much is as it should be, or is among the findings.
    All(String),
    /// Not everything was compared.
    Not(&'static str),
}

/// Why nothing is compared with events that cannot be played.
pub(super) const NOT_REPLAYED: Compared = Compared::Not("not all events could be replayed");

impl Service {
    /// Plays the events up to a position that the service says it has told of. Those behind the head are not signed yet, but
    /// they have to follow from those before them. Says whether that could be done; if not, it is among the findings.
    pub(super) async fn play_up_to(&self, verified: &mut Verified, position: i64) -> anyhow::Result<bool> {
        if verified.replay.position() >= position {
            return Ok(true);
        }
        let ledger = super::ledger_of_origin(&verified.memory.origin)?;
        let mut lines = self.lines(verified.replay.position()).await?;
        while verified.replay.position() < position {
            let expected = verified.replay.position() + 1;
            let played = match lines.next().await? {
                None => Err(format!("the service told of events up to {position}, and there is none")),
                Some(line) => read_line(&ledger, &line).and_then(|record| {
                    if i64::try_from(record.position) != Ok(expected) {
                        return Err(format!("there is no event; the next one is at {}", record.position));
                    }
                    verified.replay.play(&record.event?)
                }),
            };
            if let Err(what) = played {
                let place = u64::try_from(expected).ok().map(|place| Range { first: place, last: place });
                verified.findings.push(Finding { place, what });
                verified.is_replayed = false;
                return Ok(false);
            }
        }
        Ok(true)
    }
}
