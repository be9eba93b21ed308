//! Stories of subscriptions: tables with numbers.

use super::{billing::subscriptions, *};
use crate::domain::{
    event::{GrantSource, ShortenedLot, SubscriptionEnded},
    order::OrderStatus,
    subscription::{Subscription, SubscriptionStatus},
};

fn subscription(told: &Story, id: &str) -> Subscription {
    told.state.subscriptions[&stripe(id)].clone()
}

#[test]
fn a_paid_period_is_a_lot_that_lives_until_the_renewal_can_have_come() {
    let told = subscriptions(
        "told sub_1 active                                                      => 0 [subscription.started]
         invoice in_1 il_1 sub_1 price_plan x 2 for 2380 tax 380 from 0d to 30d via pi_1 => 200 [credits.purchased]
         at 32d
         spend 10                                                               => 190
         at 33d
         sweep                                                                  => 0 [credits.expired]",
    );
    let bought = told.events.iter().find_map(|event| match &event.body {
        EventBody::CreditsPurchased(bought) => Some(bought),
        _ => None,
    });
    let bought = bought.expect("a purchase");
    assert_eq!((bought.cost, bought.quantity, bought.money.gross), (2_000, Some(2), 2_380));
    assert_eq!(bought.expires_at, Some(start().plus(Span::days(33))));
}

#[test]
fn a_renewal_that_is_an_hour_late_finds_the_credits_of_the_period_before_still_there() {
    subscriptions(
        "rules rollover all
         invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100 [subscription.started credits.purchased]
         spend 60                                                               => 40
         at 721h
         spend 10                                                               => 30
         invoice in_2 il_2 sub_1 price_plan for 1000 from 30d to 60d via pi_2   => 130 [credits.purchased credits.rolled_over] lots 0 100 30
         at 62d
         spend 130                                                              => 0",
    );
}

#[test]
fn what_is_left_at_renewal_expires_lives_on_or_lives_on_in_part() {
    for (rollover, after, lots, types) in [
        ("none", 100, "0 100", "credits.purchased credits.expired"),
        ("all", 140, "0 100 40", "credits.purchased credits.rolled_over"),
        ("25", 125, "0 100 25", "credits.purchased credits.rolled_over credits.expired"),
        ("40", 140, "0 100 40", "credits.purchased credits.rolled_over"),
    ] {
        subscriptions(&format!(
            "rules rollover {rollover}
             grant 7                                                                => 7
             invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 107
             spend 60                                                               => 47
             at 30d
             invoice in_2 il_2 sub_1 price_plan for 1000 from 30d to 60d via pi_2   => {} [{types}] lots 7 {lots}",
            after + 7
        ));
    }
}

#[test]
fn what_the_price_says_of_rollover_wins_over_the_rules_and_is_taken_back_with_it() {
    for (rules, price, after, lots) in [
        ("none", "all", 140, "0 100 40"),
        ("none", "25", 125, "0 100 25"),
        ("all", "none", 100, "0 100"),
        ("10", "25", 125, "0 100 25"),
        ("25", "rules", 125, "0 100 25"),
    ] {
        subscriptions(&format!(
            "rules rollover {rules}
             price price_plan rollover {price}
             invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100
             spend 60                                                               => 40
             at 30d
             invoice in_2 il_2 sub_1 price_plan for 1000 from 30d to 60d via pi_2   => {after} lots {lots}",
        ));
    }
}

#[test]
fn the_price_of_the_new_period_decides_what_it_takes_over() {
    subscriptions(
        "rules rollover none
         price price_plus rollover 50
         invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100
         at 30d
         invoice in_2 il_2 sub_1 price_plus for 3000 from 30d to 60d via pi_2   => 350 [credits.purchased credits.rolled_over credits.expired] lots 0 300 50
         price price_plus rollover all
         at 60d
         invoice in_3 il_3 sub_1 price_plan for 1000 from 60d to 90d via pi_3   => 100 [credits.purchased credits.expired] lots 0 0 0 100
         price price_plan rollover all
         at 90d
         invoice in_4 il_4 sub_1 price_plan for 1000 from 90d to 120d via pi_4  => 200 [credits.purchased credits.rolled_over]",
    );
}

