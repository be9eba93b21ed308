//! Stories of transfers: credits change hands, and go back with the money of whoever bought them.
//!
//! `a` is who buys, `b` and `c` are who gets.

use super::*;

/// Tells the story in a ledger in which `b` and `c` are open as well; `a` speaks first.
fn among_three(text: &str) -> Story {
    story(&format!("open b\n open c\n account a\n {text}"))
}

#[test]
fn credits_keep_what_they_are_and_take_a_new_place() {
    let told = among_three(
        "grant 10 expires 10d priority 20   => 10
         buy pi_1 100 for 500               => 110
         transfer 40 to b                   => 70 [transfer.sent transfer.received] lots 0 70
         account b
         sweep                              => 40 lots 10 30
         at 10d
         sweep                              => 30 [credits.expired]",
    );
    let lots: Vec<_> = told.book().lots.values().cloned().collect();
    let purchase = *told.state.purchases.keys().next().expect("a purchase");
    assert_eq!((lots[0].purchase, lots[0].cost, lots[0].priority), (None, None, 20));
    assert_eq!((lots[1].purchase, lots[1].cost, lots[1].expires_at), (Some(purchase), Some(150), None));
    let received = told.events.iter().find(|event| event.body.type_name() == "transfer.received");
    let position = received.expect("it was received").position;
    assert!(lots.iter().all(|lot| lot.id.position() == position));
}

#[test]
fn what_a_lot_cost_goes_along_to_the_last_cent() {
    let told = among_three(
        "buy pi_1 3 for 100                 => 3
         transfer 1 to b                    => 2
         transfer 1 to b                    => 1
         transfer 1 to c                    => 0
         account b",
    );
    let costs = |account: &str| -> Vec<Option<i64>> {
        let number = told.state.account_numbers[&AccountId::parse(account).expect("an account")];
        told.state.accounts[&number].books[&unit("credits")].lots.values().map(|lot| lot.cost).collect()
    };
    assert_eq!((costs("b"), costs("c")), (vec![Some(33), Some(33)], vec![Some(34)]));
}

#[test]
fn a_transfer_is_of_what_is_available_alone() {
    among_three(
        "limit 50
         grant 30                           => 30
         hold h 10                          => 20 held 10
         transfer 21 to b                   => rejected InsufficientCredits { unit: credits, available: 20, spendable: 20, required: 21 }
         transfer 20 to b                   => 0 held 10
         transfer 1 to b                    => rejected InsufficientCredits",
    );
}

#[test]
fn what_is_no_transfer_is_refused_and_says_whose_fault_it_is() {
    among_three(
        "grant 30
         transfer 1 to a                    => rejected TransferToItself
         transfer 1 to nobody               => rejected RecipientNotFound
         account nobody
         transfer 1 to a                    => rejected AccountNotFound
         account b
         freeze
         transfer 1 to a                    => rejected AccountFrozen
         account a
         transfer 1 to b                    => rejected RecipientFrozen
         account b
         close
         transfer 1 to a                    => rejected AccountClosed
         account a
         transfer 1 to b                    => rejected RecipientClosed
         unit gold
         transfer 1 to c                    => rejected UnknownUnit
         transfer 1 to a                    => rejected TransferToItself",
    );
}

#[test]
fn a_recipient_has_room_for_as_many_lots_as_anybody() {
    let mut told = among_three("");
    for (account, grants) in [("b", 700), ("a", 300)] {
        told.tell(&format!("account {account}"));
        again(&mut told, grants, "grant 1");
    }
    told.tell("grant 1 priority 60");
    told.tell("transfer 301 to b => rejected TooManyLots");
    // More lots than one event can make: two pairs, of one transfer.
    told.tell("transfer 300 to b => 1 [transfer.sent transfer.received transfer.sent transfer.received]");
    let transfers: std::collections::BTreeSet<_> = told
        .events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::TransferSent(sent) => Some(sent.transfer),
            EventBody::TransferReceived(received) => Some(received.transfer),
            _ => None,
        })
        .collect();
    assert_eq!(transfers.len(), 1);
    told.tell("account b");
    assert_eq!(told.book().open_lots(), 1_000);
    told.tell("spend 1000 => 0");
}

