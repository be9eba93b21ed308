//! The outbox at work: order, repeats, looking, dying, breakers, and what the ledger is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use counterfoil::domain::ids::Actor;
use counterfoil::{
    outbox::{BreakerSettings, Cause, Class, Looked, OutboxSettings, Performed, Report},
    store::{
        ledgers::list_ledgers,
        outbox::entries::{self, Decision, EffectState, OutboxEntry},
        reconciliation::{gate, turn},
    },
};

use crate::{
    outbox_support::{
        Recorder, Running, Shared, away, customer, dead, done, entries as entries_of, order, order_at, quick,
        refund, retry, rows_of, session, told, until_only,
    },
    support::wait,
    writer_support::{Book, grant},
};

fn unclear() -> Performed {
    Performed::Unknown { cause: Cause::new(Class::Unclear, "no_answer"), after: None }
}

async fn dead_one(book: &Book) -> OutboxEntry {
    let entries = entries_of(book).await;
    entries.into_iter().find(|entry| entry.state == EffectState::Dead).expect("a dead effect")
}

async fn decide(book: &Book, decision: Decision) {
    let dead = dead_one(book).await;
    let client = book.database.runtime().await;
    let decided =
        entries::decide(&client, book.ledger, &dead, decision, &Actor::Operator, "the key was replaced")
            .await;
    assert!(decided.expect("a decision"));
}

#[tokio::test]
async fn effects_of_one_key_go_in_order_and_everything_is_done_once() {
    let book = Book::open().await;
    let effects: Vec<_> = (1..=600).map(|number| refund(number % 40, number)).collect();
    order(&book, 1, &effects).await;
    let recorder = Recorder::performing(|_, _| done());
    let settings = || OutboxSettings { window: 100, ..quick() };
    let workers: Vec<_> =
        (0..3).map(|_| Running::start(&book, Shared(Arc::clone(&recorder)), settings())).collect();
    until_only(&book, &[]).await;
    for worker in workers {
        worker.stop().await;
    }
    let performed = recorder.performed();
    for account in 0..40 {
        let of_key: Vec<i64> =
            performed.iter().copied().filter(|position| position % 40 == account).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
    let mut once = performed.clone();
    once.sort_unstable();
    assert_eq!(once, (1..=600).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_failed_effect_holds_back_those_behind_it_and_no_others() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1), refund(1, 2), refund(2, 3), refund(1, 4)]).await;
    let is_back = Arc::new(AtomicBool::new(false));
    let recorder = Recorder::performing({
        let is_back = Arc::clone(&is_back);
        move |ordered, _| match ordered.position.0 {
            1 if !is_back.load(Ordering::SeqCst) => retry(),
            _ => done(),
        }
    });
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), quick());
    until_only(&book, &[("backing_off", 1), ("held", 2), ("held", 4)]).await;
    order(&book, 5, &[refund(1, 5), refund(2, 6)]).await;
    until_only(&book, &[("backing_off", 1), ("held", 2), ("held", 4), ("held", 5)]).await;
    let first = entries_of(&book).await.remove(0);
    let cause = first.cause.expect("a cause");
    assert_eq!(
        (cause.destination.as_str(), cause.class.as_str(), cause.code.as_str()),
        ("recorder", "unavailable", "away")
    );
    assert!(first.attempts > 0 && first.next_attempt_at.is_some());
    is_back.store(true, Ordering::SeqCst);
    until_only(&book, &[]).await;
    running.stop().await;
    let others: Vec<i64> = recorder.performed().into_iter().filter(|position| *position != 1).collect();
    assert_eq!(others, [3, 6, 2, 4, 5]);
    let attempts: Vec<u32> = recorder
        .calls()
        .iter()
        .filter(|call| call.ordered.position.0 == 1)
        .map(|call| call.ordered.attempt)
        .collect();
    assert_eq!(attempts, (1..=u32::try_from(attempts.len()).expect("few")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_dead_effect_blocks_its_key_if_its_kind_says_so() {
    let book = Book::open().await;
    order(&book, 1, &[customer(1), session(1, 2), refund(1, 3), refund(1, 4)]).await;
    let recorder = Recorder::new(
        |ordered, before| match ordered.position.0 {
            1 | 3 if before == 0 => dead(),
            _ => done(),
        },
        |_, _| Looked::Absent,
    );
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), quick());
    until_only(&book, &[("dead", 1), ("held", 2), ("dead", 3)]).await;
    order(&book, 5, &[session(1, 5)]).await;
    until_only(&book, &[("dead", 1), ("held", 2), ("dead", 3), ("held", 5)]).await;
    decide(&book, Decision::Retry).await;
    until_only(&book, &[("dead", 3)]).await;
    assert_eq!(recorder.performed(), [1, 3, 4, 1, 2, 5]);
    decide(&book, Decision::Discard).await;
    until_only(&book, &[]).await;
    assert_eq!(recorder.performed().len(), 6);
    assert_eq!(rows_of(&book, "outbox_decisions").await, 2);
    running.stop().await;
}

