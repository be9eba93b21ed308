//! What must hold of the code's state and events by themselves. Nothing here trusts a sum that the state keeps: each is
//! derived from lots, debt items and takings.

use std::collections::BTreeMap;

use crate::domain::{
    account::{Account, DebtCause},
    command::Context,
    event::{BalanceAfter, Draw, Event, EventBody, TargetMove},
    ids::{AccountNumber, Actor, DebtId, HoldId, LotId, OrderId, PurchaseId, RefundRequestId, Unit},
    invariants,
    order::{Order, OrderStatus},
    purchase::{Part, TakenFrom},
    subscription::Subscription,
    working_set::{Decision, WorkingSet},
};

/// Every invariant of the state between two commands.
pub fn check_state(set: &WorkingSet) {
    for account in set.accounts.values() {
        assert_eq!(invariants::check_account(account), Ok(()));
        check_watched(set, account);
    }
    for purchase in set.purchases.values() {
        for (unit, part) in &purchase.parts {
            assert_eq!(invariants::check_part(set, purchase, unit, part), Ok(()));
        }
    }
    check_holders(set);
    check_clawback_debts(set);
    check_customers(set);
    set.orders.values().for_each(|order| check_order(set, order));
    set.subscriptions.values().for_each(|subscription| check_subscription(set, subscription));
}

/// One account, one customer, and the other way round.
fn check_customers(set: &WorkingSet) {
    let of_accounts = set
        .accounts
        .values()
        .filter_map(|account| account.stripe_customer.clone().map(|customer| (customer, account.number)));
    let of_accounts: Vec<_> = of_accounts.collect();
    assert_eq!(of_accounts.len(), set.customers.len(), "{:?}", set.customers);
    assert_eq!(of_accounts.into_iter().collect::<BTreeMap<_, _>>(), set.customers);
}

/// An order is paid if a session was paid; each paid session that was not free is a purchase of the account, of what was
/// sold.
fn check_order(set: &WorkingSet, order: &Order) {
    assert_eq!(order.status == OrderStatus::Paid, !order.paid_sessions.is_empty(), "{order:?}");
    assert_eq!(order.failure.is_some(), order.status == OrderStatus::Failed, "{order:?}");
    assert!(order.session.is_some() || order.paid_sessions.is_empty(), "{order:?}");
    assert!(order.purchases.len() <= order.paid_sessions.len(), "{order:?}");
    assert!(order.id.position() <= order.version, "{order:?}");
    for purchase in order.purchases.iter().map(|purchase| &set.purchases[purchase]) {
        assert_eq!(purchase.account, order.account, "{order:?}");
        let granted = purchase.parts.iter().map(|(unit, part)| (unit.clone(), part.granted));
        let sold = order.sold.iter().map(|sold| (sold.unit.clone(), sold.amount.get()));
        assert_eq!(granted.collect::<BTreeMap<_, _>>(), sold.collect(), "{order:?}");
    }
}

/// Its lots are its account's; what changes granted is never negative, and not less than what they are worth.
fn check_subscription(set: &WorkingSet, subscription: &Subscription) {
    let account = &set.accounts[&subscription.account];
    for lot in &subscription.lots {
        assert!(account.books[&lot.unit].lots.contains_key(&lot.lot), "{subscription:?}");
    }
    for changes in &subscription.changes {
        for (unit, expected) in &changes.expected {
            let granted = changes.granted.get(unit).copied().unwrap_or(0);
            assert!(granted >= 0 && granted >= *expected, "{subscription:?}");
        }
    }
    assert!(subscription.changes.is_sorted_by_key(|changes| changes.period_end), "{subscription:?}");
}

/// Watched are exactly the purchases for which credits that come back would change something.
fn check_watched(set: &WorkingSet, account: &Account) {
    let of_account = set.purchases.values().filter(|purchase| purchase.account == account.number);
    let is_watched = |part: &Part| part.shortfall > 0 || !part.elsewhere.is_empty();
    let watched = of_account.filter(|purchase| purchase.parts.values().any(is_watched));
    let watched: Vec<PurchaseId> = watched.map(|purchase| purchase.id).collect();
    assert_eq!(account.watched.iter().copied().collect::<Vec<_>>(), watched, "{account:?}");
}

