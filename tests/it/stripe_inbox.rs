//! From a signed webhook to credits: what each body does to a ledger, alone.

use std::{slice, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use counterfoil::{
    credentials::Vault,
    domain::{Command, ids::LedgerSlug, settings::LedgerMode},
    inbox::Batches,
    service::webhooks::{IncomingWebhook, WebhookError, Webhooks},
    store::{database_url::DatabaseUrl, inbox, ledgers::create_ledger, pool::Database, sealing::KeyRing},
    stripe::signature::{SignatureError, SigningSecret, sign},
    writer::{WriterSettings, Writers},
};

use crate::{
    stripe_bodies, stripe_captured,
    stripe_fates::FATES,
    stripe_support::{ACCOUNT, NOW, SECRET, SLUG, WebhookLedger, as_another_event, body, clock, price},
    support::{proxy::Proxy, wait},
    writer_support::{grant, spend},
};

#[tokio::test]
async fn every_body_of_ours_ends_as_the_table_says() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let mut wrong = Vec::new();
    for (name, expected) in FATES {
        let event_id = ledger.deliver(&stripe_bodies::body(name)).await.expect("taken");
        ledger.settle().await;
        let found = ledger.fate(&event_id).await;
        if found != *expected {
            wrong.push(format!("{name}: expected {expected}, found {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let names: Vec<&str> = FATES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, stripe_bodies::names(), "each body has its line");
}

/// What a session credits, and the money that it is sold for: gross, in this currency.
struct Sold<'a> {
    credits: i64,
    gross: i64,
    currency: &'a str,
}

/// Delivers a session of its own name that must be credited, exactly, and once.
async fn credits_exactly(ledger: &WebhookLedger, name: &str, session: &Value, sold: &Sold<'_>) {
    let before = (ledger.credits(ACCOUNT).await, ledger.count_events("credits.purchased").await);
    for told in ["once", "again"] {
        ledger.deliver_and_settle(&as_another_event(session)).await;
        let credited = ledger.credits(ACCOUNT).await - before.0;
        let purchases = ledger.count_events("credits.purchased").await - before.1;
        assert_eq!((credited, purchases), (sold.credits, 1), "{name}, told {told}");
    }
    let purchase = ledger.last_purchase().await;
    let money = (&purchase["money"]["gross"], &purchase["money"]["currency"]);
    assert_eq!(money, (&json!(sold.gross), &json!(sold.currency)), "{name}");
}

/// Delivers a session once for each way in which our metadata says what is sold.
async fn credits_what_our_metadata_says(ledger: &WebhookLedger, name: &str, captured: &Value) {
    for (number, (metadata, credits)) in our_metadata().into_iter().enumerate() {
        let mut event = captured.clone();
        let session = &mut event["data"]["object"];
        session["id"] = format!("cs_{name}_{number}").replace('.', "_").into();
        session["payment_intent"] = format!("pi_{name}_{number}").replace('.', "_").into();
        session["client_reference_id"] = Value::Null;
        session["metadata"] = metadata;
        // The items of another sale would contradict it.
        session.as_object_mut().expect("an object").remove("line_items");
        let gross = session["amount_total"].as_i64().expect("a sum");
        let currency = session["currency"].as_str().expect("a currency").to_owned();
        let sold = Sold { credits, gross, currency: &currency };
        credits_exactly(ledger, &format!("{name} {number}"), &event, &sold).await;
    }
}

/// Metadata of ours, and how many credits it stands for.
fn our_metadata() -> [(Value, i64); 3] {
    [
        (json!({"account_id": ACCOUNT, "credits": "321", "unit": "credits"}), 321),
        (json!({"account_id": ACCOUNT, "price_id": "price_demo_pro", "quantity": "3"}), 1_500),
        (json!({"account_id": ACCOUNT, "credits": "100", "price_id": "price_demo_starter"}), 100),
    ]
}

/// Bodies of ours that are sold, as they are.
const SOLD: &[(&str, Sold<'_>)] = &[
    ("session_completed__credits_in_metadata", Sold { credits: 500, gross: 2_000, currency: "eur" }),
    ("session_completed__price_in_metadata", Sold { credits: 1_000, gross: 4_000, currency: "eur" }),
    ("session_completed__account_in_reference", Sold { credits: 500, gross: 2_000, currency: "eur" }),
    ("session_completed__line_items_expanded", Sold { credits: 1_500, gross: 6_000, currency: "eur" }),
    ("session_completed__tax_and_discount", Sold { credits: 500, gross: 2_142, currency: "eur" }),
    ("session_completed__yen_and_expanded_objects", Sold { credits: 500, gross: 3_300, currency: "jpy" }),
    ("session_completed__shown_in_another_currency", Sold { credits: 500, gross: 2_000, currency: "eur" }),
    ("session_completed__converted_before_basil", Sold { credits: 500, gross: 51_800, currency: "czk" }),
    ("session_completed__2020-08-27", Sold { credits: 500, gross: 2_000, currency: "eur" }),
];

#[tokio::test]
async fn a_session_credits_what_its_metadata_or_its_price_says() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    for (name, sold) in SOLD {
        credits_exactly(&ledger, name, &body(name), sold).await;
    }
    let before = ledger.credits(ACCOUNT).await;
    ledger.deliver_and_settle(&body("session_completed__free")).await;
    assert_eq!(ledger.credits(ACCOUNT).await - before, 100);
    assert_eq!(ledger.count_events("credits.granted").await, 1, "what costs nothing is not a sale");
}

#[tokio::test]
async fn every_session_of_ours_with_other_metadata_put_in_credits_exactly() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    for (name, _) in SOLD {
        credits_what_our_metadata_says(&ledger, name, &body(name)).await;
    }
}

#[tokio::test]
async fn every_captured_session_with_our_metadata_put_in_credits_exactly() {
    let (live, test) =
        tokio::join!(WebhookLedger::new(LedgerMode::Live), WebhookLedger::new(LedgerMode::Test));
    for (name, captured) in stripe_captured::bodies("checkout.session.completed") {
        let ledger = if captured["livemode"] == true { &live } else { &test };
        credits_what_our_metadata_says(ledger, name, &captured).await;
    }
}

#[tokio::test]
async fn the_same_again_is_stored_once_and_another_event_of_the_same_changes_nothing() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let completed = body("session_completed__price_in_metadata");
    for _ in 0..3 {
        ledger.deliver_and_settle(&completed).await;
    }
    assert_eq!((ledger.stored().await, ledger.credits(ACCOUNT).await), (1, 1_000));
    ledger.deliver_and_settle(&as_another_event(&completed)).await;
    assert_eq!((ledger.stored().await, ledger.credits(ACCOUNT).await), (2, 1_000));
    assert_eq!(ledger.count_events("credits.purchased").await, 1);
}

#[tokio::test]
async fn nothing_is_stored_of_what_stripe_did_not_sign() {
    let ledger = WebhookLedger::without_worker(LedgerMode::Test).await;
    let body = stripe_bodies::body("refund_failed");
    let secret = SigningSecret::parse(SECRET).expect("a secret");
    let other = SigningSecret::parse("whsec_of_somebody_else").expect("a secret");
    for (signature, expected) in [
        (None, SignatureError::Missing),
        (Some(String::new()), SignatureError::Malformed),
        (Some(sign(&body, &other, NOW)), SignatureError::NoMatch),
        (Some(sign(b"{}", &secret, NOW)), SignatureError::NoMatch),
        (Some(sign(&body, &secret, NOW - 301)), SignatureError::OutsideTolerance),
        (Some(sign(&body, &secret, NOW + 301)), SignatureError::OutsideTolerance),
    ] {
        match ledger.post(signature.as_deref(), &body).await {
            Err(WebhookError::Signature(error)) => assert_eq!(error, expected),
            other => panic!("{other:?} instead of {expected:?}"),
        }
    }
    assert_eq!(ledger.stored().await, 0);
    ledger.post(Some(&sign(&body, &secret, NOW - 300)), &body).await.expect("taken");
    assert_eq!(ledger.stored().await, 1);
}

#[tokio::test]
async fn each_of_several_secrets_is_good() {
    let ledger = WebhookLedger::without_worker(LedgerMode::Test).await;
    let vault = Vault::new(ledger.service.clone(), KeyRing::default());
    let next = SigningSecret::parse("whsec_next").expect("a secret");
    vault.add_webhook_secret(&ledger.client, ledger.ledger, &next).await.expect("added");
    let body = stripe_bodies::body("refund_failed");
    for secret in [SECRET, "whsec_next"] {
        let secret = SigningSecret::parse(secret).expect("a secret");
        ledger.post(Some(&sign(&body, &secret, NOW)), &body).await.expect("taken");
    }
    assert_eq!(ledger.stored().await, 1);
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_put_aside_and_keep_nobody_waiting() {
    let ledger = WebhookLedger::without_worker(LedgerMode::Test).await;
    let deep = format!("{{\"id\":\"evt_deep\",\"type\":\"a\",\"x\":{}", "[".repeat(200_000));
    let poison: [&[u8]; 7] =
        [b"", b"null", b"<html>", b"\xff\xfe", b"{\"id\":\"evt\\u0000\"}", deep.as_bytes(), b"[{}]"];
    let mut put_aside = Vec::new();
    for body in poison {
        put_aside.push(ledger.deliver(body).await.expect("taken"));
    }
    let good = ledger.deliver(&stripe_bodies::body("session_completed__price_in_metadata")).await;
    let mut ledger = ledger;
    ledger.start_worker();
    ledger.settle().await;
    for event_id in put_aside {
        assert_eq!(ledger.fate(&event_id).await, "quarantined nonsense", "{event_id}");
    }
    assert_eq!(ledger.fate(&good.expect("taken")).await, "processed");
    assert_eq!(ledger.credits(ACCOUNT).await, 1_000);
}

#[tokio::test]
async fn what_was_put_aside_is_credited_by_a_replay_once_its_cause_is_gone() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let mut completed = body("session_completed__price_in_metadata");
    completed["data"]["object"]["metadata"] =
        json!({"account_id": "newcomer", "price_id": "price_of_tomorrow", "quantity": "2"});
    let event_id = ledger.deliver_and_settle(&completed).await;
    assert_eq!(ledger.fate(&event_id).await, "quarantined unknown_price");
    ledger.submit(Command::SetPrice(price("price_of_tomorrow", 30, 500).into())).await;
    ledger.replay(slice::from_ref(&event_id)).await;
    assert_eq!(ledger.fate(&event_id).await, "quarantined unknown_account");
    ledger.open("newcomer").await;
    ledger.replay(slice::from_ref(&event_id)).await;
    assert_eq!(ledger.fate(&event_id).await, "processed");
    ledger.replay(slice::from_ref(&event_id)).await;
    assert_eq!((ledger.fate(&event_id).await.as_str(), ledger.credits("newcomer").await), ("processed", 60));
}

#[tokio::test]
async fn another_products_sessions_are_ignored_and_contradictions_are_not() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let fate_with = async |metadata: Value, reference: Value| {
        let mut event = as_another_event(&body("session_completed__price_in_metadata"));
        event["data"]["object"]["metadata"] = metadata;
        event["data"]["object"]["client_reference_id"] = reference;
        let event_id = ledger.deliver_and_settle(&event).await;
        ledger.fate(&event_id).await
    };
    for (metadata, reference, expected) in [
        (json!({"price_id": "price_of_theirs"}), json!("their-user-1"), "ignored no_known_price"),
        (json!({"price_id": "price_of_theirs"}), json!(null), "ignored no_known_price"),
        (json!({"price_id": "gold plan"}), json!(null), "ignored no_marker"),
        (
            json!({"account_id": ACCOUNT, "price_id": "price_of_theirs"}),
            json!(null),
            "quarantined unknown_price",
        ),
        (json!({"price_id": "price_demo_pro"}), json!("their user"), "quarantined invalid_account"),
        (json!({"price_id": "price_demo_pro"}), json!("their-user-1"), "quarantined unknown_account"),
        (
            json!({"account_id": ACCOUNT, "credits": "1", "unit": "licences"}),
            json!(null),
            "quarantined unknown_unit",
        ),
        (
            json!({"account_id": ACCOUNT, "credits": "499", "price_id": "price_demo_pro"}),
            json!(null),
            "quarantined contradiction",
        ),
    ] {
        assert_eq!(fate_with(metadata.clone(), reference.clone()).await, expected, "{metadata} {reference}");
    }
    assert_eq!(ledger.credits(ACCOUNT).await, 0);
}

