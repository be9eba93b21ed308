//! One command of a batch that cannot be written, or cannot even be decided, and its neighbours. The failures are real:
//! constraints and triggers of the test's own database raise them. `writer_statements` goes through every statement.

use counterfoil::{
    domain::{Command, Context, Decision, EventBody, Rejection, WorkingSet, decide},
    writer::{Decide, Outcome, Submission, SubmitError, WriterSettings},
};
use futures_util::future::join_all;

use crate::writer_support::{Book, accepted, keyed, plain, rejected, spend};

/// A constraint that whoever spends 13 violates.
async fn forbid_thirteen(book: &Book) {
    let owner = book.database.owner().await;
    let statement = "ALTER TABLE events ADD CONSTRAINT no_thirteen CHECK (amount <> -13) NOT VALID";
    owner.batch_execute(statement).await.expect("a constraint");
}

/// 40 spends of 2, but for the one with number 17, which takes 13.
fn thirteen_among_forty() -> impl Iterator<Item = Submission> {
    (0..40).map(|number| plain(spend("alice", if number == 17 { 13 } else { 2 })))
}

/// Makes the first write of an event fail with `code`. A sequence, which no rollback takes back, counts the writes.
async fn break_events(book: &Book, code: &str) {
    let owner = book.database.owner().await;
    let statements = format!(
        "CREATE SEQUENCE fired;
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
         $$BEGIN
             IF nextval('fired') = 1 THEN
                 RAISE EXCEPTION 'broken by a test' USING ERRCODE = '{code}';
             END IF;
             RETURN NEW;
         END$$;
         CREATE TRIGGER broken BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail()"
    );
    owner.batch_execute(&statements).await.expect("a broken table");
}

/// How often the trigger has fired.
async fn fired(book: &Book) -> i64 {
    let superuser = book.database.superuser().await;
    let statement = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM fired";
    superuser.query_one(statement, &[]).await.expect("a sequence").get(0)
}

#[tokio::test]
async fn a_command_that_a_constraint_refuses_fails_alone() {
    let book = Book::open().await;
    book.account_with("alice", 1_000).await;
    forbid_thirteen(&book).await;
    let outcomes = book.submit_together(thirteen_among_forty()).await;
    // All 40 were one batch, of which the half with the culprit was halved, until it was alone: what is left are the numbers
    // 0 to 9, 10 to 14, 15 and 16, 18 and 19, 20 to 39.
    assert_eq!(book.batches("credits.spent").await, 5);
    only_the_thirteen_has_failed(&book, &outcomes).await;
}

async fn only_the_thirteen_has_failed(book: &Book, outcomes: &[Result<Outcome, SubmitError>]) {
    assert_eq!(outcomes.len(), 40);
    for (number, outcome) in outcomes.iter().enumerate() {
        match number {
            17 => assert_eq!(*outcome, Err(SubmitError::Internal)),
            _ => assert!(matches!(outcome, Ok(Outcome::Accepted(_))), "{number}: {outcome:?}"),
        }
    }
    assert_eq!(book.count("credits.spent").await, 39);
    assert_eq!(book.stored_balance("alice").await, 1_000 - 39 * 2);
    book.check().await;
}

#[tokio::test]
async fn a_panic_in_one_decision_is_that_commands_failure_alone() {
    fn panicking(set: &WorkingSet, command: &Command, context: &Context) -> Result<Decision, Rejection> {
        assert!(*command != spend("alice", 13), "a defect in a decision");
        decide(set, command, context)
    }
    one_of_a_batch_cannot_be_decided(panicking).await;
}

#[tokio::test]
async fn a_decision_that_cannot_be_applied_is_that_commands_failure_alone() {
    one_of_a_batch_cannot_be_decided(contradictory).await;
}

async fn one_of_a_batch_cannot_be_decided(decide: Decide) {
    let book = Book::open_with(WriterSettings { decide, ..WriterSettings::default() }).await;
    book.account_with("alice", 1_000).await;
    let outcomes = book.submit_together(thirteen_among_forty()).await;
    // Those before and those behind it are one batch, so that it was in their midst: commands are taken up in their order.
    assert_eq!(book.batches("credits.spent").await, 1);
    only_the_thirteen_has_failed(&book, &outcomes).await;
}

