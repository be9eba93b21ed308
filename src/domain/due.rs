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
    while let Some((moment, due)) = next_due(draft, number) {
        draft.at(moment, |draft| match due {
            Due::Lapse(hold) => lapse(draft, number, hold),
            Due::Expiry(_, unit) => expire(draft, number, &unit, moment),
        });
    }
}

/// What follows when held credits are back in their lots: those of lots that have expired meanwhile expire at once, before
/// anything else is done with them; then the account comes to rest.
pub(super) fn credits_came_back(
    draft: &mut Draft<'_>,
    number: AccountNumber,
    unit: &Unit,
    returned: &[Draw],
) {
    let (book, moment) = (draft.book(number, unit), draft.moment());
    let lots = returned.iter().filter_map(|draw| book.lots.get(&draw.lot));
    let expired = lots.filter(|lot| lot.is_expired(moment));
    let lots: Vec<Draw> = expired.map(|lot| Draw { lot: lot.id, amount: lot.remaining }).collect();
    if !lots.is_empty() {
        draft.at(moment, |draft| draft.emit(Some(number), Some(unit), CreditsExpired { lots }));
    }
    follow_up(draft, number);
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
    let body = HoldReleased { hold, cause: ReleaseCause::Lapsed, returned: returned.clone() };
    draft.emit(Some(number), Some(&unit), body);
    credits_came_back(draft, number, &unit, &returned);
}

/// Expires all lots of the unit whose time ran out at that moment.
fn expire(draft: &mut Draft<'_>, number: AccountNumber, unit: &Unit, moment: Timestamp) {
    let book = draft.book(number, unit);
    let lots = book.lots.values().filter(|lot| lot.remaining > 0 && lot.expires_at == Some(moment));
    let lots = lots.map(|lot| Draw { lot: lot.id, amount: lot.remaining }).collect();
    draft.emit(Some(number), Some(unit), CreditsExpired { lots });
}