#[test]
fn a_period_of_price_zero_takes_over_what_its_price_says() {
    subscriptions(
        "price price_plan rollover all
         invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100
         at 30d
         trial in_2 il_2 sub_1 price_plan from 30d to 60d                       => 100 [credits.rolled_over]",
    );
}

#[test]
fn what_lived_on_lives_on_again_under_the_same_cap() {
    let told = subscriptions(
        "rules rollover 150
         invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100
         at 30d
         invoice in_2 il_2 sub_1 price_plan for 1000 from 30d to 60d via pi_2   => 200 lots 0 100 100
         at 60d
         invoice in_3 il_3 sub_1 price_plan for 1000 from 60d to 90d via pi_3   => 250 [credits.purchased credits.rolled_over credits.expired] lots 0 0 0 100 100 50",
    );
    let lots = told.book().lots.into_values().filter(|lot| lot.remaining > 0);
    let costs: Vec<_> = lots.map(|lot| (lot.remaining, lot.cost)).collect();
    assert_eq!(costs, [(100, Some(1_000)), (100, Some(1_000)), (50, Some(500))]);
}

#[test]
fn a_period_that_is_over_when_it_is_paid_counts_from_payment() {
    let told = subscriptions(
        "invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100
         at 70d
         invoice in_2 il_2 sub_1 price_plan for 1000 from 30d to 60d via pi_2   => 100 [credits.expired credits.purchased]
         at 102d
         spend 40                                                               => 60
         at 103d
         sweep                                                                  => 0",
    );
    let lot = told.book().lots.into_values().next_back().expect("a lot");
    assert_eq!(lot.expires_at, Some(start().plus(Span::days(70 + 30 + 3))));
}

#[test]
fn up_and_down_and_up_again_grants_no_more_than_up() {
    subscriptions(
        "invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1                          => 100
         at 15d
         change in_2 il_2 sub_1 price_plan -500 price_plus 1500 for 1000 from 15d to 30d via pi_2     => 200 [subscription.changed credits.purchased]
         change in_3 il_3 sub_1 price_plus -1500 price_plan 500 for 0 from 15d to 30d                 => 200 [subscription.changed]
         change in_4 il_4 sub_1 price_plan -500 price_plus 1500 for 0 from 15d to 30d                 => 200 [subscription.changed]
         change in_5 il_5 sub_1 price_plus -1500 price_plan 500 for 0 from 15d to 30d                 => 200 [subscription.changed]
         at 30d
         invoice in_6 il_6 sub_1 price_plan for 1000 from 30d to 60d via pi_6                         => 100
         at 45d
         change in_7 il_7 sub_1 price_plan -500 price_plus 1500 for 1000 from 45d to 60d via pi_7     => 200",
    );
}

#[test]
fn going_down_takes_nothing_and_is_set_off_against_going_up_later() {
    subscriptions(
        "invoice in_1 il_1 sub_1 price_plus for 3000 from 0d to 30d via pi_1                          => 300
         at 10d
         change in_2 il_2 sub_1 price_plus -2000 price_plan 667 for 0 from 10d to 30d                 => 300 [subscription.changed]
         at 20d
         change in_3 il_3 sub_1 price_plan -334 price_plus 1000 for 666 from 20d to 30d via pi_3      => 300 [subscription.changed]",
    );
}

#[test]
fn more_of_the_same_price_grants_what_the_rest_of_the_period_is_worth() {
    subscriptions(
        "invoice in_1 il_1 sub_1 price_duo for 1000 from 0d to 30d via pi_1                           => 100
         at 15d
         change in_2 il_2 sub_1 price_duo -500 price_duo 1500 for 1000 from 15d to 30d via pi_2       => 200 [subscription.changed credits.purchased credits.purchased]
         unit bonus
         spend 20                                                                                     => 0",
    );
}

