//! What a payment bought becomes lots. What was reported of the payment before is applied in the same command.
//!
//! Whoever pays an order of ours gets what was sold with it, whatever has become of its price, and of the order, since.

use std::collections::BTreeMap;

use crate::domain::{
    account::AccountStatus,
    amount::{Amount, split_by_weights},
    clawback,
    command::{Bought, PaidThrough, RecordPurchase},
    decide::Draft,
    event::{CreditsGranted, CreditsPurchased, GrantSource, OrderPaid, PurchaseSource, TargetCause},
    evolve::DEFAULT_PRIORITY,
    follow_up::follow_up,
    ids::{AccountNumber, LotId, PaymentReference, PriceId, PurchaseId, StripeId, Unit},
    order::{Order, OrderStatus},
    rejection::Rejection,
    time::{Span, Timestamp},
};

use super::{orders::touch_order, record_payment_fact::freeze_if_disputed};

/// One lot to be made.
struct Grant {
    unit: Unit,
    amount: Amount,
    expires_at: Option<Timestamp>,
    priority: u8,
    share: i64,
}

/// Checks, in this order: the order exists, if there is one; the account exists, and is the one that ordered; what was
/// bought, and that it was ordered so; that the payment is not recorded for something else; for payments outside of Stripe
/// that the account is not closed, that something was paid, and the number of lots; the sums.
pub(super) fn decide(draft: &mut Draft<'_>, command: &RecordPurchase) -> Result<(), Rejection> {
    let order = command.order.map(|paid| touch_order(draft, paid.order).map(|order| (order, paid.subtotal)));
    let order = order.transpose()?;
    let account = buyer(draft, command, order.map(|(order, _)| order))?;
    draft.touch(account)?;
    let grants = match order {
        Some((order, subtotal)) => ordered(draft, order, subtotal, command)?,
        None => grants(draft, &command.bought)?,
    };
    let order = order.map(|(order, _)| order);
    let payment = match &command.paid_through {
        PaidThrough::CheckoutSession { payment_intent, .. } => {
            payment_intent.clone().map(PaymentReference::Stripe)
        }
        PaidThrough::External => None,
    };
    if let Some(reference) = &payment {
        draft.touch_payment(reference)?;
        if draft.state.payments.get(reference).is_some_and(|payment| !payment.purchases.is_empty()) {
            return Err(Rejection::PaymentContradicts {
                what: "it is recorded as having paid for another purchase",
            });
        }
    }
    if command.paid_through == PaidThrough::External {
        check_external(draft, account, command, &grants)?;
    }
    for grant in &grants {
        draft.check_room(account, &grant.unit, grant.amount)?;
    }
    // Point of no return.
    if command.money.gross == 0 {
        grant_unpaid(draft, account, command, order, &grants);
    } else {
        record_paid(draft, account, command, order, &grants, payment);
    }
    follow_up(draft, account);
    Ok(())
}

/// Who gets the credits. Who placed an order may have been erased since: the name is gone then, and the account is not.
fn buyer(
    draft: &Draft<'_>,
    command: &RecordPurchase,
    order: Option<&Order>,
) -> Result<AccountNumber, Rejection> {
    let named = draft.find_account(&command.account);
    let Some(order) = order else { return named };
    if named.is_ok_and(|named| named != order.account) {
        let what = "it was ordered for another account";
        return Err(Rejection::OrderContradicts { order: order.id, what });
    }
    Ok(order.account)
}

/// What was sold with the order, if what was paid for is what was ordered. Only the subtotal has to be the same:
/// discounts, tax and shipping change the total.
fn ordered(
    draft: &Draft<'_>,
    order: &Order,
    subtotal: i64,
    command: &RecordPurchase,
) -> Result<Vec<Grant>, Rejection> {
    let paid_for = command.bought.price.as_ref();
    let totals = order.sold.iter().map(|sold| (sold.unit.clone(), sold.amount)).collect();
    let differs = [
        (paid_for.is_some_and(|(price, _)| *price != order.price), "the price is another one"),
        (
            paid_for.is_some_and(|(_, quantity)| quantity.get() != order.quantity),
            "the quantity is another one",
        ),
        (
            !command.bought.totals.is_empty() && command.bought.totals != totals,
            "its credits are not what was sold",
        ),
        (command.money.currency != order.currency, "the currency is another one"),
        (subtotal != order.subtotal, "the subtotal is another one"),
    ];
    if let Some((_, what)) = differs.into_iter().find(|(differs, _)| *differs) {
        return Err(Rejection::OrderContradicts { order: order.id, what });
    }
    let now = draft.context().now;
    let grant = |sold: &crate::domain::order::SoldCredits| Grant {
        unit: sold.unit.clone(),
        amount: sold.amount,
        expires_at: sold.expires_days.map(|days| now.plus(Span::days(i64::from(days)))),
        priority: sold.priority,
        share: i64::from(sold.share),
    };
    Ok(order.sold.iter().map(grant).collect())
}

fn check_external(
    draft: &Draft<'_>,
    account: AccountNumber,
    command: &RecordPurchase,
    grants: &[Grant],
) -> Result<(), Rejection> {
    if draft.account(account).status == AccountStatus::Closed {
        return Err(Rejection::AccountClosed);
    }
    if command.money.gross == 0 {
        let problem = "must be positive; credits that nobody paid for are granted";
        return Err(Rejection::InvalidConfiguration { field: "money", problem });
    }
    grants.iter().try_for_each(|grant| draft.check_lots(account, &grant.unit, 1))
}