/// Whoever has a lot of a purchase is known to it, and nobody owes anything for what another bought.
fn check_holders(set: &WorkingSet) {
    for account in set.accounts.values() {
        let lots = account.books.values().flat_map(|book| book.lots.values());
        for purchase in lots.filter_map(|lot| lot.purchase) {
            let purchase = &set.purchases[&purchase];
            assert!(purchase.accounts().contains(&account.number), "{purchase:?}");
        }
        for debt in account.books.values().flat_map(|book| book.debts.values()) {
            if let DebtCause::Clawback(purchase) = debt.cause {
                assert_eq!(set.purchases[&purchase].account, account.number, "{debt:?}");
            }
        }
    }
}

/// What is owed for a clawback is what its purchase says that it took as debt.
fn check_clawback_debts(set: &WorkingSet) {
    let mut owed: BTreeMap<(PurchaseId, DebtId), i64> = BTreeMap::new();
    for purchase in set.purchases.values() {
        for taking in purchase.parts.values().flat_map(|part| &part.elsewhere) {
            if let TakenFrom::Debt(debt) = taking.from {
                *owed.entry((purchase.id, debt)).or_default() += taking.amount;
            }
        }
    }
    let books = set.accounts.values().flat_map(|account| account.books.values());
    let debts = books.flat_map(|book| &book.debts);
    let open = debts.filter_map(|(id, debt)| match debt.cause {
        DebtCause::Clawback(purchase) => Some(((purchase, *id), debt.open)),
        DebtCause::Overdraft(_) => None,
    });
    assert_eq!(open.collect::<BTreeMap<_, _>>(), owed);
}

/// What must hold of the events of one command, whatever they say.
pub fn check_events(decision: &Decision, context: &Context) {
    let mut position = context.next_position;
    let mut moment = None;
    for event in &decision.events {
        assert_eq!(event.position, position, "no gaps: {event:?}");
        assert_eq!(event.command, context.next_position, "{event:?}");
        assert_eq!(
            event.key.is_some(),
            position == context.next_position,
            "the first has the key: {event:?}"
        );
        assert_eq!(event.recorded_at, context.now, "{event:?}");
        let is_by_itself = event.effective_at.is_some();
        assert!(event.actor == Actor::System || event.actor == context.actor && !is_by_itself, "{event:?}");
        assert_eq!(event.unit.is_some(), event.balance.is_some(), "{event:?}");
        assert!(event.unit.is_none() || event.account.is_some(), "{event:?}");
        let effective = event.effective_at.unwrap_or(event.recorded_at);
        assert!(effective <= context.now, "{event:?}");
        // The due moments of one account come in order; those of another one begin anew.
        if moment.is_some_and(|(account, _)| account == event.account) {
            assert!(moment.is_none_or(|(_, earlier)| earlier <= effective), "{event:?}");
        }
        moment = Some((event.account, effective));
        check_new_ids(event, context);
        position = position.next();
    }
    check_costs(decision);
    check_transfers(decision);
}

/// What one account sends is what the other receives, lot by lot, in the event behind.
fn check_transfers(decision: &Decision) {
    let mut events = decision.events.iter();
    while let Some(event) = events.next() {
        let EventBody::TransferSent(sent) = &event.body else {
            assert!(!matches!(event.body, EventBody::TransferReceived(_)), "nobody sent {event:?}");
            continue;
        };
        let next = events.next().expect("what is sent is received");
        let EventBody::TransferReceived(received) = &next.body else {
            panic!("what is sent is received: {next:?}")
        };
        assert_eq!((event.account, next.account), (Some(received.from), Some(sent.to)), "{decision:?}");
        assert_ne!(event.account, next.account, "{decision:?}");
        assert_eq!((sent.transfer, &event.unit), (received.transfer, &next.unit), "{decision:?}");
        assert_eq!((event.amount, next.amount), (-sent.sent, received.received), "{decision:?}");
        assert_eq!(event.amount + next.amount, 0, "{decision:?}");
        let draws = received.lots.iter().map(|lot| Draw { lot: lot.of, amount: lot.granted });
        assert_eq!(draws.collect::<Vec<_>>(), sent.draws, "{decision:?}");
        assert_eq!(total(&sent.draws), sent.sent, "{decision:?}");
    }
}

