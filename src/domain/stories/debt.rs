//! Stories of debt: how it comes about, and what pays it off.

use super::*;
use crate::domain::{account::DebtCause, event::Settlement};

#[test]
fn a_spend_may_use_the_overdraft_last() {
    let told = story(
        "limit 50                 => 0 [limit.changed]
         grant 10                 => 10
         spend 61                 => rejected InsufficientCredits { unit: credits, available: 10, spendable: 60, required: 61 }
         spend 30                 => 0 debt 20
         spend 31                 => rejected InsufficientCredits { unit: credits, available: 0, spendable: 30, required: 31 }
         spend 30                 => 0 debt 50
         limit 40                 => 0 debt 50
         spend 1                  => rejected InsufficientCredits { unit: credits, available: 0, spendable: 0, required: 1 }",
    );
    let causes: Vec<bool> =
        told.book().debts.values().map(|debt| matches!(debt.cause, DebtCause::Overdraft(_))).collect();
    assert_eq!(causes, [true, true]);
}

#[test]
fn debts_are_paid_off_one_after_the_other_with_several_lots_at_once() {
    story(
        "grant 5                  => 5
         grant 10                 => 15
         hold h 15                => 0 held 15
         limit 50                 => 0 held 15
         spend 12                 => 0 held 15 debt 12
         spend 2                  => 0 held 15 debt 14
         release h                => 1 [hold.released debt.settled]
         spend 1                  => 0",
    );
}

#[test]
fn whatever_becomes_usable_settles_debt_oldest_item_first() {
    let told = story(
        "limit 100                => 0
         spend 30                 => 0 debt 30
         spend 20                 => 0 debt 50
         grant 35                 => 0 debt 15 [credits.granted debt.settled]
         adjust +5                => 0 debt 10 [credits.adjusted debt.settled]
         buy pi_1 100 for 500     => 90 [credits.purchased debt.settled]",
    );
    let settled: Vec<Settlement> = told
        .events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::DebtSettled(body) => Some(body.settlements.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    let amounts: Vec<i64> = settled.iter().map(|settlement| settlement.amount).collect();
    assert_eq!(amounts, [30, 5, 5, 10]);
    assert!(settled[0].debt < settled[1].debt);
    assert!(told.book().debts.is_empty());
}

#[test]
fn one_settlement_can_draw_on_lots_in_spending_order() {
    let told = story(
        "limit 100                => 0
         spend 60                 => 0 debt 60
         buy pi_1 price_both for 400 => 40 [credits.purchased credits.purchased debt.settled]",
    );
    let settle =
        told.events.iter().find(|event| matches!(event.body, EventBody::DebtSettled(_))).expect("settled");
    assert_eq!((settle.amount, settle.balance.map(|balance| balance.net)), (0, Some(40)));
}

#[test]
fn debt_takes_no_credits_that_are_held_but_those_that_come_back() {
    story(
        "limit 100                => 0
         grant 20                 => 20
         hold h 20                => 0 held 20
         spend 10                 => 0 held 20 debt 10
         release h                => 10 [hold.released debt.settled]",
    );
}

#[test]
fn targets_are_applied_before_debt_is_settled() {
    story(
        "limit 100                        => 0
         spend 60                         => 0 debt 60
         refund pi_1 re_1 250 succeeded   => 0 debt 60 [payment.noted]
         buy pi_1 100 for 500             => 0 debt 10 [credits.purchased purchase.clawed debt.settled]",
    );
}

#[test]
fn a_limit_is_within_bounds() {
    story(
        "limit 9007199254740991   => 0
         limit 9007199254740991   => 0 []
         limit 0                  => 0
         limit -1                 => rejected AmountTooLarge
         limit 9007199254740992   => rejected AmountTooLarge
         close                    => 0
         limit 5                  => rejected AccountClosed",
    );
}
