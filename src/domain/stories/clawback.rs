//! Stories of clawback: what refunds take back, from where, and what is given back.

use super::*;
use crate::domain::{
    clawback::target,
    event::{Target, TargetCause, TargetMove, TargetMoved},
    payment::MoneyBack,
    purchase::Part,
};

fn part(told: &Story) -> Part {
    let purchases: Vec<_> = told.state.purchases.values().collect();
    purchases.first().expect("a purchase").parts[&unit("credits")].clone()
}

fn last_move(told: &Story) -> &TargetMoved {
    match &told.events.last().expect("events").body {
        EventBody::PurchaseClawed(body) => &body.0,
        EventBody::PurchaseRestored(body) => &body.0,
        other => panic!("no move of a target: {other:?}"),
    }
}

#[test]
fn the_target_follows_the_money_and_rounds_down_until_all_is_back() {
    let of = |granted, paid, total, taken| target(granted, paid, MoneyBack { total, taken });
    assert_eq!(of(100, 300, 100, 0), Target { total: 33, taken: 0 });
    assert_eq!(of(100, 300, 299, 100), Target { total: 99, taken: 33 });
    assert_eq!(of(100, 300, 300, 300), Target { total: 100, taken: 100 });
    assert_eq!(of(100, 300, 999, 301), Target { total: 100, taken: 100 });
    assert_eq!(of(100, 0, 5, 5), Target { total: 0, taken: 0 });
    assert_eq!(of(100, 300, -5, -5), Target { total: 0, taken: 0 });
}

#[test]
fn a_full_refund_takes_unspent_credits_back() {
    let told = story(
        "buy pi_1 100 for 500             => 100 [credits.purchased]
         refund pi_1 re_1 500 succeeded   => 0 [purchase.clawed]",
    );
    assert_eq!(told.book().lots.values().map(|lot| lot.clawed).collect::<Vec<_>>(), [100]);
    assert_eq!(told.events.last().map(|event| event.amount), Some(-100));
    assert!(!part(&told).is_watched());
}

#[test]
fn partial_refunds_end_where_one_refund_ends() {
    story(
        "buy pi_1 100 for 300             => 100
         refund pi_1 re_1 100 succeeded   => 67
         refund pi_1 re_2 100 succeeded   => 34
         refund pi_1 re_3 100 succeeded   => 0",
    );
    story("buy pi_1 100 for 300 => 100\n refund pi_1 re_1 300 succeeded => 0");
}

#[test]
fn a_refund_takes_the_purchases_own_credits_before_any_other() {
    story(
        "buy pi_1 100 for 500             => 100
         grant 50 priority 0              => 150
         refund pi_1 re_1 250 succeeded   => 100 lots 50 50
         spend 80                         => 20 lots 20 0
         refund pi_1 re_2 250 succeeded   => 0 debt 30",
    );
}

#[test]
fn a_shortfall_takes_other_lots_in_spending_order_then_makes_debt() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         spend 100                        => 0
         grant 30 expires 9d              => 30
         grant 40 expires 5d              => 70
         refund pi_1 re_1 250 succeeded   => 20 lots 0 20 0
         refund pi_1 re_2 250 succeeded   => 0 debt 30 lots 0 0 0",
    );
    assert_eq!(part(&told).taken_elsewhere(), 100);
    assert!(told.account().watched.len() == 1);
}

#[test]
fn a_policy_of_lot_only_writes_the_shortfall_off() {
    let told = story(
        "setting lot_only
         buy pi_1 100 for 500             => 100
         spend 60                         => 40
         grant 30                         => 70
         refund pi_1 re_1 500 succeeded   => 30 lots 0 30
         refund pi_1 re_1 500 failed      => 70 lots 40 30",
    );
    assert_eq!(last_move(&told).moves[0], TargetMove::WriteOffUndone { amount: 60 });
    assert_eq!(part(&told), Part { granted: 100, ..Part::default() });
}

#[test]
fn own_expired_credits_are_absorbed_without_effect_on_the_balance() {
    let told = story(
        "buy pi_1 price_monthly for 300   => 100
         spend 10                         => 90
         grant 20                         => 110
         at 31d
         refund pi_1 re_1 300 succeeded   => 10 [credits.expired purchase.clawed] lots 0 10",
    );
    assert_eq!((part(&told).absorbed(), part(&told).taken_elsewhere()), (90, 10));
}

