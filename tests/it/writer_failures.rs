//! One command of a batch that cannot be written, or cannot even be decided, and its neighbours. The failures are real:
//! triggers of the test's own database raise them, and count (in a sequence, which no rollback takes back) how often.

use std::collections::BTreeMap;

use counterfoil::{
    domain::{
        Command, Context, Decision, EventBody, Rejection, WorkingSet,
        amount::{Currency, PaidMoney},
        catalogue::{Price, PriceGrant},
        command::{
            Bought, ChangeAccount, CreateKey, EraseProfile, Note, OpenAccount, PaidThrough, ProfileChange,
            RecordPaymentFact, RecordPurchase, RevokeKey,
        },
        decide,
        ids::{PaymentReference, PriceId, StripeId},
        payment::{PaymentFact, RefundStatus},
        settings::{LedgerSettings, Scope, UnitSettings},
    },
    writer::{Outcome, SubmitError, WriterSettings},
};
use futures_util::future::join_all;

use crate::writer_support::{
    Book, accepted, account, amount, grant, keyed, open, plain, rejected, set_feature, spend, unit,
};

/// Makes every write to `table` for which `condition` holds fail with `code`, as long as `limit` says.
async fn break_table(book: &Book, table: &str, condition: &str, code: &str, limit: i64) {
    let owner = book.database.owner().await;
    let statements = format!(
        "CREATE SEQUENCE IF NOT EXISTS fired;
         CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
         $$BEGIN
             IF {condition} AND nextval('fired') <= {limit} THEN
                 RAISE EXCEPTION 'broken by a test' USING ERRCODE = '{code}';
             END IF;
             RETURN COALESCE(NEW, OLD);
         END$$;
         CREATE TRIGGER broken BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION fail()"
    );
    owner.batch_execute(&statements).await.expect("a broken table");
}

async fn mend_table(book: &Book, table: &str) {
    let owner = book.database.owner().await;
    let statements = format!("DROP TRIGGER broken ON {table}; DROP SEQUENCE fired");
    owner.batch_execute(&statements).await.expect("a table as before");
}

/// How often the trigger has fired.
async fn fired(book: &Book) -> i64 {
    let superuser = book.database.superuser().await;
    let statement = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM fired";
    superuser.query_one(statement, &[]).await.expect("a sequence").get(0)
}

const ALWAYS: i64 = i64::MAX;

#[tokio::test]
async fn a_command_that_a_constraint_refuses_fails_alone() {
    let book = Book::open().await;
    book.account_with("alice", 1_000).await;
    break_table(&book, "events", "NEW.amount = -13", "23514", ALWAYS).await;
    let spends = (0..40).map(|number| book.submit(plain(spend("alice", if number == 17 { 13 } else { 2 }))));
    let outcomes = join_all(spends).await;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match number {
            17 => assert_eq!(outcome, Err(SubmitError::Internal)),
            _ => assert!(matches!(outcome, Ok(Outcome::Accepted(_))), "{number}: {outcome:?}"),
        }
    }
    assert!(fired(&book).await > 1, "the batch was not taken apart");
    assert_eq!(book.stored_balance("alice").await, 1_000 - 39 * 2);
    book.check().await;
}

#[tokio::test]
async fn a_panic_in_one_decision_is_that_commands_failure_alone() {
    fn panicking(set: &WorkingSet, command: &Command, context: &Context) -> Result<Decision, Rejection> {
        assert!(*command != spend("alice", 13), "a defect in a decision");
        decide(set, command, context)
    }
    let book = Book::open_with(WriterSettings { decide: panicking, ..WriterSettings::default() }).await;
    book.account_with("alice", 1_000).await;
    let spends = (0..40).map(|number| book.submit(plain(spend("alice", if number == 17 { 13 } else { 2 }))));
    let outcomes = join_all(spends).await;
    assert_eq!(outcomes[17], Err(SubmitError::Internal));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 39);
    assert_eq!(book.stored_balance("alice").await, 1_000 - 39 * 2);
    book.check().await;
}

#[tokio::test]
async fn a_decision_that_cannot_be_applied_is_that_commands_failure_alone() {
    let book = Book::open_with(WriterSettings { decide: contradictory, ..WriterSettings::default() }).await;
    book.account_with("alice", 1_000).await;
    let spends = (0..40).map(|number| book.submit(plain(spend("alice", if number == 17 { 13 } else { 2 }))));
    let outcomes = join_all(spends).await;
    assert_eq!(outcomes[17], Err(SubmitError::Internal));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 39);
    assert_eq!(book.stored_balance("alice").await, 1_000 - 39 * 2);
    book.check().await;
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
    break_table(&book, "events", "NEW.amount = -13", "23514", ALWAYS).await;
    one_of_a_large_batch_fails_alone(&book).await;
}