#[test]
fn from_month_to_year_and_back_and_forth_grants_one_year() {
    subscriptions(
        "invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1                                     => 100
         at 15d
         change in_2 il_2 sub_1 price_plan -500 price_plus 3000 for 2500 from 15d to 380d via pi_2 replacing 30d  => 350 [subscription.changed credits.purchased]
         change in_3 il_3 sub_1 price_plus -3000 price_plan 1000 for 0 from 15d to 45d replacing 380d             => 350 [subscription.changed]
         change in_4 il_4 sub_1 price_plan -1000 price_plus 3000 for 0 from 15d to 380d replacing 45d             => 350 [subscription.changed]",
    );
}

#[test]
fn what_going_down_left_to_set_off_goes_along_into_the_period_that_takes_the_place() {
    subscriptions(
        "invoice in_1 il_1 sub_1 price_plus for 3000 from 0d to 30d via pi_1                                     => 300
         at 15d
         change in_2 il_2 sub_1 price_plus -1500 price_plan 500 for 0 from 15d to 30d                            => 300 [subscription.changed]
         change in_3 il_3 sub_1 price_plan -500 price_plan 500 for 0 from 15d to 45d replacing 30d               => 300 [subscription.changed]
         change in_4 il_4 sub_1 price_plan -500 price_plus 1500 for 1000 from 15d to 45d via pi_4                => 300 [subscription.changed]",
    );
}

#[test]
fn changes_are_remembered_by_period_in_whatever_order_they_are_told() {
    let told = subscriptions(
        "change in_1 il_1 sub_1 price_plan 500 for 500 from 15d to 60d via pi_1    => 50
         change in_2 il_2 sub_1 price_plan 500 for 500 from 15d to 30d via pi_2    => 100
         change in_3 il_3 sub_1 price_plan 500 for 500 from 15d to 45d via pi_3    => 150
         change in_4 il_4 sub_1 price_plan 500 for 500 from 15d to 45d via pi_4    => 200",
    );
    let changes = subscription(&told, "sub_1").changes;
    let told: Vec<(Timestamp, i64)> =
        changes.iter().map(|changes| (changes.period_end, changes.expected.values().sum())).collect();
    let after = |days| start().plus(Span::days(days));
    assert_eq!(told, [(after(30), 50), (after(45), 100), (after(60), 50)]);
}

#[test]
fn what_a_change_grants_is_used_when_the_new_price_says_in_whatever_order_its_lines_come() {
    for lines in [
        "price_plan -500 price_soon 1500",
        "price_soon 1500 price_plan -500",
        "price_soon 1500 price_plan -500 price_plan 0",
    ] {
        let told = subscriptions(&format!(
            "invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1                => 100
             at 15d
             change in_2 il_2 sub_1 {lines} for 1000 from 15d to 30d via pi_2                   => 200 [subscription.changed credits.purchased]",
        ));
        let granted = told.book().lots.into_values().next_back().expect("a lot");
        assert_eq!((granted.granted, granted.priority), (100, 10), "{lines}");
    }
}

#[test]
fn where_a_change_charges_two_prices_the_later_line_says_how_its_credits_are_used() {
    for (lines, priority) in [("price_plan 500 price_soon 500", 10), ("price_soon 500 price_plan 500", 50)] {
        let told = subscriptions(&format!(
            "invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1                => 100
             at 15d
             change in_2 il_2 sub_1 {lines} for 1000 from 15d to 30d via pi_2                   => 200 [subscription.changed credits.purchased]",
        ));
        let granted = told.book().lots.into_values().next_back().expect("a lot");
        assert_eq!((granted.granted, granted.priority), (100, priority), "{lines}");
    }
}

#[test]
fn what_is_given_away_is_worth_nothing_in_a_change() {
    subscriptions(
        "invoice in_1 il_1 sub_1 price_free for 0 from 0d to 30d                                   => 20
         at 15d
         change in_2 il_2 sub_1 price_free 0 price_plan 500 for 500 from 15d to 30d via pi_2       => 70 [subscription.changed credits.purchased]
         change in_3 il_3 sub_1 price_plan -500 price_free 0 for 0 from 15d to 30d                 => 70 [subscription.changed]",
    );
}

