//! An operator puts credits in, or takes them out, and says why. Works while the account is frozen.

use crate::domain::{
    command::{AdjustCredits, Direction},
    decide::Draft,
    event::CreditsAdjusted,
    follow_up::follow_up,
    ids::LotId,
    rejection::Rejection,
};

/// Checks, in this order: the account exists, is not closed; the unit; for credits put in the number of lots and the sum,
/// for credits taken out that they are there (the overdraft is for spends alone).
pub(super) fn decide(draft: &mut Draft<'_>, command: &AdjustCredits) -> Result<(), Rejection> {
    let account = draft.touch_unless_closed(&command.account)?;
    draft.check_unit(&command.unit)?;
    let amount = command.amount.get();
    let book = draft.book(account, &command.unit);
    let adjusted = match command.direction {
        Direction::In => {
            draft.check_lots(account, &command.unit, 1)?;
            draft.check_room(account, &command.unit, command.amount)?;
            let lot = LotId::new(draft.next_position(), 0, &draft.context().seed);
            CreditsAdjusted { adjusted: amount, lot: Some(lot), draws: Vec::new() }
        }
        Direction::Out if amount > book.available => {
            return Err(Rejection::InsufficientCredits {
                unit: command.unit.clone(),
                available: book.available,
                spendable: book.available,
                required: amount,
            });
        }
        Direction::Out => CreditsAdjusted { adjusted: -amount, lot: None, draws: book.draw(amount) },
    };
    // Point of no return.
    draft.emit_noted(Some(account), Some(&command.unit), adjusted, &command.note);
    follow_up(draft, account);
    Ok(())
}
