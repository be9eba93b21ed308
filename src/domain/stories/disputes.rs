//! Stories of disputes: set aside, won, lost.

use super::*;
use crate::domain::account::AccountStatus;

#[test]
fn an_open_dispute_sets_credits_aside_and_a_verdict_decides() {
    story(
        "buy pi_1 100 for 500             => 100
         dispute pi_1 dp_1 500 inquiry    => 100
         dispute pi_1 dp_1 500 open       => 0 disputed 100
         dispute pi_1 dp_1 500 won        => 100
         dispute pi_1 dp_1 500 lost       => 100 []",
    );
    story(
        "buy pi_1 100 for 500             => 100
         dispute pi_1 dp_1 250 open       => 50 disputed 50
         dispute pi_1 dp_1 250 lost       => 50
         dispute pi_1 dp_1 250 open       => 50 []",
    );
}

#[test]
fn a_shortfall_that_is_only_disputed_is_recorded_and_not_taken() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         spend 70                         => 30
         grant 50                         => 80
         dispute pi_1 dp_1 500 open       => 50 disputed 30
         dispute pi_1 dp_1 500 lost       => 0 debt 20",
    );
    assert_eq!(told.account().watched.len(), 1);
    story(
        "buy pi_1 100 for 500             => 100
         spend 70                         => 30
         grant 50                         => 80
         dispute pi_1 dp_1 500 open       => 50 disputed 30
         dispute pi_1 dp_1 500 won        => 80 lots 30 50",
    );
}

#[test]
fn a_refund_turns_disputed_credits_before_it_takes_others() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         spend 40                         => 60
         grant 50                         => 110
         dispute pi_1 dp_1 500 open       => 50 disputed 60
         refund pi_1 re_1 250 succeeded   => 50 disputed 10
         refund pi_1 re_2 100 succeeded   => 40
         refund pi_1 re_1 250 failed      => 50 disputed 40",
    );
    assert_eq!(told.book().lots.values().next().map(|lot| (lot.disputed, lot.clawed)), Some((40, 20)));
}

#[test]
fn refund_and_dispute_together_take_no_more_than_was_bought() {
    story(
        "buy pi_1 100 for 500             => 100
         grant 10                         => 110
         refund pi_1 re_1 300 succeeded   => 50
         dispute pi_1 dp_1 500 open       => 10 disputed 40
         dispute pi_1 dp_1 500 lost       => 10
         refund pi_1 re_1 300 failed      => 10",
    );
}

#[test]
fn credits_that_come_back_while_disputed_are_set_aside() {
    story(
        "buy pi_1 100 for 500             => 100
         hold h 80                        => 20 held 80
         dispute pi_1 dp_1 500 open       => 0 held 80 disputed 20
         capture h 30                     => 0 disputed 70
         dispute pi_1 dp_1 500 won        => 70",
    );
}

#[test]
fn a_dispute_won_after_the_expiry_gives_back_the_life_that_remained() {
    story(
        "buy pi_1 price_monthly for 300   => 100
         at 20d
         dispute pi_1 dp_1 300 open       => 0 disputed 100
         at 90d
         sweep                            => 0 disputed 100 []
         dispute pi_1 dp_1 300 won        => 100 lots 0 100
         at 100d
         sweep                            => 0 [credits.expired]",
    );
}

#[test]
fn facts_about_one_payment_lead_to_the_same_in_any_order() {
    let facts = [
        "refund pi_1 re_1 100 pending",
        "refund pi_1 re_1 100 succeeded",
        "charge pi_1 100",
        "dispute pi_1 dp_1 200 open",
        "dispute pi_1 dp_1 200 lost",
        "buy pi_1 100 for 500",
    ];
    let end = |order: &[usize]| {
        let mut told = story("grant 20");
        for index in order {
            told.tell(facts[*index]);
        }
        let book = told.book();
        let lots = book
            .lots
            .values()
            .map(|lot| (lot.granted, lot.remaining, lot.clawed))
            .collect::<std::collections::BTreeSet<_>>();
        (book.available, book.disputed, book.debt, lots)
    };
    let expected = end(&[5, 0, 1, 2, 3, 4]);
    assert_eq!((expected.0, expected.1, expected.2), (60, 0, 0));
    let mut order: Vec<usize> = (0..facts.len()).collect();
    permutations(&mut order, 0, &mut |order| assert_eq!(end(order), expected, "{order:?}"));
}

/// Everything that is told of one dispute and one refund, in every order, before and after the purchase is known.
#[test]
fn one_dispute_and_one_refund_end_the_same_whatever_is_told_first() {
    let purchase = "buy pi_1 100 for 500";
    let disputed = |verdict: &str| {
        [
            "dispute pi_1 dp_1 300 inquiry".to_owned(),
            "dispute pi_1 dp_1 300 open".to_owned(),
            format!("dispute pi_1 dp_1 300 {verdict}"),
        ]
    };
    let refunded = |ending: &[&str]| -> Vec<String> {
        ending.iter().map(|status| format!("refund pi_1 re_1 100 {status}")).collect()
    };
    for (verdict, refund, expected) in [
        ("lost", refunded(&["pending", "succeeded"]), (20, 0)),
        ("won", refunded(&["pending", "succeeded"]), (80, 0)),
        ("lost", refunded(&["succeeded", "failed"]), (40, 0)),
        ("won", refunded(&["succeeded", "failed"]), (100, 0)),
        ("open", refunded(&["pending", "succeeded"]), (20, 60)),
        ("open", refunded(&["succeeded", "cancelled"]), (40, 60)),
    ] {
        let mut facts: Vec<String> = disputed(verdict).into_iter().chain(refund).collect();
        facts.push(purchase.to_owned());
        let mut order: Vec<usize> = (0..facts.len()).collect();
        permutations(&mut order, 0, &mut |order| {
            let mut told = Story::new();
            for index in order {
                let command = told.command(&mut Words(facts[*index].split_whitespace().peekable()));
                told.run(&command).expect("what Stripe reports is always recorded");
            }
            let book = told.book();
            assert_eq!((book.available, book.disputed), expected, "{facts:?} in {order:?}");
            assert_eq!((book.debt, book.lots.len()), (0, 1), "{facts:?} in {order:?}");
        });
    }
}