#[tokio::test]
async fn the_other_mode_and_other_stripe_accounts_are_ignored() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let original = body("session_completed__price_in_metadata");
    for (field, value, expected) in [
        ("livemode", json!(true), "ignored wrong_mode"),
        ("account", json!("acct_1"), "ignored foreign_account"),
    ] {
        let mut event = as_another_event(&original);
        event[field] = value;
        let event_id = ledger.deliver_and_settle(&event).await;
        assert_eq!(ledger.fate(&event_id).await, expected);
    }
    assert_eq!(ledger.credits(ACCOUNT).await, 0);
}

#[tokio::test]
async fn a_known_fact_with_other_money_is_put_aside() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let completed = body("session_completed__credits_in_metadata");
    let refunded = body("refund_updated__succeeded");
    ledger.deliver_and_settle(&completed).await;
    ledger.deliver_and_settle(&refunded).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 250);
    for (event, field) in [(&completed, "amount_total"), (&refunded, "amount")] {
        let mut other = as_another_event(event);
        other["data"]["object"][field] = json!(1_999);
        let event_id = ledger.deliver_and_settle(&other).await;
        assert_eq!(ledger.fate(&event_id).await, "quarantined money_differs", "{field}");
    }
    let mut other = as_another_event(&refunded);
    other["data"]["object"]["id"] = json!("re_of_other_money");
    other["data"]["object"]["currency"] = json!("usd");
    let event_id = ledger.deliver_and_settle(&other).await;
    assert_eq!(ledger.fate(&event_id).await, "quarantined contradiction");
    assert_eq!(ledger.credits(ACCOUNT).await, 250);
}

