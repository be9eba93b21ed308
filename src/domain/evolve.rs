//! Applies events to state. It never decides: everything that was chosen (lots, debt items, moves) stands in the event.
//!
//! Each target skips what it has seen already, so that nothing is applied twice; a target that is not in the working set
//! is left out. A state that an event cannot belong to (a lot without the credits that are drawn from it) is a defect,
//! and evolving it panics rather than go on with wrong numbers.

mod orders;
mod subscriptions;

use std::collections::BTreeMap;

use super::{
    account::{Account, AccountStatus, Book, DebtCause, Hold, Lot, Pool},
    catalogue::Price,
    event::{
        CreditsAdjusted, CreditsGranted, CreditsHeld, CreditsPurchased, CreditsSpent, CustomerLinked,
        DebtSettled, Draw, Event, EventBody, GrantSource, HoldCaptured, PaymentNoted, PurchaseSource,
        TargetCause, TargetMove, TargetMoved, TransferReceived,
    },
    ids::{AccountNumber, HoldId, Position, PurchaseId, StripeId, Unit},
    payment::Payment,
    purchase::{Part, Purchase, TakenFrom},
    time::{Span, Timestamp},
    working_set::WorkingSet,
};

/// Applies one event to everything in the working set that it concerns and that has not seen it.
///
/// # Panics
/// If the state is not the one that the event was decided on.
pub fn evolve(working_set: &mut WorkingSet, event: &Event) {
    match &event.body {
        EventBody::FeatureSet(_)
        | EventBody::PriceSet(_)
        | EventBody::LedgerConfigured(_)
        | EventBody::KeyCreated(_)
        | EventBody::KeyRevoked(_)
        | EventBody::ClockAdvanced(_) => configure(working_set, event),
        EventBody::PaymentNoted(body) => note_payment(working_set, event, body),
        EventBody::AccountOpened(_) => open_account(working_set, event),
        body => {
            match body {
                EventBody::OrderPlaced(body) => orders::place(working_set, event, body),
                EventBody::OrderSessionCreated(body) => orders::give_session(working_set, event, body),
                EventBody::OrderPaid(body) => orders::pay(working_set, event, body),
                EventBody::OrderExpired(body) => orders::expire(working_set, event, body),
                EventBody::OrderFailed(body) => orders::fail(working_set, event, body),
                EventBody::RefundRequested(body) => orders::request_refund(working_set, event, body),
                EventBody::RefundRefused(body) => orders::refuse_refund(working_set, event, body),
                EventBody::CheckoutLinkCreated(body) => orders::make_link(working_set, event, body),
                EventBody::CheckoutLinkRevoked(body) => {
                    working_set.links.remove(&body.link);
                }
                EventBody::SubscriptionStarted(body) => subscriptions::start(working_set, event, body),
                EventBody::SubscriptionChanged(body) => subscriptions::change(working_set, event, body),
                EventBody::SubscriptionChangeRequested(body) => {
                    subscriptions::request(working_set, event, body);
                }
                EventBody::SubscriptionChangeSettled(body) => {
                    subscriptions::settle(working_set, event, body);
                }
                EventBody::SubscriptionEnded(body) => subscriptions::end(working_set, event, body),
                EventBody::CreditsRolledOver(body) => subscriptions::take_over(working_set, event, body),
                EventBody::CreditsPurchased(CreditsPurchased {
                    source: PurchaseSource::InvoiceLine(line),
                    lot,
                    granted,
                    ..
                })
                | EventBody::CreditsGranted(CreditsGranted {
                    source: GrantSource::InvoiceLine(line) | GrantSource::Trial(line),
                    lot,
                    granted,
                    ..
                }) => subscriptions::take_in(working_set, event, line, *lot, *granted),
                _ => {}
            }
            evolve_account(working_set, event);
        }
    }
}

/// Whether what is at this version has not seen the event; it has now.
fn is_news(version: &mut Position, event: &Event) -> bool {
    let is_news = *version < event.position;
    *version = event.position.max(*version);
    is_news
}

fn configure(working_set: &mut WorkingSet, event: &Event) {
    if !is_news(&mut working_set.configured_at, event) {
        return;
    }
    match &event.body {
        EventBody::FeatureSet(body) => {
            working_set.catalogue.features.insert(body.0.feature.clone(), body.0.clone());
        }
        EventBody::PriceSet(body) => {
            working_set.catalogue.prices.insert(body.0.price.clone(), Price::clone(&body.0));
        }
        EventBody::LedgerConfigured(body) => working_set.settings = body.0.clone(),
        EventBody::KeyCreated(body) => {
            working_set.keys.insert(body.key);
        }
        EventBody::KeyRevoked(body) => {
            working_set.keys.remove(&body.key);
        }
        EventBody::ClockAdvanced(body) => {
            working_set.clock_ahead = Some(Span::seconds(body.ahead));
        }
        _ => {}
    }
}

