//! What the state promises by itself, whatever command it serves.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{eur, start, stripe, unit};
use crate::domain::{
    account::{Account, AccountStatus, Book, DebtCause, Lot, Pool},
    event::{BalanceAfter, SuccessorLot, Target},
    ids::{AccountNumber, DebtId, LotId, Position, PurchaseId, Seed, SpendId},
    payment::{DisputeStatus, PaymentFact, RefundStatus},
    purchase::{Part, TakenFrom},
    time::Span,
};

const SEED: Seed = Seed([3; 16]);

fn lot_id(position: i64) -> LotId {
    LotId::new(Position(position), 0, &SEED)
}

fn lot(position: i64, granted: i64) -> Lot {
    Lot::new(lot_id(position), granted, 50)
}

fn debt_id(position: i64) -> DebtId {
    DebtId::new(Position(position), 0, &SEED)
}

/// A book with one lot of ten credits.
fn book_of_ten() -> Book {
    let mut book = Book::default();
    book.add_lot(lot(1, 10));
    book
}

fn account(books: impl IntoIterator<Item = Book>) -> Account {
    let units = ["credits", "bonus"].map(unit);
    Account {
        had_trial: false,
        number: AccountNumber(1),
        status: AccountStatus::Open,
        opened_at: start(),
        version: Position(1),
        books: units.into_iter().zip(books).collect(),
        holds: Default::default(),
        watched: Default::default(),
        stripe_customer: None,
    }
}

/// Each pool of a lot, alone filled with five credits.
fn one_pool_filled() -> Vec<(&'static str, Lot)> {
    let empty = Lot { remaining: 0, ..lot(1, 5) };
    vec![
        ("remaining", Lot { remaining: 5, ..empty.clone() }),
        ("held", Lot { held: 5, ..empty.clone() }),
        ("disputed", Lot { disputed: 5, ..empty.clone() }),
        ("spent", Lot { spent: 5, ..empty.clone() }),
        ("expired", Lot { expired: 5, ..empty.clone() }),
        ("clawed", Lot { clawed: 5, ..empty.clone() }),
        ("moved", Lot { moved: 5, ..empty.clone() }),
        ("adjusted", Lot { adjusted: 5, ..empty.clone() }),
        ("settled", Lot { settled: 5, ..empty }),
    ]
}

#[test]
fn a_lot_is_open_while_its_credits_can_be_used_given_back_or_taken() {
    for (pool, lot) in one_pool_filled() {
        assert_eq!(lot.is_open(), ["remaining", "held", "disputed"].contains(&pool), "{pool}");
    }
}

#[test]
fn what_leaves_a_lot_for_others_takes_its_cost_along_to_the_last_cent() {
    let mut paid = Lot { cost: Some(100), ..lot(1, 7) };
    let mut shares = Vec::new();
    for amount in [1, 2, 4] {
        shares.push(paid.cost_of_moving(amount));
        (paid.remaining, paid.moved) = (paid.remaining - amount, paid.moved + amount);
    }
    assert_eq!(shares, [Some(14), Some(28), Some(58)]);
    assert_eq!(lot(1, 7).cost_of_moving(7), None);
}

#[test]
fn a_stored_lot_names_the_pools_that_are_not_empty_and_reads_back() {
    for (pool, lot) in one_pool_filled() {
        let stored = serde_json::to_value(&lot).expect("serialises");
        assert_eq!(serde_json::from_value::<Lot>(stored.clone()).expect("reads"), lot, "{pool}");
        let always = ["id", "priority", "granted", "remaining"];
        let fields = stored.as_object().expect("an object").keys().map(String::as_str);
        let others: Vec<&str> = fields.filter(|field| !always.contains(field)).collect();
        assert_eq!(others, if pool == "remaining" { vec![] } else { vec![pool] });
    }
    let spilled = Lot { spilled: true, ..lot(1, 5) };
    let stored = serde_json::to_string(&spilled).expect("serialises");
    assert_eq!(serde_json::from_str::<Lot>(&stored).expect("reads"), spilled);
}

