//! Stories of purchases: what payments buy, and facts that come before them.

use super::{accounts::decide_once, *};
use crate::domain::{
    canonical::note_hash,
    event::{CreditsPurchased, GrantSource},
    working_set::Private,
};

fn purchased(told: &Story) -> Vec<CreditsPurchased> {
    let bodies = told.events.iter().map(|event| &event.body);
    bodies
        .filter_map(|body| match body {
            EventBody::CreditsPurchased(body) => Some(body.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_price_grants_what_it_says_times_the_quantity() {
    let told = story(
        "at 1d
         buy pi_1 price_pack x 3 for 1500 tax 240 => 300 [credits.purchased]
         buy pi_2 price_monthly for 300           => 400 lots 300 100",
    );
    let bodies = purchased(&told);
    assert_eq!((bodies[0].granted, bodies[0].cost, bodies[0].quantity), (300, 1_260, Some(3)));
    assert_eq!(bodies[0].price.as_ref().map(PriceId::as_str), Some("price_pack"));
    assert_eq!((bodies[0].expires_at, bodies[0].priority), (None, 50));
    assert_eq!((bodies[1].expires_at, bodies[1].priority), (Some(start().plus(Span::days(31))), 20));
    assert_eq!(bodies[1].purchase.position(), bodies[1].lot.position());
}

#[test]
fn a_price_of_two_units_splits_its_money_by_shares() {
    let told = story(
        "buy pi_1 price_both x 2 for 1000 tax 1   => 200 [credits.purchased credits.purchased]
         unit bonus
         spend 20                                 => 0",
    );
    let bodies = purchased(&told);
    assert_eq!(bodies[0].purchase, bodies[1].purchase);
    assert_eq!([bodies[0].cost, bodies[1].cost], [749, 250]);
}

#[test]
fn totals_are_totals() {
    let told = story("buy pi_1 70 7 of bonus for 500 => 70 [credits.purchased credits.purchased]");
    let bodies = purchased(&told);
    assert_eq!([bodies[0].granted, bodies[1].granted], [7, 70]);
    assert_eq!([bodies[0].cost, bodies[1].cost], [250, 250]);
    assert_eq!((bodies[0].price.as_ref(), bodies[0].quantity, bodies[0].priority), (None, None, 50));
}

#[test]
fn totals_and_price_must_agree() {
    story(
        "buy pi_1 price_pack x 2 200 for 500     => 200
         buy pi_2 price_pack x 2 100 for 500     => rejected PaymentContradicts
         buy pi_2 price_pack 100 5 of bonus for 500 => rejected PaymentContradicts
         buy pi_2 price_unheard_of for 500       => rejected UnknownPrice
         buy pi_2 price_pack x 9007199254740991 for 5 => rejected AmountTooLarge
         buy pi_2 for 500                        => rejected PaymentContradicts",
    );
}

#[test]
fn one_payment_pays_for_one_purchase() {
    story(
        "buy pi_1 100 for 500     => 100
         buy pi_1 100 for 500     => rejected PaymentContradicts
         refund pi_2 re_1 1 pending => 100 [payment.noted]
         buy pi_2 100 for 500     => 200",
    );
}

#[test]
fn what_was_reported_before_the_purchase_is_applied_with_it() {
    story(
        "refund pi_1 re_1 250 succeeded   => 0 [payment.noted]
         refund pi_1 re_1 250 succeeded   => 0 []
         charge pi_1 250                  => 0 [payment.noted]
         buy pi_1 price_both for 500      => 50 [credits.purchased credits.purchased purchase.clawed purchase.clawed]
         charge pi_1 250                  => 50 []",
    );
}

#[test]
fn what_nobody_paid_for_is_granted() {
    let told = story("buy free price_both for 0 => 100 [credits.granted credits.granted]");
    let EventBody::CreditsGranted(body) = &told.events.last().expect("events").body else {
        panic!("a grant")
    };
    assert!(
        matches!(&body.source, GrantSource::FreeCheckoutSession(session) if session.as_str().starts_with("cs_"))
    );
    assert!(told.state.purchases.is_empty());
    let told = story("buy free price_monthly for 0 => 100 lots 100");
    let lot = told.book().lots.into_values().next().expect("a lot");
    assert_eq!((lot.expires_at, lot.priority, lot.cost), (Some(start().plus(Span::days(30))), 20, None));
}

#[test]
fn payments_through_stripe_reach_frozen_and_closed_accounts_others_do_not() {
    story(
        "freeze                           => 0
         buy pi_1 100 for 500             => 100
         buy external 10 for 50           => 110
         grant 1                          => rejected AccountFrozen
         close                            => 110
         buy pi_2 100 for 500             => 210
         buy external 10 for 50           => rejected AccountClosed
         return                           => rejected AccountClosed",
    );
}

#[test]
fn a_purchase_outside_of_stripe_is_refunded_there() {
    story(
        "return                           => rejected PurchaseNotFound
         buy external 100 for 0           => rejected InvalidConfiguration
         buy external 100 for 500         => 100 [credits.purchased]
         return 501                       => rejected RefundExceedsPayment { requested: 501, refundable: 500 }
         return 250                       => 50 [purchase.clawed]
         freeze                           => 50
         return 251                       => rejected RefundExceedsPayment
         return                           => 0
         return                           => rejected RefundExceedsPayment { requested: 0, refundable: 0 }
         return 1                         => rejected RefundExceedsPayment",
    );
}

#[test]
fn the_reason_of_a_refund_stands_beside_what_it_took_back() {
    let told = story("grant 10 expires 1d => 10\n buy external 100 for 500 => 110\n at 2d");
    let purchase = *told.state.purchases.keys().next().expect("a purchase");
    let note = Note::from_iter([("reason".to_owned(), "not as described".into())]);
    let command = RefundPurchase { purchase, amount: None, note: note.clone() };
    let decision = decide_once(&told, &Command::RefundPurchase(command)).expect("refunds");
    let [expired, clawed] = decision.events.as_slice() else { panic!("two events") };
    assert_eq!(expired.note_hash, None);
    assert!(matches!(clawed.body, EventBody::PurchaseClawed(_)));
    let [Private::Note { position, salt, content, .. }] = decision.private.as_slice() else {
        panic!("a note")
    };
    assert_eq!((*position, content), (clawed.position, &note));
    assert_eq!(clawed.note_hash, Some(note_hash(salt, content)));
}

#[test]
fn a_purchase_through_stripe_is_not_refunded_by_hand() {
    let mut told = story("buy pi_1 100 for 500 => 100");
    let purchase = *told.state.purchases.keys().next().expect("a purchase");
    let command = RefundPurchase { purchase, amount: None, note: Note::new() };
    let refused = told.run(&Command::RefundPurchase(command)).expect_err("paid through Stripe");
    assert_eq!(refused, Rejection::PurchasePaidThroughStripe { purchase });
}

#[test]
fn the_account_of_a_purchase_must_exist() {
    let mut told = Story::new();
    told.account = AccountId::parse("nobody").expect("an account");
    told.tell("buy pi_1 100 for 500 => rejected AccountNotFound");
}
