//! What callers get: outcomes, replays, rejections, and who is told what when they compete.

use counterfoil::{
    domain::{
        Command, Rejection,
        amount::{Currency, PaidMoney},
        command::{Bought, Note, PaidThrough, RecordPurchase},
    },
    writer::{Accepted, Outcome, SubmitError, WriterSettings},
};

use crate::writer_support::{
    Book, accepted, account, amount, grant, keyed, open, plain, rejected, set_feature, spend, spent,
    stripe_keyed, types, unit, writers,
};

#[tokio::test]
async fn credits_are_granted_and_spent_and_stand_in_the_database() {
    let book = Book::open().await;
    let opened = book.accept(open("alice")).await;
    assert_eq!(types(&opened.events), ["account.opened"]);
    assert_eq!((opened.head, opened.replayed), (opened.events[0].position, false));
    book.accept(grant("alice", 100)).await;
    let spend = book.accept(spend("alice", 30)).await;
    assert_eq!(spent(&spend), 30);
    assert_eq!(book.stored_balance("alice").await, 70);
    assert_eq!(book.head().await, spend.head.0);
    book.check().await;
}

#[tokio::test]
async fn opening_an_account_again_finds_it_open() {
    let book = Book::open().await;
    let first = book.accept(open("alice")).await;
    let again = book.accept(open("alice")).await;
    assert_eq!((again.events.len(), again.head), (0, first.head));
    assert_eq!(book.count("account.opened").await, 1);
}

#[tokio::test]
async fn a_rejected_command_writes_nothing_and_its_key_stays_free() {
    let book = Book::open().await;
    book.account_with("alice", 10).await;
    let before = book.head().await;
    let submission = keyed(spend("alice", 11), "k", 1);
    let rejection = rejected(book.submit(submission.clone()).await);
    assert!(
        matches!(rejection, Rejection::InsufficientCredits { available: 10, required: 11, .. }),
        "{rejection:?}"
    );
    assert_eq!(book.head().await, before);
    book.accept(grant("alice", 1)).await;
    assert!(!accepted(book.submit(submission).await).replayed);
    assert_eq!(book.stored_balance("alice").await, 0);
}

#[tokio::test]
async fn a_key_that_comes_again_gets_the_first_outcome_also_from_another_process() {
    let book = Book::open().await;
    book.account_with("alice", 100).await;
    let submission = keyed(spend("alice", 5), "once", 1);
    let first = accepted(book.submit(submission.clone()).await);
    let again = accepted(book.submit(submission.clone()).await);
    let elsewhere = writers(book.database.runtime_url(), WriterSettings::default());
    let third = accepted(elsewhere.submit(book.ledger, submission).await);
    assert!(!first.replayed && again.replayed && third.replayed);
    assert_eq!(first.events, again.events);
    assert_eq!(first.events, third.events);
    assert_eq!(book.count("credits.spent").await, 1);
}

#[tokio::test]
async fn a_key_that_comes_with_another_request_is_refused() {
    let book = Book::open().await;
    book.account_with("alice", 100).await;
    accepted(book.submit(keyed(spend("alice", 5), "once", 1)).await);
    let other = book.submit(keyed(spend("alice", 6), "once", 2)).await;
    assert_eq!(rejected(other), Rejection::IdempotencyKeyReused);
    assert_eq!(book.stored_balance("alice").await, 95);
}