#[test]
fn a_lot_has_a_row_of_its_own_if_it_is_one_of_many_or_nothing_is_left_of_it() {
    let open = lot(1, 5);
    assert!(!open.has_row());
    assert!(Lot { spilled: true, ..open.clone() }.has_row());
    assert!(Lot { remaining: 0, ..open }.has_row());
}

#[test]
fn a_lot_that_never_expires_is_used_after_any_that_does() {
    let far = Lot { expires_at: Some(start().plus(Span::days(365 * 1_000))), ..lot(2, 1) };
    let never = lot(1, 1);
    assert!(far.spending_order() < never.spending_order());
}

#[test]
fn only_open_lots_are_kept_with_the_account() {
    let mut book = book_of_ten();
    book.add_lot(lot(2, 5));
    book.shift(lot_id(1), 10, Pool::Remaining, Pool::Spent);
    let mut account = account([book]);
    account.drop_closed_lots();
    let left: Vec<LotId> = account.books[&unit("credits")].lots.keys().copied().collect();
    assert_eq!(left, [lot_id(2)]);
}

#[test]
fn a_lot_gives_no_more_than_it_has_and_never_nothing() {
    let mut book = book_of_ten();
    book.shift(lot_id(1), 10, Pool::Remaining, Pool::Held);
    assert_eq!((book.available, book.held), (0, 10));
    for amount in [0, -1, 11] {
        let mut tried = book.clone();
        let outcome =
            catch_unwind(AssertUnwindSafe(|| tried.shift(lot_id(1), amount, Pool::Held, Pool::Remaining)));
        assert!(outcome.is_err(), "{amount}");
    }
    book.shift(lot_id(1), 10, Pool::Held, Pool::Spent);
    assert_eq!((book.available, book.held, book.lots[&lot_id(1)].spent), (0, 0, 10));
}

#[test]
fn credits_that_live_on_in_another_lot_stay_what_they_were() {
    let purchase = Some(PurchaseId::new(Position(1), 0, &SEED));
    let mut book = Book::default();
    book.add_lot(Lot { purchase, cost: Some(99), expires_at: Some(start()), ..Lot::new(lot_id(1), 10, 7) });
    book.shift(lot_id(1), 10, Pool::Remaining, Pool::Disputed);
    let expires_at = start().plus(Span::days(3));
    let into = SuccessorLot { lot: lot_id(2), expires_at, cost: Some(39) };
    book.give_back(lot_id(1), 4, Pool::Disputed, Some(into), true);
    let old = &book.lots[&lot_id(1)];
    assert_eq!((old.disputed, old.moved, book.available, book.disputed), (6, 4, 4, 6));
    let new = Lot { purchase, cost: Some(39), expires_at: Some(expires_at), ..Lot::new(lot_id(2), 4, 7) };
    assert_eq!(book.lots[&lot_id(2)], Lot { spilled: true, ..new });
}

#[test]
fn what_is_owed_by_one_item_adds_up_and_ends_at_nothing() {
    let cause = DebtCause::Overdraft(SpendId::new(Position(7), 0, &SEED));
    let mut book = Book::default();
    book.owe(debt_id(7), cause.clone(), 4);
    book.owe(debt_id(7), cause.clone(), 3);
    book.owe(debt_id(8), cause.clone(), 2);
    assert_eq!((book.debt, book.debts[&debt_id(7)].open), (9, 7));
    let too_much = catch_unwind(AssertUnwindSafe(|| book.clone().owe_less(debt_id(7), 8)));
    assert!(too_much.is_err());
    assert_eq!(book.owe_less(debt_id(7), 6), cause);
    assert_eq!((book.debt, book.debts[&debt_id(7)].open), (3, 1));
    book.owe_less(debt_id(7), 1);
    assert_eq!((book.debt, book.debts.len()), (2, 1));
}

