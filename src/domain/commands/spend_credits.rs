//! Credits are used: all or nothing (rule 5), in spending order (rule 4), the overdraft last.

use super::charge;
use crate::domain::{
    command::SpendCredits,
    decide::Draft,
    event::{CreditsSpent, DebtIncurred},
    ids::{DebtId, SpendId},
    rejection::Rejection,
};

/// Checks, in this order: the account exists, is not closed, is not frozen; the charge; that it is covered.
pub(super) fn decide(draft: &mut Draft<'_>, command: &SpendCredits) -> Result<(), Rejection> {
    let account = draft.touch_if_open(&command.account)?;
    let cost = charge::cost(draft, &command.charge)?;
    let book = draft.book(account, &cost.unit);
    let (required, spendable) = (cost.amount.get(), book.spendable());
    if required > spendable {
        let available = book.available;
        return Err(Rejection::InsufficientCredits { unit: cost.unit, available, spendable, required });
    }
    // Point of no return.
    let (position, seed) = (draft.next_position(), &draft.context().seed);
    let overdraft = (required > book.available)
        .then(|| DebtIncurred { debt: DebtId::new(position, 0, seed), amount: required - book.available });
    let spent = CreditsSpent {
        spend: SpendId::new(position, 0, seed),
        spent: required,
        feature: cost.feature,
        quantity: cost.quantity,
        draws: book.draw(required),
        overdraft,
    };
    draft.emit_noted(Some(account), Some(&cost.unit), spent, &command.note);
    Ok(())
}