/// Does something so many times, without the replay that follows each line of a story.
fn again(told: &mut Story, times: usize, line: &str) {
    for _ in 0..times {
        let command = told.command(&mut Words(line.split_whitespace().peekable()));
        told.run(&command).expect("there is room");
    }
}

#[test]
fn more_lots_come_back_than_one_event_can_make() {
    let mut told = story(
        "buy pi_1 300 for 3000              => 300
         spend 300                          => 0",
    );
    again(&mut told, 300, "grant 1 expires 1d priority 60");
    told.tell("refund pi_1 re_1 3000 succeeded => 0 [purchase.clawed]");
    told.tell("at 2d");
    told.tell("refund pi_1 re_1 3000 failed => 300 [purchase.restored purchase.restored]");
    assert_eq!(told.book().open_lots(), 300);
    told.tell("spend 300 => 0");

    let mut told = among_three("buy pi_1 price_monthly x 3 for 300 => 300");
    again(&mut told, 300, "transfer 1 to b");
    told.tell("refund pi_1 re_1 300 succeeded => 0 [purchase.clawed purchase.clawed]");
    told.tell("at 40d");
    told.tell("refund pi_1 re_1 300 failed => 0 [purchase.restored purchase.restored purchase.restored]");
    told.tell("account b");
    told.tell("sweep => 300");
    assert_eq!(told.book().open_lots(), 300);
    told.tell("spend 300 => 0");
}

#[test]
fn what_arrives_pays_off_what_is_owed() {
    among_three(
        "grant 100
         account b
         limit 50
         spend 30                           => 0 debt 30
         account a
         transfer 20 to b                   => 80 [transfer.sent transfer.received debt.settled]
         transfer 40 to b                   => 40 [transfer.sent transfer.received debt.settled]
         account b
         spend 1                            => 29",
    );
}

#[test]
fn a_refund_takes_what_the_buyer_has_before_it_takes_from_others() {
    among_three(
        "buy pi_1 100 for 500               => 100
         transfer 50 to b                   => 50
         refund pi_1 re_1 300 succeeded     => 0 [purchase.clawed purchase.clawed]
         account b
         sweep                              => 40
         refund pi_1 re_2 100 succeeded     => 20 [purchase.clawed purchase.clawed]
         refund pi_1 re_3 100 succeeded     => 0
         account a
         sweep                              => 0",
    );
}

#[test]
fn what_a_recipient_has_used_is_the_buyers_to_make_good() {
    let told = among_three(
        "buy pi_1 100 for 500               => 100
         grant 30                           => 130
         transfer 130 to b                  => 0
         account b
         spend 90                           => 40 lots 0 40
         account a
         refund pi_1 re_1 500 succeeded     => 0 debt 60 [purchase.clawed purchase.clawed]
         account b
         sweep                              => 0",
    );
    assert!(told.account().watched.is_empty(), "the buyer watches, not the recipient");
    // Unpaid credits are spent before paid ones, so the 30 that were granted went first.
    among_three(
        "grant 30                           => 30
         transfer 30 to b                   => 0
         buy pi_1 100 for 500               => 100
         transfer 40 to b                   => 60
         account b
         spend 30                           => 40
         account a
         refund pi_1 re_1 500 succeeded     => 0
         account b
         sweep                              => 0",
    );
}

#[test]
fn what_expired_with_a_recipient_is_the_buyers_to_make_good_and_what_expired_with_him_is_not() {
    among_three(
        "buy pi_1 price_monthly for 300     => 100
         transfer 60 to b                   => 40
         at 30d
         grant 100                          => 100 [credits.expired credits.granted]
         refund pi_1 re_1 300 succeeded     => 40 [credits.expired purchase.clawed]",
    );
}

#[test]
fn what_a_recipient_gets_back_later_is_left_to_him() {
    among_three(
        "buy pi_1 100 for 500               => 100
         transfer 100 to b                  => 0
         account b
         hold h 70                          => 30 held 70
         account a
         refund pi_1 re_1 500 succeeded     => 0 debt 70
         account b
         release h                          => 70 [hold.released]
         account a
         sweep                              => 0 debt 70 []
         account b
         transfer 70 to a                   => 0 [transfer.sent transfer.received purchase.clawed]
         account a
         sweep                              => 0 []",
    );
}

