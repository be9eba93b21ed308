//! Prices in step with Stripe: told of by webhooks, in whatever order.

use serde_json::{Value, json};

use counterfoil::{
    domain::{
        catalogue::{Price, PriceFinding},
        ids::PriceId,
        settings::LedgerMode,
    },
    store::configuration::load_configuration,
};

use crate::{
    stripe_client_support::{API_KEY, Reply, ScriptedServer},
    stripe_support::{ACCOUNT, WebhookLedger, as_another_event, body},
};

const PRICE: &str = "price_shop_pack";

async fn price(ledger: &WebhookLedger) -> Price {
    let loaded = load_configuration(&ledger.client, ledger.ledger).await.expect("read");
    loaded.catalogue.prices[&PriceId::parse(PRICE).expect("an id")].clone()
}

/// The body of that name as another event, so many seconds later, with other fields of its object.
fn later(name: &str, seconds: i64, fields: Value) -> Value {
    let mut event = as_another_event(&body(name));
    event["created"] = json!(event["created"].as_i64().expect("a moment") + seconds);
    let Value::Object(fields) = fields else { panic!("fields") };
    for (field, value) in fields {
        event["data"]["object"][field] = value;
    }
    event
}

#[tokio::test]
async fn a_price_ends_as_it_is_at_stripe_whatever_order_its_events_come_in() {
    let events = [
        later("price_created__credits", 100, json!({"active": false})),
        later("price_created__credits", 200, json!({"metadata": {"credits": "150"}, "unit_amount": 700})),
        later("product_updated", 50, json!({"name": "First"})),
        later("product_updated", 150, json!({"name": "Second", "active": true})),
    ];
    for order in [[0, 1, 2, 3], [1, 0, 3, 2], [3, 1, 2, 0]] {
        let ledger = WebhookLedger::new(LedgerMode::Test).await;
        ledger.deliver_and_settle(&body("price_created__credits")).await;
        for place in order {
            ledger.deliver_and_settle(&events[place]).await;
            ledger.deliver_and_settle(&as_another_event(&events[place])).await;
        }
        let price = price(&ledger).await;
        assert_eq!(
            (price.display_name.as_str(), price.active, price.money),
            ("Second", true, 700),
            "{order:?}"
        );
        assert_eq!(price.grants[0].amount.get(), 150, "{order:?}");
        assert_eq!(price.findings(), [], "{order:?}");
    }
}

#[tokio::test]
async fn what_was_paid_is_credited_although_the_price_has_lost_its_metadata() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    ledger.deliver_and_settle(&body("price_created__credits")).await;
    let bare = later("price_created__credits", 1, json!({"metadata": {}}));
    let event_id = ledger.deliver_and_settle(&bare).await;
    assert_eq!(ledger.fate(&event_id).await, "processed");
    let price = price(&ledger).await;
    assert!(!price.active && price.findings().contains(&PriceFinding::CreditsUnstated), "{price:?}");
    let mut completed = body("session_completed__price_in_metadata");
    completed["data"]["object"]["metadata"] =
        json!({"account_id": ACCOUNT, "price_id": PRICE, "quantity": "2"});
    ledger.deliver_and_settle(&completed).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 200);
}

/// The price as it was at one and the same second.
fn granting(credits: &str) -> Value {
    later("price_created__credits", 100, json!({"metadata": {"credits": credits}}))
}

#[tokio::test]
async fn which_of_several_states_of_one_second_is_the_newest_is_asked() {
    // Whatever comes last, Stripe has 700: more than one of them says, and less than another.
    for order in [["600", "700", "800"], ["800", "700", "600"], ["700", "800", "600"]] {
        let now = granting("700")["data"]["object"].take();
        let server = ScriptedServer::start(move |_| Reply::json(&now)).await;
        let ledger = WebhookLedger::new(LedgerMode::Test).await;
        ledger.set_stripe_key(&server.url, API_KEY).await;
        for credits in order {
            ledger.deliver_and_settle(&granting(credits)).await;
        }
        assert_eq!(price(&ledger).await.grants[0].amount.get(), 700, "{order:?}");
        let asked: Vec<String> = server.received().iter().map(|request| request.path.clone()).collect();
        assert!(
            !asked.is_empty() && asked.iter().all(|path| path == "/v1/prices/price_shop_pack"),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn so_is_which_of_several_states_of_its_product() {
    let named = |name: &str| later("product_updated", 100, json!({"name": name}));
    for order in [["Alpha", "Beta", "Gamma"], ["Gamma", "Beta", "Alpha"]] {
        let now = named("Beta")["data"]["object"].take();
        let server = ScriptedServer::start(move |_| Reply::json(&now)).await;
        let ledger = WebhookLedger::new(LedgerMode::Test).await;
        ledger.set_stripe_key(&server.url, API_KEY).await;
        ledger.deliver_and_settle(&body("price_created__credits")).await;
        for name in order {
            ledger.deliver_and_settle(&named(name)).await;
        }
        assert_eq!(price(&ledger).await.display_name, "Beta", "{order:?}");
    }
}

#[tokio::test]
async fn states_of_one_second_end_alike_where_stripe_cannot_be_asked() {
    let mut ends = Vec::new();
    for order in [["600", "700"], ["700", "600"]] {
        let ledger = WebhookLedger::new(LedgerMode::Test).await;
        for credits in order {
            let event_id = ledger.deliver_and_settle(&granting(credits)).await;
            assert_eq!(ledger.entry(&event_id).await.reason, None, "{credits}");
        }
        ends.push(price(&ledger).await.grants[0].amount);
    }
    assert_eq!(ends[0], ends[1]);
}
