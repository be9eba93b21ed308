//! What happens when the connection to the database is cut, hangs, or leads through a pooler; and how often a batch
//! needs it.

use std::{sync::Arc, time::Duration};

use counterfoil::writer::{Outcome, SubmitError, WriterSettings, Writers};
use futures_util::future::join_all;

use crate::{
    support::{
        pgbouncer::PgBouncer,
        proxy::{Cut, Proxy},
        wait,
    },
    writer_support::{
        Book, accepted, create, grant, keyed, open, plain, rejected, set_feature, spend, writers,
    },
};

/// A ledger whose account `alice` has 1,000 credits, and writers that reach it through a proxy.
async fn behind_proxy(settings: WriterSettings) -> (Book, Proxy, Arc<Writers>) {
    let book = Book::open().await;
    book.account_with("alice", 1_000).await;
    let proxy = Proxy::start(book.database.port()).await;
    let writers = writers(proxy.url(&book.database.runtime_url()), settings);
    accepted(writers.submit(book.ledger, plain(spend("alice", 1))).await);
    (book, proxy, writers)
}

/// Callers gain nothing from patience in these tests.
fn impatient() -> WriterSettings {
    WriterSettings {
        step_limit: Duration::from_millis(500),
        doubt_limit: Duration::from_millis(300),
        reconnect_pause: Duration::from_millis(20),
        ..WriterSettings::default()
    }
}

#[tokio::test]
async fn a_batch_of_any_size_takes_two_round_trips() {
    let (book, proxy, writers) = behind_proxy(WriterSettings::default()).await;
    let owner = book.database.superuser().await;
    for size in [1, 10, 300] {
        let (trips, commits) = (proxy.round_trips(), proxy.commits());
        // No event can be inserted, and so nothing behind the first one is answered, until everything has been sent.
        owner.batch_execute("BEGIN; LOCK TABLE events IN SHARE MODE").await.expect("the lock");
        let spends = (0..size).map(|number| {
            writers.submit(book.ledger, keyed(spend("alice", 1), &format!("{size}-{number}"), 1))
        });
        let everything_is_sent = async {
            wait::until("a COMMIT", async || (proxy.commits() > commits).then_some(())).await;
            owner.batch_execute("COMMIT").await.expect("an end");
        };
        let (outcomes, ()) = futures_util::future::join(join_all(spends), everything_is_sent).await;
        for outcome in outcomes {
            assert!(!accepted(outcome).replayed);
        }
        assert_eq!(proxy.commits() - commits, 1, "{size} commands were not one batch");
        assert_eq!(proxy.round_trips() - trips, 2, "for a batch of {size}");
    }
    assert_eq!(proxy.connections(), 1);
    book.check().await;
}

#[tokio::test]
async fn who_comes_while_a_batch_waits_for_its_lock_joins_it_for_one_more_round_trip() {
    let (book, proxy, writers) = behind_proxy(WriterSettings::default()).await;
    book.account_with("bob", 100).await;
    // Catches up with the other process.
    accepted(writers.submit(book.ledger, plain(spend("alice", 1))).await);
    let owner = book.database.superuser().await;
    owner.batch_execute("BEGIN; SELECT FROM ledger_heads FOR UPDATE").await.expect("the lock");
    let (trips, commits) = (proxy.round_trips(), proxy.commits());
    let first = writers.submit(book.ledger, keyed(spend("alice", 1), "first", 1));
    let others = async {
        book.waiting_for_lock().await;
        // A key that comes twice, an account that is not cached, and one that has too little.
        let commands =
            [("alice", 1, "first"), ("bob", 5, "bob"), ("alice", 5_000, "too-much"), ("bob", 7, "again")];
        let others = commands
            .map(|(name, credits, key)| writers.submit(book.ledger, keyed(spend(name, credits), key, 1)));
        let released = async { owner.batch_execute("COMMIT").await.expect("an end") };
        futures_util::future::join(join_all(others), released).await.0
    };
    let (first, mut others) = futures_util::future::join(first, others).await;
    assert!(!accepted(first).replayed);
    rejected(others.remove(2));
    let replayed: Vec<bool> = others.into_iter().map(|outcome| accepted(outcome).replayed).collect();
    assert_eq!(replayed, [true, false, false]);
    assert_eq!((proxy.round_trips() - trips, proxy.commits() - commits), (3, 1));
    assert_eq!((book.stored_balance("alice").await, book.stored_balance("bob").await), (997, 88));
    book.check().await;
}

