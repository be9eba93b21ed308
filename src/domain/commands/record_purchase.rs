//! What a payment bought becomes lots. What was reported of the payment before is applied in the same command.

use std::collections::BTreeMap;

use crate::domain::{
    account::AccountStatus,
    amount::{Amount, split_by_weights},
    clawback,
    command::{Bought, PaidThrough, RecordPurchase},
    decide::Draft,
    event::{CreditsGranted, CreditsPurchased, GrantSource, PurchaseSource, TargetCause},
    evolve::DEFAULT_PRIORITY,
    follow_up::follow_up,
    ids::{AccountNumber, LotId, PaymentReference, PurchaseId, Unit},
    rejection::Rejection,
    time::{Span, Timestamp},
};

use super::record_payment_fact::freeze_if_disputed;

/// One lot to be made.
struct Grant {
    unit: Unit,
    amount: Amount,
    expires_at: Option<Timestamp>,
    priority: u8,
    share: i64,
}

/// Checks, in this order: the account exists; what was bought; that the payment is not recorded for something else; for
/// payments outside of Stripe that the account is not closed, that something was paid, and the number of lots; the sums.
pub(super) fn decide(draft: &mut Draft<'_>, command: &RecordPurchase) -> Result<(), Rejection> {
    let account = draft.find_account(&command.account)?;
    draft.touch(account)?;
    let grants = grants(draft, &command.bought)?;
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
        grant_unpaid(draft, account, command, &grants);
    } else {
        record_paid(draft, account, command, &grants, payment);
    }
    follow_up(draft, account);
    Ok(())
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
    grants.iter().try_for_each(|grant| draft.check_lots(account, &grant.unit))
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

fn grant_unpaid(draft: &mut Draft<'_>, account: AccountNumber, command: &RecordPurchase, grants: &[Grant]) {
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
}

fn record_paid(
    draft: &mut Draft<'_>,
    account: AccountNumber,
    command: &RecordPurchase,
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
    for (grant, cost) in grants.iter().zip(costs) {
        let body = CreditsPurchased {
            purchase,
            lot: LotId::new(draft.next_position(), 0, &draft.context().seed),
            source: source.clone(),
            payment: payment.clone(),
            price: command.bought.price.as_ref().map(|(price, _)| price.clone()),
            quantity: command.bought.price.as_ref().map(|(_, quantity)| quantity.get()),
            money: command.money,
            cost,
            granted: grant.amount.get(),
            expires_at: grant.expires_at,
            priority: grant.priority,
        };
        draft.emit_noted(Some(account), Some(&grant.unit), body, &command.note);
    }
    if let Some(reference) = &payment {
        apply_noted(draft, purchase, reference);
        freeze_if_disputed(draft, reference);
    }
}

/// Applies what was reported of the payment before its purchase was known.
fn apply_noted(draft: &mut Draft<'_>, purchase: PurchaseId, reference: &PaymentReference) {
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