#[test]
fn what_was_absorbed_is_absorbed_once() {
    let told = story(
        "buy pi_1 price_monthly for 300   => 100
         spend 40                         => 60
         at 31d
         refund pi_1 re_1 150 succeeded   => 0 [credits.expired purchase.clawed]
         refund pi_1 re_2 60 succeeded    => 0 debt 10
         refund pi_1 re_2 60 failed       => 0
         refund pi_1 re_1 150 failed      => 0",
    );
    assert_eq!(part(&told).absorbed(), 0);
    assert_eq!(last_move(&told).moves, [TargetMove::Unabsorbed { amount: 50 }]);
}

#[test]
fn a_failed_refund_gives_everything_back() {
    story(
        "buy pi_1 100 for 500             => 100
         spend 30                         => 70
         grant 10                         => 80
         refund pi_1 re_1 500 succeeded   => 0 debt 20
         refund pi_1 re_1 500 failed      => 80 [purchase.restored] lots 70 10
         refund pi_1 re_1 500 succeeded   => 80 []
         refund pi_1 re_1 500 cancelled   => 80 []
         refund pi_1 re_1 500 pending     => 80 []",
    );
}

#[test]
fn a_cancelled_refund_counts_like_a_failed_one() {
    story(
        "buy pi_1 100 for 500             => 100
         charge pi_1 500                  => 0
         refund pi_1 re_1 200 cancelled   => 40
         refund pi_1 re_2 300 failed      => 100",
    );
}

#[test]
fn a_pending_refund_counts_only_if_the_ledger_says_so() {
    story(
        "buy pi_1 100 for 500             => 100
         refund pi_1 re_1 250 pending     => 100 [purchase.clawed]
         charge pi_1 250                  => 100
         charge pi_1 300                  => 90
         refund pi_1 re_1 250 succeeded   => 40",
    );
    story(
        "setting claw_on_pending
         buy pi_1 100 for 500             => 100
         refund pi_1 re_1 250 pending     => 50
         charge pi_1 250                  => 50
         charge pi_1 300                  => 40
         refund pi_1 re_1 250 succeeded   => 40
         refund pi_1 re_1 250 failed      => 90",
    );
}

#[test]
fn what_the_charge_shows_and_what_its_refunds_say_are_not_added() {
    story(
        "buy pi_1 100 for 500             => 100
         charge pi_1 100                  => 80
         refund pi_1 re_1 100 succeeded   => 80 [purchase.clawed]
         charge pi_1 100                  => 80 []
         charge pi_1 50                   => 80 []
         refund pi_1 re_2 100 succeeded   => 60
         charge pi_1 200                  => 60",
    );
}

#[test]
fn a_refund_beyond_the_payment_takes_no_more_than_was_bought() {
    story(
        "buy pi_1 100 for 500             => 100
         grant 10                         => 110
         refund pi_1 re_1 9999 succeeded  => 10",
    );
}

#[test]
fn each_unit_of_a_purchase_is_taken_back_by_itself() {
    let told = story(
        "buy pi_1 price_both for 400      => 100 [credits.purchased credits.purchased]
         unit bonus
         spend 10                         => 0
         unit credits
         refund pi_1 re_1 200 succeeded   => 50 [purchase.clawed purchase.clawed]
         unit bonus
         grant 2                          => 0 debt 3 [credits.granted debt.settled]",
    );
    let purchase = told.state.purchases.values().next().expect("a purchase");
    let targets: Vec<i64> = purchase.parts.values().map(|part| part.target.total).collect();
    assert_eq!(targets, [5, 50]);
}

#[test]
fn credits_that_come_back_from_a_hold_reduce_the_shortfall() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         hold h 60                        => 40 held 60
         grant 25                         => 65 held 60
         refund pi_1 re_1 500 succeeded   => 0 held 60 debt 35
         release h                        => 25 [hold.released purchase.clawed] lots 0 25",
    );
    assert_eq!(last_move(&told).cause, TargetCause::CreditsReturned);
    assert_eq!(last_move(&told).before, last_move(&told).after);
    assert!(told.account().watched.is_empty());
}

#[test]
fn a_capture_of_less_reduces_the_shortfall_by_what_came_back() {
    story(
        "buy pi_1 100 for 500             => 100
         hold h 60                        => 40 held 60
         refund pi_1 re_1 500 succeeded   => 0 held 60 debt 60
         capture h 20                     => 0 debt 20 [hold.captured purchase.clawed]
         grant 20                         => 0",
    );
}