fn note_payment(working_set: &mut WorkingSet, event: &Event, body: &PaymentNoted) {
    let payment = working_set
        .payments
        .entry(body.payment.clone())
        .or_insert_with(|| Payment::unknown(body.payment.clone()));
    // A fact that it has seen is known to it.
    payment.learn(&body.fact);
    payment.version = payment.version.max(event.position);
}

fn open_account(working_set: &mut WorkingSet, event: &Event) {
    let Some(number) = event.account else { return };
    working_set.accounts.entry(number).or_insert_with(|| Account {
        number,
        status: AccountStatus::Open,
        opened_at: event.recorded_at,
        stripe_customer: None,
        had_trial: false,
        version: event.position,
        books: Default::default(),
        holds: Default::default(),
        watched: Default::default(),
    });
}

fn evolve_account(working_set: &mut WorkingSet, event: &Event) {
    let Some(number) = event.account else { return };
    let Some(account) = working_set.accounts.get_mut(&number) else { return };
    if !is_news(&mut account.version, event) {
        return;
    }
    let at = event.effective_at.unwrap_or(event.recorded_at);
    match &event.body {
        EventBody::AccountFrozen(_) => account.status = AccountStatus::Frozen,
        EventBody::AccountUnfrozen(_) => account.status = AccountStatus::Open,
        EventBody::AccountClosed(_) => account.status = AccountStatus::Closed,
        EventBody::HoldReleased(body) => return_hold(account, body.hold, &body.returned),
        EventBody::HoldCaptured(body) => capture_hold(account, body),
        EventBody::CustomerLinked(body) => link(account, &mut working_set.customers, body),
        EventBody::SubscriptionEnded(body) => subscriptions::shorten(account, &body.shortened),
        _ => {}
    }
    let Some(unit) = &event.unit else { return };
    match &event.body {
        EventBody::CreditsPurchased(body) => purchase(working_set, event, number, unit, body),
        EventBody::PurchaseClawed(body) => move_target(working_set, event, number, unit, &body.0, at),
        EventBody::PurchaseRestored(body) => move_target(working_set, event, number, unit, &body.0, at),
        EventBody::DebtSettled(body) => settle(working_set, event, number, unit, body, at),
        EventBody::TransferReceived(body) => receive(account, &mut working_set.purchases, unit, body),
        EventBody::TransferSent(body) => {
            shift_all(book(account, unit), &body.draws, Pool::Remaining, Pool::Moved)
        }
        EventBody::CreditsGranted(body) => grant(account, unit, body),
        EventBody::CreditsRolledOver(body) => subscriptions::roll_over(account, unit, body),
        EventBody::CreditsAdjusted(body) => adjust(account, unit, body),
        EventBody::CreditsHeld(body) => hold(account, unit, body),
        EventBody::CreditsSpent(body) => spend(book(account, unit), body),
        EventBody::CreditsExpired(body) => {
            shift_all(book(account, unit), &body.lots, Pool::Remaining, Pool::Expired)
        }
        EventBody::LimitChanged(body) => book(account, unit).overdraft_limit = body.overdraft,
        _ => {}
    }
}

fn link(account: &mut Account, customers: &mut BTreeMap<StripeId, AccountNumber>, body: &CustomerLinked) {
    if let Some(before) = account.stripe_customer.take() {
        customers.remove(&before);
    }
    if let Some(customer) = &body.customer {
        customers.insert(customer.clone(), account.number);
    }
    account.stripe_customer.clone_from(&body.customer);
}

fn book<'a>(account: &'a mut Account, unit: &Unit) -> &'a mut Book {
    account.books.entry(unit.clone()).or_default()
}

fn shift_all(book: &mut Book, draws: &[Draw], from: Pool, to: Pool) {
    for draw in draws {
        book.shift(draw.lot, draw.amount, from, to);
    }
}

fn add_lot(account: &mut Account, unit: &Unit, lot: Lot) {
    let spilled = account.next_lot_is_spilled();
    book(account, unit).add_lot(Lot { spilled, ..lot });
}

fn grant(account: &mut Account, unit: &Unit, body: &CreditsGranted) {
    account.had_trial |= matches!(body.source, GrantSource::Trial(_));
    let lot = Lot { expires_at: body.expires_at, ..Lot::new(body.lot, body.granted, body.priority) };
    add_lot(account, unit, lot);
}

