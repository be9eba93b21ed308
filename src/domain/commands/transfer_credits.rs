//! Credits go from one account of the ledger to another. What was bought stays bought: each part keeps its purchase, its
//! share of the cost, its expiry and its priority, and takes a new place.

use crate::domain::{
    account::Book,
    command::TransferCredits,
    decide::Draft,
    event::{Draw, ReceivedLot, TransferReceived, TransferSent},
    follow_up::follow_up,
    ids::{LOTS_OF_EVENT, LotId, Position, Seed, TransferId},
    rejection::Rejection,
};

/// Checks, in this order: the sender exists, is not closed, is not frozen; the recipient likewise; that they are two; the
/// unit; that it is covered by what is available (neither what is held nor the overdraft takes part); the recipient's
/// number of lots and sum.
pub(super) fn decide(draft: &mut Draft<'_>, command: &TransferCredits) -> Result<(), Rejection> {
    let from = draft.touch_if_open(&command.from)?;
    let to = draft.touch_if_open(&command.to).map_err(of_recipient)?;
    if from == to {
        return Err(Rejection::TransferToItself);
    }
    draft.check_unit(&command.unit)?;
    let book = draft.book(from, &command.unit);
    let (available, required) = (book.available, command.amount.get());
    if required > available {
        let (unit, spendable) = (command.unit.clone(), available);
        return Err(Rejection::InsufficientCredits { unit, available, spendable, required });
    }
    let draws = book.draw(required);
    draft.check_lots(to, &command.unit, draws.len()).map_err(of_recipient)?;
    draft.check_room(to, &command.unit, command.amount)?;
    // Point of no return.
    let seed = draft.context().seed;
    let transfer = TransferId::new(draft.next_position(), 0, &seed);
    let first = draft.next_position();
    // What comes out of more lots than an event can make is written as several pairs of events.
    for draws in draws.chunks(LOTS_OF_EVENT) {
        let amount = draws.iter().map(|draw| draw.amount).sum();
        let sent = TransferSent { transfer, to, sent: amount, draws: draws.to_vec() };
        draft.emit(Some(from), Some(&command.unit), sent);
        let lots = received(&book, draws, draft.next_position(), &seed);
        let received = TransferReceived { transfer, from, received: amount, lots };
        draft.emit(Some(to), Some(&command.unit), received);
    }
    draft.note(first, &command.note);
    follow_up(draft, to);
    Ok(())
}

/// What the recipient gets for each draw on the sender's book as it was before.
fn received(book: &Book, draws: &[Draw], position: Position, seed: &Seed) -> Vec<ReceivedLot> {
    let lots = draws.iter().zip(0..=u8::MAX).map(|(draw, ordinal)| {
        let old = &book.lots[&draw.lot];
        ReceivedLot {
            lot: LotId::new(position, ordinal, seed),
            of: old.id,
            granted: draw.amount,
            purchase: old.purchase,
            cost: old.cost_of_moving(draw.amount),
            expires_at: old.expires_at,
            priority: old.priority,
        }
    });
    lots.collect()
}

/// The same rule, broken by the account that is to receive.
fn of_recipient(rejection: Rejection) -> Rejection {
    match rejection {
        Rejection::AccountNotFound => Rejection::RecipientNotFound,
        Rejection::AccountFrozen => Rejection::RecipientFrozen,
        Rejection::AccountClosed => Rejection::RecipientClosed,
        other => other,
    }
}