#[tokio::test]
async fn ledgers_share_the_connections_that_there_are() {
    let settings = WriterSettings { connections: 1, ..WriterSettings::default() };
    let (book, proxy, writers) = behind_proxy(settings).await;
    let other = create(&book.database, "other").await;
    for _ in 0..2 {
        accepted(writers.submit(other, plain(open("bob"))).await);
        accepted(writers.submit(book.ledger, plain(spend("alice", 1))).await);
    }
    assert_eq!(proxy.connections(), 5, "one at a time, each ledger in its turn");

    let mut ledgers = vec![other, book.ledger];
    for number in 0..4 {
        ledgers.push(create(&book.database, &format!("ledger-{number}")).await);
    }
    let together = ledgers.iter().map(|ledger| writers.submit(*ledger, plain(open("carol"))));
    join_all(together).await.into_iter().for_each(|outcome| drop(accepted(outcome)));
    book.check().await;
}

#[tokio::test]
async fn a_batch_that_writes_nothing_commits_nothing() {
    let (book, proxy, writers) = behind_proxy(WriterSettings::default()).await;
    let (trips, commits) = (proxy.round_trips(), proxy.commits());
    rejected(writers.submit(book.ledger, keyed(spend("alice", 5_000), "too-much", 1)).await);
    assert_eq!((proxy.round_trips() - trips, proxy.commits() - commits), (2, 0));
}

#[tokio::test]
async fn a_connection_cut_around_commit_costs_nobody_the_truth_and_writes_nothing_twice() {
    let (book, proxy, writers) = behind_proxy(WriterSettings::default()).await;
    let mut expected = 999;
    for (round, cut) in [Cut::BeforeCommit, Cut::BeforeAnswer, Cut::AfterAnswer].into_iter().enumerate() {
        let before = book.count("credits.spent").await;
        proxy.cut_next_commit(cut);
        let with_key = (0..5).map(|number| {
            writers.submit(book.ledger, keyed(spend("alice", 2), &format!("{round}-{number}"), 1))
        });
        let without_key = (0..5).map(|_| writers.submit(book.ledger, plain(spend("alice", 3))));
        let too_much = writers.submit(book.ledger, plain(spend("alice", 5_000)));
        let (with_key, without_key, too_much) =
            futures_util::future::join3(join_all(with_key), join_all(without_key), too_much).await;
        for outcome in with_key.into_iter().chain(without_key) {
            assert!(!accepted(outcome).replayed, "{cut:?}");
        }
        rejected(too_much);
        expected -= 25;
        assert_eq!(proxy.cuts().len(), round + 1, "{cut:?} did not happen");
        assert_eq!(book.count("credits.spent").await - before, 10, "{cut:?}");
        assert_eq!(book.stored_balance("alice").await, expected, "{cut:?}");
    }
    assert_eq!(proxy.cuts(), [Cut::BeforeCommit, Cut::BeforeAnswer, Cut::AfterAnswer]);
    book.check().await;
}

#[tokio::test]
async fn a_connection_cut_while_a_key_is_kept_for_which_there_was_nothing_to_change_costs_nobody_the_truth() {
    let (book, proxy, writers) = behind_proxy(WriterSettings::default()).await;
    accepted(writers.submit(book.ledger, plain(set_feature("analysis", 3))).await);
    let head = book.head().await;
    // What was committed is found by its key; what was not is decided again. An answer that is cut behind may have arrived.
    for (cut, is_kept) in
        [(Cut::BeforeCommit, Some(false)), (Cut::BeforeAnswer, Some(true)), (Cut::AfterAnswer, None)]
    {
        proxy.cut_next_commit(cut);
        let idle = keyed(set_feature("analysis", 3), &format!("{cut:?}"), 1);
        let first = accepted(writers.submit(book.ledger, idle.clone()).await);
        assert_eq!(first.events.len(), 0, "{cut:?}");
        assert!(is_kept.is_none_or(|is_kept| first.replayed == is_kept), "{cut:?}");
        assert_eq!(proxy.cuts().last(), Some(&cut));
        assert!(accepted(writers.submit(book.ledger, idle).await).replayed, "{cut:?}");
    }
    assert_eq!(book.head().await, head);
    book.check().await;
}

#[tokio::test]
async fn a_commit_that_is_still_on_its_way_is_waited_for() {
    let (book, proxy, writers) = behind_proxy(WriterSettings::default()).await;
    proxy.cut_next_commit(Cut::Withheld);
    let submitted = writers.submit(book.ledger, plain(spend("alice", 9)));
    let delivered = async {
        proxy.wait_for_cuts(1).await;
        // The barrier waits for the head's lock: looking without it would have told that nothing is written.
        book.waiting_for_lock().await;
        assert_eq!(book.stored_balance("alice").await, 999);
        proxy.deliver_withheld().await;
    };
    let (outcome, ()) = futures_util::future::join(submitted, delivered).await;
    assert!(!accepted(outcome).replayed);
    assert_eq!(book.stored_balance("alice").await, 990);
    assert_eq!(book.count("credits.spent").await, 2);
    book.check().await;
}