#[tokio::test]
async fn discarding_what_blocks_a_key_lets_the_rest_go_on() {
    let book = Book::open().await;
    order(&book, 1, &[customer(1), session(1, 2), session(1, 3)]).await;
    let recorder = Recorder::performing(|ordered, _| if ordered.position.0 == 1 { dead() } else { done() });
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), quick());
    until_only(&book, &[("dead", 1), ("held", 2), ("held", 3)]).await;
    decide(&book, Decision::Discard).await;
    until_only(&book, &[]).await;
    assert_eq!(recorder.performed(), [1, 2, 3]);
    running.stop().await;
}

#[tokio::test]
async fn an_unknown_outcome_is_looked_for_before_it_is_repeated() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1), refund(2, 2), refund(3, 3), refund(4, 4)]).await;
    let recorder = Recorder::new(
        |ordered, before| match (ordered.position.0, before) {
            (1 | 2, 0) => unclear(),
            (3, 0) => panic!("a defect"),
            _ => done(),
        },
        |ordered, before| match (ordered.position.0, before) {
            (1, 0) => Looked::Unclear { cause: away(), after: None },
            (1, _) => Looked::Found(Vec::new()),
            _ => Looked::Absent,
        },
    );
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), quick());
    until_only(&book, &[]).await;
    running.stop().await;
    let of = |position: i64| -> Vec<bool> {
        let calls = recorder.calls();
        calls.iter().filter(|call| call.ordered.position.0 == position).map(|call| call.is_look).collect()
    };
    assert_eq!(of(1), [false, true, true]);
    assert_eq!(of(2), [false, true, false]);
    assert_eq!(of(3), [false, true, false]);
    assert_eq!(of(4), [false]);
}

#[tokio::test]
async fn an_attempt_that_hangs_counts_as_unknown() {
    struct Hanging(AtomicUsize);
    impl counterfoil::outbox::Perform for Hanging {
        fn destination(&self, _: &counterfoil::outbox::Ordered) -> &'static str {
            "hanging"
        }
        async fn perform(&self, _: &counterfoil::outbox::Ordered) -> Performed {
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                std::future::pending::<()>().await;
            }
            done()
        }
        async fn look(&self, _: &counterfoil::outbox::Ordered) -> Looked {
            Looked::Found(told())
        }
    }
    let book = Book::open().await;
    book.account_with("alice", 0).await;
    order(&book, 1, &[refund(1, 1)]).await;
    let settings = OutboxSettings { attempt_limit: Duration::from_millis(50), ..quick() };
    let running = Running::start(&book, Hanging(AtomicUsize::new(0)), settings);
    until_only(&book, &[]).await;
    running.stop().await;
    assert_eq!(book.stored_balance("alice").await, 1);
}

#[tokio::test]
async fn what_is_too_old_is_found_or_dies_and_is_never_repeated() {
    let book = Book::open().await;
    let day = Duration::from_secs(23 * 60 * 60);
    order_at(&book, 1, day, &[refund(1, 1), refund(2, 2)]).await;
    order_at(&book, 3, day - Duration::from_secs(60), &[refund(3, 3)]).await;
    let recorder = Recorder::new(
        |_, _| done(),
        |ordered, _| if ordered.position.0 == 1 { Looked::Found(Vec::new()) } else { Looked::Absent },
    );
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), quick());
    until_only(&book, &[("dead", 2)]).await;
    assert_eq!(recorder.performed(), [3]);
    let cause = dead_one(&book).await.cause.expect("a cause");
    assert_eq!((cause.class.as_str(), cause.code.as_str()), ("expired", "not_repeated"));
    // A person may have it done all the same.
    decide(&book, Decision::Retry).await;
    until_only(&book, &[]).await;
    assert_eq!(recorder.performed(), [3, 2]);
    running.stop().await;
}

#[tokio::test]
async fn a_destination_that_is_away_is_left_alone_and_its_effects_stay_where_they_are() {
    let book = Book::open().await;
    let effects: Vec<_> = (1..=200).map(|number| refund(number, number)).collect();
    order(&book, 1, &effects).await;
    let is_back = Arc::new(AtomicBool::new(false));
    let recorder = Recorder::performing({
        let is_back = Arc::clone(&is_back);
        move |_, _| if is_back.load(Ordering::SeqCst) { done() } else { retry() }
    });
    let breaker = BreakerSettings {
        failures: 5,
        first_pause: Duration::from_millis(100),
        longest_pause: Duration::from_millis(200),
    };
    let settings = OutboxSettings { breaker, concurrency: 4, ..quick() };
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), settings);
    wait::until("trials", async || (recorder.calls().len() >= 12).then_some(())).await;
    assert!(rows_of(&book, "outbox_retry").await < 30);
    assert!(rows_of(&book, "outbox").await > 170);
    is_back.store(true, Ordering::SeqCst);
    until_only(&book, &[]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_destination_is_left_alone_as_long_as_it_asks() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1)]).await;
    let recorder = Recorder::performing(|_, before| match before {
        0 => Performed::Retry {
            cause: Cause::new(Class::Limited, "slow_down"),
            after: Some(Duration::from_millis(700)),
        },
        _ => done(),
    });
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), quick());
    until_only(&book, &[]).await;
    running.stop().await;
    let calls = recorder.calls();
    assert!(calls[1].at - calls[0].at >= Duration::from_millis(700));
}