#[tokio::test]
async fn equal_keys_in_one_batch_share_one_outcome() {
    let book = Book::open().await;
    book.account_with("alice", 100).await;
    let commands = (0..20).map(|number| keyed(spend("alice", 5), "once", u8::from(number == 19)));
    let outcomes = futures_util::future::join_all(commands.map(|command| book.submit(command))).await;
    let (mut first, mut replayed, mut refused) = (0, 0, 0);
    for outcome in outcomes {
        match outcome.expect("an outcome") {
            Outcome::Accepted(accepted) if accepted.replayed => replayed += 1,
            Outcome::Accepted(_) => first += 1,
            Outcome::Rejected(Rejection::IdempotencyKeyReused) => refused += 1,
            Outcome::Rejected(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((first, replayed, refused), (1, 18, 1));
    assert_eq!(book.stored_balance("alice").await, 95);
}

#[tokio::test]
async fn a_key_that_came_with_nothing_to_change_changes_nothing_later() {
    let book = Book::open().await;
    accepted(book.submit(keyed(set_feature("analysis", 3), "three", 1)).await);
    let before = book.head().await;
    let idle = keyed(set_feature("analysis", 3), "three again", 1);
    // In one batch, too, one of them is the first.
    let twice = futures_util::future::join(book.submit(idle.clone()), book.submit(idle.clone())).await;
    let (first, second) = (accepted(twice.0), accepted(twice.1));
    assert_eq!((first.replayed, first.events.len(), first.head.0), (false, 0, before));
    assert_eq!((second.replayed, second.events.len()), (true, 0));
    assert_eq!(book.head().await, before, "something was written");

    let changed = accepted(book.submit(keyed(set_feature("analysis", 4), "four", 1)).await);
    let elsewhere = writers(book.database.runtime_url(), WriterSettings::default());
    for writers in [&book.writers, &elsewhere] {
        let late = accepted(writers.submit(book.ledger, idle.clone()).await);
        assert_eq!((late.replayed, late.events.len(), late.head), (true, 0, changed.head));
        let other = writers.submit(book.ledger, keyed(open("alice"), "three again", 2)).await;
        assert_eq!(rejected(other), Rejection::IdempotencyKeyReused);
    }
    // Among commands that write, it is kept as well.
    let (idle, _) = futures_util::future::join(
        book.submit(keyed(set_feature("analysis", 4), "four again", 1)),
        book.submit(plain(open("bob"))),
    )
    .await;
    assert!(!accepted(idle).replayed);
    assert!(accepted(book.submit(keyed(set_feature("analysis", 4), "four again", 1)).await).replayed);
    book.check().await;
}

#[tokio::test]
async fn a_fact_of_stripes_that_changes_nothing_yet_may_be_told_again() {
    let book = Book::open().await;
    accepted(book.submit(plain(set_feature("analysis", 3))).await);
    let fact = stripe_keyed(set_feature("analysis", 3), "fact");
    // In one batch, where every key that is kept is at hand.
    let (first, _, again) = futures_util::future::join3(
        book.submit(fact.clone()),
        book.submit(plain(set_feature("analysis", 4))),
        book.submit(fact),
    )
    .await;
    assert!(accepted(first).events.is_empty());
    let again = accepted(again);
    assert_eq!((again.replayed, again.events.len()), (false, 1));
}

/// A purchase of 100 credits.
fn purchase() -> Command {
    Command::RecordPurchase(RecordPurchase {
        order: None,
        account: account("alice"),
        paid_through: PaidThrough::External,
        bought: Bought { price: None, totals: [(unit(), amount(100))].into() },
        money: PaidMoney::new(500, 0, Currency::parse("eur").expect("a currency")).expect("money"),
        note: Note::new(),
    })
}

#[tokio::test]
async fn a_repeat_has_each_event_once_also_when_its_key_is_looked_up_twice() {
    let book = Book::open().await;
    book.account_with("alice", 10).await;
    let submission = keyed(purchase(), "buy", 1);
    let first = accepted(book.submit(submission.clone()).await);

    // Another process has written, so that whatever was looked up with the lock is looked up again.
    let elsewhere = writers(book.database.runtime_url(), WriterSettings::default());
    accepted(elsewhere.submit(book.ledger, plain(spend("alice", 1))).await);
    let again = accepted(book.submit(submission.clone()).await);
    assert_eq!((again.replayed, &again.events), (true, &first.events));

    // The key is in the batch when the lock is asked for, and in what comes while it is waited for.
    let blocker = book.database.superuser().await;
    blocker.batch_execute("BEGIN; SELECT FROM ledger_heads FOR UPDATE").await.expect("the head's lock");
    let others = async {
        book.waiting_for_lock().await;
        let repeats = [book.submit(submission.clone()), book.submit(submission.clone())];
        let released = async { blocker.batch_execute("COMMIT").await.expect("an end") };
        futures_util::future::join(futures_util::future::join_all(repeats), released).await.0
    };
    let (one, others) = futures_util::future::join(book.submit(submission.clone()), others).await;
    for repeat in others.into_iter().chain([one]).map(accepted) {
        assert_eq!((repeat.replayed, &repeat.events), (true, &first.events));
    }
    book.check().await;
}

#[tokio::test]
async fn a_client_cannot_occupy_the_key_of_a_stripe_fact() {
    let book = Book::open().await;
    book.account_with("alice", 100).await;
    accepted(book.submit(keyed(spend("alice", 1), "checkout_session:cs_1", 1)).await);
    let fact = accepted(book.submit(stripe_keyed(grant("alice", 50), "checkout_session:cs_1")).await);
    assert!(!fact.replayed);
    let again = accepted(book.submit(stripe_keyed(grant("alice", 70), "checkout_session:cs_1")).await);
    assert!(again.replayed);
    assert_eq!(again.events, fact.events);
    assert_eq!(book.stored_balance("alice").await, 149);
}

#[tokio::test]
async fn of_200_concurrent_spends_on_credits_for_50_exactly_50_succeed() {
    let book = Book::open().await;
    book.account_with("alice", 50).await;
    let spends = (0..200).map(|number| book.submit(keyed(spend("alice", 1), &format!("spend-{number}"), 1)));
    let outcomes = futures_util::future::join_all(spends).await;
    let succeeded = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Accepted(_)))).count();
    let short = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Outcome::Rejected(Rejection::InsufficientCredits { .. }))))
        .count();
    assert_eq!((succeeded, short), (50, 150));
    assert_eq!(book.count("credits.spent").await, 50);
    assert_eq!(book.stored_balance("alice").await, 0);
    book.check().await;
}

