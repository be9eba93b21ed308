//! An unpaid lot: sign-up bonus, promotion, goodwill.

use crate::domain::{
    command::GrantCredits,
    decide::Draft,
    event::{CreditsGranted, GrantSource},
    follow_up::follow_up,
    ids::LotId,
    rejection::Rejection,
};

/// The last priority there is.
pub(super) const LAST_PRIORITY: u8 = 100;

/// Checks, in this order: the account exists, is not closed, is not frozen; the unit; the priority; the expiry; the
/// number of lots; the sum.
pub(super) fn decide(draft: &mut Draft<'_>, command: &GrantCredits) -> Result<(), Rejection> {
    let account = draft.touch_if_open(&command.account)?;
    draft.check_unit(&command.unit)?;
    if command.priority > LAST_PRIORITY {
        return Err(Rejection::InvalidConfiguration { field: "priority", problem: "must be 0 to 100" });
    }
    if command.expires_at.is_some_and(|expires_at| expires_at <= draft.context().now) {
        return Err(Rejection::ExpiryNotInFuture);
    }
    draft.check_lots(account, &command.unit, 1)?;
    draft.check_room(account, &command.unit, command.amount)?;
    // Point of no return.
    let granted = CreditsGranted {
        lot: LotId::new(draft.next_position(), 0, &draft.context().seed),
        source: GrantSource::Requested,
        granted: command.amount.get(),
        expires_at: command.expires_at,
        priority: command.priority,
    };
    draft.emit_noted(Some(account), Some(&command.unit), granted, &command.note);
    follow_up(draft, account);
    Ok(())
}