/// What is to be granted: by the price, by the totals, and if both are given, they must agree.
fn grants(draft: &Draft<'_>, bought: &Bought) -> Result<Vec<Grant>, Rejection> {
    let grants = match &bought.price {
        Some((price, quantity)) => {
            let known = draft.base().catalogue.prices.get(price);
            let known = known.ok_or_else(|| Rejection::UnknownPrice { price: price.clone() })?;
            let now = draft.context().now;
            let grant = |grant: &crate::domain::catalogue::PriceGrant| {
                let too_large = || Rejection::AmountTooLarge { unit: grant.unit.clone() };
                Ok(Grant {
                    unit: grant.unit.clone(),
                    amount: grant.amount.times(*quantity).ok_or_else(too_large)?,
                    expires_at: grant.expires_days.map(|days| now.plus(Span::days(i64::from(days)))),
                    priority: grant.priority,
                    share: i64::from(grant.share),
                })
            };
            known.grants.iter().map(grant).collect::<Result<Vec<_>, Rejection>>()?
        }
        None => {
            let grant = |(unit, amount): (&Unit, &Amount)| Grant {
                unit: unit.clone(),
                amount: *amount,
                expires_at: None,
                priority: DEFAULT_PRIORITY,
                share: 1,
            };
            bought.totals.iter().map(grant).collect()
        }
    };
    grants.iter().try_for_each(|grant| draft.check_unit(&grant.unit))?;
    let totals: BTreeMap<Unit, Amount> =
        grants.iter().map(|grant| (grant.unit.clone(), grant.amount)).collect();
    if grants.is_empty() {
        return Err(Rejection::PaymentContradicts { what: "it says nothing of what was bought" });
    }
    if !bought.totals.is_empty() && bought.totals != totals {
        return Err(Rejection::PaymentContradicts { what: "its credits are not what its price grants" });
    }
    Ok(grants)
}

/// Says that the order was paid by the session, which bought that.
fn pay_order(
    draft: &mut Draft<'_>,
    account: AccountNumber,
    order: Option<&Order>,
    session: &StripeId,
    purchase: Option<PurchaseId>,
) {
    if let Some(order) = order {
        let again = order.status == OrderStatus::Paid;
        let body = OrderPaid { order: order.id, session: session.clone(), purchase, again };
        draft.emit(Some(account), None, body);
    }
}

fn grant_unpaid(
    draft: &mut Draft<'_>,
    account: AccountNumber,
    command: &RecordPurchase,
    order: Option<&Order>,
    grants: &[Grant],
) {
    let PaidThrough::CheckoutSession { session, .. } = &command.paid_through else { return };
    for grant in grants {
        let body = CreditsGranted {
            lot: LotId::new(draft.next_position(), 0, &draft.context().seed),
            source: GrantSource::FreeCheckoutSession(session.clone()),
            granted: grant.amount.get(),
            expires_at: grant.expires_at,
            priority: grant.priority,
        };
        draft.emit_noted(Some(account), Some(&grant.unit), body, &command.note);
    }
    pay_order(draft, account, order, session, None);
}

fn record_paid(
    draft: &mut Draft<'_>,
    account: AccountNumber,
    command: &RecordPurchase,
    order: Option<&Order>,
    grants: &[Grant],
    payment: Option<PaymentReference>,
) {
    let purchase = PurchaseId::new(draft.next_position(), 0, &draft.context().seed);
    let (source, payment) = match &command.paid_through {
        PaidThrough::CheckoutSession { session, .. } => {
            (PurchaseSource::CheckoutSession(session.clone()), payment)
        }
        PaidThrough::External => (PurchaseSource::External, Some(PaymentReference::External(purchase))),
    };
    let shares: Vec<i64> = grants.iter().map(|grant| grant.share).collect();
    let costs = split_by_weights(command.money.net(), &shares);
    let (price, quantity) = sold_by_price(command, order);
    for (grant, cost) in grants.iter().zip(costs) {
        let body = CreditsPurchased {
            purchase,
            lot: LotId::new(draft.next_position(), 0, &draft.context().seed),
            source: source.clone(),
            payment: payment.clone(),
            price: price.clone(),
            quantity,
            money: command.money,
            paid_with: None,
            cost,
            granted: grant.amount.get(),
            expires_at: grant.expires_at,
            priority: grant.priority,
        };
        draft.emit_noted(Some(account), Some(&grant.unit), body, &command.note);
    }
    if let PaidThrough::CheckoutSession { session, .. } = &command.paid_through {
        pay_order(draft, account, order, session, Some(purchase));
    }
    if let Some(reference) = &payment {
        apply_noted(draft, purchase, reference);
        freeze_if_disputed(draft, reference);
    }
}

fn sold_by_price(command: &RecordPurchase, order: Option<&Order>) -> (Option<PriceId>, Option<i64>) {
    match (order, &command.bought.price) {
        (Some(order), _) => (Some(order.price.clone()), Some(order.quantity)),
        (None, Some((price, quantity))) => (Some(price.clone()), Some(quantity.get())),
        (None, None) => (None, None),
    }
}

/// Applies what was reported of the payment before its purchase was known.
pub(super) fn apply_noted(draft: &mut Draft<'_>, purchase: PurchaseId, reference: &PaymentReference) {
    let Some(payment) = draft.state.payments.get(reference) else { return };
    let back = payment.money_back(draft.base().settings.claw_on_pending);
    let paid = payment.money.map_or(0, |money| money.gross);
    let parts: Vec<(Unit, i64)> = draft.state.purchases[&purchase]
        .parts
        .iter()
        .map(|(unit, part)| (unit.clone(), part.granted))
        .collect();
    for (unit, granted) in parts {
        let target = clawback::target(granted, paid, back);
        if target != Default::default() {
            clawback::retarget(draft, purchase, &unit, target, TargetCause::NotedBefore);
        }
    }
}