#[tokio::test]
async fn a_large_batch_is_one_batch_whatever_becomes_of_its_last_commands() {
    let book = Book::open().await;
    book.account_with("alice", 1_000).await;
    // The first come again among the others, and the last are rejected: the last event is sent long before the last command
    // is decided.
    let key = |number: i64| format!("{}", number % 250);
    let spends = (0..300).map(|number| book.submit(keyed(spend("alice", 1), &key(number), 1)));
    let too_much = (0..200).map(|_| book.submit(plain(spend("alice", 5_000))));
    let (outcomes, refused) = futures_util::future::join(
        futures_util::future::join_all(spends),
        futures_util::future::join_all(too_much),
    )
    .await;
    let outcomes: Vec<Accepted> = outcomes.into_iter().map(accepted).collect();
    for (number, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.replayed, number >= 250, "{number}");
        assert_eq!(outcome.events, outcomes[number % 250].events);
        assert_eq!(outcome.head, outcomes[0].head);
    }
    refused.into_iter().for_each(|outcome| drop(rejected(outcome)));
    assert_eq!((book.count("credits.spent").await, book.batches("credits.spent").await), (250, 1));
    assert_eq!(book.stored_balance("alice").await, 750);
    book.check().await;
}

#[tokio::test]
async fn what_another_process_wrote_is_seen_before_the_next_decision() {
    let book = Book::open().await;
    book.account_with("alice", 100).await;
    let elsewhere = writers(book.database.runtime_url(), WriterSettings::default());
    for turn in 0..5 {
        accepted(elsewhere.submit(book.ledger, plain(spend("alice", 7))).await);
        accepted(book.submit(plain(spend("alice", 3))).await);
        assert_eq!(book.stored_balance("alice").await, 90 - 10 * turn);
    }
    accepted(elsewhere.submit(book.ledger, plain(set_feature("analysis", 10))).await);
    accepted(elsewhere.submit(book.ledger, plain(spend("alice", 50))).await);
    let rejection = rejected(book.submit(plain(spend("alice", 1))).await);
    assert!(matches!(rejection, Rejection::InsufficientCredits { .. }), "{rejection:?}");
    book.check().await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_writes_nothing_of_what_it_refused() {
    let book = Book::open_with(WriterSettings { queue_capacity: 4, ..WriterSettings::default() }).await;
    book.account_with("alice", 1_000).await;
    let spends = (0..100).map(|_| book.submit(plain(spend("alice", 1))));
    let outcomes = futures_util::future::join_all(spends).await;
    let refused = outcomes.iter().filter(|outcome| **outcome == Err(SubmitError::Overloaded)).count();
    let succeeded = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(refused > 0, "the queue was never full");
    assert_eq!(refused + succeeded, 100);
    assert_eq!(book.count("credits.spent").await, succeeded as i64);
}

#[tokio::test]
async fn a_command_whose_caller_has_gone_before_it_was_decided_is_skipped() {
    let book = Book::open().await;
    book.account_with("alice", 100).await;
    let blocker = book.database.superuser().await;
    let lock = format!("BEGIN; SELECT FROM ledger_heads WHERE ledger_id = {} FOR UPDATE", book.ledger);
    blocker.batch_execute(&lock).await.expect("the head's lock");
    let first = book.submit(plain(spend("alice", 1)));
    let mut first = std::pin::pin!(first);
    tokio::select! { _ = &mut first => panic!("answered without the lock"), () = book.waiting_for_lock() => {} }
    // The writer is busy with the first command; this one waits, and its caller leaves.
    let second = book.submit(plain(spend("alice", 10)));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), second).await.is_err());
    blocker.batch_execute("ROLLBACK").await.expect("the lock is given up");
    accepted(first.await);
    accepted(book.submit(plain(spend("alice", 2))).await);
    assert_eq!(book.stored_balance("alice").await, 97);
}