/// What the lots of a purchase cost is what was paid for it without tax, to the last cent.
fn check_costs(decision: &Decision) {
    let bought = decision.events.iter().filter_map(|event| match &event.body {
        EventBody::CreditsPurchased(bought) => Some(bought),
        _ => None,
    });
    let costs: i64 = bought.clone().map(|bought| bought.cost).sum();
    let paid = bought.map(|bought| bought.money.gross - bought.money.tax).next();
    assert_eq!(costs, paid.unwrap_or(0), "{decision:?}");
}

/// Every id that an event makes is of its position and of the command's seed.
fn check_new_ids(event: &Event, context: &Context) {
    let made_lots = lots_made_by(event);
    for (ordinal, lot) in made_lots.iter().enumerate() {
        let ordinal = u8::try_from(ordinal).expect("few lots in one event");
        assert_eq!(*lot, LotId::new(event.position, ordinal, &context.seed), "{event:?}");
    }
    match &event.body {
        EventBody::CreditsSpent(spent) => assert_eq!(spent.spend.position(), event.position, "{event:?}"),
        EventBody::CreditsHeld(held) => {
            assert_eq!(held.hold, HoldId::new(event.position, 0, &context.seed), "{event:?}");
        }
        EventBody::OrderPlaced(placed) => {
            assert_eq!(placed.order, OrderId::new(event.position, 0, &context.seed), "{event:?}");
        }
        EventBody::RefundRequested(asked) => {
            assert_eq!(asked.refund, RefundRequestId::new(event.position, 0, &context.seed), "{event:?}");
        }
        EventBody::AccountOpened(_) => {
            assert_eq!(event.account, Some(AccountNumber(event.position.0)), "{event:?}");
        }
        _ => {}
    }
}

fn lots_made_by(event: &Event) -> Vec<LotId> {
    let moves: &[TargetMove] = match &event.body {
        EventBody::CreditsPurchased(bought) => return vec![bought.lot],
        EventBody::CreditsGranted(granted) => return vec![granted.lot],
        EventBody::CreditsRolledOver(moved) => {
            return moved.lots.iter().map(|rolled| rolled.into.lot).collect();
        }
        EventBody::CreditsAdjusted(adjusted) => return adjusted.lot.into_iter().collect(),
        EventBody::TransferReceived(received) => return received.lots.iter().map(|lot| lot.lot).collect(),
        EventBody::PurchaseClawed(clawed) => &clawed.0.moves,
        EventBody::PurchaseRestored(restored) => &restored.0.moves,
        _ => &[],
    };
    let successors = moves.iter().filter_map(|one| match one {
        TargetMove::OwnReturned { into, .. }
        | TargetMove::OtherReturned { into, .. }
        | TargetMove::SettlementReturned { into, .. } => into.map(|successor| successor.lot),
        _ => None,
    });
    successors.collect()
}

/// Balances as somebody tells them who only reads the events, as projections do.
#[derive(Default)]
pub struct Tally {
    books: BTreeMap<(AccountNumber, Unit), Balance>,
    /// What open holds hold.
    holds: BTreeMap<HoldId, i64>,
}

#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Balance {
    available: i64,
    held: i64,
    disputed: i64,
    debt: i64,
    /// Σ of the amounts of all events.
    amounts: i64,
}

fn total(draws: &[Draw]) -> i64 {
    draws.iter().map(|draw| draw.amount).sum()
}

impl Tally {
    /// Adds what one event says and compares with what it claims to lead to.
    pub fn take_in(&mut self, event: &Event) {
        let (Some(account), Some(unit)) = (event.account, &event.unit) else {
            assert_eq!(event.amount, 0, "{event:?}");
            return;
        };
        self.check_hold(event);
        let balance = self.books.entry((account, unit.clone())).or_default();
        let before = *balance;
        balance.change(&event.body);
        balance.amounts += event.amount;
        let net = balance.available - balance.debt;
        assert_eq!(event.amount, net - (before.available - before.debt), "the change: {event:?}");
        let after = BalanceAfter { net, held: balance.held, disputed: balance.disputed };
        assert_eq!(event.balance, Some(after), "the balance after: {event:?}");
    }

