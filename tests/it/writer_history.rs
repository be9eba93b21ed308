//! Histories that fork or end too early, clocks that are wrong, and versions that are not known yet.

use std::time::Duration;

use counterfoil::{
    domain::{
        Command, EventBody, Rejection,
        amount::{Currency, PaidMoney},
        catalogue::{Price, PriceGrant},
        command::{
            Bought, GrantCredits, PaidOrder, PaidThrough, PlaceOrder, RecordPaymentFact, RecordPurchase,
            RecordSubscription, RequestRefund, SetPrice, Subscriber,
        },
        ids::{OrderId, PaymentReference, PriceId, StripeId},
        order::OrderDetails,
        payment::{PaymentFact, RefundStatus},
        subscription::{SubscriptionStatus, SubscriptionTerms},
        time::{Span, Timestamp},
    },
    writer::{SubmitError, WriterSettings, system_clock},
};
use tokio_postgres::Client;

use crate::{
    support::proxy::{Cut, Proxy},
    writer_support::{
        Book, accepted, account, amount, grant, keyed, open, plain, rejected, set_feature, spend, types,
        unit, writers,
    },
};

/// Keeps what the ledger is now, as a backup does.
async fn back_up(superuser: &Client) {
    let statements = "CREATE SCHEMA backup;
        CREATE TABLE backup.heads AS TABLE ledger_heads;
        CREATE TABLE backup.events AS TABLE events;
        CREATE TABLE backup.accounts AS TABLE accounts;
        CREATE TABLE backup.features AS TABLE features";
    superuser.batch_execute(statements).await.expect("a backup");
}

/// Makes the ledger what it was, under the feet of whoever writes to it.
async fn restore(superuser: &Client) {
    let statements = "BEGIN; SET LOCAL session_replication_role = replica;
        DELETE FROM ledger_heads; INSERT INTO ledger_heads TABLE backup.heads;
        DELETE FROM events; INSERT INTO events TABLE backup.events;
        DELETE FROM accounts; INSERT INTO accounts TABLE backup.accounts;
        DELETE FROM features; INSERT INTO features TABLE backup.features;
        COMMIT";
    superuser.batch_execute(statements).await.expect("a restored backup");
}

/// A ledger with a backup, whose writer goes on after it: `alice` had 100 credits and has 93 now.
async fn gone_on() -> (Book, Client) {
    let book = Book::open().await;
    book.account_with("alice", 100).await;
    let superuser = book.database.superuser().await;
    back_up(&superuser).await;
    accepted(book.submit(keyed(spend("alice", 7), "lost", 1)).await);
    (book, superuser)
}

#[tokio::test]
async fn a_forked_history_with_the_same_head_number_is_noticed() {
    let (book, superuser) = gone_on().await;
    let known = book.accept(set_feature("lost", 1)).await;
    restore(&superuser).await;
    let other = writers(book.database.runtime_url(), WriterSettings::default());
    accepted(other.submit(book.ledger, plain(spend("alice", 50))).await);
    let same_number = accepted(other.submit(book.ledger, plain(open("bob"))).await);
    assert_eq!(same_number.head, known.head, "the fork has another length");

    let again = accepted(book.submit(keyed(spend("alice", 7), "lost", 1)).await);
    assert!(!again.replayed, "the first one is lost");
    assert_ne!(again.incarnation, known.incarnation);
    assert_eq!(book.count("history.lost").await, 1);
    assert_eq!(again.events[0].position.0, known.head.0 + 2, "the loss is recorded before anything else");
    assert_eq!(book.stored_balance("alice").await, 43);
    book.check().await;

    // The other process learns of the new incarnation and has lost nothing.
    let elsewhere = accepted(other.submit(book.ledger, plain(spend("alice", 3))).await);
    assert_eq!(elsewhere.incarnation, again.incarnation);
    assert_eq!(book.count("history.lost").await, 1);
    book.check().await;
}

#[tokio::test]
async fn a_history_that_ends_before_what_was_known_is_noticed_even_if_everything_is_rejected() {
    let (book, superuser) = gone_on().await;
    let known = book.head().await;
    restore(&superuser).await;
    let rejection = rejected(book.submit(plain(spend("alice", 101))).await);
    assert!(matches!(rejection, Rejection::InsufficientCredits { available: 100, .. }), "{rejection:?}");
    assert_eq!(book.count("history.lost").await, 1);
    let lost = "SELECT (body->>'last_seen')::int8 FROM events WHERE type = 'history.lost'";
    assert_eq!(superuser.query_one(lost, &[]).await.expect("an event").get::<_, i64>(0), known);
    book.check().await;
}