#[tokio::test]
async fn a_worker_that_died_is_taken_over_and_done_work_is_not_done_twice() {
    let mut ledger = WebhookLedger::without_worker(LedgerMode::Test).await;
    ledger.deliver(&stripe_bodies::body("session_completed__price_in_metadata")).await.expect("taken");
    // One worker claims and dies; another one does the work and dies before it can say so.
    let claimed = inbox::claim_webhooks(&ledger.client, ledger.ledger, Uuid::new_v4(), Duration::ZERO, 10);
    assert_eq!(claimed.await.expect("claimed").len(), 1);
    ledger.start_worker();
    ledger.settle().await;
    ledger
        .superuser
        .batch_execute(
            "UPDATE stripe_inbox SET status = 'received', next_attempt_at = now(), finished_at = NULL",
        )
        .await
        .expect("as if nobody had said so");
    ledger.settle().await;
    assert_eq!((ledger.credits(ACCOUNT).await, ledger.count_events("credits.purchased").await), (1_000, 1));
}

#[tokio::test]
async fn several_workers_share_the_work_and_none_of_it_is_done_twice() {
    let mut ledger = WebhookLedger::without_worker(LedgerMode::Test).await;
    for number in 0..150 {
        let mut event = as_another_event(&body("session_completed__price_in_metadata"));
        event["data"]["object"]["id"] = format!("cs_{number}").into();
        event["data"]["object"]["payment_intent"] = format!("pi_{number}").into();
        ledger.deliver(event.to_string().as_bytes()).await.expect("taken");
    }
    for _ in 0..3 {
        ledger.start_worker();
    }
    ledger.settle().await;
    assert_eq!(
        (ledger.credits(ACCOUNT).await, ledger.count_events("credits.purchased").await),
        (150_000, 150)
    );
    assert_eq!(ledger.most_attempts().await, 1, "no claim was needed twice");
    ledger.stop_workers().await;
}

