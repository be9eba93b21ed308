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

use crate::stripe_support::{ACCOUNT, WebhookLedger, as_another_event, body};

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
