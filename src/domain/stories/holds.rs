//! Stories of holds: placed, captured, released, lapsed.

use super::*;

#[test]
fn a_hold_is_captured_whole() {
    story(
        "grant 100            => 100
         hold h 40            => 60 held 40 [credits.held]
         capture h 40         => 60 [hold.captured]
         capture h 40         => rejected HoldAlreadyResolved
         release h            => rejected HoldAlreadyResolved",
    );
}

#[test]
fn a_capture_of_less_keeps_the_first_draws_and_returns_the_rest() {
    let told = story(
        "grant 10             => 10
         grant 20             => 30
         grant 30             => 60
         hold h 45            => 15 held 45 lots 0 0 15
         capture h 20         => 40 lots 0 10 30",
    );
    let EventBody::HoldCaptured(body) = &told.events.last().expect("events").body else {
        panic!("a capture")
    };
    let amounts =
        |draws: &[crate::domain::event::Draw]| draws.iter().map(|draw| draw.amount).collect::<Vec<_>>();
    assert_eq!(amounts(&body.draws), [10, 10]);
    assert_eq!(amounts(&body.returned), [10, 15]);
    assert_eq!((body.captured, body.excess.len()), (20, 0));
}

#[test]
fn a_capture_of_more_needs_leave_and_cover() {
    story(
        "grant 50             => 50
         hold h 30            => 20 held 30
         capture h 31         => rejected CaptureExceedsHold { captured: 31, held: 30 }
         capture h 51 excess  => rejected InsufficientCredits { unit: credits, available: 20, spendable: 20, required: 21 }
         limit 100
         capture h 51 excess  => rejected InsufficientCredits
         capture h 50 excess  => 0",
    );
}

#[test]
fn holds_never_use_the_overdraft() {
    story(
        "limit 100            => 0
         grant 10             => 10
         hold h 11            => rejected InsufficientCredits { unit: credits, available: 10, spendable: 10, required: 11 }
         hold h 10            => 0 held 10",
    );
}

#[test]
fn a_hold_is_released_or_lapses() {
    let told = story(
        "grant 50             => 50
         hold h analysis x 2  => 30 held 20
         release h            => 50 [hold.released]
         hold i 20 for 1h     => 30 held 20
         at 3599s
         sweep                => 30 held 20 []
         at 3600s
         capture i 5          => rejected HoldAlreadyResolved
         spend 50             => 0 [hold.released credits.spent]",
    );
    let lapse = &told.events[told.events.len() - 2];
    let EventBody::HoldReleased(body) = &lapse.body else { panic!("a release") };
    assert_eq!(body.cause, crate::domain::event::ReleaseCause::Lapsed);
    assert_eq!((lapse.amount, lapse.effective_at), (20, None));
}

#[test]
fn a_hold_lapses_within_a_second_and_seven_days() {
    story(
        "grant 50             => 50
         hold h 5 for 0s      => rejected LapseOutOfRange
         hold h 5 for 604801s => rejected LapseOutOfRange
         hold h 5 for 7d      => 45 held 5
         hold i 5 for 1s      => 40 held 10",
    );
}

#[test]
fn held_credits_do_not_expire_but_what_comes_back_too_late_does() {
    let told = story(
        "grant 10 expires 1d  => 10
         grant 5              => 15
         hold h 12 for 2d     => 3 held 12
         at 36h
         spend 1              => 2 held 12 [credits.spent]
         at 3d
         sweep                => 4 [hold.released credits.expired] lots 0 4",
    );
    let [.., released, expired] = told.events.as_slice() else { panic!("two events") };
    assert_eq!(released.effective_at, Some(start().plus(Span::days(2))));
    assert_eq!(expired.effective_at, Some(start().plus(Span::days(2))));
    assert_eq!((released.amount, expired.amount), (12, -10));
}

#[test]
fn what_a_capture_returns_to_an_expired_lot_expires_at_once() {
    story(
        "grant 10 expires 1d  => 10
         hold h 10 for 3d     => 0 held 10
         at 2d
         capture h 4          => 0 [hold.captured credits.expired]",
    );
    story(
        "grant 10 expires 1d  => 10
         hold h 10 for 3d     => 0 held 10
         at 2d
         release h            => 0 [hold.released credits.expired]",
    );
}

#[test]
fn a_lapse_comes_before_an_expiry_of_the_same_moment() {
    story(
        "grant 10 expires 1d  => 10
         hold h 4 for 1d      => 6 held 4
         at 1d
         sweep                => 0 [hold.released credits.expired]",
    );
}

#[test]
fn captures_and_releases_work_while_frozen_but_not_when_closed() {
    story(
        "grant 50             => 50
         hold h 10            => 40 held 10
         hold i 10            => 30 held 20
         hold j 10            => 20 held 30
         freeze               => 20 held 30
         hold k 1             => rejected AccountFrozen
         capture h 10         => 20 held 20
         release i            => 30 held 10
         close                => 30 held 10
         capture j 1          => rejected AccountClosed
         release j            => rejected AccountClosed
         at 1h
         sweep                => 40 [hold.released]",
    );
}

#[test]
fn what_is_no_hold_cannot_be_captured() {
    story(
        "grant 50             => 50
         capture nothing 1    => rejected HoldNotFound
         release nothing      => rejected HoldNotFound",
    );
}