#[tokio::test]
async fn what_cannot_be_handed_to_the_ledger_is_tried_again_until_it_can() {
    let mut ledger = WebhookLedger::without_worker(LedgerMode::Test).await;
    let proxy = Proxy::start(ledger.database.port()).await;
    let url = DatabaseUrl::parse(&proxy.url(&ledger.database.runtime_url())).expect("an address");
    let settings = WriterSettings { doubt_limit: Duration::from_millis(200), ..WriterSettings::default() };
    let writers = Writers::new(Database::open(&url, 2).expect("a database"), settings);
    proxy.refuse();
    let event_id = ledger.deliver(&stripe_bodies::body("session_completed__price_in_metadata")).await;
    let event_id = event_id.expect("taken");
    let batches = Batches::new(ledger.service.clone(), writers, Arc::clone(&ledger.clients));
    ledger.start_worker_with(batches, mpsc::channel(1).1);
    wait::until("two attempts to fail", async || (ledger.most_attempts().await >= 2).then_some(())).await;
    assert!(ledger.fate(&event_id).await.starts_with("failed "), "{}", ledger.fate(&event_id).await);
    proxy.resume();
    ledger.settle().await;
    assert_eq!((ledger.fate(&event_id).await.as_str(), ledger.credits(ACCOUNT).await), ("processed", 1_000));
}