#[test]
fn a_hold_that_lapses_reduces_the_shortfall_at_its_own_moment() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         hold h 60 for 1h                 => 40 held 60
         refund pi_1 re_1 500 succeeded   => 0 held 60 debt 60
         at 2h
         grant 5                          => 5 [hold.released purchase.clawed credits.granted]",
    );
    let clawed = &told.events[told.events.len() - 2];
    assert_eq!(clawed.effective_at, Some(start().plus(Span::seconds(3_600))));
}

#[test]
fn credits_that_come_back_expired_are_absorbed_in_place_of_the_shortfall() {
    let told = story(
        "buy pi_1 price_monthly for 300   => 100
         at 29d
         hold h 60 for 3d                 => 40 held 60
         refund pi_1 re_1 300 succeeded   => 0 held 60 debt 60
         at 31d
         release h                        => 0 [hold.released credits.expired purchase.clawed]",
    );
    assert_eq!((part(&told).own_taken(), part(&told).absorbed()), (40, 60));
    let told = story(
        "buy pi_1 price_monthly for 300   => 100
         at 29d
         hold h 60 for 3d                 => 40 held 60
         refund pi_1 re_1 300 succeeded   => 0 held 60 debt 60
         at 33d
         sweep                            => 0 [hold.released credits.expired purchase.clawed]",
    );
    assert_eq!((part(&told).own_taken(), part(&told).absorbed()), (40, 60));
}

#[test]
fn two_purchases_that_serve_each_other_come_to_rest() {
    story(
        "buy pi_1 100 for 100             => 100
         buy pi_2 100 for 100             => 200
         spend 150                        => 50 lots 0 50
         refund pi_1 re_1 100 succeeded   => 0 debt 50
         refund pi_2 re_2 100 succeeded   => 0 debt 150
         refund pi_1 re_1 100 failed      => 0 debt 50 [purchase.restored purchase.clawed]
         grant 60                         => 10 [credits.granted debt.settled]
         refund pi_2 re_2 100 failed      => 110 lots 0 50 60",
    );
}

#[test]
fn unwinding_goes_back_to_what_settled_the_debt() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         spend 100                        => 0
         refund pi_1 re_1 500 succeeded   => 0 debt 100
         grant 30                         => 0 debt 70 [credits.granted debt.settled]
         grant 20                         => 0 debt 50
         refund pi_1 re_1 500 failed      => 50 [purchase.restored] lots 0 30 20",
    );
    assert_eq!(told.book().lots.values().map(|lot| lot.settled).collect::<Vec<_>>(), [0, 0, 0]);
}

#[test]
fn unwinding_goes_newest_first_and_debt_before_other_lots() {
    story(
        "buy pi_1 100 for 100             => 100
         spend 100                        => 0
         grant 10                         => 10
         refund pi_1 re_1 10 succeeded    => 0 lots 0 0
         grant 10                         => 10
         refund pi_1 re_2 10 succeeded    => 0 lots 0 0 0
         refund pi_1 re_3 30 succeeded    => 0 debt 30
         grant 20                         => 0 debt 10
         refund pi_1 re_1 10 failed       => 0 lots 0 0 0 0
         refund pi_1 re_2 10 failed       => 10 lots 0 0 0 10
         refund pi_1 re_4 30 failed       => 10 lots 0 0 0 10
         refund pi_1 re_3 30 failed       => 40 lots 0 10 10 20",
    );
}

#[test]
fn what_unwinding_returns_to_an_expired_lot_lives_for_the_rest_of_its_life() {
    let told = story(
        "buy pi_1 price_monthly for 300   => 100
         at 10d
         refund pi_1 re_1 300 succeeded   => 0
         at 40d
         refund pi_1 re_1 300 failed      => 100 lots 0 100
         at 59d
         spend 10                         => 90
         at 60d
         sweep                            => 0 [credits.expired]",
    );
    let lots: Vec<_> = told.book().lots.values().cloned().collect();
    assert_eq!((lots[0].moved, lots[0].clawed, lots[1].granted), (100, 0, 100));
    assert_eq!((lots[1].purchase, lots[1].cost, lots[1].priority), (lots[0].purchase, Some(300), 20));
    assert_eq!(lots[1].expires_at, Some(start().plus(Span::days(60))));
}

#[test]
fn other_lots_and_settlements_that_expired_meanwhile_live_on_too() {
    story(
        "buy pi_1 100 for 100             => 100
         spend 100                        => 0
         grant 10 expires 5d              => 10
         at 4d
         refund pi_1 re_1 40 succeeded    => 0 debt 30
         grant 30 expires 6d              => 0
         at 10d
         refund pi_1 re_1 40 failed       => 40 lots 0 0 0 30 10
         at 11d
         sweep                            => 30 [credits.expired]
         at 12d
         sweep                            => 0 [credits.expired]",
    );
}