    /// Holds are resolved once, and wholly.
    fn check_hold(&mut self, event: &Event) {
        match &event.body {
            EventBody::CreditsHeld(held) => {
                assert_eq!(total(&held.draws), held.held, "{event:?}");
                self.holds.insert(held.hold, held.held);
            }
            EventBody::HoldCaptured(captured) => {
                let held = self.holds.remove(&captured.hold).expect("a hold is resolved once");
                assert_eq!(total(&captured.draws) + total(&captured.returned), held, "{event:?}");
                assert_eq!(total(&captured.draws) + total(&captured.excess), captured.captured, "{event:?}");
            }
            EventBody::HoldReleased(released) => {
                let held = self.holds.remove(&released.hold).expect("a hold is resolved once");
                assert_eq!(total(&released.returned), held, "{event:?}");
            }
            EventBody::CreditsSpent(spent) => {
                let overdraft = spent.overdraft.map_or(0, |debt| debt.amount);
                assert_eq!(total(&spent.draws) + overdraft, spent.spent, "{event:?}");
            }
            _ => {}
        }
    }

    /// Compares with the state.
    pub fn check(&self, set: &WorkingSet) {
        for ((account, unit), balance) in &self.books {
            let known = set.accounts[account].books.get(unit);
            let book = known.cloned().unwrap_or_default();
            let state = Balance {
                available: book.lots.values().map(|lot| lot.remaining).sum(),
                held: book.lots.values().map(|lot| lot.held).sum(),
                disputed: book.lots.values().map(|lot| lot.disputed).sum(),
                debt: book.debts.values().map(|debt| debt.open).sum(),
                amounts: balance.available - balance.debt,
            };
            assert_eq!(*balance, state, "{unit} of account {account}");
        }
    }
}

impl Balance {
    fn change(&mut self, body: &EventBody) {
        match body {
            EventBody::CreditsPurchased(bought) => self.available += bought.granted,
            EventBody::CreditsGranted(granted) => self.available += granted.granted,
            EventBody::TransferSent(sent) => self.available -= sent.sent,
            EventBody::TransferReceived(received) => self.available += received.received,
            EventBody::CreditsSpent(spent) => {
                self.available -= total(&spent.draws);
                self.debt += spent.overdraft.map_or(0, |debt| debt.amount);
            }
            EventBody::CreditsHeld(held) => {
                self.available -= held.held;
                self.held += held.held;
            }
            EventBody::HoldCaptured(captured) => {
                self.held -= total(&captured.draws) + total(&captured.returned);
                self.available += total(&captured.returned) - total(&captured.excess);
            }
            EventBody::HoldReleased(released) => {
                self.held -= total(&released.returned);
                self.available += total(&released.returned);
            }
            EventBody::CreditsExpired(expired) => self.available -= total(&expired.lots),
            EventBody::CreditsAdjusted(adjusted) => {
                self.available += adjusted.adjusted.max(0) - total(&adjusted.draws);
            }
            EventBody::PurchaseClawed(clawed) => clawed.0.moves.iter().for_each(|one| self.apply(one)),
            EventBody::PurchaseRestored(restored) => restored.0.moves.iter().for_each(|one| self.apply(one)),
            EventBody::DebtSettled(settled) => {
                let amount: i64 = settled.settlements.iter().map(|settlement| settlement.amount).sum();
                self.available -= amount;
                self.debt -= amount;
            }
            _ => {}
        }
    }

    fn apply(&mut self, one: &TargetMove) {
        match one {
            TargetMove::OwnTaken { amount, .. } => {
                self.available -= amount;
                self.disputed += amount;
            }
            TargetMove::OwnReturned { amount, .. } => {
                self.disputed -= amount;
                self.available += amount;
            }
            TargetMove::OwnClawed { amount, .. } => self.disputed -= amount,
            TargetMove::OwnUnclawed { amount, .. } => self.disputed += amount,
            TargetMove::OtherTaken { amount, .. } => self.available -= amount,
            TargetMove::OtherReturned { amount, .. } | TargetMove::SettlementReturned { amount, .. } => {
                self.available += amount;
            }
            TargetMove::DebtMade { amount, .. } => self.debt += amount,
            TargetMove::DebtCancelled { amount, .. } => self.debt -= amount,
            TargetMove::Absorbed { .. }
            | TargetMove::Unabsorbed { .. }
            | TargetMove::WrittenOff { .. }
            | TargetMove::WriteOffUndone { .. } => {}
        }
    }
}