#[test]
fn a_dispute_of_what_a_refund_has_left_takes_the_rest() {
    for (verdict, left) in [("won", 60), ("lost", 0)] {
        story(&format!(
            "buy pi_1 100 for 500             => 100
             refund pi_1 re_1 200 succeeded   => 60
             dispute pi_1 dp_1 300 open       => 0 disputed 60
             dispute pi_1 dp_1 300 {verdict}  => {left}"
        ));
    }
}

#[test]
fn an_inquiry_sets_nothing_aside_until_it_becomes_a_dispute() {
    story(
        "buy pi_1 100 for 500             => 100
         dispute pi_1 dp_1 500 inquiry    => 100
         spend 30                         => 70
         dispute pi_1 dp_1 500 inquiry    => 70 []
         dispute pi_1 dp_1 500 open       => 0 disputed 70
         dispute pi_1 dp_1 500 inquiry    => 0 disputed 70 []
         dispute pi_1 dp_1 500 lost       => 0 debt 30
         grant 50                         => 20",
    );
}

#[test]
fn two_disputes_of_one_payment_are_decided_each_by_itself() {
    story(
        "buy pi_1 100 for 500             => 100
         dispute pi_1 dp_1 200 open       => 60 disputed 40
         dispute pi_1 dp_2 300 open       => 0 disputed 100
         dispute pi_1 dp_1 200 won        => 40 disputed 60
         dispute pi_1 dp_2 300 lost       => 40",
    );
    story(
        "buy pi_1 100 for 500             => 100
         dispute pi_1 dp_1 900 open       => 0 disputed 100
         dispute pi_1 dp_1 900 lost       => 0",
    );
}

#[test]
fn of_a_price_with_two_units_the_same_share_of_each_is_disputed_rounded_down() {
    story(
        "buy pi_1 price_both for 400      => 100
         dispute pi_1 dp_1 200 open       => 50 disputed 50 [purchase.clawed purchase.clawed]
         unit bonus
         sweep                            => 5 disputed 5
         dispute pi_1 dp_1 200 lost       => 5",
    );
    story(
        "buy pi_1 10 for 3                => 10
         dispute pi_1 dp_1 1 open         => 7 disputed 3
         dispute pi_1 dp_2 1 open         => 4 disputed 6
         dispute pi_1 dp_1 1 won          => 7 disputed 3",
    );
}

fn permutations(items: &mut Vec<usize>, from: usize, visit: &mut impl FnMut(&[usize])) {
    if from == items.len() {
        return visit(items);
    }
    for index in from..items.len() {
        items.swap(from, index);
        permutations(items, from + 1, visit);
        items.swap(from, index);
    }
}

#[test]
fn a_dispute_freezes_if_the_ledger_says_so_and_an_operator_has_the_last_word() {
    let told = story(
        "setting freeze_on_dispute
         buy pi_1 100 for 500             => 100
         dispute pi_1 dp_1 250 inquiry    => 100 [purchase.clawed]
         dispute pi_1 dp_1 250 open       => 50 disputed 50 [purchase.clawed account.frozen]
         spend 1                          => rejected AccountFrozen
         unfreeze                         => 50 disputed 50
         refund pi_1 re_1 100 succeeded   => 30 disputed 50
         dispute pi_1 dp_1 250 lost       => 30
         spend 1                          => 29
         dispute pi_1 dp_2 50 open        => 19 disputed 10 [purchase.clawed account.frozen]",
    );
    assert_eq!(told.account().status, AccountStatus::Frozen);
    let told = story("buy pi_1 100 for 500 => 100\n dispute pi_1 dp_1 250 open => 50 disputed 50");
    assert_eq!(told.account().status, AccountStatus::Open);
}

#[test]
fn a_warning_of_fraud_takes_nothing_and_freezes_once_if_the_ledger_says_so() {
    let told = story(
        "buy pi_1 100 for 500             => 100
         warn pi_1 issfr_1                => 100 [purchase.clawed]
         warn pi_1 issfr_1                => 100 []
         setting freeze_on_dispute
         warn pi_1 issfr_2                => 100 [purchase.clawed account.frozen]
         unfreeze                         => 100
         warn pi_1 issfr_2                => 100 []
         refund pi_1 re_1 500 succeeded   => 0 [purchase.clawed]",
    );
    assert_eq!(told.account().status, AccountStatus::Open);
    let told = story(
        "setting freeze_on_dispute
         warn pi_1 issfr_1                => 0 [payment.noted]
         buy pi_1 100 for 500             => 100 [credits.purchased account.frozen]",
    );
    assert_eq!(told.account().status, AccountStatus::Frozen);
}

#[test]
fn a_purchase_whose_payment_is_disputed_already_freezes_as_well() {
    let told = story(
        "setting freeze_on_dispute
         dispute pi_1 dp_1 250 open       => 0 [payment.noted]
         buy pi_1 100 for 500             => 50 disputed 50 [credits.purchased purchase.clawed account.frozen]",
    );
    assert_eq!(told.account().status, AccountStatus::Frozen);
    story(
        "setting freeze_on_dispute
         close
         dispute pi_1 dp_1 250 open
         buy pi_1 100 for 500             => 50 disputed 50 [credits.purchased purchase.clawed]",
    );
}
