//! Credits are set aside for a job of unknown cost, then used or given back (rule 6).

use super::charge;
use crate::domain::{
    account::{AccountStatus, Hold},
    command::{CaptureHold, PlaceHold, ReleaseHold},
    decide::Draft,
    due::credits_came_back,
    event::{CreditsHeld, Draw, HoldCaptured, HoldReleased, ReleaseCause},
    ids::{AccountNumber, HoldId},
    rejection::Rejection,
    time::Span,
};

/// A hold lapses after this at most.
const LONGEST_HOLD: Span = Span::days(7);
/// A hold lapses after this at least.
const SHORTEST_HOLD: Span = Span::seconds(1);

/// Checks, in this order: the account exists, is not closed, is not frozen; the charge; the lapse; that it is covered
/// without overdraft.
pub(super) fn place(draft: &mut Draft<'_>, command: &PlaceHold) -> Result<(), Rejection> {
    let account = draft.touch_if_open(&command.account)?;
    let cost = charge::cost(draft, &command.charge)?;
    if !(SHORTEST_HOLD..=LONGEST_HOLD).contains(&command.lapses_after) {
        return Err(Rejection::LapseOutOfRange);
    }
    let book = draft.book(account, &cost.unit);
    let (available, required) = (book.available, cost.amount.get());
    if required > available {
        return Err(Rejection::InsufficientCredits {
            unit: cost.unit,
            available,
            spendable: available,
            required,
        });
    }
    // Point of no return.
    let held = CreditsHeld {
        hold: HoldId::new(draft.next_position(), 0, &draft.context().seed),
        held: required,
        draws: book.draw(required),
        lapses_at: draft.context().now.plus(command.lapses_after),
    };
    draft.emit_noted(Some(account), Some(&cost.unit), held, &command.note);
    Ok(())
}

/// Checks, in this order: the hold exists; its account is not closed; it is open; that more than was held may be taken,
/// and is there.
pub(super) fn capture(draft: &mut Draft<'_>, command: &CaptureHold) -> Result<(), Rejection> {
    let (account, hold) = open_hold(draft, command.hold)?;
    let (captured, held) = (command.amount.get(), hold.amount());
    let excess = (captured - held).max(0);
    if excess > 0 && !command.allow_excess {
        return Err(Rejection::CaptureExceedsHold { captured, held });
    }
    let book = draft.book(account, &hold.unit);
    if excess > book.available {
        let available = book.available;
        let unit = hold.unit;
        return Err(Rejection::InsufficientCredits {
            unit,
            available,
            spendable: available,
            required: excess,
        });
    }
    // Point of no return.
    let (draws, returned) = split(&hold.draws, captured.min(held));
    let excess = book.draw(excess);
    let body = HoldCaptured { hold: hold.id, captured, draws, returned: returned.clone(), excess };
    draft.emit_noted(Some(account), Some(&hold.unit), body, &command.note);
    credits_came_back(draft, account, &hold.unit, &returned);
    Ok(())
}

/// Checks, in this order: the hold exists; its account is not closed; it is open.
pub(super) fn release(draft: &mut Draft<'_>, command: &ReleaseHold) -> Result<(), Rejection> {
    let (account, hold) = open_hold(draft, command.hold)?;
    // Point of no return.
    let returned = hold.draws.clone();
    let body = HoldReleased { hold: hold.id, cause: ReleaseCause::Requested, returned };
    draft.emit_noted(Some(account), Some(&hold.unit), body, &command.note);
    credits_came_back(draft, account, &hold.unit, &hold.draws);
    Ok(())
}

fn open_hold(draft: &mut Draft<'_>, hold: HoldId) -> Result<(AccountNumber, Hold), Rejection> {
    let account = draft.base().accounts_of_events.get(&hold.position()).copied();
    let account = account.ok_or(Rejection::HoldNotFound)?;
    draft.touch(account).map_err(|_| Rejection::HoldNotFound)?;
    let state = draft.account(account);
    if state.status == AccountStatus::Closed {
        return Err(Rejection::AccountClosed);
    }
    let open = state.holds.get(&hold).cloned();
    open.map(|open| (account, open)).ok_or(Rejection::HoldAlreadyResolved { hold })
}

/// The first draws that make up `amount`, and the rest.
fn split(draws: &[Draw], amount: i64) -> (Vec<Draw>, Vec<Draw>) {
    let (mut first, mut rest, mut left) = (Vec::new(), Vec::new(), amount);
    for draw in draws {
        let taken = left.min(draw.amount);
        left -= taken;
        if taken > 0 {
            first.push(Draw { lot: draw.lot, amount: taken });
        }
        if draw.amount > taken {
            rest.push(Draw { lot: draw.lot, amount: draw.amount - taken });
        }
    }
    (first, rest)
}