/// Spends of 13 say that they took a thousand times as much from their lots.
fn contradictory(set: &WorkingSet, command: &Command, context: &Context) -> Result<Decision, Rejection> {
    let mut decision = decide(set, command, context)?;
    for event in &mut decision.events {
        if let EventBody::CreditsSpent(body) = &mut event.body
            && body.spent == 13
        {
            body.draws[0].amount *= 1_000;
        }
    }
    Ok(decision)
}

/// Submits 300 spends, of which all but one must be accepted: that one takes 13 and comes when events have been sent.
async fn one_of_a_large_batch_fails_alone(book: &Book) {
    let amount_of = |number| if number == 280 { 13 } else { 2 };
    let spends =
        (0..300).map(|number| book.submit(keyed(spend("alice", amount_of(number)), &format!("{number}"), 1)));
    for (number, outcome) in join_all(spends).await.into_iter().enumerate() {
        match number {
            280 => assert_eq!(outcome, Err(SubmitError::Internal)),
            _ => assert!(!accepted(outcome).replayed, "{number}"),
        }
    }
    assert_eq!(book.stored_balance("alice").await, 1_000 - 299 * 2);
    assert_eq!(book.count("credits.spent").await, 299);
    book.check().await;
}

#[tokio::test]
async fn what_was_sent_ahead_is_taken_back_when_a_later_decision_cannot_be_applied() {
    let book = Book::open_with(WriterSettings { decide: contradictory, ..WriterSettings::default() }).await;
    book.account_with("alice", 1_000).await;
    one_of_a_large_batch_fails_alone(&book).await;
}

#[tokio::test]
async fn what_was_sent_ahead_is_taken_back_when_a_later_event_is_refused() {
    let book = Book::open().await;
    book.account_with("alice", 1_000).await;
    forbid_thirteen(&book).await;
    one_of_a_large_batch_fails_alone(&book).await;
}

#[tokio::test]
async fn what_may_succeed_the_second_time_is_tried_again() {
    for code in ["40001", "40P01", "23505", "22012", "25006"] {
        let book = Book::open().await;
        book.account_with("alice", 1_000).await;
        break_events(&book, code).await;
        let spends = (0..5).map(|_| book.submit(plain(spend("alice", 2))));
        for outcome in join_all(spends).await {
            accepted(outcome);
        }
        assert!(fired(&book).await > 1, "{code} did not happen");
        assert_eq!(book.stored_balance("alice").await, 990, "{code}");
        book.check().await;
    }
}

#[tokio::test]
async fn when_the_server_is_short_of_something_the_batch_is_refused_and_nothing_written() {
    for code in ["53100", "53200", "57014", "55P03"] {
        let book = Book::open().await;
        book.account_with("alice", 1_000).await;
        break_events(&book, code).await;
        let spends = (0..5).map(|_| book.submit(plain(spend("alice", 2))));
        for outcome in join_all(spends).await {
            assert_eq!(outcome, Err(SubmitError::Unavailable), "{code}");
        }
        assert_eq!(fired(&book).await, 1, "{code}");
        assert_eq!(book.stored_balance("alice").await, 1_000, "{code}");
        accepted(book.submit(plain(spend("alice", 2))).await);
        book.check().await;
    }
}

#[tokio::test]
async fn an_account_that_somebody_else_changed_without_the_lock_is_never_overwritten() {
    let book = Book::open().await;
    book.account_with("alice", 100).await;
    book.accept(spend("alice", 1)).await;
    // Nobody may do this; should it happen, the cached account must not go over it.
    let superuser = book.database.superuser().await;
    let changed = superuser
        .execute("UPDATE accounts SET version = version + 1000 WHERE ledger_id = $1", &[&book.ledger.0])
        .await;
    assert_eq!(changed.expect("a change"), 1);
    let head = book.head().await;
    let outcome = book.submit(keyed(spend("alice", 1), "k", 1)).await;
    assert_eq!(outcome, Err(SubmitError::Internal));
    assert_eq!(book.head().await, head);
    superuser
        .execute("UPDATE accounts SET version = version - 1000 WHERE ledger_id = $1", &[&book.ledger.0])
        .await
        .expect("a repair");
    accepted(book.submit(keyed(spend("alice", 1), "k", 1)).await);
    let rejection = rejected(book.submit(plain(spend("alice", 1_000))).await);
    assert!(matches!(rejection, Rejection::InsufficientCredits { available: 98, .. }), "{rejection:?}");
    book.check().await;
}