fn receive(
    account: &mut Account,
    purchases: &mut BTreeMap<PurchaseId, Purchase>,
    unit: &Unit,
    body: &TransferReceived,
) {
    for received in &body.lots {
        let lot = Lot {
            purchase: received.purchase,
            cost: received.cost,
            expires_at: received.expires_at,
            ..Lot::new(received.lot, received.granted, received.priority)
        };
        add_lot(account, unit, lot);
        if let Some(purchase) = received.purchase.and_then(|purchase| purchases.get_mut(&purchase)) {
            purchase.holders.insert(account.number);
        }
    }
}

/// The priority of lots for which nobody chose one.
pub const DEFAULT_PRIORITY: u8 = 50;

fn adjust(account: &mut Account, unit: &Unit, body: &CreditsAdjusted) {
    match body.lot {
        Some(lot) => add_lot(account, unit, Lot::new(lot, body.adjusted, DEFAULT_PRIORITY)),
        None => shift_all(book(account, unit), &body.draws, Pool::Remaining, Pool::Adjusted),
    }
}

fn spend(book: &mut Book, body: &CreditsSpent) {
    shift_all(book, &body.draws, Pool::Remaining, Pool::Spent);
    if let Some(overdraft) = body.overdraft {
        book.owe(overdraft.debt, DebtCause::Overdraft(body.spend), overdraft.amount);
    }
}

fn hold(account: &mut Account, unit: &Unit, body: &CreditsHeld) {
    shift_all(book(account, unit), &body.draws, Pool::Remaining, Pool::Held);
    let hold =
        Hold { id: body.hold, unit: unit.clone(), draws: body.draws.clone(), lapses_at: body.lapses_at };
    account.holds.insert(body.hold, hold);
}

fn return_hold(account: &mut Account, hold: HoldId, returned: &[Draw]) {
    if let Some(hold) = account.holds.remove(&hold) {
        shift_all(book(account, &hold.unit), returned, Pool::Held, Pool::Remaining);
    }
}

fn capture_hold(account: &mut Account, body: &HoldCaptured) {
    let Some(hold) = account.holds.remove(&body.hold) else { return };
    let book = book(account, &hold.unit);
    shift_all(book, &body.draws, Pool::Held, Pool::Spent);
    shift_all(book, &body.returned, Pool::Held, Pool::Remaining);
    shift_all(book, &body.excess, Pool::Remaining, Pool::Spent);
}

fn purchase(
    working_set: &mut WorkingSet,
    event: &Event,
    number: AccountNumber,
    unit: &Unit,
    body: &CreditsPurchased,
) {
    if let Some(account) = working_set.accounts.get_mut(&number) {
        let lot = Lot {
            purchase: Some(body.purchase),
            cost: Some(body.cost),
            expires_at: body.expires_at,
            ..Lot::new(body.lot, body.granted, body.priority)
        };
        add_lot(account, unit, lot);
    }
    let purchase = working_set.purchases.entry(body.purchase).or_insert_with(|| Purchase {
        id: body.purchase,
        account: number,
        source: body.source.clone(),
        payment: body.payment.clone(),
        money: body.money,
        parts: Default::default(),
        version: event.position,
        holders: Default::default(),
    });
    purchase.parts.insert(unit.clone(), Part { granted: body.granted, ..Part::default() });
    purchase.version = event.position;
    if let Some(reference) = &body.payment {
        let payment = working_set
            .payments
            .entry(reference.clone())
            .or_insert_with(|| Payment::unknown(reference.clone()));
        payment.money = Some(body.paid_with.unwrap_or(body.money));
        payment.purchases.insert(body.purchase);
        payment.version = event.position;
    }
}

fn move_target(
    working_set: &mut WorkingSet,
    event: &Event,
    number: AccountNumber,
    unit: &Unit,
    body: &TargetMoved,
    at: Timestamp,
) {
    if let (TargetCause::Fact(fact), Some(reference)) = (&body.cause, &body.payment)
        && let Some(payment) = working_set.payments.get_mut(reference)
    {
        payment.learn(fact);
        payment.version = event.position;
    }
    let Some(account) = working_set.accounts.get_mut(&number) else { return };
    let spilled = account.next_lot_is_spilled();
    let book = book(account, unit);
    for target_move in &body.moves {
        apply_to_book(book, body.purchase, target_move, spilled);
    }
    let Some(purchase) = working_set.purchases.get_mut(&body.purchase) else { return };
    if let Some(part) = purchase.parts.get_mut(unit) {
        for target_move in &body.moves {
            apply_to_part(part, target_move, at);
        }
        set_target(part, body.after);
    }
    purchase.version = event.position;
    if number == purchase.account {
        watch(account, purchase);
    }
}

