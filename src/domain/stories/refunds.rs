//! Stories of refunds that are asked of us: set aside, taken on Stripe's word, or given back.

use super::*;
use crate::domain::{
    effects::{Effect, effects_of},
    event::{RefundRequested, TargetCause},
    payment::{Payment, RefundRefusal, RequestStatus},
};

fn payment(told: &Story, intent: &str) -> Payment {
    told.state.payments[&PaymentReference::Stripe(stripe(intent))].clone()
}

fn status(told: &Story, intent: &str, name: &str) -> RequestStatus {
    let payment = payment(told, intent);
    payment.status_of(&payment.requested[&told.request(name)])
}

fn requested(told: &Story) -> Vec<RefundRequested> {
    let requested = told.events.iter().filter_map(|event| match &event.body {
        EventBody::RefundRequested(body) => Some(body.clone()),
        _ => None,
    });
    requested.collect()
}

fn cause(told: &Story) -> TargetCause {
    match &told.events.last().expect("events").body {
        EventBody::PurchaseClawed(body) => body.0.cause.clone(),
        EventBody::PurchaseRestored(body) => body.0.cause.clone(),
        other => panic!("no move of a target: {other:?}"),
    }
}

#[test]
fn a_refund_is_set_aside_until_stripe_tells_of_it() {
    let told = story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         ask r o 200                      => 60 disputed 40 [refund.requested purchase.clawed]
         answer r pi_1 re_1 200 pending   => 60 disputed 40 [purchase.clawed]
         answer r pi_1 re_1 200 succeeded => 60 [purchase.clawed]",
    );
    assert_eq!(status(&told, "pi_1", "r"), RequestStatus::Succeeded);
    let [asked] = &requested(&told)[..] else { panic!("asked once") };
    assert_eq!((asked.amount, asked.currency, asked.order), (200, eur(), Some(told.order("o"))));
    assert_eq!(asked.payment, PaymentReference::Stripe(stripe("pi_1")));
    assert_eq!(payment(&told, "pi_1").requested[&told.request("r")].refund, Some(stripe("re_1")));
}

#[test]
fn asking_for_a_refund_orders_it_at_stripe() {
    let told = story("order o price_pack => 0\n pay o pi_1 for 500 => 100\n ask r o => 0 disputed 100");
    let asked = told.events.iter().find(|event| matches!(event.body, EventBody::RefundRequested(_)));
    let (account, refund) = (told.number(), told.request("r"));
    assert_eq!(effects_of(asked.expect("asked")), [Effect::CreateRefund { account, refund }]);
    assert_eq!(cause(&told), TargetCause::RefundRequested(refund));
}

#[test]
fn a_refund_that_is_refused_gives_everything_back() {
    let told = story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         ask r o 200                      => 60 disputed 40
         refuse r pi_1 disputed           => 100 [refund.refused purchase.restored]
         refuse r pi_1 refused            => 100 []
         ask s o 500                      => 0 disputed 100",
    );
    assert_eq!(status(&told, "pi_1", "r"), RequestStatus::Refused);
    let refusal = payment(&told, "pi_1").requested[&told.request("r")].refusal;
    assert_eq!(refusal, Some(RefundRefusal::Disputed));
    assert_eq!(status(&told, "pi_1", "s"), RequestStatus::Requested);
}

#[test]
fn a_refund_that_stripe_told_of_cannot_be_refused_any_more() {
    let told = story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         ask r o 200                      => 60 disputed 40
         answer r pi_1 re_1 200 pending   => 60 disputed 40
         refuse r pi_1 given_up           => 60 disputed 40 []",
    );
    assert_eq!(status(&told, "pi_1", "r"), RequestStatus::Pending);
    let told = story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         ask r o 200                      => 60 disputed 40
         refuse r pi_1 given_up           => 100
         answer r pi_1 re_1 200 succeeded => 60 [purchase.clawed]",
    );
    assert_eq!(status(&told, "pi_1", "r"), RequestStatus::Succeeded);
}

