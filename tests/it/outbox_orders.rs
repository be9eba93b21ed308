//! From the event that orders something to whoever does it: one commit, and no wait. And back: what is given up for good,
//! the ledger is told.

use std::{sync::Arc, time::Duration};

use counterfoil::{
    domain::{
        Command, EventBody,
        amount::Currency,
        catalogue::{Price, PriceGrant},
        command::{PlaceOrder, SetPrice},
        ids::{LedgerId, PriceId, Unit},
        order::OrderDetails,
        settings::{LedgerSettings, UnitSettings},
    },
    outbox::OutboxSettings,
    writer::WriterSettings,
};
use reqwest::Method;
use serde_json::json;

use crate::{
    api_support::Requests,
    outbox_support::{Recorder, Running, Shared, done, entries, keep_workers_away, quick, until_only},
    support::{app::TestApp, wait},
    writer_support::{Book, accepted, account, amount, checkout_settings, plain, rejected, unit, writers},
};

fn price() -> Command {
    let grant = PriceGrant { unit: unit(), amount: amount(100), expires_days: None, priority: 50, share: 1 };
    Command::SetPrice(SetPrice::from(Price {
        price: PriceId::parse("price_pack").expect("a price"),
        display_name: "A pack".to_owned(),
        display_order: 1,
        active: true,
        money: 500,
        currency: Currency::parse("eur").expect("a currency"),
        grants: vec![grant],
        rollover: None,
        operator: None,
        stripe: None,
    }))
}

fn place(name: &str) -> Command {
    Command::PlaceOrder(PlaceOrder {
        trial_days: None,
        account: account(name),
        price: PriceId::parse("price_pack").expect("a price"),
        quantity: amount(1),
        details: OrderDetails::default(),
        note: Default::default(),
    })
}

#[tokio::test]
async fn effects_are_written_with_the_event_that_orders_them_and_with_no_other() {
    let book = Book::open().await;
    book.accept(price()).await;
    book.account_with("alice", 5).await;
    rejected(book.submit(plain(place("nobody"))).await);
    assert!(entries(&book).await.is_empty());
    let placed = book.accept(place("alice")).await;
    let event = placed.events.iter().find(|event| matches!(event.body, EventBody::OrderPlaced(_)));
    let event = event.expect("an order");
    let ordered = entries(&book).await;
    let kinds: Vec<_> = ordered.iter().map(|entry| (entry.kind.as_str(), entry.place.ordinal)).collect();
    assert_eq!(kinds, [("create_customer", 0), ("create_checkout_session", 1)]);
    for entry in &ordered {
        assert_eq!(entry.place.position, event.position);
        assert_eq!(Some(entry.key.clone()), event.account.map(|account| format!("checkout:{account}")));
    }
    assert_ne!(ordered[0].id, ordered[1].id);
    book.check().await;
}

#[tokio::test]
async fn whoever_carries_effects_out_is_woken_by_the_commit_that_orders_them() {
    let book = Book::open().await;
    book.accept(price()).await;
    book.account_with("alice", 0).await;
    let recorder = Recorder::performing(|_, _| done());
    let settings = OutboxSettings { look_every: Duration::from_secs(3_600), ..quick() };
    let running = Running::start_beside(&book, Shared(Arc::clone(&recorder)), settings);
    for number in 1..=3 {
        book.accept(place("alice")).await;
        wait::until("the effects to be done", async || {
            (recorder.performed().len() == 2 * number).then_some(())
        })
        .await;
    }
    until_only(&book, &[]).await;
    running.stop().await;
}

#[tokio::test]
async fn an_order_whose_session_is_given_up_has_failed() {
    let app = TestApp::start().await;
    app.account_with("alice", 0).await;
    let superuser = app.database.superuser().await;
    let ledger =
        LedgerId(superuser.query_one("SELECT ledger_id FROM ledgers", &[]).await.expect("one").get(0));
    keep_workers_away(&superuser, ledger.0).await;
    let writers = writers(app.database.runtime_url(), WriterSettings::default());
    let units = ["credits", "licence_30d"].map(|name| Unit::parse(name).expect("a unit"));
    let units = units.map(|unit| (unit, UnitSettings { scale: 0 })).into();
    let settings = LedgerSettings { units, checkout: checkout_settings(), ..LedgerSettings::default() };
    for command in [Command::ConfigureLedger(settings), price(), place("alice")] {
        accepted(writers.submit(ledger, plain(command)).await);
    }
    let given_up = "INSERT INTO outbox_dead (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at,
                        attempts, died_at, blocks, destination, class, code)
                    SELECT ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at,
                           1, now(), false, 'stripe', 'refused', 'no_such_price'
                      FROM outbox WHERE kind = 'create_checkout_session'";
    assert_eq!(superuser.execute(given_up, &[]).await.expect("a dead effect"), 1);
    let moved = "DELETE FROM outbox WHERE kind = 'create_checkout_session'";
    superuser.batch_execute(moved).await.expect("moved");
    let dead = app.get("/v1/outbox?state=dead").await;
    let effect = dead["items"][0]["effect_id"].as_str().expect("a dead effect");
    let reason = json!({"reason": "the shop is closed"});
    let discarded = app.send(Method::POST, &format!("/v1/outbox/{effect}/discard"), Some(&reason)).await;
    assert_eq!(discarded.status, 200, "{discarded:?}");
    let events = app.get("/v1/events?limit=100").await;
    let failed =
        events["events"].as_array().expect("events").iter().find(|event| event["type"] == "order.failed");
    let failed = failed.expect("a failed order");
    assert!(failed["actor"].as_str().is_some_and(|actor| actor.starts_with("api_key:")), "{failed}");
}