#[test]
fn a_successor_of_a_purchase_is_its_own_credit_again() {
    story(
        "buy pi_1 price_monthly for 300   => 100
         at 10d
         refund pi_1 re_1 150 succeeded   => 50
         at 31d
         refund pi_1 re_1 150 failed      => 50 [credits.expired purchase.restored] lots 0 50
         refund pi_1 re_2 300 succeeded   => 0",
    );
}

#[test]
fn debt_never_passes_what_json_holds_exactly() {
    story(
        "buy pi_1 9007199254740991 for 10 => 9007199254740991
         spend 9007199254740991           => 0
         buy pi_2 5 for 10                => 5
         spend 5                          => 0
         refund pi_1 re_1 10 succeeded    => 0 debt 9007199254740991
         refund pi_2 re_2 10 succeeded    => 0 debt 9007199254740991
         refund pi_2 re_2 10 failed       => 0 debt 9007199254740991
         refund pi_1 re_1 10 failed       => 0",
    );
}

#[test]
fn an_event_that_cannot_belong_to_the_state_is_not_applied() {
    let told = story("grant 10 => 10\n spend 10 => 0");
    let spent = told.events.last().cloned().expect("a spend");
    let mut state = told.state.clone();
    let again = Event { position: Position(spent.position.0 + 1), ..spent };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| evolve(&mut state, &again)));
    assert!(outcome.is_err());
}

#[test]
fn refunds_reach_frozen_and_closed_accounts() {
    story(
        "buy pi_1 100 for 500             => 100
         freeze                           => 100
         refund pi_1 re_1 100 succeeded   => 80
         close                            => 80
         refund pi_1 re_2 400 succeeded   => 0",
    );
}

#[test]
fn a_fact_in_another_currency_is_refused_or_never_counts() {
    story(
        "buy pi_1 100 for 500                 => 100
         refund pi_1 re_1 500 succeeded in usd => rejected PaymentContradicts
         refund pi_2 re_2 500 succeeded in usd => 100 [payment.noted]
         buy pi_2 100 for 500                 => 200 [credits.purchased]",
    );
}

#[test]
fn a_move_restores_if_the_target_falls_or_less_of_it_is_final_and_claws_otherwise() {
    story(
        "buy pi_1 100 for 500             => 100
         refund pi_1 re_1 100 succeeded   => 80 [purchase.clawed]
         dispute pi_1 dp_1 500 open       => 0 disputed 80 [purchase.clawed]
         refund pi_1 re_1 100 failed      => 0 disputed 100 [purchase.restored]
         refund pi_1 re_2 200 succeeded   => 0 disputed 60 [purchase.clawed]
         dispute pi_1 dp_1 500 lost       => 0 [purchase.clawed]
         refund pi_1 re_2 200 cancelled   => 0 [purchase.clawed]",
    );
    story(
        "buy pi_1 100 for 500             => 100
         refund pi_1 re_1 200 succeeded   => 60 [purchase.clawed]
         dispute pi_1 dp_1 250 open       => 10 disputed 50 [purchase.clawed]
         dispute pi_1 dp_1 250 won        => 60 [purchase.restored]
         refund pi_1 re_1 200 failed      => 100 [purchase.restored]",
    );
}

#[test]
fn own_credits_come_back_only_as_far_as_they_are_beyond_the_target() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         refund pi_1 re_1 250 succeeded   => 50
         refund pi_1 re_2 100 succeeded   => 30
         refund pi_1 re_1 250 failed      => 80",
    );
    assert_eq!((part(&told).own_taken(), part(&told).taken_elsewhere()), (20, 0));
    let lot = told.book().lots.into_values().next().expect("a lot");
    assert_eq!((lot.remaining, lot.clawed, lot.disputed), (80, 20, 0));
}

#[test]
fn a_move_says_no_more_than_what_happens() {
    let told = story("buy pi_1 100 for 500 => 100\n refund pi_1 re_1 250 succeeded => 50");
    let lot = *told.book().lots.keys().next().expect("a lot");
    let amount = 50;
    assert_eq!(
        last_move(&told).moves,
        [TargetMove::OwnTaken { lot, amount }, TargetMove::OwnClawed { lot, amount }]
    );
}

