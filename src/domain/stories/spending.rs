//! Stories of spending: order, limits, and nothing by halves.

use super::*;
use crate::domain::{account::MAX_OPEN_LOTS, amount::MAX_AMOUNT};

#[test]
fn credits_are_granted_and_spent() {
    story(
        "grant 100            => 100 [credits.granted]
         spend 30             => 70  [credits.spent]
         spend analysis       => 60
         spend analysis x 6   => 0   lots 0
         spend 1              => rejected InsufficientCredits",
    );
}

#[test]
fn a_spend_is_all_or_nothing() {
    story(
        "grant 10             => 10
         spend 11             => rejected InsufficientCredits { unit: credits, available: 10, spendable: 10, required: 11 }
         spend 10             => 0",
    );
}

#[test]
fn the_spending_order_is_priority_then_expiry_then_unpaid_then_age() {
    story(
        "buy pi_1 10 for 100              => 10
         grant 10                         => 20
         grant 10                         => 30
         grant 10 expires 9d              => 40
         grant 10 expires 5d              => 50
         grant 10 expires 30d priority 51 => 60
         grant 10 priority 49             => 70  lots 10 10 10 10 10 10 10
         spend 10                         => 60  lots 10 10 10 10 10 10 0
         spend 10                         => 50  lots 10 10 10 10 0 10 0
         spend 10                         => 40  lots 10 10 10 0 0 10 0
         spend 10                         => 30  lots 10 0 10 0 0 10 0
         spend 10                         => 20  lots 10 0 0 0 0 10 0
         spend 10                         => 10  lots 0 0 0 0 0 10 0
         spend 10                         => 0",
    );
}

#[test]
fn one_spend_draws_on_several_lots_and_says_so() {
    let told = story(
        "grant 10             => 10
         grant 20             => 30
         grant 30             => 60
         spend 35             => 25 lots 0 0 25",
    );
    let EventBody::CreditsSpent(body) = &told.events.last().expect("events").body else { panic!("a spend") };
    let drawn: Vec<i64> = body.draws.iter().map(|draw| draw.amount).collect();
    assert_eq!((body.spent, drawn), (35, vec![10, 20, 5]));
    assert_eq!((body.feature.as_ref(), body.quantity, body.overdraft), (None, None, None));
    assert_eq!(told.events.last().map(|event| event.amount), Some(-35));
}

#[test]
fn a_spend_on_a_feature_says_which_and_how_many() {
    let told = story("grant 50 => 50\n spend analysis x 3 => 20");
    let EventBody::CreditsSpent(body) = &told.events.last().expect("events").body else { panic!("a spend") };
    assert_eq!(body.feature.as_ref().map(FeatureKey::as_str), Some("analysis"));
    assert_eq!((body.quantity, body.spent), (Some(3), 30));
}

#[test]
fn what_is_not_in_the_catalogue_cannot_be_spent_on() {
    let mut told = story(
        "grant 10                        => 10
         spend unheard_of                => rejected UnknownFeature
         spend retired                   => rejected FeatureInactive
         spend analysis x 9007199254740991 => rejected AmountTooLarge
         spend analysis                  => 0
         unit gold
         spend 1                         => rejected UnknownUnit
         grant 1                         => rejected UnknownUnit
         adjust +1                       => rejected UnknownUnit
         hold h 1                        => rejected UnknownUnit
         limit 1                         => rejected UnknownUnit
         buy pi_1 1 for 5                => rejected UnknownUnit",
    );
    told.account = AccountId::parse("nobody").expect("an account");
    told.tell("spend 1 => rejected AccountNotFound");
}

#[test]
fn units_do_not_mix() {
    story(
        "grant 10             => 10
         unit bonus
         spend 1              => rejected InsufficientCredits
         grant 5              => 5
         spend 5              => 0
         unit credits
         spend 10             => 0",
    );
}