#[tokio::test]
async fn a_fork_that_went_on_longer_is_noticed() {
    let (book, superuser) = gone_on().await;
    restore(&superuser).await;
    let other = writers(book.database.runtime_url(), WriterSettings::default());
    for _ in 0..5 {
        accepted(other.submit(book.ledger, plain(spend("alice", 10))).await);
    }
    accepted(book.submit(plain(spend("alice", 1))).await);
    assert_eq!(book.count("history.lost").await, 1);
    assert_eq!(book.stored_balance("alice").await, 49);
    book.check().await;
}

#[tokio::test]
async fn a_loss_is_recorded_once_however_many_processes_knew_what_was_lost() {
    let (book, superuser) = gone_on().await;
    let other = writers(book.database.runtime_url(), WriterSettings::default());
    accepted(other.submit(book.ledger, plain(spend("alice", 50))).await);
    accepted(book.submit(plain(spend("alice", 1))).await);
    restore(&superuser).await;

    let first = accepted(book.submit(plain(spend("alice", 2))).await);
    assert_eq!(book.count("history.lost").await, 1);
    let second = accepted(other.submit(book.ledger, plain(spend("alice", 3))).await);
    assert_eq!(second.incarnation, first.incarnation, "tokens of the history that is left stopped working");
    let again = accepted(book.submit(plain(spend("alice", 4))).await);
    assert_eq!((again.incarnation, book.count("history.lost").await), (first.incarnation, 1));
    assert_eq!(book.stored_balance("alice").await, 91, "something was decided on what is lost");
    book.check().await;
}

#[tokio::test]
async fn a_loss_that_was_in_doubt_is_recorded_once() {
    let (book, superuser) = gone_on().await;
    let proxy = Proxy::start(book.database.port()).await;
    let writers = writers(proxy.url(&book.database.runtime_url()), WriterSettings::default());
    accepted(writers.submit(book.ledger, plain(spend("alice", 50))).await);
    restore(&superuser).await;
    proxy.cut_next_commit(Cut::BeforeAnswer);
    let first = accepted(writers.submit(book.ledger, plain(spend("alice", 2))).await);
    assert_eq!(proxy.cuts(), [Cut::BeforeAnswer]);
    let second = accepted(writers.submit(book.ledger, plain(spend("alice", 3))).await);
    assert_eq!((second.incarnation, book.count("history.lost").await), (first.incarnation, 1));
    assert_eq!(book.stored_balance("alice").await, 95);
    book.check().await;
}

#[tokio::test]
async fn a_loss_that_takes_an_earlier_ones_record_with_it_is_recorded() {
    let (book, superuser) = gone_on().await;
    restore(&superuser).await;
    let lost = accepted(book.submit(plain(spend("alice", 2))).await);
    let other = writers(book.database.runtime_url(), WriterSettings::default());
    accepted(other.submit(book.ledger, plain(spend("alice", 3))).await);
    // The history that comes back has another incarnation too, but an older one.
    restore(&superuser).await;
    assert_eq!(book.count("history.lost").await, 0);
    let again = accepted(other.submit(book.ledger, plain(spend("alice", 4))).await);
    assert_eq!(book.count("history.lost").await, 1);
    assert_ne!(again.incarnation, lost.incarnation);
    book.check().await;
}

#[tokio::test]
async fn a_process_that_starts_afresh_misses_nothing() {
    let (book, superuser) = gone_on().await;
    restore(&superuser).await;
    let fresh = writers(book.database.runtime_url(), WriterSettings::default());
    accepted(fresh.submit(book.ledger, plain(spend("alice", 1))).await);
    assert_eq!(book.count("history.lost").await, 0);
    book.check().await;
}

fn an_hour_ahead() -> Timestamp {
    system_clock().plus(Span::seconds(3_600))
}

fn an_hour_behind() -> Timestamp {
    shifted(-3_600)
}

fn a_year_ahead() -> Timestamp {
    system_clock().plus(Span::days(365))
}

fn a_year_behind() -> Timestamp {
    shifted(-365 * 86_400)
}

fn shifted(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(system_clock().unix_seconds() + seconds).expect("in range")
}

#[tokio::test]
async fn a_process_whose_clock_is_wrong_writes_nothing_and_expires_nothing() {
    let book = Book::open().await;
    book.account_with("alice", 10).await;
    book.accept(expiring("alice", 5, 3_600 * 24 * 30)).await;
    let head = book.head().await;
    for process_clock in [an_hour_ahead, an_hour_behind, a_year_ahead, a_year_behind] {
        let wrong = writers(
            book.database.runtime_url(),
            WriterSettings { process_clock, ..WriterSettings::default() },
        );
        let outcome = wrong.submit(book.ledger, plain(spend("alice", 1))).await;
        assert_eq!(outcome, Err(SubmitError::ClockSkew));
    }
    assert_eq!(book.head().await, head);
    accepted(book.submit(plain(spend("alice", 1))).await);
    assert_eq!(book.count("credits.expired").await, 0);
    book.check().await;
}