#[test]
fn a_refund_that_fails_or_is_called_off_gives_everything_back() {
    for (ending, expected) in [("failed", RequestStatus::Failed), ("cancelled", RequestStatus::Cancelled)] {
        let told = story(&format!(
            "order o price_pack               => 0
             pay o pi_1 for 500               => 100
             ask r o                          => 0 disputed 100
             answer r pi_1 re_1 500 succeeded => 0
             answer r pi_1 re_1 500 {ending}  => 100 [purchase.restored]
             ask s o 500                      => 0 disputed 100"
        ));
        assert_eq!(status(&told, "pi_1", "r"), expected);
        story(&format!(
            "order o price_pack               => 0
             pay o pi_1 for 500               => 100
             ask r o                          => 0 disputed 100
             answer r pi_1 re_1 500 {ending}  => 100"
        ));
    }
}

#[test]
fn a_sum_that_comes_before_its_refund_does_not_count_twice() {
    story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         ask r o 200                      => 60 disputed 40
         charge pi_1 200                  => 60 [purchase.clawed]
         answer r pi_1 re_1 200 succeeded => 60",
    );
    story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         refund pi_1 re_9 100 succeeded   => 80
         ask r o 200                      => 40 disputed 40
         charge pi_1 200                  => 40 disputed 20
         answer r pi_1 re_1 200 pending   => 40 disputed 40
         charge pi_1 300                  => 40 disputed 40
         answer r pi_1 re_1 200 succeeded => 40",
    );
}

#[test]
fn refunds_by_hand_and_by_request_stand_beside_each_other() {
    story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         ask r o 100                      => 80 disputed 20
         refund pi_1 re_9 100 succeeded   => 60 disputed 20
         ask s o 400                      => rejected RefundExceedsPayment { requested: 400, refundable: 300 }
         ask s o 100                      => 40 disputed 40
         answer s pi_1 re_2 100 succeeded => 40 disputed 20
         answer r pi_1 re_1 100 succeeded => 40
         ask t o                          => 0 disputed 40",
    );
}

#[test]
fn a_pending_refund_is_taken_at_once_if_the_ledger_says_so() {
    story(
        "setting claw_on_pending
         order o price_pack               => 0
         pay o pi_1 for 500               => 100
         ask r o 200                      => 60 disputed 40
         charge pi_1 200                  => 60
         answer r pi_1 re_1 200 pending   => 60
         answer r pi_1 re_1 200 succeeded => 60",
    );
}

#[test]
fn what_is_disputed_or_gone_back_already_cannot_be_refunded() {
    story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         dispute pi_1 dp_1 300 open       => 40 disputed 60
         ask r o 201                      => rejected RefundExceedsPayment { requested: 201, refundable: 200 }
         refund pi_1 re_1 150 pending     => 40 disputed 60
         ask r o 51                       => rejected RefundExceedsPayment { requested: 51, refundable: 50 }
         ask r o                          => 30 disputed 70
         ask s o                          => rejected RefundExceedsPayment { requested: 0, refundable: 0 }
         dispute pi_1 dp_1 300 won        => 90 disputed 10
         ask s o 301                      => rejected RefundExceedsPayment { requested: 301, refundable: 300 }",
    );
}

#[test]
fn credits_that_are_spent_are_missed_only_once_the_money_is_gone() {
    let told = story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         spend 90                         => 10
         grant 30                         => 40
         ask r o                          => 30 disputed 10 [refund.requested purchase.clawed]
         answer r pi_1 re_1 500 succeeded => 0 debt 60
         answer r pi_1 re_1 500 failed    => 40",
    );
    assert!(told.account().watched.is_empty());
}

#[test]
fn expired_credits_are_absorbed_by_what_is_asked_for() {
    story(
        "order o price_monthly            => 0
         pay o pi_1 for 300               => 100
         at 31d
         ask r o 150                      => 0 [credits.expired refund.requested purchase.clawed]
         refuse r pi_1 refused            => 0 [refund.refused purchase.restored]",
    );
}

