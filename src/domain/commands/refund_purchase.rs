//! A purchase that was paid outside of Stripe was refunded there; its credits follow.

use super::record_payment_fact::apply_fact;
use crate::domain::{
    account::AccountStatus,
    canonical::hex,
    command::RefundPurchase,
    decide::Draft,
    ids::{PaymentReference, StripeId},
    payment::{PaymentFact, RefundStatus},
    rejection::Rejection,
};

/// Checks, in this order: the purchase exists; was paid outside of Stripe; its account is not closed; so much is left of
/// the payment.
pub(super) fn decide(draft: &mut Draft<'_>, command: &RefundPurchase) -> Result<(), Rejection> {
    let purchase = draft.base().purchases.get(&command.purchase).ok_or(Rejection::PurchaseNotFound)?;
    let Some(reference @ PaymentReference::External(_)) = &purchase.payment else {
        return Err(Rejection::PurchasePaidThroughStripe { purchase: purchase.id });
    };
    draft.touch_payment(reference)?;
    if draft.account(purchase.account).status == AccountStatus::Closed {
        return Err(Rejection::AccountClosed);
    }
    let payment = draft.state.payments.get(reference).ok_or(Rejection::PurchaseNotFound)?;
    let refundable = (purchase.money.gross - payment.money_back(false).total).max(0);
    let requested = command.amount.map_or(refundable, |amount| amount.get());
    if requested > refundable || refundable == 0 {
        return Err(Rejection::RefundExceedsPayment { requested, refundable });
    }
    let name = format!("ext_{}", hex(&draft.context().seed.bytes(b"refund", draft.next_position(), 0)));
    let refund = StripeId::parse(&name)
        .map_err(|_| Rejection::InvalidConfiguration { field: "refund", problem: "cannot be named" })?;
    // Point of no return.
    let currency = purchase.money.currency;
    let (status, request) = (RefundStatus::Succeeded, None);
    let fact = PaymentFact::Refund { refund, status, amount: requested, currency, request };
    let first = draft.next_position();
    apply_fact(draft, reference, &fact);
    draft.note(first, &command.note);
    Ok(())
}
