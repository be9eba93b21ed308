//! A test ledger's clock is moved on, so that a month can be tried in a minute (rule 2). It never goes back.

use crate::domain::{command::AdvanceClock, decide::Draft, event::ClockAdvanced, rejection::Rejection};

/// How many seconds ahead of the database's clock a ledger's can be: a hundred years of 365 days.
const FURTHEST: i64 = 100 * 365 * 86_400;

/// Checks, in this order: the ledger's clock can be moved at all; how far it would be ahead.
pub(super) fn decide(draft: &mut Draft<'_>, command: &AdvanceClock) -> Result<(), Rejection> {
    let ahead = draft.base().clock_ahead.ok_or(Rejection::ClockOfLiveLedger)?;
    let seconds = command.seconds.get();
    let ahead = ahead.whole_seconds() + seconds;
    if ahead > FURTHEST {
        let problem = "would bring the clock more than a hundred years ahead";
        return Err(Rejection::InvalidConfiguration { field: "seconds", problem });
    }
    // Point of no return.
    draft.emit(None, None, ClockAdvanced { seconds, ahead });
    Ok(())
}