#[test]
fn a_refund_takes_back_of_every_unit_that_was_sold() {
    story(
        "order o price_both               => 0
         pay o pi_1 for 400               => 100
         ask r o 200                      => 50 disputed 50 [refund.requested purchase.clawed purchase.clawed]
         unit bonus
         answer r pi_1 re_1 200 succeeded => 5",
    );
}

#[test]
fn a_refund_too_small_for_a_single_credit_is_asked_for_all_the_same() {
    story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         ask r o 1                        => 100 [refund.requested]
         refuse r pi_1 refused            => 100 [refund.refused]",
    );
}

#[test]
fn an_order_that_was_paid_twice_gives_back_the_newest_payment_that_has_so_much() {
    let told = story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         pay o pi_2 for 400               => 200
         pay o free of 500                => 300
         ask r o 401                      => 220 disputed 80
         ask s o                          => 120 disputed 180
         ask t o 100                      => rejected RefundExceedsPayment { requested: 100, refundable: 99 }
         ask t o                          => 100 disputed 200",
    );
    let of = |name: &str| requested(&told).into_iter().find(|body| body.refund == told.request(name));
    let what = |name: &str| of(name).map(|body| (body.payment.to_string(), body.amount));
    assert_eq!(what("r"), Some(("pi_1".to_owned(), 401)));
    assert_eq!(what("s"), Some(("pi_2".to_owned(), 400)));
    assert_eq!(what("t"), Some(("pi_1".to_owned(), 99)));
}

#[test]
fn a_refund_is_checked_in_order() {
    story(
        "ask r unheard_of                 => rejected OrderNotFound
         order o price_pack               => 0
         ask r o 501                      => rejected OrderNotPaid
         pay o free of 500                => 100
         ask r o                          => rejected RefundExceedsPayment { requested: 0, refundable: 0 }
         freeze                           => 100
         order p price_pack               => rejected AccountFrozen
         pay o pi_1 for 500               => 200
         ask r o 501                      => rejected RefundExceedsPayment { requested: 501, refundable: 500 }
         ask r o 100                      => 180 disputed 20
         close                            => 180 disputed 20
         ask s o 501                      => rejected AccountClosed
         refuse r pi_1 refused            => 200
         refuse r pi_2 refused            => rejected RefundNotFound
         refuse unheard_of pi_1 refused   => rejected RefundNotFound",
    );
}

#[test]
fn a_refund_is_tied_to_its_request_by_whichever_report_names_it() {
    let told = story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         ask r o 200                      => 60 disputed 40
         refund pi_1 re_1 200 succeeded   => 20 disputed 40
         answer r pi_1 re_1 200 pending   => 60 [purchase.restored]
         answer r pi_1 re_1 200 succeeded => 60 []
         answer r pi_1 re_2 100 succeeded => 40",
    );
    assert_eq!(status(&told, "pi_1", "r"), RequestStatus::Succeeded);
    assert_eq!(payment(&told, "pi_1").requested[&told.request("r")].refund, Some(stripe("re_1")));
}

#[test]
fn a_refund_that_names_a_request_of_somebody_else_is_one_of_its_own() {
    let told = story(
        "order o price_pack               => 0
         pay o pi_1 for 500               => 100
         answer unheard_of pi_1 re_1 100 pending   => 100
         answer unheard_of pi_1 re_1 100 pending   => 100 []
         answer unheard_of pi_1 re_1 100 succeeded => 80",
    );
    assert!(payment(&told, "pi_1").requested.is_empty());
}

#[test]
fn a_stored_payment_from_before_requests_is_read() {
    let mut told = story("buy pi_1 100 for 500 => 100");
    let payment = told.state.payments.values().next().cloned().expect("a payment");
    let stored = serde_json::to_value(&payment).expect("serialises");
    assert!(stored.get("requested").is_none());
    assert_eq!(serde_json::from_value::<Payment>(stored).expect("reads"), payment);
    let account = serde_json::to_value(told.account()).expect("serialises");
    assert!(account.get("stripe_customer").is_none());
    told.tell("refund pi_1 re_1 500 succeeded => 0");
}