#[tokio::test]
async fn a_head_that_is_ahead_of_the_databases_clock_stops_writing_until_time_has_caught_up() {
    let book = Book::open().await;
    book.account_with("alice", 10).await;
    let superuser = book.database.superuser().await;
    let ahead = |seconds: i64| {
        format!(
            "BEGIN; SET LOCAL session_replication_role = replica;
             UPDATE ledger_heads SET recorded_at = clock_timestamp() + {seconds} * interval '1 second';
             UPDATE events e SET recorded_at = h.recorded_at FROM ledger_heads h WHERE e.position = h.position;
             COMMIT"
        )
    };
    superuser.batch_execute(&ahead(3_600)).await.expect("a head in the future");
    let fresh = writers(book.database.runtime_url(), WriterSettings::default());
    assert_eq!(fresh.submit(book.ledger, plain(spend("alice", 1))).await, Err(SubmitError::ClockSkew));
    superuser.batch_execute(&ahead(4)).await.expect("a head that is a little ahead");
    let fresh = writers(book.database.runtime_url(), WriterSettings::default());
    let spend = accepted(fresh.submit(book.ledger, plain(spend("alice", 1))).await);
    let times = "SELECT count(DISTINCT recorded_at) FROM events WHERE position >= $1";
    let times: i64 = superuser.query_one(times, &[&(spend.head.0 - 1)]).await.expect("times").get(0);
    assert_eq!(times, 1, "time went back, or ahead of the last event");
    book.check().await;
}

/// A grant that expires so many seconds from now.
fn expiring(name: &str, credits: i64, seconds: i64) -> Command {
    match grant(name, credits) {
        Command::GrantCredits(grant) => Command::GrantCredits(GrantCredits {
            expires_at: Some(system_clock().plus(Span::seconds(seconds))),
            ..grant
        }),
        other => other,
    }
}

#[tokio::test]
async fn what_is_due_is_written_with_the_next_accepted_command_and_not_with_a_rejected_one() {
    let book = Book::open().await;
    book.account_with("alice", 10).await;
    book.accept(expiring("alice", 5, 1)).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let rejection = rejected(book.submit(plain(spend("alice", 11))).await);
    assert!(matches!(rejection, Rejection::InsufficientCredits { available: 10, .. }), "{rejection:?}");
    assert_eq!(book.count("credits.expired").await, 0);
    let spend = book.accept(spend("alice", 1)).await;
    assert_eq!(types(&spend.events), ["credits.expired", "credits.spent"]);
    let EventBody::CreditsExpired(expired) = &spend.events[0].body else { panic!("no expiry") };
    assert_eq!(expired.lots[0].amount, 5);
    book.check().await;
}

#[tokio::test]
async fn a_process_that_meets_a_newer_event_writes_no_more() {
    let book = Book::open().await;
    book.account_with("alice", 10).await;
    let superuser = book.database.superuser().await;
    assert!(!book.writers.met_newer_version());
    for newer in ["type = 'credits.gilded'", "version = 99"] {
        let other = writers(book.database.runtime_url(), WriterSettings::default());
        accepted(other.submit(book.ledger, plain(spend("alice", 1))).await);
        let rewrite = format!(
            "BEGIN; SET LOCAL session_replication_role = replica;
             UPDATE events SET {newer} WHERE position = (SELECT position FROM ledger_heads); COMMIT"
        );
        superuser.batch_execute(&rewrite).await.expect("an event of a newer version");
        let outcome = book.submit(plain(spend("alice", 1))).await;
        assert_eq!(outcome, Err(SubmitError::NewerVersion), "{newer}");
        assert!(book.writers.met_newer_version());
        let restore = "BEGIN; SET LOCAL session_replication_role = replica;
             UPDATE events SET type = 'credits.spent', version = 1
              WHERE position = (SELECT position FROM ledger_heads); COMMIT";
        superuser.batch_execute(restore).await.expect("an event of this version");
        accepted(book.submit(plain(spend("alice", 1))).await);
    }
    book.check().await;
}

fn stripe(id: &str) -> StripeId {
    StripeId::parse(id).expect("an id")
}

fn eur() -> Currency {
    Currency::parse("eur").expect("a currency")
}

/// What is told of the payment of the order.
fn told(fact: PaymentFact) -> Command {
    Command::RecordPaymentFact(RecordPaymentFact { payment: PaymentReference::Stripe(stripe("pi_1")), fact })
}

fn credit_note(number: u8) -> Command {
    let (note, status) = (stripe(&format!("cn_{number}")), RefundStatus::Succeeded);
    told(PaymentFact::CreditNote { note, status, amount: 50, currency: eur() })
}