#[tokio::test]
async fn a_database_that_is_away_is_told_so_that_stripe_comes_again() {
    let ledger = WebhookLedger::without_worker(LedgerMode::Test).await;
    let proxy = Proxy::start(ledger.database.port()).await;
    let url = DatabaseUrl::parse(&proxy.url(&ledger.database.runtime_url())).expect("an address");
    let vault = Vault::new(Database::open(&url, 2).expect("a database"), ledger.keys());
    let webhooks = Webhooks::new(vault, mpsc::channel(1).0, clock);
    let body = stripe_bodies::body("refund_failed");
    let signature = sign(&body, &SigningSecret::parse(SECRET).expect("a secret"), NOW);
    let webhook = IncomingWebhook { ledger: SLUG, signature: Some(&signature), body: &body };
    webhooks.take(&webhook).await.expect("taken");
    proxy.refuse();
    assert!(matches!(webhooks.take(&webhook).await, Err(WebhookError::Unavailable)));
    proxy.resume();
    webhooks.take(&webhook).await.expect("taken again");
    let unknown = IncomingWebhook { ledger: "nobody", ..webhook };
    assert!(matches!(webhooks.take(&unknown).await, Err(WebhookError::UnknownLedger)));
}

#[tokio::test]
async fn a_ledger_with_little_to_do_does_not_wait_for_those_with_much() {
    let mut ledger = WebhookLedger::without_worker(LedgerMode::Test).await;
    for number in 1..=8 {
        let slug = LedgerSlug::parse(&format!("ledger-{number}")).expect("a slug");
        create_ledger(&ledger.client, &slug, LedgerMode::Test).await.expect("a ledger");
    }
    // Eight are worked on at a time. Each of the first eight has ten batches, and the ninth has one webhook.
    let fill =
        "INSERT INTO stripe_inbox (ledger_id, event_id, type, received_at, body, status, next_attempt_at)
                SELECT ledger_id, 'evt_' || n, 'customer.created', now(), $1::bytea, 'received', now()
                  FROM ledgers, generate_series(1, 320) n
                 WHERE n = 1 OR ledger_id < (SELECT max(ledger_id) FROM ledgers)";
    let filled = ledger.superuser.execute(fill, &[&stripe_bodies::body("customer_created")]).await;
    assert_eq!(filled.expect("stored"), 8 * 320 + 1);
    ledger.start_worker();
    let first_to_end = "SELECT ledger_id, count(*) FILTER (WHERE finished_at IS NULL) AS unfinished
                          FROM stripe_inbox GROUP BY ledger_id ORDER BY max(finished_at), ledger_id";
    let rows = wait::until("everything to be done", async || {
        let rows = ledger.superuser.query(first_to_end, &[]).await.expect("read");
        rows.iter().all(|row| row.get::<_, i64>(1) == 0).then_some(rows)
    })
    .await;
    let order: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(order.first(), order.iter().max(), "{order:?}");
}