#[test]
fn own_credits_that_come_back_are_first_those_that_are_only_set_aside() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         dispute pi_1 dp_1 100 open       => 80 disputed 20
         refund pi_1 re_1 250 succeeded   => 30 disputed 20
         refund pi_1 re_1 250 failed      => 80 disputed 20",
    );
    let lot = *told.book().lots.keys().next().expect("a lot");
    assert_eq!(
        last_move(&told).moves,
        [
            TargetMove::OwnUnclawed { lot, amount: 30 },
            TargetMove::OwnReturned { lot, amount: 50, into: None },
            TargetMove::OwnUnclawed { lot, amount: 20 },
        ]
    );
}

#[test]
fn unspent_own_credits_are_taken_before_expired_ones_are_absorbed() {
    let told = story(
        "buy pi_1 price_monthly for 300   => 100
         at 10d
         refund pi_1 re_1 150 succeeded   => 50
         at 31d
         refund pi_1 re_1 150 failed      => 50 lots 0 50
         refund pi_1 re_2 180 succeeded   => 0",
    );
    assert_eq!((part(&told).own_taken(), part(&told).absorbed()), (50, 10));
}

#[test]
fn what_is_final_is_taken_from_own_lots_by_entry_and_given_back_from_the_newest() {
    let pools = |text: &str| {
        let lots = story(text).book().lots.into_values();
        lots.map(|lot| (lot.remaining, lot.disputed, lot.clawed)).collect::<Vec<_>>()
    };
    let some_final = "
        buy pi_1 price_monthly for 300   => 100
        at 10d
        refund pi_1 re_1 90 succeeded    => 70
        refund pi_1 re_2 60 succeeded    => 50
        at 31d
        refund pi_1 re_1 90 failed       => 30 [credits.expired purchase.restored]
        dispute pi_1 dp_1 60 open        => 10 disputed 20
        dispute pi_1 dp_2 30 open        => 0 disputed 30
        refund pi_1 re_3 30 succeeded    => 0 disputed 20";
    assert_eq!(pools(some_final), [(0, 0, 20), (0, 10, 10), (0, 10, 0)]);
    let all_final = format!("{some_final}\n refund pi_1 re_4 60 succeeded => 0");
    assert_eq!(pools(&all_final), [(0, 0, 20), (0, 0, 20), (0, 0, 10)]);
    let fewer_final = format!("{all_final}\n refund pi_1 re_4 60 failed => 0 disputed 20");
    assert_eq!(pools(&fewer_final), [(0, 0, 20), (0, 10, 10), (0, 10, 0)]);
}

#[test]
fn what_other_lots_cover_makes_no_debt() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         spend 100                        => 0
         grant 60                         => 60
         refund pi_1 re_1 250 succeeded   => 10",
    );
    let lot = *told.book().lots.keys().last().expect("a lot");
    assert_eq!(last_move(&told).moves, [TargetMove::OtherTaken { lot, amount: 50 }]);
}

#[test]
fn no_more_is_undone_elsewhere_than_the_target_falls_by() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         spend 100                        => 0
         grant 60                         => 60
         refund pi_1 re_1 100 succeeded   => 40
         refund pi_1 re_2 50 succeeded    => 30
         refund pi_1 re_2 50 failed       => 40",
    );
    let lot = *told.book().lots.keys().last().expect("a lot");
    assert_eq!(last_move(&told).moves, [TargetMove::OtherReturned { lot, amount: 10, into: None }]);
}

#[test]
fn what_is_still_owed_is_cancelled_before_what_was_settled_since_comes_back() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         spend 100                        => 0
         refund pi_1 re_1 100 succeeded   => 0 debt 20
         grant 10                         => 0 debt 10
         refund pi_1 re_2 50 succeeded    => 0 debt 20
         refund pi_1 re_2 50 failed       => 0 debt 10 [purchase.restored]",
    );
    let moves = &last_move(&told).moves;
    assert!(matches!(moves.as_slice(), [TargetMove::DebtCancelled { amount: 10, .. }]), "{moves:?}");
    let told = story(
        "buy pi_1 100 for 500             => 100
         spend 100                        => 0
         refund pi_1 re_1 100 succeeded   => 0 debt 20
         grant 10                         => 0 debt 10
         refund pi_1 re_1 100 failed      => 10 [purchase.restored]",
    );
    let moves = &last_move(&told).moves;
    assert!(
        matches!(
            moves.as_slice(),
            [TargetMove::DebtCancelled { amount: 10, .. }, TargetMove::SettlementReturned { amount: 10, .. }]
        ),
        "{moves:?}"
    );
}