#[test]
fn no_balance_passes_what_json_holds_exactly() {
    story(
        "grant 9007199254740990   => 9007199254740990
         grant 2                  => rejected AmountTooLarge
         adjust +2                => rejected AmountTooLarge
         buy pi_1 2 for 10        => rejected AmountTooLarge
         grant 1                  => 9007199254740991
         grant 1                  => rejected AmountTooLarge",
    );
    story(
        "grant 9007199254740990   => 9007199254740990
         hold h 9007199254740990  => 0 held 9007199254740990
         grant 2                  => rejected AmountTooLarge
         grant 1                  => 1 held 9007199254740990",
    );
    story(
        "buy pi_1 9007199254740990 for 10 => 9007199254740990
         dispute pi_1 dp_1 10 open        => 0 disputed 9007199254740990
         grant 2                          => rejected AmountTooLarge
         grant 1                          => 1 disputed 9007199254740990",
    );
    assert_eq!(MAX_AMOUNT, 9_007_199_254_740_991);
}

#[test]
fn an_account_has_a_thousand_open_lots_at_most_but_payments_are_always_recorded() {
    let mut told = Story::new();
    let grant = GrantCredits {
        account: told.account.clone(),
        unit: unit("credits"),
        amount: amount(1),
        expires_at: None,
        priority: 50,
        note: Note::new(),
    };
    for _ in 0..MAX_OPEN_LOTS {
        told.step = 0;
        told.run(&Command::GrantCredits(grant.clone())).expect("room for one more");
    }
    let spilled = told.book().lots.values().filter(|lot| lot.spilled).count();
    assert_eq!(spilled, MAX_OPEN_LOTS - crate::domain::account::MAX_INLINE_LOTS);
    told.events.clear();
    let refused = told.run(&Command::GrantCredits(grant)).expect_err("too many");
    assert_eq!(refused, Rejection::TooManyLots { unit: unit("credits") });
    for refused in ["adjust +1", "buy external 1 for 5"] {
        let mut words = Words(refused.split_whitespace().peekable());
        let command = told.command(&mut words);
        assert_eq!(
            told.run(&command).expect_err("too many"),
            Rejection::TooManyLots { unit: unit("credits") }
        );
    }
}

#[test]
fn an_operator_puts_credits_in_and_takes_them_out() {
    let told = story(
        "adjust +30           => 30 [credits.adjusted]
         grant 10             => 40
         adjust -35           => 5 lots 0 5
         adjust -6            => rejected InsufficientCredits
         limit 100
         adjust -6            => rejected InsufficientCredits
         adjust -5            => 0",
    );
    let adjusted: Vec<i64> = told.book().lots.values().map(|lot| lot.adjusted).collect();
    assert_eq!(adjusted, [30, 10]);
    let changes: Vec<i64> = told
        .events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::CreditsAdjusted(body) => Some(body.adjusted),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [30, -35, -5]);
}

#[test]
fn a_grant_is_checked() {
    story(
        "at 1d
         grant 5 expires 1d       => rejected ExpiryNotInFuture
         grant 5 expires 0d       => rejected ExpiryNotInFuture
         grant 5 priority 101     => rejected InvalidConfiguration
         grant 5 priority 100     => 5
         grant 5 expires 2d priority 0 => 10",
    );
}

#[test]
fn a_spend_of_all_there_is_leaves_no_debt_behind() {
    let told = story("limit 5 => 0\n grant 10 => 10\n spend 10 => 0");
    assert!(told.book().debts.is_empty());
}

#[test]
fn a_lot_is_stored_with_its_account_again_once_another_is_used_up() {
    let mut told = Story::new();
    let grant = told.command(&mut Words("grant 1".split_whitespace().peekable()));
    let last_is_spilled = |told: &Story| told.book().lots.values().last().map(|lot| lot.spilled);
    for _ in 0..crate::domain::account::MAX_INLINE_LOTS {
        told.run(&grant).expect("room for one more");
    }
    assert_eq!(last_is_spilled(&told), Some(false));
    told.run(&grant).expect("room for one more");
    assert_eq!(last_is_spilled(&told), Some(true));
    told.tell("spend 1");
    told.run(&grant).expect("room for one more");
    assert_eq!(last_is_spilled(&told), Some(false));
}