#[test]
fn credits_and_debt_can_be_told_from_the_net_balance() {
    let balance = |net| BalanceAfter { net, held: 7, disputed: 8 };
    assert_eq!((balance(3).available(), balance(3).debt()), (3, 0));
    assert_eq!((balance(0).available(), balance(0).debt()), (0, 0));
    assert_eq!((balance(-3).available(), balance(-3).debt()), (0, 3));
}

#[test]
fn what_was_taken_is_undone_newest_first_and_no_more_than_was_taken() {
    let at = |days| start().plus(Span::days(days));
    let mut part = Part { granted: 20, ..Part::default() };
    let (own, other) = (Some(lot_id(1)), TakenFrom::Lot(lot_id(2)));
    part.take_own(own, 4, at(1));
    part.take_own(None, 2, at(2));
    part.take_own(own, 3, at(3));
    part.untake_own(own, 4);
    let left: Vec<_> = part.own.iter().map(|taking| (taking.lot, taking.amount, taking.at)).collect();
    assert_eq!(left, [(own, 3, at(1)), (None, 2, at(2))]);
    assert_eq!((part.own_taken(), part.absorbed()), (3, 2));
    part.take_elsewhere(other, 4, at(1));
    part.take_elsewhere(TakenFrom::WriteOff, 2, at(2));
    part.take_elsewhere(other, 3, at(3));
    part.untake_elsewhere(other, 4);
    let left: Vec<_> = part.elsewhere.iter().map(|taking| (taking.from, taking.amount, taking.at)).collect();
    assert_eq!(left, [(other, 3, at(1)), (TakenFrom::WriteOff, 2, at(2))]);
    assert_eq!(part.taken_elsewhere(), 5);
    let too_much = [
        catch_unwind(AssertUnwindSafe(|| part.clone().untake_own(own, 4))),
        catch_unwind(AssertUnwindSafe(|| part.clone().untake_elsewhere(other, 4))),
    ];
    assert!(too_much.iter().all(Result::is_err));
}

#[test]
fn lots_of_others_stand_with_what_was_taken_from_them() {
    let mut part = Part::default();
    part.take_elsewhere(TakenFrom::Lot(lot_id(2)), 1, start());
    part.take_elsewhere(TakenFrom::Debt(debt_id(5)), 1, start());
    part.take_elsewhere(TakenFrom::Settlement { debt: debt_id(5), lot: lot_id(3) }, 1, start());
    part.take_elsewhere(TakenFrom::WriteOff, 1, start());
    assert_eq!(part.other_lots().collect::<Vec<_>>(), [lot_id(2), lot_id(3)]);
}

#[test]
fn a_part_is_watched_while_something_is_missing_or_was_taken_elsewhere() {
    let nothing = Part { granted: 10, target: Target { total: 4, taken: 4 }, ..Part::default() };
    assert!(!nothing.is_watched());
    assert!(Part { shortfall: 1, ..nothing.clone() }.is_watched());
    let mut elsewhere = nothing;
    elsewhere.take_elsewhere(TakenFrom::WriteOff, 1, start());
    assert!(elsewhere.is_watched());
}

#[test]
fn every_fact_says_how_much_in_which_currency() {
    let (amount, currency) = (7, eur());
    for fact in [
        PaymentFact::Refund {
            refund: stripe("re_1"),
            status: RefundStatus::Pending,
            amount,
            currency,
            request: None,
        },
        PaymentFact::ChargeRefunded { charge: stripe("ch_1"), amount_refunded: amount, currency },
        PaymentFact::Dispute { dispute: stripe("dp_1"), status: DisputeStatus::Open, amount, currency },
        PaymentFact::CreditNote { note: stripe("cn_1"), status: RefundStatus::Succeeded, amount, currency },
    ] {
        assert_eq!((fact.amount(), fact.currency()), (7, Some(eur())), "{fact:?}");
    }
    let warning = PaymentFact::FraudWarning { warning: stripe("issfr_1") };
    assert_eq!((warning.amount(), warning.currency()), (0, None));
}