#[test]
fn credits_are_found_however_often_they_were_passed_on() {
    among_three(
        "buy pi_1 100 for 500               => 100
         transfer 80 to b                   => 20
         account b
         transfer 50 to c                   => 30
         account c
         transfer 10 to a                   => 40
         account a
         sweep                              => 30
         refund pi_1 re_1 350 succeeded     => 0 [purchase.clawed purchase.clawed purchase.clawed]
         account b
         sweep                              => 0
         account c
         sweep                              => 30
         account a
         refund pi_1 re_1 350 failed        => 30 [purchase.restored purchase.restored purchase.restored]
         account b
         sweep                              => 30
         account c
         sweep                              => 40",
    );
}

#[test]
fn a_dispute_that_is_won_gives_everything_back_to_where_it_came_from() {
    among_three(
        "buy pi_1 100 for 500               => 100
         transfer 60 to b                   => 40
         account b
         spend 20                           => 40
         account a
         dispute pi_1 dp_1 500 open         => 0 disputed 40 [purchase.clawed purchase.clawed]
         account b
         sweep                              => 0 disputed 40
         account a
         dispute pi_1 dp_1 500 won          => 40 [purchase.restored purchase.restored]
         account b
         sweep                              => 40 lots 40",
    );
    among_three(
        "buy pi_1 100 for 500               => 100
         grant 5                            => 105
         transfer 65 to b                   => 40 lots 40 0
         account b
         spend 20                           => 45
         account a
         dispute pi_1 dp_1 500 open         => 0 disputed 40
         dispute pi_1 dp_1 500 lost         => 0 debt 15
         account b
         sweep                              => 0",
    );
}

#[test]
fn credits_that_come_back_to_a_recipient_pay_off_what_he_owes_and_live_as_long_as_they_would_have() {
    among_three(
        "buy pi_1 price_monthly for 300     => 100
         transfer 50 to b                   => 50
         account b
         limit 20
         at 20d
         dispute pi_1 dp_1 300 open         => 0 disputed 50
         spend 15                           => 0 disputed 50 debt 15
         at 90d
         dispute pi_1 dp_1 300 won          => 35 [purchase.restored purchase.restored debt.settled]
         at 99d
         sweep                              => 35 []
         at 100d
         sweep                              => 0 [credits.expired]
         account a
         sweep                              => 0 [credits.expired]",
    );
}

#[test]
fn what_others_have_is_taken_by_the_age_of_their_lots_and_lots_that_came_back_are_as_old_as_their_events() {
    let given = "buy pi_1 price_monthly for 300     => 100
         transfer 50 to c                   => 50
         transfer 50 to b                   => 0
         refund pi_1 re_1 300 succeeded     => 0 [purchase.clawed purchase.clawed purchase.clawed]";
    let half =
        "refund pi_1 re_1 300 failed        => 0 [purchase.restored purchase.restored purchase.restored]
         refund pi_1 re_2 150 succeeded     => 0 [purchase.clawed purchase.clawed]
         account b";
    among_three(&format!("{given}\n at 20d\n {half}\n sweep => 50\n account c\n sweep => 0"));
    // The old lots have expired. Those that take their place come account by account, and b was opened before c.
    among_three(&format!("{given}\n at 40d\n {half}\n sweep => 0\n account c\n sweep => 50"));
}

#[test]
fn a_refund_that_is_asked_for_sets_aside_what_others_have_as_well() {
    among_three(
        "order o price_pack                 => 0
         pay o pi_1 for 500                 => 100
         transfer 70 to b                   => 30
         ask r o                            => 0 disputed 30 [refund.requested purchase.clawed purchase.clawed]
         account b
         sweep                              => 0 disputed 70
         account a
         refuse r pi_1 refused              => 30 [refund.refused purchase.restored purchase.restored]
         account b
         sweep                              => 70",
    );
}

#[test]
fn write_offs_and_holds_of_the_buyer_go_with_transfers_as_with_spends() {
    among_three(
        "setting lot_only
         buy pi_1 100 for 500               => 100
         hold h 30                          => 70 held 30
         transfer 70 to b                   => 0 held 30
         account b
         spend 70                           => 0
         account a
         refund pi_1 re_1 500 succeeded     => 0 held 30 [purchase.clawed]
         release h                          => 0 [hold.released purchase.clawed]
         grant 10                           => 10",
    );
}
