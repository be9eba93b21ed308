//! A refund or dispute was reported. Always recorded, whatever the state of the account.

use crate::domain::{
    account::AccountStatus,
    clawback,
    command::RecordPaymentFact,
    decide::Draft,
    event::{AccountFrozen, FreezeCause, PaymentNoted, TargetCause},
    follow_up::follow_up,
    ids::{AccountNumber, PaymentReference, PurchaseId, Unit},
    payment::{DisputeStatus, Payment, PaymentFact},
    rejection::Rejection,
};

/// Checks: the fact's currency is the payment's. A fact that says nothing new changes nothing; one about a payment whose
/// purchase is not known is noted, and applied when the purchase comes.
pub(super) fn decide(draft: &mut Draft<'_>, command: &RecordPaymentFact) -> Result<(), Rejection> {
    let payment = draft.base().payments.get(&command.payment);
    if payment.is_some_and(|payment| payment.knows(&command.fact)) {
        return Ok(());
    }
    let Some(money) = payment.and_then(|payment| payment.money) else {
        draft.emit(None, None, PaymentNoted { payment: command.payment.clone(), fact: command.fact.clone() });
        return Ok(());
    };
    if command.fact.currency().is_some_and(|currency| currency != money.currency) {
        return Err(Rejection::PaymentContradicts { what: "it was paid in another currency" });
    }
    draft.touch_payment(&command.payment)?;
    // Point of no return.
    apply_fact(draft, &command.payment, &command.fact);
    Ok(())
}

/// Moves everything that the payment bought to its new target. The payment must be part of the draft.
pub(super) fn apply_fact(draft: &mut Draft<'_>, reference: &PaymentReference, fact: &PaymentFact) {
    let mut payment = draft.state.payments[reference].clone();
    payment.learn(fact);
    let back = payment.money_back(draft.base().settings.claw_on_pending);
    let paid = payment.money.map_or(0, |money| money.gross);
    for (purchase, unit, granted) in parts(draft, &payment) {
        let target = clawback::target(granted, paid, back);
        clawback::retarget(draft, purchase, &unit, target, TargetCause::Fact(fact.clone()));
    }
    freeze_if_disputed(draft, reference);
    for account in draft.accounts_of_payment(reference) {
        follow_up(draft, account);
    }
}

fn parts(draft: &Draft<'_>, payment: &Payment) -> Vec<(PurchaseId, Unit, i64)> {
    let purchases = payment.purchases.iter().map(|purchase| &draft.state.purchases[purchase]);
    let parts =
        purchases.flat_map(|purchase| purchase.parts.iter().map(|(unit, part)| (purchase.id, unit, part)));
    parts.map(|(purchase, unit, part)| (purchase, unit.clone(), part.granted)).collect()
}

fn buyers(draft: &Draft<'_>, payment: &Payment) -> Vec<AccountNumber> {
    let mut accounts: Vec<AccountNumber> =
        payment.purchases.iter().map(|purchase| draft.state.purchases[purchase].account).collect();
    accounts.sort();
    accounts.dedup();
    accounts
}

/// Freezes the buyers of a payment that is disputed or warned of, if the ledger does so. An operator who unfreezes is not
/// overruled by later facts about the same dispute: only one that opens it, and a new warning, freezes.
pub(super) fn freeze_if_disputed(draft: &mut Draft<'_>, reference: &PaymentReference) {
    if !draft.base().settings.freeze_on_dispute {
        return;
    }
    let open = |payment: &Payment| {
        let disputes = payment.disputes.values();
        disputes.filter(|(status, ..)| *status == DisputeStatus::Open).count()
    };
    let warnings = |payment: &Payment| payment.warnings.len();
    let payment = &draft.state.payments[reference];
    let known_before = draft.base().payments.get(reference).filter(|payment| payment.money.is_some());
    let cause = if open(payment) > known_before.map_or(0, open) {
        FreezeCause::Dispute
    } else if warnings(payment) > known_before.map_or(0, warnings) {
        FreezeCause::FraudWarning
    } else {
        return;
    };
    for account in buyers(draft, &payment.clone()) {
        if draft.account(account).status == AccountStatus::Open {
            draft.emit(Some(account), None, AccountFrozen { cause });
        }
    }
}
