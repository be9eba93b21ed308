//! Stories of a clock that is moved on.

use super::*;

/// A century of 365 days.
const CENTURY: i64 = 36_500 * 86_400;

fn advance(seconds: i64) -> Command {
    Command::AdvanceClock(AdvanceClock { seconds: amount(seconds) })
}

/// What the event says: by how much, and how far ahead.
fn advanced(told: &mut Story, seconds: i64) -> (i64, i64) {
    let events = told.run(&advance(seconds)).expect("a test ledger");
    match events.as_slice() {
        [Event { body: EventBody::ClockAdvanced(body), account: None, .. }] => (body.seconds, body.ahead),
        other => panic!("one event of the ledger: {other:?}"),
    }
}

#[test]
fn a_test_ledgers_clock_goes_on_from_where_it_was_moved_to() {
    let mut told = Story::new();
    told.state.clock_ahead = Some(Span::seconds(0));
    assert_eq!(advanced(&mut told, 60), (60, 60));
    assert_eq!(advanced(&mut told, 1), (1, 61));
    assert_eq!(told.state.clock_ahead, Some(Span::seconds(61)));
}

#[test]
fn a_live_ledgers_clock_cannot_be_moved() {
    let mut told = Story::new();
    assert_eq!(told.run(&advance(1)), Err(Rejection::ClockOfLiveLedger));
    assert_eq!(told.state.clock_ahead, None);
}

#[test]
fn a_clock_is_at_most_a_hundred_years_ahead() {
    let mut told = Story::new();
    told.state.clock_ahead = Some(Span::seconds(10));
    let too_far = told.run(&advance(CENTURY - 9));
    assert!(matches!(too_far, Err(Rejection::InvalidConfiguration { field: "seconds", .. })), "{too_far:?}");
    assert!(told.run(&advance(crate::domain::amount::MAX_AMOUNT)).is_err());
    assert_eq!(advanced(&mut told, CENTURY - 10), (CENTURY - 10, CENTURY));
}
