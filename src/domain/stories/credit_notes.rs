//! Stories of credit notes: what goes back to the customer's balance, or outside of Stripe, counts as a refund does.

use super::*;
use crate::domain::payment::{MoneyBack, Payment};

fn payment(told: &Story) -> Payment {
    told.state.payments[&PaymentReference::Stripe(stripe("pi_1"))].clone()
}

#[test]
fn a_credit_note_takes_credits_back_as_a_refund_does_and_a_void_one_gives_them_back() {
    let told = story(
        "buy pi_1 100 for 1000             => 100
         note pi_1 cn_1 500 succeeded      => 50 [purchase.clawed]
         note pi_1 cn_1 500 succeeded      => 50 []
         note pi_1 cn_1 500 cancelled      => 100 [purchase.restored]
         note pi_1 cn_1 500 succeeded      => 100 []",
    );
    let (restored, clawed) = (told.events.last().expect("events"), &told.events[told.events.len() - 2]);
    assert_eq!((clawed.body.type_name(), clawed.body.version()), ("purchase.clawed", 3));
    assert_eq!((restored.body.type_name(), restored.body.version()), ("purchase.restored", 2));
}

#[test]
fn a_note_counts_beside_what_its_charge_shows_and_not_instead_of_it() {
    for (first, second) in [
        ("charge pi_1 1000", "note pi_1 cn_1 500 succeeded"),
        ("note pi_1 cn_1 500 succeeded", "charge pi_1 1000"),
    ] {
        let told = story(&format!("buy pi_1 100 for 2000 => 100\n {first}\n {second} => 25"));
        assert_eq!(payment(&told).money_back(false), MoneyBack { total: 1_500, taken: 1_500 });
        assert_eq!(payment(&told).refundable(), 500);
    }
}

#[test]
fn a_refund_that_its_charge_shows_as_well_counts_once_beside_a_note() {
    let told = story(
        "buy pi_1 100 for 2000            => 100
         note pi_1 cn_1 500 succeeded     => 75
         refund pi_1 re_1 1000 succeeded  => 25
         charge pi_1 1000                 => 25
         refund pi_1 re_1 1000 failed     => 75
         note pi_1 cn_1 500 cancelled     => 100",
    );
    assert_eq!(payment(&told).money_back(false), MoneyBack::default());
}

#[test]
fn a_note_may_give_everything_back_of_which_the_charge_shows_nothing() {
    story(
        "buy pi_1 100 for 2000            => 100
         note pi_1 cn_1 2000 succeeded    => 0 [purchase.clawed]
         charge pi_1 500                  => 0",
    );
}

#[test]
fn a_void_note_takes_nothing_off_what_the_charge_shows() {
    let told = story(
        "buy pi_1 100 for 2000            => 100
         note pi_1 cn_1 500 cancelled     => 100
         charge pi_1 1000                 => 50",
    );
    assert_eq!(payment(&told).money_back(false).taken, 1_000);
}

#[test]
fn a_note_that_comes_before_its_purchase_waits_for_it() {
    let told = story(
        "note pi_1 cn_1 500 succeeded     => 0 [payment.noted]
         note pi_1 cn_1 500 succeeded     => 0 []
         charge pi_1 250                  => 0 [payment.noted]
         buy pi_1 100 for 1000            => 25",
    );
    assert_eq!(told.events[0].body.version(), 1, "an account is opened");
    let noted = told.events.iter().find(|event| event.body.type_name() == "payment.noted");
    assert_eq!(noted.map(|event| event.body.version()), Some(3));
}

#[test]
fn what_a_note_gave_back_explains_no_refund_that_is_asked_for() {
    story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         ask r o 200                      => 60 disputed 40
         note pi_1 cn_1 100 succeeded     => 40 disputed 40
         charge pi_1 200                  => 40
         answer r pi_1 re_1 200 succeeded => 40
         ask s o 201                      => rejected RefundExceedsPayment { requested: 201, refundable: 200 }",
    );
}

#[test]
fn a_note_in_another_currency_contradicts_its_payment() {
    story(
        "buy pi_1 100 for 1000            => 100
         note pi_1 cn_1 500 succeeded in usd => rejected PaymentContradicts",
    );
}