#[test]
fn a_trial_grants_what_the_ledger_says_once_and_the_first_payment_grants_the_rest() {
    let told = subscriptions(
        "rules trial 25
         trial in_1 il_1 sub_1 price_plan from 0d to 14d                        => 25 [subscription.started credits.granted]
         spend 5                                                                => 20
         trial in_9 il_9 sub_2 price_plan from 0d to 14d                        => 20 [subscription.started]
         at 14d
         invoice in_2 il_2 sub_1 price_plan for 1000 from 14d to 44d via pi_1   => 100 [credits.purchased credits.expired] lots 0 100",
    );
    let granted = told.events.iter().find_map(|event| match &event.body {
        EventBody::CreditsGranted(body) => Some(body.clone()),
        _ => None,
    });
    let granted = granted.expect("a grant");
    assert!(matches!(granted.source, GrantSource::Trial(line) if line.invoice == stripe("in_1")));
    assert_eq!(granted.expires_at, Some(start().plus(Span::days(17))));
    subscriptions("trial in_1 il_1 sub_1 price_plan from 0d to 14d => 0 [subscription.started]");
}

#[test]
fn a_line_that_a_discount_made_free_grants_what_its_price_grants() {
    subscriptions(
        "invoice in_1 il_1 sub_1 price_plan for 0 from 0d to 30d               => 100 [subscription.started credits.granted]
         refund pi_1 re_1 10 succeeded                                         => 100 [payment.noted]
         buy pi_2 10 for 5                                                     => 110
         invoice in_2 il_2 sub_1 price_plan for 0 from 0d to 30d via pi_2      => 210 [credits.granted]",
    );
}

#[test]
fn two_units_share_what_was_paid_and_what_is_refunded() {
    let told = subscriptions(
        "rules rollover all
         invoice in_1 il_1 sub_1 price_duo for 1190 tax 190 from 0d to 30d via pi_1     => 100 [subscription.started credits.purchased credits.purchased]
         at 30d
         invoice in_2 il_2 sub_1 price_duo for 1190 tax 190 from 30d to 60d via pi_2    => 200 [credits.purchased credits.purchased credits.rolled_over credits.rolled_over]
         unit bonus
         spend 5                                                                        => 15
         refund pi_2 re_1 595 succeeded                                                 => 10 [purchase.clawed purchase.clawed]
         unit credits
         spend 1                                                                        => 149",
    );
    let costs = told.account().books.values().flat_map(|book| book.lots.values()).filter_map(|lot| lot.cost);
    assert_eq!(costs.sum::<i64>(), 3_000, "what was moved on carries its cost, which counts twice here");
}

#[test]
fn a_refund_of_a_renewal_takes_its_credits_wherever_they_live_on() {
    subscriptions(
        "rules rollover all
         invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100
         spend 20                                                               => 80
         at 30d
         invoice in_2 il_2 sub_1 price_plan for 1000 from 30d to 60d via pi_2   => 180 lots 0 100 80
         refund pi_2 re_2 500 succeeded                                         => 130 lots 0 50 80
         refund pi_1 re_1 1000 succeeded                                        => 30 lots 0 30 0
         refund pi_1 re_1 1000 failed                                           => 130 lots 0 50 80",
    );
}

#[test]
fn a_refund_of_an_invoice_takes_the_same_part_of_each_of_its_lines() {
    subscriptions(
        "invoice in_1 il_1 sub_1 price_plan for 1000 of 4000 from 0d to 30d via pi_1   => 100
         refund pi_1 re_1 1000 succeeded                                               => 75 [purchase.clawed]
         invoice in_1 il_2 sub_1 price_plus for 3000 of 4000 from 0d to 30d via pi_1   => 300 [credits.purchased purchase.clawed]
         refund pi_1 re_2 3000 succeeded                                               => 0 [purchase.clawed purchase.clawed]
         buy pi_1 100 for 500                                                          => rejected PaymentContradicts
         invoice in_2 il_3 sub_1 price_plus for 3000 from 0d to 30d via pi_1           => rejected PaymentContradicts",
    );
}