#[tokio::test]
async fn to_tidy_up_keeps_no_webhook_waiting() {
    let mut ledger = WebhookLedger::without_worker(LedgerMode::Test).await;
    let old = "INSERT INTO stripe_inbox (ledger_id, event_id, type, received_at, body, status, finished_at)
               SELECT ledger_id, 'evt_old', 'refund.created', now() - interval '1 year', '', 'processed',
                      now() - interval '1 year'
                 FROM ledgers;
               CREATE FUNCTION takes_long() RETURNS trigger LANGUAGE plpgsql AS
                    'BEGIN PERFORM pg_sleep(4.5); RETURN new; END';
               CREATE TRIGGER takes_long BEFORE UPDATE ON stripe_inbox FOR EACH ROW WHEN (new.body IS NULL)
                    EXECUTE FUNCTION takes_long()";
    ledger.superuser.batch_execute(old).await.expect("something to tidy up");
    ledger.start_worker();
    let is_tidying = async || {
        let statement = "SELECT count(*) FROM pg_stat_activity
                          WHERE datname = current_database() AND wait_event = 'PgSleep'";
        ledger.superuser.query_one(statement, &[]).await.expect("a count").get::<_, i64>(0) == 1
    };
    wait::until("the old body to be found", async || is_tidying().await.then_some(())).await;
    ledger.deliver_and_settle(&body("session_completed__price_in_metadata")).await;
    assert!(is_tidying().await, "the webhook waited until that was over");
    assert_eq!(ledger.credits(ACCOUNT).await, 1_000);
}

#[tokio::test]
async fn what_the_ledger_cannot_hold_is_put_aside_until_it_can() {
    const MOST: i64 = 9_007_199_254_740_991;
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let mut completed = body("session_completed__credits_in_metadata");
    completed["data"]["object"]["metadata"]["credits"] = MOST.to_string().into();
    ledger.deliver_and_settle(&completed).await;
    ledger.deliver_and_settle(&body("refund_updated__succeeded")).await;
    let rest = ledger.credits(ACCOUNT).await;
    assert!((1..MOST).contains(&rest), "half of it is refunded");
    ledger.submit(grant(ACCOUNT, MOST - rest)).await;
    // The refund fails, so its credits come back: more than an account can have.
    let event_id = ledger.deliver(&stripe_bodies::body("refund_failed")).await.expect("taken");
    wait::until("the ledger to fail over it", async || {
        ledger.fate(&event_id).await.starts_with("failed ").then_some(())
    })
    .await;
    let often =
        "UPDATE stripe_inbox SET attempts = attempts + 6, next_attempt_at = now() WHERE status = 'failed'";
    assert_eq!(ledger.superuser.execute(often, &[]).await.expect("as if it had been tried again"), 1);
    ledger.settle().await;
    assert_eq!(ledger.fate(&event_id).await, "quarantined cannot_be_recorded");
    ledger.submit(spend(ACCOUNT, MOST - rest)).await;
    ledger.replay(slice::from_ref(&event_id)).await;
    assert_eq!(ledger.fate(&event_id).await, "processed");
    assert_eq!(ledger.credits(ACCOUNT).await, MOST);
}
