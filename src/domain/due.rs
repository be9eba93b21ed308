//! What follows from time alone (rule 3): holds lapse, lots expire. These are facts of time, not of the sweeper: whenever
//! an account is touched, everything due is applied first, in the order of its moments, so that it makes no difference
//! when the sweeper runs.

use super::{
    decide::Draft,
    event::{CreditsExpired, Draw, HoldReleased, ReleaseCause},
    follow_up::follow_up,
    ids::{AccountNumber, HoldId, Unit},
    time::Timestamp,
};

/// Something that has become due; the order of the variants is the order at one moment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Lapse(HoldId),
    Expiry(super::ids::LotId, Unit),
}

/// Writes down everything of the account that is due at the command's time.
pub(super) fn apply_due(draft: &mut Draft<'_>, number: AccountNumber) {
    apply_due_from(draft, number, Timestamp::default());
}

/// As [`apply_due`], for credits that came back just now: what of them had expired before expires at `floor`.
pub(super) fn apply_due_from(draft: &mut Draft<'_>, number: AccountNumber, floor: Timestamp) {
    let mut floor = floor;
    while let Some((moment, due)) = next_due(draft, number) {
        // Credits that a lapse gave back to a lot which had expired before it expire with the lapse, not before it.
        floor = floor.max(moment);
        draft.at(floor, |draft| {
            match due {
                Due::Lapse(hold) => lapse(draft, number, hold),
                Due::Expiry(_, unit) => expire(draft, number, &unit, moment),
            }
            follow_up(draft, number);
        });
    }
}

fn next_due(draft: &Draft<'_>, number: AccountNumber) -> Option<(Timestamp, Due)> {
    let now = draft.context().now;
    let account = draft.account(number);
    let lapses = account.holds.values().map(|hold| (hold.lapses_at, Due::Lapse(hold.id)));
    let expiries = account.books.iter().flat_map(|(unit, book)| {
        let lots = book.lots.values().filter(|lot| lot.remaining > 0);
        lots.filter_map(move |lot| Some((lot.expires_at?, Due::Expiry(lot.id, unit.clone()))))
    });
    lapses.chain(expiries).filter(|(moment, _)| *moment <= now).min()
}

fn lapse(draft: &mut Draft<'_>, number: AccountNumber, hold: HoldId) {
    let Some(state) = draft.account(number).holds.get(&hold) else { return };
    let (unit, returned) = (state.unit.clone(), state.draws.clone());
    draft.emit(Some(number), Some(&unit), HoldReleased { hold, cause: ReleaseCause::Lapsed, returned });
}

/// Expires all lots of the unit whose time ran out at that moment.
fn expire(draft: &mut Draft<'_>, number: AccountNumber, unit: &Unit, moment: Timestamp) {
    let book = draft.book(number, unit);
    let lots = book.lots.values().filter(|lot| lot.remaining > 0 && lot.expires_at == Some(moment));
    let lots = lots.map(|lot| Draw { lot: lot.id, amount: lot.remaining }).collect();
    draft.emit(Some(number), Some(unit), CreditsExpired { lots });
}
