//! The inbox and a simulated Stripe that answers its questions: what a shop sold that knows nothing of us but the reference.

use std::slice;

use counterfoil::domain::{
    Command, command::LinkCustomer, event::LinkCause, ids::StripeId, settings::LedgerMode,
};
use serde_json::{Value, json};

use crate::{
    stripe_support::{ACCOUNT, WebhookLedger, price},
    support::{
        simulator::{API_KEY, TestSimulator, id},
        wait,
    },
};

/// The newest event of a type, as Stripe would send it.
async fn event(simulator: &TestSimulator, kind: &str) -> Value {
    let events = simulator.get(&format!("/v1/events?type={kind}&limit=1")).await.ok();
    events["data"][0].clone()
}

/// The same as a thin event.
fn thin(event: &Value, kind: &str) -> Value {
    let object = &event["data"]["object"];
    json!({
        "id": format!("evt_thin_{}", event["id"].as_str().expect("an id")), "object": "v2.core.event",
        "type": format!("v1.{}", event["type"].as_str().expect("a type")), "livemode": false,
        "created": "2026-10-02T08:15:30.123Z", "context": null,
        "related_object": {"id": object["id"], "type": kind, "url": "/"},
    })
}

/// A ledger, a simulator, and a paid session for 100 credits, which names the account alone.
async fn sold() -> (WebhookLedger, TestSimulator, Value) {
    let (ledger, simulator) = tokio::join!(WebhookLedger::new(LedgerMode::Test), TestSimulator::start());
    ledger.set_stripe_key(&simulator.url, API_KEY).await;
    let sold = simulator.price("unit_amount=500").await;
    ledger.submit(Command::SetPrice(price(&sold, 100, 500).into())).await;
    let form = format!("client_reference_id={ACCOUNT}&customer_email=a@example.com");
    let session = simulator.session(&sold, &form).await;
    let path = format!("checkout_sessions/{}/complete", id(&session));
    simulator.control(&path, json!({"outcome": "paid"})).await;
    let completed = event(&simulator, "checkout.session.completed").await;
    (ledger, simulator, completed)
}

#[tokio::test]
async fn a_session_that_names_its_account_alone_is_credited_by_its_line_items() {
    let (ledger, simulator, completed) = sold().await;
    ledger.deliver_and_settle(&completed).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 100);
    let payment = completed["data"]["object"]["payment_intent"].as_str().expect("a payment");
    simulator.post("/v1/refunds", &format!("payment_intent={payment}&amount=250")).await.ok();
    let refunded = event(&simulator, "charge.refunded").await;
    ledger.deliver_and_settle(&thin(&refunded, "charge")).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 50);
    ledger.deliver_and_settle(&thin(&completed, "checkout.session")).await;
    ledger.deliver_and_settle(&event(&simulator, "refund.created").await).await;
    assert_eq!((ledger.credits(ACCOUNT).await, ledger.statuses().await), (50, vec!["processed"]));
}

#[tokio::test]
async fn an_outage_of_stripe_delays_and_a_wrong_key_needs_somebody() {
    let (ledger, simulator, completed) = sold().await;
    for fault in [json!({"api": "down", "next": 1}), json!({"api": "bad_gateway", "next": 1})] {
        simulator.control("faults", fault).await;
    }
    ledger.set_stripe_key(&simulator.url, "sk_test_of_somebody_else").await;
    let event_id = ledger.deliver_and_settle(&completed).await;
    assert_eq!(ledger.fate(&event_id).await, "quarantined stripe_key_refused");
    assert_eq!(ledger.credits(ACCOUNT).await, 0);
    ledger.set_stripe_key(&simulator.url, API_KEY).await;
    // The former key is believed in for a while.
    wait::until("the new key to be used", async || {
        ledger.replay(slice::from_ref(&event_id)).await;
        (ledger.fate(&event_id).await == "processed").then_some(())
    })
    .await;
    assert_eq!(ledger.credits(ACCOUNT).await, 100);
}

#[tokio::test]
async fn a_customer_that_is_deleted_at_stripe_is_nobodys_any_more() {
    let (ledger, simulator, _) = sold().await;
    let account = ledger.find_order(ledger.order(ACCOUNT, "price_demo_pro", 1).await).await.account;
    let customer = id(&simulator.post("/v1/customers", "email=a@example.com").await.ok());
    let customer_id = StripeId::parse(&customer).expect("an id");
    let link = LinkCustomer { account, customer: customer_id, cause: LinkCause::Created };
    ledger.submit(Command::LinkCustomer(link)).await;
    let path = format!("/v1/customers/{customer}");
    simulator.send(reqwest::Method::DELETE, &path, "", &[]).await.ok();
    let deleted = event(&simulator, "customer.deleted").await;
    let event_id = ledger.deliver_and_settle(&deleted).await;
    assert_eq!(ledger.fate(&event_id).await, "processed");
    assert_eq!(ledger.count_events("customer.linked").await, 2);
    ledger.deliver_and_settle(&thin(&deleted, "customer")).await;
    assert_eq!(ledger.count_events("customer.linked").await, 2);
}