#[tokio::test]
async fn the_ledger_is_told_once_and_what_it_does_not_take_waits_for_a_person() {
    let book = Book::open().await;
    book.account_with("alice", 0).await;
    let ids = order(&book, 1, &[refund(1, 1), refund(2, 2)]).await;
    let recorder = Recorder::performing(|ordered, _| {
        Performed::Done(match ordered.position.0 {
            1 => vec![Report::of(grant("alice", 1)), Report::of(grant("alice", 2))],
            _ => vec![Report::of(grant("nobody", 1))],
        })
    });
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), quick());
    until_only(&book, &[("dead", 2)]).await;
    running.stop().await;
    assert_eq!(dead_one(&book).await.cause.expect("a cause").class, "ledger");
    assert_eq!(book.stored_balance("alice").await, 3);
    let superuser = book.database.superuser().await;
    let keys = superuser
        .query("SELECT key FROM events WHERE key_namespace = 'system' ORDER BY position", &[])
        .await
        .expect("keys");
    let keys: Vec<String> = keys.iter().map(|row| row.get(0)).collect();
    assert_eq!(keys, [format!("effect:{}", ids[0]), format!("effect:{}:2", ids[0])]);
}

#[tokio::test]
async fn an_effect_that_this_version_cannot_read_waits_for_one_that_can() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1), refund(1, 2)]).await;
    let superuser = book.database.superuser().await;
    let newer = r#"UPDATE outbox SET effect = '{"kind": "sing"}', kind = 'sing' WHERE position = 1"#;
    superuser.batch_execute(newer).await.expect("changed");
    let running = Running::start(&book, Shared(Recorder::performing(|_, _| done())), quick());
    until_only(&book, &[("backing_off", 1), ("held", 2)]).await;
    assert_eq!(entries_of(&book).await[0].cause.as_ref().expect("a cause").code, "unreadable");
    running.stop().await;
}

#[tokio::test]
async fn a_stop_finishes_what_was_begun_and_gives_the_leases_back() {
    let book = Book::open().await;
    let effects: Vec<_> = (1..=50).map(|number| refund(number % 3, number)).collect();
    order(&book, 1, &effects).await;
    let recorder = Recorder::performing(|_, _| done());
    let settings = OutboxSettings { lease: Duration::from_secs(600), concurrency: 1, ..quick() };
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), settings);
    wait::until("a start", async || (!recorder.calls().is_empty()).then_some(())).await;
    running.stop().await;
    let left = rows_of(&book, "outbox").await;
    assert_eq!(left + i64::try_from(recorder.performed().len()).expect("few"), 50);
    // Nobody has to wait for the leases.
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), quick());
    until_only(&book, &[]).await;
    running.stop().await;
    assert_eq!(recorder.performed().len(), 50);
}

#[tokio::test]
async fn whoever_worked_on_a_history_that_was_lost_begins_where_the_database_says() {
    let book = Book::open().await;
    order(&book, 10, &[refund(1, 10), refund(1, 11)]).await;
    let recorder = Recorder::performing(|_, _| done());
    let settings =
        OutboxSettings { lease: Duration::from_millis(800), idle: Duration::from_secs(600), ..quick() };
    let running = Running::start(&book, Shared(Arc::clone(&recorder)), settings);
    until_only(&book, &[]).await;
    let superuser = book.database.superuser().await;
    let lost = "BEGIN;
        UPDATE ledger_heads SET incarnation = gen_random_uuid();
        UPDATE outbox_leases SET done_position = 0;
        COMMIT";
    superuser.batch_execute(lost).await.expect("a restored database");
    order(&book, 5, &[refund(1, 5)]).await;
    // Nothing is done before somebody has asked what the ledger may lack, and whoever noticed has left word.
    wait::until("the loss to be written down", async || {
        let row = superuser.query_one("SELECT restored_at IS NOT NULL FROM reconciliation", &[]).await;
        row.expect("a row").get::<_, bool>(0).then_some(())
    })
    .await;
    assert_eq!(recorder.performed(), [10, 11]);
    let client = book.database.runtime().await;
    let ledgers = list_ledgers(&client).await.expect("ledgers");
    let ledger = ledgers.iter().find(|ledger| ledger.ledger == book.ledger).expect("the ledger");
    let fence = turn::acquire(&client, ledger, Duration::from_secs(60)).await.expect("a lease");
    let seen = gate::look(&client, book.ledger).await.expect("a history");
    assert!(gate::open(&client, book.ledger, fence.expect("the lease"), &seen).await.expect("a gate"));
    until_only(&book, &[]).await;
    running.stop().await;
    assert_eq!(recorder.performed(), [10, 11, 5]);
}