#[tokio::test]
async fn what_may_succeed_the_second_time_is_tried_again() {
    for code in ["40001", "40P01", "23505", "22012", "25006"] {
        let book = Book::open().await;
        book.account_with("alice", 1_000).await;
        break_table(&book, "events", "true", code, 1).await;
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
        break_table(&book, "events", "true", code, 1).await;
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

/// A purchase of 100 credits for 5 euros.
fn purchase(session: &str) -> Command {
    let id = |prefix: &str| StripeId::parse(&format!("{prefix}_{session}")).expect("an id");
    Command::RecordPurchase(RecordPurchase {
        order: None,
        account: account("alice"),
        paid_through: PaidThrough::CheckoutSession { session: id("cs"), payment_intent: Some(id("pi")) },
        bought: Bought { price: None, totals: [(unit(), amount(100))].into() },
        money: PaidMoney::new(500, 0, currency()).expect("money"),
        note: Note::new(),
    })
}

fn refund_fact(session: &str) -> Command {
    let id = |prefix: &str| StripeId::parse(&format!("{prefix}_{session}")).expect("an id");
    Command::RecordPaymentFact(RecordPaymentFact {
        payment: PaymentReference::Stripe(id("pi")),
        fact: PaymentFact::Refund {
            request: None,
            refund: id("re"),
            status: RefundStatus::Succeeded,
            amount: 500,
            currency: currency(),
        },
    })
}

fn currency() -> Currency {
    Currency::parse("eur").expect("a currency")
}

fn note(text: &str) -> Note {
    [("reason".to_owned(), text.into())].into_iter().collect()
}

fn with_note(mut command: Command, text: &str) -> Command {
    if let Command::GrantCredits(grant) = &mut command {
        grant.note = note(text);
    }
    command
}

fn profile() -> ProfileChange {
    ProfileChange { email: Some(Some("alice@example.org".to_owned())), ..ProfileChange::default() }
}

fn price() -> Command {
    let grants =
        vec![PriceGrant { unit: unit(), amount: amount(5), expires_days: None, priority: 50, share: 1 }];
    let price = Price {
        price: PriceId::parse("price_1").expect("a price"),
        display_name: "Five".to_owned(),
        display_order: 1,
        active: true,
        money: 100,
        currency: currency(),
        grants,
        rollover: None,
        operator: None,
        stripe: None,
    };
    Command::SetPrice(price.into())
}

fn settings() -> Command {
    let units: BTreeMap<_, _> = [(unit(), UnitSettings { scale: 0 })].into();
    Command::ConfigureLedger(LedgerSettings { units, freeze_on_dispute: true, ..LedgerSettings::default() })
}

fn api_key() -> Command {
    Command::CreateKey(CreateKey {
        scopes: vec![Scope::Read, Scope::Spend],
        expires_at: None,
        secret_hash: [7; 32],
        name: "a key".to_owned(),
    })
}

#[tokio::test]
async fn each_statement_that_writes_can_fail_and_takes_everything_with_it() {
    let book = Book::open().await;
    book.account_with("alice", 1_000).await;
    let key = book.accept(Command::CreateKey(CreateKey {
        scopes: vec![Scope::Read],
        expires_at: None,
        secret_hash: [8; 32],
        name: "another key".to_owned(),
    }));
    let EventBody::KeyCreated(created) = &key.await.events[0].body else { panic!("no key") };
    book.accept(purchase("known")).await;
    let change = ChangeAccount { account: account("alice"), profile: profile() };
    let opened = OpenAccount { account: account("carol"), profile: profile(), stripe_customer: None };
    let cases: Vec<(&str, &str, Command)> = vec![
        ("events", "true", grant("alice", 1)),
        ("accounts", "TG_OP = 'INSERT'", open("bob")),
        ("accounts", "TG_OP = 'UPDATE'", grant("alice", 1)),
        ("ledger_heads", "NEW.position > OLD.position", grant("alice", 1)),
        ("event_notes", "TG_OP = 'INSERT'", with_note(grant("alice", 1), "because")),
        ("profiles", "TG_OP = 'INSERT'", Command::OpenAccount(opened)),
        ("profiles", "TG_OP = 'UPDATE'", Command::ChangeAccount(change)),
        ("lots", "true", spend("bob", 5)),
        ("purchases", "TG_OP = 'INSERT'", purchase("new")),
        ("payments", "TG_OP = 'INSERT'", refund_fact("early")),
        ("purchases", "TG_OP = 'UPDATE'", refund_fact("known")),
        ("features", "true", set_feature("analysis", 3)),
        ("prices", "true", price()),
        ("ledger_settings", "true", settings()),
        ("api_keys", "TG_OP = 'INSERT'", api_key()),
        ("api_keys", "TG_OP = 'UPDATE'", Command::RevokeKey(RevokeKey { key: created.key })),
        (
            "event_notes",
            "TG_OP = 'DELETE'",
            Command::EraseProfile(EraseProfile { account: account("alice") }),
        ),
    ];
    for (table, condition, command) in cases {
        let what = format!("{table} when {condition}");
        if table == "lots" {
            book.accept(grant("bob", 5)).await;
        }
        let head = book.head().await;
        break_table(&book, table, condition, "P0001", ALWAYS).await;
        assert_eq!(book.submit(plain(command.clone())).await, Err(SubmitError::Internal), "{what}");
        assert!(fired(&book).await > 0, "{what} did not happen");
        assert_eq!(book.head().await, head, "{what}");
        book.check().await;
        mend_table(&book, table).await;
        let again = book.submit(plain(command)).await;
        assert!(
            matches!(&again, Ok(Outcome::Accepted(accepted)) if !accepted.events.is_empty()),
            "{what}: {again:?}"
        );
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
