//! A line of a subscription's invoice was paid: its credits become lots of their own, which live by the period (rule 9).
//!
//! What changed within a period is set off: per subscription and period, E is the signed sum of what all its prorated
//! lines are worth, and what is granted is `max(0, E − granted so far)`. Whoever goes up and down and up again gets
//! nothing for it, and whoever only goes down loses nothing.

use std::collections::BTreeMap;

use crate::domain::{
    amount::{proportion, split_by_weights},
    command::{RecordInvoiceLine, SoldLine},
    decide::Draft,
    event::{
        CreditsExpired, CreditsGranted, CreditsPurchased, CreditsRolledOver, Draw, GrantSource, Prorated,
        PurchaseSource, RolledOver, SubscriptionChange, SubscriptionChanged, SubscriptionStarted,
        SuccessorLot,
    },
    follow_up::follow_up,
    ids::{AccountNumber, LotId, PaymentReference, PurchaseId, Unit},
    invoice_worth::{LineRules, Worth},
    rejection::Rejection,
    settings::Rollover,
    subscription::{InvoiceLine, Life, SubscribedPrice, Subscription},
};

use super::{
    record_payment_fact::freeze_if_disputed, record_purchase::apply_noted, subscriptions::touch,
    subscriptions::untold,
};

/// How many lots one event moves on at most: each successor's id has a number of its own.
const LOTS_AT_ONCE: usize = 200;

/// Checks, in this order: the account exists, and is the subscription's; the prices are known, and their units; that the payment is not recorded for
/// something else; the sums.
pub(super) fn decide(draft: &mut Draft<'_>, command: &RecordInvoiceLine) -> Result<(), Rejection> {
    let (account, known) = touch(draft, &command.subscription, &command.subscriber)?;
    let worth = worth(draft, account, known, command)?;
    let payment = command.payment_intent.clone().map(PaymentReference::Stripe);
    let payment = payment.filter(|_| command.money.gross > 0);
    if let Some(reference) = &payment {
        draft.touch_payment(reference)?;
        check_payment(draft, reference, command)?;
    }
    for grant in &worth.grants {
        draft.check_room(account, &grant.unit, grant.amount)?;
    }
    // Point of no return.
    if known.is_none() {
        start(draft, account, command, &worth);
    }
    let lives = known.is_none_or(|known| !known.terms.status.has_ended());
    let life = command.period.life(draft.context().now, &draft.base().settings.subscriptions, lives);
    let line = InvoiceLine {
        invoice: command.invoice.clone(),
        line: command.line.clone(),
        subscription: command.subscription.clone(),
        period: command.period,
        ends_at: life.ends_at,
        prorated: worth.changes.is_some(),
    };
    if let (Some(credits), SoldLine::Changes { replaced, .. }) = (&worth.changes, &command.sold) {
        let prorated = Prorated {
            invoice: command.invoice.clone(),
            period_end: command.period.end,
            replaced: *replaced,
            credits: credits.clone(),
        };
        let (subscription, change) = (command.subscription.clone(), SubscriptionChange::Prorated(prorated));
        draft.emit(Some(account), None, SubscriptionChanged { subscription, change });
    }
    let purchase = grant_credits(draft, account, command, &worth, payment.as_ref(), &line, life);
    if let (None, Some(known)) = (&worth.changes, known) {
        let rollover = rollover(draft, &worth);
        renew(draft, account, known, &line, life, rollover);
    }
    if let (Some(purchase), Some(reference)) = (purchase, &payment) {
        apply_noted(draft, purchase, reference);
        freeze_if_disputed(draft, reference);
    }
    follow_up(draft, account);
    Ok(())
}

/// The invoice came before anything that tells of its subscription.
fn start(draft: &mut Draft<'_>, account: AccountNumber, command: &RecordInvoiceLine, worth: &Worth) {
    let item = worth.price.clone().map(|(price, quantity)| SubscribedPrice { price, quantity });
    let terms = untold(item.into_iter().collect(), Some(command.period.end));
    let subscription = command.subscription.clone();
    draft.emit(Some(account), None, SubscriptionStarted { subscription, order: None, terms });
}

/// One payment pays one invoice, and all lines of it.
fn check_payment(
    draft: &Draft<'_>,
    reference: &PaymentReference,
    command: &RecordInvoiceLine,
) -> Result<(), Rejection> {
    let Some(payment) = draft.state.payments.get(reference) else { return Ok(()) };
    let is_of_invoice = |purchase: &PurchaseId| {
        matches!(&draft.state.purchases[purchase].source, PurchaseSource::InvoiceLine(line)
            if line.invoice == command.invoice)
    };
    if payment.purchases.iter().all(is_of_invoice) {
        Ok(())
    } else {
        let what = "it is recorded as having paid for another purchase";
        Err(Rejection::PaymentContradicts { what })
    }
}

fn worth(
    draft: &Draft<'_>,
    account: AccountNumber,
    known: Option<&Subscription>,
    command: &RecordInvoiceLine,
) -> Result<Worth, Rejection> {
    let base = draft.base();
    let rules = LineRules {
        catalogue: &base.catalogue,
        subscriptions: &base.settings.subscriptions,
        had_trial: draft.account(account).had_trial,
    };
    let worth = rules.worth(known, &command.sold, command.period.end)?;
    worth.grants.iter().try_for_each(|grant| draft.check_unit(&grant.unit))?;
    Ok(worth)
}