#[test]
fn what_was_reported_of_a_renewal_before_it_is_applied_with_it() {
    subscriptions(
        "refund pi_1 re_1 500 succeeded                                         => 0 [payment.noted]
         invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 50 [subscription.started credits.purchased purchase.clawed]",
    );
    subscriptions(
        "setting freeze_on_dispute
         dispute pi_1 dp_1 1000 open                                            => 0 [payment.noted]
         invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 0 disputed 100 [subscription.started credits.purchased purchase.clawed account.frozen]
         invoice in_2 il_2 sub_1 price_plan for 1000 from 0d to 30d via pi_2    => 100 disputed 100 [credits.purchased]",
    );
}

fn shortened_at_its_end(told: &Story) -> Vec<ShortenedLot> {
    let mut ends = told.events.iter().filter_map(|event| match &event.body {
        EventBody::SubscriptionEnded(SubscriptionEnded { shortened, .. }) => Some(shortened.clone()),
        _ => None,
    });
    ends.next().expect("an end")
}

#[test]
fn a_subscription_that_ends_takes_the_grace_along_and_nothing_that_was_paid_for() {
    let told = subscriptions(
        "told sub_1 active as 1                                                 => 0
         invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100
         at 10d
         told sub_1 canceled as 2                                               => 100 [subscription.ended]
         at 719h
         spend 10                                                               => 90
         at 30d
         sweep                                                                  => 0 [credits.expired]",
    );
    let shortened = shortened_at_its_end(&told);
    assert_eq!(shortened.len(), 1);
    assert_eq!(shortened[0].expires_at, start().plus(Span::days(30)));
    let without_grace = subscriptions(
        "rules grace 0
         invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100
         at 10d
         told sub_1 canceled as 2                                               => 100 [subscription.ended]",
    );
    assert_eq!(
        shortened_at_its_end(&without_grace),
        [],
        "what ends with its period is as short as it can be"
    );
    subscriptions(
        "invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100
         at 31d
         told sub_1 canceled as 2                                               => 0 [subscription.ended credits.expired]
         invoice in_2 il_2 sub_1 price_plan for 1000 from 30d to 60d via pi_2   => 100
         at 60d
         sweep                                                                  => 0 [credits.expired]",
    );
}

#[test]
fn the_newest_state_counts_in_whatever_order_they_are_told() {
    let told = subscriptions(
        "told sub_1 past_due as 2                                               => 0 [subscription.started]
         told sub_1 active as 1                                                 => 0 []
         told sub_1 past_due as 2                                               => 0 []
         told sub_1 unpaid as 2                                                 => 0 [subscription.changed]
         told sub_1 active as 3                                                 => 0 [subscription.changed]",
    );
    assert_eq!(subscription(&told, "sub_1").terms.status, SubscriptionStatus::Active);
    let told = subscriptions(
        "told sub_1 canceled as 1                                               => 0 [subscription.started subscription.ended]
         told sub_1 active as 9                                                 => 0 []
         told sub_1 incomplete_expired as 9                                     => 0 []",
    );
    assert_eq!(subscription(&told, "sub_1").terms.status, SubscriptionStatus::Canceled);
    let told = subscriptions(
        "told sub_1 active as 5                                                 => 0
         told sub_1 canceled as 2                                               => 0 [subscription.ended]",
    );
    assert!(subscription(&told, "sub_1").terms.status.has_ended());
}

#[test]
fn what_an_invoice_told_of_a_subscription_is_older_than_what_it_tells_itself() {
    let told = subscriptions(
        "invoice in_1 il_1 sub_1 price_plan x 3 for 3000 from 0d to 30d via pi_1 => 300 [subscription.started credits.purchased]
         told sub_1 past_due as 1                                                => 300 [subscription.changed]",
    );
    let known = subscription(&told, "sub_1");
    assert_eq!((known.terms.status, known.account), (SubscriptionStatus::PastDue, told.number()));
}