/// Sets the target of a part whose moves have been applied.
pub(super) fn set_target(part: &mut Part, target: super::event::Target) {
    part.target = target;
    part.shortfall = target.total - part.own_taken() - part.absorbed() - part.taken_elsewhere();
}

fn watch(account: &mut Account, purchase: &Purchase) {
    if purchase.is_watched() {
        account.watched.insert(purchase.id);
    } else {
        account.watched.remove(&purchase.id);
    }
}

/// What a move does to the credits of the account.
pub(super) fn apply_to_book(book: &mut Book, purchase: PurchaseId, target_move: &TargetMove, spilled: bool) {
    match *target_move {
        TargetMove::OwnTaken { lot, amount } => book.shift(lot, amount, Pool::Remaining, Pool::Disputed),
        TargetMove::OwnReturned { lot, amount, into } => {
            book.give_back(lot, amount, Pool::Disputed, into, spilled)
        }
        TargetMove::OwnClawed { lot, amount } => book.shift(lot, amount, Pool::Disputed, Pool::Clawed),
        TargetMove::OwnUnclawed { lot, amount } => book.shift(lot, amount, Pool::Clawed, Pool::Disputed),
        TargetMove::OtherTaken { lot, amount } => book.shift(lot, amount, Pool::Remaining, Pool::Settled),
        TargetMove::OtherReturned { lot, amount, into }
        | TargetMove::SettlementReturned { lot, amount, into, .. } => {
            book.give_back(lot, amount, Pool::Settled, into, spilled);
        }
        TargetMove::DebtMade { debt, amount } => book.owe(debt, DebtCause::Clawback(purchase), amount),
        TargetMove::DebtCancelled { debt, amount } => {
            book.owe_less(debt, amount);
        }
        TargetMove::Absorbed { .. }
        | TargetMove::Unabsorbed { .. }
        | TargetMove::WrittenOff { .. }
        | TargetMove::WriteOffUndone { .. } => {}
    }
}

/// What a move does to what the purchase remembers.
pub(super) fn apply_to_part(part: &mut Part, target_move: &TargetMove, at: Timestamp) {
    match *target_move {
        TargetMove::OwnTaken { lot, amount } => part.take_own(Some(lot), amount, at),
        TargetMove::OwnReturned { lot, amount, .. } => part.untake_own(Some(lot), amount),
        TargetMove::OwnClawed { .. } | TargetMove::OwnUnclawed { .. } => {}
        TargetMove::Absorbed { amount } => part.take_own(None, amount, at),
        TargetMove::Unabsorbed { amount } => part.untake_own(None, amount),
        TargetMove::OtherTaken { lot, amount } => part.take_elsewhere(TakenFrom::Lot(lot), amount, at),
        TargetMove::OtherReturned { lot, amount, .. } => part.untake_elsewhere(TakenFrom::Lot(lot), amount),
        TargetMove::DebtMade { debt, amount } => part.take_elsewhere(TakenFrom::Debt(debt), amount, at),
        TargetMove::DebtCancelled { debt, amount } => part.untake_elsewhere(TakenFrom::Debt(debt), amount),
        TargetMove::SettlementReturned { debt, lot, amount, .. } => {
            part.untake_elsewhere(TakenFrom::Settlement { debt, lot }, amount);
        }
        TargetMove::WrittenOff { amount } => part.take_elsewhere(TakenFrom::WriteOff, amount, at),
        TargetMove::WriteOffUndone { amount } => part.untake_elsewhere(TakenFrom::WriteOff, amount),
    }
}

fn settle(
    working_set: &mut WorkingSet,
    event: &Event,
    number: AccountNumber,
    unit: &Unit,
    body: &DebtSettled,
    at: Timestamp,
) {
    let Some(account) = working_set.accounts.get_mut(&number) else { return };
    let book = book(account, unit);
    for settlement in &body.settlements {
        book.shift(settlement.lot, settlement.amount, Pool::Remaining, Pool::Settled);
        let DebtCause::Clawback(purchase) = book.owe_less(settlement.debt, settlement.amount) else {
            continue;
        };
        let Some(purchase) = working_set.purchases.get_mut(&purchase) else { continue };
        if let Some(part) = purchase.parts.get_mut(unit) {
            part.untake_elsewhere(TakenFrom::Debt(settlement.debt), settlement.amount);
            let from = TakenFrom::Settlement { debt: settlement.debt, lot: settlement.lot };
            part.take_elsewhere(from, settlement.amount, at);
        }
        purchase.version = event.position;
    }
}