/// Makes the lots; the purchase, if anything was paid.
fn grant_credits(
    draft: &mut Draft<'_>,
    account: AccountNumber,
    command: &RecordInvoiceLine,
    worth: &Worth,
    payment: Option<&PaymentReference>,
    line: &InvoiceLine,
    life: Life,
) -> Option<PurchaseId> {
    let expires_at = Some(life.expires_at);
    if command.money.gross == 0 {
        for grant in &worth.grants {
            let line = line.clone();
            let body = CreditsGranted {
                lot: LotId::new(draft.next_position(), 0, &draft.context().seed),
                source: if worth.is_trial {
                    GrantSource::Trial(line)
                } else {
                    GrantSource::InvoiceLine(line)
                },
                granted: grant.amount.get(),
                expires_at,
                priority: grant.priority,
            };
            draft.emit(Some(account), Some(&grant.unit), body);
        }
        return None;
    }
    let purchase = PurchaseId::new(draft.next_position(), 0, &draft.context().seed);
    let shares: Vec<i64> = worth.grants.iter().map(|grant| grant.share).collect();
    let costs = split_by_weights(command.money.net(), &shares);
    for (grant, cost) in worth.grants.iter().zip(costs) {
        let body = CreditsPurchased {
            purchase,
            lot: LotId::new(draft.next_position(), 0, &draft.context().seed),
            source: PurchaseSource::InvoiceLine(line.clone()),
            payment: payment.cloned(),
            price: worth.price.as_ref().map(|(price, _)| price.clone()),
            quantity: worth.price.as_ref().map(|(_, quantity)| *quantity),
            money: command.money,
            paid_with: (command.paid_with != command.money).then_some(command.paid_with),
            cost,
            granted: grant.amount.get(),
            expires_at,
            priority: grant.priority,
        };
        draft.emit(Some(account), Some(&grant.unit), body);
    }
    (!worth.grants.is_empty()).then_some(purchase)
}

/// What the new period takes over: as its price says, else as the ledger's rules do.
fn rollover(draft: &Draft<'_>, worth: &Worth) -> Rollover {
    let base = draft.base();
    let price = worth.price.as_ref().and_then(|(price, _)| base.catalogue.prices.get(price));
    price.and_then(|price| price.rollover).unwrap_or(base.settings.subscriptions.rollover)
}

/// Moves what is left of the periods before into the new one, as far as it may live on; the rest expires.
fn renew(
    draft: &mut Draft<'_>,
    account: AccountNumber,
    before: &Subscription,
    line: &InvoiceLine,
    life: Life,
    rollover: Rollover,
) {
    let mut left: BTreeMap<Unit, Vec<(LotId, i64)>> = BTreeMap::new();
    for of_period in before.lots.iter().filter(|lot| lot.ends_at <= line.period.start) {
        let book = draft.book(account, &of_period.unit);
        if let Some(lot) = book.lots.get(&of_period.lot) {
            left.entry(of_period.unit.clone()).or_default().push((lot.id, lot.remaining));
        }
    }
    for (unit, lots) in left {
        let rest: i64 = lots.iter().map(|(_, remaining)| remaining).sum();
        let mut may_move = match rollover {
            Rollover::None => 0,
            Rollover::All => rest,
            Rollover::Capped(most) => most.get().min(rest),
        };
        let (mut moved, mut lost) = (Vec::new(), Vec::new());
        for (lot, remaining) in lots {
            let amount = may_move.min(remaining);
            may_move -= amount;
            moved.extend((amount > 0).then_some(Draw { lot, amount }));
            lost.extend((remaining > amount).then_some(Draw { lot, amount: remaining - amount }));
        }
        for moved in moved.chunks(LOTS_AT_ONCE) {
            roll_over(draft, account, &unit, line, life, moved);
        }
        if !lost.is_empty() {
            draft.emit(Some(account), Some(&unit), CreditsExpired { lots: lost });
        }
    }
}

fn roll_over(
    draft: &mut Draft<'_>,
    account: AccountNumber,
    unit: &Unit,
    line: &InvoiceLine,
    life: Life,
    moved: &[Draw],
) {
    let (book, position, seed) = (draft.book(account, unit), draft.next_position(), draft.context().seed);
    let lots = (0..).zip(moved).map(|(ordinal, draw)| {
        let old = &book.lots[&draw.lot];
        RolledOver {
            lot: draw.lot,
            amount: draw.amount,
            into: SuccessorLot {
                lot: LotId::new(position, ordinal, &seed),
                expires_at: life.expires_at,
                cost: old.cost.map(|cost| proportion(cost, draw.amount, old.granted)),
            },
        }
    });
    let body = CreditsRolledOver {
        subscription: line.subscription.clone(),
        ends_at: life.ends_at,
        lots: lots.collect(),
    };
    draft.emit(Some(account), Some(unit), body);
}