#[tokio::test]
async fn draining_answers_what_was_accepted_and_refuses_the_rest() {
    let book = Book::open().await;
    book.account_with("alice", 1_000).await;
    let spends: Vec<_> = (0..50).map(|_| book.submit(plain(spend("alice", 1)))).collect();
    let mut spends = std::pin::pin!(futures_util::future::join_all(spends));
    // Polled once, so that all are queued.
    assert!(futures_util::poll!(&mut spends).is_pending());
    let (outcomes, ()) = futures_util::future::join(spends, book.writers.drain()).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Outcome::Accepted(_)))));
    assert_eq!(book.submit(plain(spend("alice", 1))).await, Err(SubmitError::ShuttingDown));
    assert_eq!(book.stored_balance("alice").await, 950);
}

#[tokio::test]
async fn a_ledger_that_does_not_exist_is_said_not_to() {
    let book = Book::open().await;
    let nowhere = counterfoil::domain::ids::LedgerId(book.ledger.0 + 1_000);
    let outcome = book.writers.submit(nowhere, plain(open("alice"))).await;
    assert_eq!(outcome, Err(SubmitError::UnknownLedger));
}

#[tokio::test]
async fn subscribers_hear_of_each_commit() {
    let book = Book::open().await;
    let mut commits = book.writers.commits();
    commits.borrow_and_update();
    let opened = book.accept(open("alice")).await;
    commits.changed().await.expect("writers that live");
    assert_eq!(commits.borrow_and_update().get(&book.ledger), Some(&opened.head));
    rejected(book.submit(plain(spend("alice", 1))).await);
    assert!(!commits.has_changed().expect("writers that live"));
}