#[test]
fn an_order_is_paid_by_its_session_and_grants_nothing_by_itself() {
    let told = subscriptions(
        "order o price_pack                                                     => 0 [order.placed]
         session o cs_1                                                         => 0
         begin sub_1 cs_1 of o                                                  => 0 [order.paid subscription.started]
         begin sub_1 cs_1 of o                                                  => 0 []
         invoice in_1 il_1 sub_1 price_pack for 500 from 0d to 30d via pi_1     => 100 [credits.purchased]
         begin sub_2 cs_2 of o                                                  => 100 [order.paid subscription.started]",
    );
    let paid = told.events.iter().filter_map(|event| match &event.body {
        EventBody::OrderPaid(paid) => Some(paid.again),
        _ => None,
    });
    assert_eq!(paid.collect::<Vec<_>>(), [false, true], "whether it was paid before");
    let order = &told.state.orders[&told.order("o")];
    assert_eq!((order.status, order.purchases.len(), order.paid_sessions.len()), (OrderStatus::Paid, 0, 2));
    assert_eq!(subscription(&told, "sub_1").order, Some(order.id));
    let told = subscriptions(
        "order o price_pack                                                     => 0
         invoice in_1 il_1 sub_1 price_pack for 500 from 0d to 30d via pi_1     => 100
         begin sub_1 cs_1 of o                                                  => 100 [order.paid subscription.changed]
         begin sub_3 cs_3                                                       => 100 [subscription.started]
         begin sub_3 cs_3                                                       => 100 []
         told sub_4 active as 1 of o                                            => 100 [subscription.started]
         told sub_3 active as 1 of o                                            => 100 [subscription.changed subscription.changed]
         begin sub_1 cs_2 of o                                                  => 100 [order.paid]
         begin sub_5 cs_5 of unheard_of                                         => rejected OrderNotFound",
    );
    assert_eq!(subscription(&told, "sub_1").order, Some(told.order("o")));
}

#[test]
fn what_tells_nothing_new_of_a_subscription_moves_nothing_that_has_become_due() {
    subscriptions(
        "order o price_pack                                                     => 0
         begin sub_1 cs_1 of o                                                  => 0 [order.paid subscription.started]
         told sub_1 active as 1                                                 => 0 [subscription.changed]
         grant 5 expires 1d                                                     => 5
         at 2d
         begin sub_1 cs_1 of o                                                  => 5 []
         told sub_1 active as 1                                                 => 5 []
         told sub_1 past_due as 2                                               => 0 [credits.expired subscription.changed]",
    );
}

#[test]
fn a_line_is_checked_in_order() {
    subscriptions(
        "account nobody
         invoice in_1 il_1 sub_1 price_unheard_of for 1 from 0d to 30d via pi_1 => rejected AccountNotFound
         told sub_1 active                                                      => rejected AccountNotFound
         account a
         buy pi_1 10 for 5                                                      => 10
         invoice in_1 il_1 sub_1 price_unheard_of for 1 from 0d to 30d via pi_1 => rejected UnknownPrice
         change in_1 il_1 sub_1 price_unheard_of 5 for 1 from 0d to 30d via pi_1 => rejected UnknownPrice
         invoice in_1 il_1 sub_1 price_plan x 9007199254740991 for 1 from 0d to 30d via pi_1 => rejected AmountTooLarge
         invoice in_1 il_1 sub_1 price_plan for 1 from 0d to 30d via pi_1       => rejected PaymentContradicts
         freeze                                                                 => 10
         invoice in_1 il_1 sub_1 price_plan for 1 from 0d to 30d via pi_2       => 110
         close                                                                  => 110
         open b                                                                 => 0
         invoice in_2 il_1 sub_1 price_plan for 1 from 0d to 30d via pi_3       => rejected SubscriptionOfAnotherAccount { subscription: sub_1 }",
    );
}
