//! What the code under test and the model both tell of a ledger: everything but ids. Things are listed in order of
//! entry, so that both lists meet.

use std::collections::BTreeMap;

use super::model::{self, Model, Place};
use crate::domain::{
    account::{Account, AccountStatus, DebtCause, Lot},
    ids::{PurchaseId, StripeId, Unit},
    order::{Order, OrderEnding},
    purchase::TakenFrom,
    time::Timestamp,
    working_set::WorkingSet,
};

/// A ledger as it can be seen from outside.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// Accounts by the client's names.
    pub accounts: BTreeMap<String, AccountSummary>,
    /// Purchases in order, each with its parts.
    pub purchases: Vec<BTreeMap<Unit, PartSummary>>,
    /// Orders, in order.
    pub orders: Vec<OrderSummary>,
    /// Subscriptions, in order of their ids: how they are, and with which order they began.
    pub subscriptions: BTreeMap<StripeId, (&'static str, bool)>,
    /// Refunds that were asked of us, in order: how much, and how far each has come.
    pub requests: Vec<(i64, &'static str)>,
}

/// One checkout.
#[derive(Clone, PartialEq, Debug)]
pub struct OrderSummary {
    pub status: &'static str,
    pub session: Option<StripeId>,
    pub failure: Option<&'static str>,
    pub paid_sessions: Vec<StripeId>,
    pub purchases: Vec<usize>,
}

/// One account.
#[derive(Clone, PartialEq, Debug)]
pub struct AccountSummary {
    pub status: model::Status,
    pub customer: Option<StripeId>,
    pub open_holds: Vec<(Unit, i64, Timestamp)>,
    /// Books of which anything is known.
    pub books: BTreeMap<Unit, BookSummary>,
}

/// What an account has of a unit.
#[derive(Clone, PartialEq, Debug)]
pub struct BookSummary {
    pub available: i64,
    pub held: i64,
    pub disputed: i64,
    pub debt: i64,
    pub spendable: i64,
    pub lots: Vec<LotSummary>,
    /// Open items, each with the purchase for whose clawback it is owed.
    pub debts: Vec<(Option<usize>, i64)>,
}

/// One lot.
#[derive(Clone, PartialEq, Debug)]
pub struct LotSummary {
    pub purchase: Option<usize>,
    pub expires_at: Option<Timestamp>,
    pub priority: u8,
    pub granted: i64,
    /// Remaining, held, disputed, spent, expired, clawed, moved, adjusted, settled.
    pub counters: [i64; 9],
}

/// What a purchase granted of a unit and what was taken since.
#[derive(Clone, PartialEq, Debug)]
pub struct PartSummary {
    pub granted: i64,
    /// T, and the part of it that is final.
    pub target: (i64, i64),
    pub own_taken: i64,
    pub absorbed: i64,
    pub recorded_shortfall: i64,
    pub from_other_lots: i64,
    pub owed: i64,
    pub settled: i64,
    pub written_off: i64,
}

/// The lines in which the two differ, first the code's and then the model's.
pub fn difference(code: &Summary, model: &Summary) -> String {
    let lines = |summary: &Summary| -> Vec<String> {
        let accounts = summary.accounts.iter().flat_map(|(id, account)| {
            let AccountSummary { status, customer, open_holds, .. } = account;
            let holds = format!("{id}: {status:?}, customer {customer:?}, holds {open_holds:?}");
            let books = account.books.iter().flat_map(move |(unit, book)| {
                let totals = BookSummary { lots: Vec::new(), ..book.clone() };
                let lots = book.lots.iter().enumerate();
                let lots = lots.map(move |(index, lot)| format!("{id} {unit} lot {index}: {lot:?}"));
                std::iter::once(format!("{id} {unit}: {totals:?}")).chain(lots)
            });
            std::iter::once(holds).chain(books)
        });
        let purchases = summary.purchases.iter().enumerate();
        let parts = purchases.flat_map(|(index, parts)| {
            parts.iter().map(move |(unit, part)| format!("purchase {index} {unit}: {part:?}"))
        });
        let orders = summary.orders.iter().enumerate();
        let orders = orders.map(|(index, order)| format!("order {index}: {order:?}"));
        let requests = summary.requests.iter().enumerate();
        let requests = requests.map(|(index, request)| format!("request {index}: {request:?}"));
        let subscriptions = summary.subscriptions.iter();
        let subscriptions = subscriptions.map(|(id, known)| format!("{id}: {known:?}"));
        accounts.chain(parts).chain(orders).chain(requests).chain(subscriptions).collect()
    };
    let (code, model) = (lines(code), lines(model));
    let only = |these: &[String], those: &[String], whose: &str| -> Vec<String> {
        let lone = these.iter().filter(|line| !those.contains(line));
        lone.map(|line| format!("{whose} {line}")).collect()
    };
    [only(&code, &model, "code: "), only(&model, &code, "model:")].concat().join("\n")
}

/// What the code under test tells.
pub fn of_code(set: &WorkingSet) -> Summary {
    let purchases: Vec<PurchaseId> = set.purchases.keys().copied().collect();
    let place = |id: PurchaseId| purchases.iter().position(|known| *known == id).expect("a known purchase");
    let accounts = set.account_numbers.iter().map(|(id, number)| {
        let account = &set.accounts[number];
        (id.to_string(), account_of_code(account, &place))
    });
    let parts = set.purchases.values().map(|purchase| {
        let parts = purchase.parts.iter().map(|(unit, part)| {
            let taken = |counts: fn(TakenFrom) -> bool| {
                part.elsewhere.iter().filter(|taking| counts(taking.from)).map(|taking| taking.amount).sum()
            };
            let summary = PartSummary {
                granted: part.granted,
                target: (part.target.total, part.target.taken),
                own_taken: part.own_taken(),
                absorbed: part.absorbed(),
                recorded_shortfall: part.shortfall,
                from_other_lots: taken(|from| matches!(from, TakenFrom::Lot(_))),
                owed: taken(|from| matches!(from, TakenFrom::Debt(_))),
                settled: taken(|from| matches!(from, TakenFrom::Settlement { .. })),
                written_off: taken(|from| from == TakenFrom::WriteOff),
            };
            (unit.clone(), summary)
        });
        parts.collect()
    });
    let orders = set.orders.values().map(|order| order_of_code(order, &place));
    let payments = set.payments.values();
    let mut requests: Vec<_> = payments
        .flat_map(|payment| payment.requested.iter().map(move |(id, request)| (*id, payment, request)))
        .map(|(id, payment, request)| (id, (request.amount, payment.status_of(request).as_str())))
        .collect();
    requests.sort_by_key(|(id, _)| *id);
    Summary {
        accounts: accounts.collect(),
        purchases: parts.collect(),
        orders: orders.collect(),
        subscriptions: set
            .subscriptions
            .values()
            .map(|known| (known.id.clone(), (known.terms.status.as_str(), known.order.is_some())))
            .collect(),
        requests: requests.into_iter().map(|(_, request)| request).collect(),
    }
}

fn order_of_code(order: &Order, place: &dyn Fn(PurchaseId) -> usize) -> OrderSummary {
    OrderSummary {
        status: order.status.as_str(),
        session: order.session.clone(),
        failure: order.failure.map(|failure| failure.as_str()),
        paid_sessions: order.paid_sessions.clone(),
        purchases: order.purchases.iter().map(|purchase| place(*purchase)).collect(),
    }
}

fn account_of_code(account: &Account, place: &dyn Fn(PurchaseId) -> usize) -> AccountSummary {
    let known = account.books.iter().filter(|(_, book)| !book.lots.is_empty() || !book.debts.is_empty());
    let books = known.map(|(unit, book)| {
        let summary = BookSummary {
            available: book.available,
            held: book.held,
            disputed: book.disputed,
            debt: book.debt,
            spendable: book.spendable(),
            lots: book.lots.values().map(|lot| lot_of_code(lot, place)).collect(),
            debts: book
                .debts
                .values()
                .map(|debt| match debt.cause {
                    DebtCause::Overdraft(_) => (None, debt.open),
                    DebtCause::Clawback(purchase) => (Some(place(purchase)), debt.open),
                })
                .collect(),
        };
        (unit.clone(), summary)
    });
    let status = match account.status {
        AccountStatus::Open => model::Status::Open,
        AccountStatus::Frozen => model::Status::Frozen,
        AccountStatus::Closed => model::Status::Closed,
    };
    let holds = account.holds.values().map(|hold| (hold.unit.clone(), hold.amount(), hold.lapses_at));
    let customer = account.stripe_customer.clone();
    AccountSummary { status, customer, open_holds: holds.collect(), books: books.collect() }
}

fn lot_of_code(lot: &Lot, place: &dyn Fn(PurchaseId) -> usize) -> LotSummary {
    LotSummary {
        purchase: lot.purchase.map(place),
        expires_at: lot.expires_at,
        priority: lot.priority,
        granted: lot.granted,
        counters: lot.pools(),
    }
}

/// What the model tells.
pub fn of_model(model: &Model) -> Summary {
    let accounts = model.accounts.iter().enumerate().map(|(index, account)| {
        let units = model.settings.units.keys();
        let books = units.filter_map(|unit| Some((unit.clone(), book_of_model(model, index, unit)?)));
        let holds = model.holds.iter().filter(|hold| hold.open && hold.account == index).map(|hold| {
            let amount = hold.draws.iter().map(|(_, amount)| amount).sum();
            (hold.unit.clone(), amount, hold.lapses_at)
        });
        let summary = AccountSummary {
            status: account.status,
            customer: account.customer.clone(),
            open_holds: holds.collect(),
            books: books.collect(),
        };
        (account.id.to_string(), summary)
    });
    let parts = model.purchases.iter().map(|purchase| {
        purchase.parts.iter().map(|(unit, part)| (unit.clone(), part_of_model(part))).collect()
    });
    let requests = model.requests.iter().enumerate();
    Summary {
        accounts: accounts.collect(),
        purchases: parts.collect(),
        orders: model.orders.iter().map(order_of_model).collect(),
        subscriptions: model
            .subscriptions
            .iter()
            .map(|known| (known.id.clone(), (known.status(), known.order.is_some())))
            .collect(),
        requests: requests.map(|(index, request)| (request.amount, model.request_status(index))).collect(),
    }
}

fn order_of_model(order: &model::Order) -> OrderSummary {
    let failure = match order.ended {
        Some(OrderEnding::Failed(reason)) if order.paid.is_empty() => Some(reason.as_str()),
        _ => None,
    };
    OrderSummary {
        status: order.status(),
        session: order.session.clone(),
        failure,
        paid_sessions: order.paid.iter().map(|(session, _)| session.clone()).collect(),
        purchases: order.paid.iter().filter_map(|(_, purchase)| *purchase).collect(),
    }
}

fn book_of_model(model: &Model, account: usize, unit: &Unit) -> Option<BookSummary> {
    let lots = model.lots_of(account, unit).into_iter().map(|lot| {
        let lot = &model.lots[lot];
        let places = [
            Place::Remaining,
            Place::Held,
            Place::Disputed,
            Place::Spent,
            Place::Expired,
            Place::Clawed,
            Place::Moved,
            Place::Adjusted,
            Place::Settled,
        ];
        LotSummary {
            purchase: lot.purchase,
            expires_at: lot.expires_at,
            priority: lot.priority,
            granted: lot.granted(),
            counters: places.map(|place| lot.count(place)),
        }
    });
    let owed = model.debts.iter().filter(|debt| debt.account == account && debt.unit == *unit);
    let book = BookSummary {
        available: model.available(account, unit),
        held: model.sum(account, unit, Place::Held),
        disputed: model.sum(account, unit, Place::Disputed),
        debt: model.debt(account, unit),
        spendable: model.spendable(account, unit),
        lots: lots.collect(),
        debts: owed.filter(|debt| debt.open > 0).map(|debt| (debt.clawback_of, debt.open)).collect(),
    };
    (!book.lots.is_empty() || !book.debts.is_empty()).then_some(book)
}

fn part_of_model(part: &model::Part) -> PartSummary {
    let taken = |counts: fn(model::Source) -> bool| {
        part.elsewhere.iter().filter(|taking| counts(taking.from)).map(|taking| taking.amount).sum()
    };
    PartSummary {
        granted: part.granted,
        target: (part.target.total, part.target.taken),
        own_taken: part.own_taken(),
        absorbed: part.absorbed(),
        recorded_shortfall: part.recorded_shortfall(),
        from_other_lots: taken(|from| matches!(from, model::Source::OtherLot(_))),
        owed: taken(|from| matches!(from, model::Source::Debt(_))),
        settled: taken(|from| matches!(from, model::Source::Settlement(_))),
        written_off: taken(|from| from == model::Source::WriteOff),
    }
}
