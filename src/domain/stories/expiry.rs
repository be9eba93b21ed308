//! Stories of expiry: what runs out, when, and what lives on.

use super::*;

#[test]
fn a_lot_is_usable_until_the_moment_it_expires() {
    story(
        "grant 10 expires 10d     => 10
         at 863999s
         spend 1                  => 9
         at 10d
         spend 1                  => rejected InsufficientCredits
         sweep                    => 0 [credits.expired] lots 0",
    );
}

#[test]
fn what_is_due_comes_before_the_command_at_its_own_moment() {
    let told = story(
        "grant 10 expires 10d     => 10
         grant 10                 => 20
         at 12d
         spend 4                  => 6 [credits.expired credits.spent]",
    );
    let [.., expired, spent] = told.events.as_slice() else { panic!("two events") };
    assert_eq!(expired.effective_at, Some(start().plus(Span::days(10))));
    assert_eq!(expired.recorded_at, start().plus(Span::days(12)));
    assert_eq!((expired.amount, expired.actor.clone()), (-10, Actor::System));
    assert_eq!((spent.effective_at, spent.amount), (None, -4));
    assert_eq!(spent.command, expired.position);
}

#[test]
fn a_refused_command_leaves_what_is_due_for_later() {
    story(
        "grant 10 expires 10d     => 10
         at 12d
         spend 4                  => rejected InsufficientCredits
         freeze                   => 0 [credits.expired account.frozen]",
    );
}

#[test]
fn a_command_that_changes_nothing_writes_nothing_even_if_something_is_due() {
    story(
        "freeze                   => 0
         adjust +10               => 10
         grant 1                  => rejected AccountFrozen
         unfreeze                 => 10
         grant 10 expires 1d      => 20
         at 2d
         unfreeze                 => 20 []
         limit 0                  => 20 []
         sweep                    => 10 [credits.expired]
         sweep                    => 10 []",
    );
}

#[test]
fn lots_that_expire_together_expire_in_one_event_others_in_their_order() {
    let told = story(
        "grant 10 expires 5d      => 10
         grant 20 expires 3d      => 30
         grant 40 expires 5d      => 70
         grant 80 expires 20d     => 150
         unit bonus
         grant 7 expires 5d       => 7
         at 6d
         sweep                    => 0 [credits.expired credits.expired credits.expired]
         unit credits",
    );
    let [.., first, second, third] = told.events.as_slice() else { panic!("three events") };
    assert_eq!([first.amount, second.amount, third.amount], [-20, -50, -7]);
    assert_eq!(told.book().available, 80);
}

#[test]
fn when_the_sweep_runs_makes_no_difference() {
    let numbers = |sweep: &str| {
        let told = story(&format!(
            "grant 50 expires 2d
             grant 10 expires 9d
             hold h 30 for 1d
             hold i 25 for 3d
             {sweep}
             at 1d
             {sweep}
             at 2d
             {sweep}
             at 60h
             {sweep}
             at 4d
             {sweep}
             buy pi_1 40 for 400
             spend 5
             at 10d
             {sweep}
             spend 1"
        ));
        let lots = told.book().lots.into_values();
        lots.map(|lot| (lot.granted, lot.remaining, lot.held, lot.expired, lot.spent)).collect::<Vec<_>>()
    };
    assert_eq!(numbers("sweep"), numbers(""));
    assert_eq!(numbers(""), [(50, 0, 0, 50, 0), (10, 0, 0, 5, 5), (40, 39, 0, 0, 1)]);
}

#[test]
fn an_account_knows_when_something_is_due_next() {
    let told = story(
        "grant 10 expires 10d
         grant 10 expires 5d
         grant 10",
    );
    assert_eq!(told.account().next_due_at(), Some(start().plus(Span::days(5))));
    let told = story("grant 10 expires 5d\n spend 10\n grant 5 expires 9d\n hold h 5 for 1h");
    assert_eq!(told.account().next_due_at(), Some(start().plus(Span::seconds(3_600))));
    assert_eq!(story("grant 10").account().next_due_at(), None);
    assert_eq!(story("grant 10 expires 5d\n spend 10").account().next_due_at(), None);
}

#[test]
fn an_account_can_be_looked_at_as_it_will_be() {
    let told = story("grant 10 expires 10d\n grant 5");
    let at = |moment| crate::domain::account_at(&told.state, told.number(), moment).expect("an account");
    let available = |account: Account| account.books[&unit("credits")].available;
    assert_eq!(available(at(start())), 15);
    for days in [10, 11] {
        assert_eq!(available(at(start().plus(Span::days(days)))), 5);
    }
    assert_eq!(told.book().available, 15);
    assert_eq!(crate::domain::account_at(&told.state, AccountNumber(999), start()), None);
}

#[test]
fn a_lot_with_nothing_left_does_not_expire_with_the_others_of_its_moment() {
    let told = story(
        "grant 10 expires 1d      => 10
         grant 5 expires 1d       => 15
         spend 10                 => 5 lots 0 5
         at 1d
         sweep                    => 0 [credits.expired]",
    );
    let EventBody::CreditsExpired(body) = &told.events.last().expect("events").body else {
        panic!("an expiry")
    };
    assert_eq!(body.lots.iter().map(|draw| draw.amount).collect::<Vec<_>>(), [5]);
}