#[tokio::test]
async fn a_commit_that_never_arrives_is_replaced_and_cannot_come_after_all() {
    let (book, proxy, writers) = behind_proxy(WriterSettings::default()).await;
    proxy.cut_next_commit(Cut::Withheld);
    // The server ends the silent transaction after a few seconds, and the barrier gets the lock.
    let outcome = writers.submit(book.ledger, plain(spend("alice", 9))).await;
    assert!(!accepted(outcome).replayed);
    assert_eq!(proxy.cuts(), [Cut::Withheld]);
    proxy.deliver_withheld().await;
    assert_eq!(book.stored_balance("alice").await, 990);
    assert_eq!(book.count("credits.spent").await, 2);
    book.check().await;
}

#[tokio::test]
async fn while_the_database_is_away_commands_are_refused_and_afterwards_they_succeed() {
    let (book, proxy, writers) = behind_proxy(impatient()).await;
    proxy.refuse();
    for _ in 0..3 {
        let outcome = writers.submit(book.ledger, plain(spend("alice", 1))).await;
        assert_eq!(outcome, Err(SubmitError::Unavailable));
    }
    assert_eq!(book.count("credits.spent").await, 1);
    proxy.resume();
    accepted(writers.submit(book.ledger, plain(spend("alice", 1))).await);
    book.check().await;
}

#[tokio::test]
async fn when_the_database_does_not_come_back_callers_hear_that_nobody_knows_and_the_key_tells_later() {
    for (cut, replayed) in [(Cut::BeforeAnswer, true), (Cut::BeforeCommit, false)] {
        // The writer may be quicker than the refusal, and has told the truth then: that is tried elsewhere.
        let reached = async || {
            let (book, proxy, writers) = behind_proxy(impatient()).await;
            proxy.cut_next_commit(cut);
            let submission = keyed(spend("alice", 9), "which", 1);
            let gone = async {
                proxy.wait_for_cuts(1).await;
                proxy.refuse();
            };
            let (outcome, ()) =
                futures_util::future::join(writers.submit(book.ledger, submission.clone()), gone).await;
            if outcome.is_ok() {
                return None;
            }
            assert_eq!(outcome, Err(SubmitError::OutcomeUnknown));
            proxy.resume();
            let told = accepted(writers.submit(book.ledger, submission).await);
            assert_eq!(told.replayed, replayed, "{cut:?}");
            assert_eq!(book.stored_balance("alice").await, 990);
            book.check().await;
            Some(())
        };
        wait::until("a refusal quicker than the writer", reached).await;
    }
}

#[tokio::test]
async fn a_database_that_hangs_is_given_up_and_found_again() {
    let (book, proxy, writers) = behind_proxy(impatient()).await;
    proxy.pause();
    let submitted = writers.submit(book.ledger, keyed(spend("alice", 9), "slow", 1));
    let resumed = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        proxy.resume();
    };
    let (outcome, ()) = futures_util::future::join(submitted, resumed).await;
    accepted(outcome);
    assert!(proxy.connections() > 1, "the connection that hung was used again");
    assert_eq!(book.stored_balance("alice").await, 990);
    book.check().await;
}

#[tokio::test]
async fn the_write_path_works_behind_a_pooler_that_clears_every_session() {
    let book = Book::open().await;
    book.account_with("alice", 100).await;
    let bouncer = PgBouncer::start().await;
    let writers = writers(bouncer.url(&book.database.runtime_url()), WriterSettings::default());
    let spends =
        (0..20).map(|number| writers.submit(book.ledger, keyed(spend("alice", 1), &number.to_string(), 1)));
    for outcome in join_all(spends).await {
        assert!(matches!(outcome, Ok(Outcome::Accepted(_))), "{outcome:?}");
    }
    accepted(writers.submit(book.ledger, plain(grant("alice", 5))).await);
    assert!(accepted(writers.submit(book.ledger, keyed(spend("alice", 1), "3", 1)).await).replayed);
    assert_eq!(book.stored_balance("alice").await, 85);
    book.check().await;
}

#[tokio::test]
async fn a_ledger_without_work_gives_its_connection_back() {
    let settings = WriterSettings { idle_connection: Duration::from_millis(50), ..WriterSettings::default() };
    let (book, proxy, writers) = behind_proxy(settings).await;
    book.writers.drain().await;
    let superuser = book.database.superuser().await;
    let statement =
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename = 'counterfoil_app'";
    wait::until("the connections to end", async || {
        let rows = superuser.query(statement, &[]).await.expect("the activity");
        rows.is_empty().then_some(())
    })
    .await;
    accepted(writers.submit(book.ledger, plain(spend("alice", 1))).await);
    assert_eq!(proxy.connections(), 2);
}
