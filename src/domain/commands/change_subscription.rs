//! A change of a subscription is asked of us. Nothing of the subscription changes by it: Stripe is asked, and tells.

use super::subscriptions::touch;
use crate::domain::{
    account::AccountStatus,
    command::{RequestSubscriptionChange, SettleSubscriptionChange},
    decide::Draft,
    event::{SubscriptionChangeRequested, SubscriptionChangeSettled},
    ids::SubscriptionChangeId,
    rejection::Rejection,
    subscription_change::ChangeOutcome,
};

/// Checks, in this order: the account exists, and is the subscription's; the subscription is known; the account is not
/// closed; the change itself; not too many are open.
pub(super) fn request(draft: &mut Draft<'_>, command: &RequestSubscriptionChange) -> Result<(), Rejection> {
    let (account, known) = touch(draft, &command.subscription, &command.subscriber)?;
    let known = known.ok_or(Rejection::SubscriptionNotFound)?;
    if draft.account(account).status == AccountStatus::Closed {
        return Err(Rejection::AccountClosed);
    }
    let change = command.change.resolve(known, &draft.base().catalogue)?;
    if !known.may_be_asked() {
        return Err(Rejection::TooManyChanges { subscription: known.id.clone() });
    }
    // Point of no return.
    let request = SubscriptionChangeId::new(draft.next_position(), 0, &draft.context().seed);
    let body = SubscriptionChangeRequested { subscription: known.id.clone(), request, change };
    draft.emit_noted(Some(account), None, body, &command.note);
    Ok(())
}

/// Checks, in this order: the account exists, and is the subscription's; the change was asked for, as far as that is
/// remembered. What became of it is told once.
pub(super) fn settle(draft: &mut Draft<'_>, command: &SettleSubscriptionChange) -> Result<(), Rejection> {
    let (account, known) = touch(draft, &command.subscription, &command.subscriber)?;
    let requested =
        known.and_then(|known| known.requests.iter().find(|request| request.id == command.request));
    let requested = requested.ok_or(Rejection::SubscriptionChangeNotFound { change: command.request })?;
    if requested.outcome.is_some() {
        draft.discard();
        return Ok(());
    }
    // Point of no return.
    let refusal = match command.outcome {
        ChangeOutcome::Made => None,
        ChangeOutcome::Refused(refusal) => Some(refusal),
    };
    let subscription = command.subscription.clone();
    let body = SubscriptionChangeSettled { subscription, request: command.request, refusal };
    draft.emit(Some(account), None, body);
    Ok(())
}