fn subscription(day: i64) -> Command {
    let terms = SubscriptionTerms {
        as_of: Timestamp::from_unix_seconds(1_763_692_800 + 86_400 * day).expect("in range"),
        status: SubscriptionStatus::Active,
        items: Vec::new(),
        period_end: None,
        cancel_at_period_end: false,
        collection_paused: false,
    };
    let subscriber = Subscriber::Named(account("alice"));
    Command::RecordSubscription(RecordSubscription {
        subscription: stripe("sub_1"),
        subscriber,
        order: None,
        terms,
    })
}

/// Alice has credits, a subscription, and an order that she has paid for.
async fn business() -> (Book, OrderId) {
    let book = Book::open().await;
    book.account_with("alice", 10).await;
    let price = PriceId::parse("price_pack").expect("a price");
    let grant = PriceGrant { unit: unit(), amount: amount(100), expires_days: None, priority: 50, share: 1 };
    book.accept(Command::SetPrice(SetPrice::from(Price {
        price: price.clone(),
        display_name: "A pack".to_owned(),
        display_order: 1,
        active: true,
        money: 500,
        currency: eur(),
        grants: vec![grant],
        rollover: None,
        operator: None,
        stripe: None,
    })))
    .await;
    let place = PlaceOrder {
        trial_days: None,
        account: account("alice"),
        price,
        quantity: amount(1),
        details: OrderDetails::default(),
        note: Default::default(),
    };
    let placed = book.accept(Command::PlaceOrder(place)).await;
    let EventBody::OrderPlaced(placed) = &placed.events[0].body else { panic!("{placed:?}") };
    let order = placed.order;
    let (session, payment_intent) = (stripe("cs_1"), Some(stripe("pi_1")));
    book.accept(Command::RecordPurchase(RecordPurchase {
        account: account("alice"),
        paid_through: PaidThrough::CheckoutSession { session, payment_intent },
        order: Some(PaidOrder { order, subtotal: 500 }),
        bought: Bought { price: None, totals: Default::default() },
        money: PaidMoney::new(500, 0, eur()).expect("money"),
        note: Default::default(),
    }))
    .await;
    book.accept(subscription(0)).await;
    (book, order)
}

#[tokio::test]
async fn a_process_that_meets_newer_state_writes_no_more() {
    let (book, order) = business().await;
    let superuser = book.database.superuser().await;
    let refund = RequestRefund { order, amount: Some(amount(1)), note: Default::default() };
    for (table, command) in [
        ("accounts", spend("alice", 1)),
        ("ledger_settings", spend("alice", 1)),
        ("payments", credit_note(1)),
        ("purchases", credit_note(2)),
        ("orders", Command::RequestRefund(refund)),
        ("subscriptions", subscription(1)),
    ] {
        let add = |versions: i16| format!("UPDATE {table} SET state_version = state_version + {versions}");
        let changed = superuser.execute(&add(90), &[]).await.expect("state of a newer version");
        assert!(changed > 0, "{table}");
        let before = book.head().await;
        let fresh = writers(book.database.runtime_url(), WriterSettings::default());
        let outcome = fresh.submit(book.ledger, plain(command.clone())).await;
        assert_eq!(outcome, Err(SubmitError::NewerVersion), "{table}");
        assert!(fresh.met_newer_version(), "{table}");
        assert_eq!(book.head().await, before, "{table}");
        superuser.execute(&add(-90), &[]).await.expect("state of this version");
        // What was refused is no matter of the command.
        let fresh = writers(book.database.runtime_url(), WriterSettings::default());
        accepted(fresh.submit(book.ledger, plain(command)).await);
        assert!(!fresh.met_newer_version(), "{table}");
    }
    book.check().await;
}

#[tokio::test]
async fn a_payment_is_kept_in_the_oldest_shape_that_can_hold_it_so_that_older_processes_go_on() {
    let (book, order) = business().await;
    let superuser = book.database.superuser().await;
    let version = async || -> i16 {
        superuser.query_one("SELECT state_version FROM payments", &[]).await.expect("a payment").get(0)
    };
    assert_eq!(version().await, 2);
    let refund = RequestRefund { order, amount: Some(amount(1)), note: Default::default() };
    book.accept(Command::RequestRefund(refund)).await;
    book.accept(told(PaymentFact::FraudWarning { warning: stripe("issfr_1") })).await;
    assert_eq!(version().await, 2);
    book.accept(credit_note(1)).await;
    assert_eq!(version().await, 3);
    book.accept(told(PaymentFact::FraudWarning { warning: stripe("issfr_2") })).await;
    assert_eq!(version().await, 3, "it still has the note");
    book.check().await;
}
