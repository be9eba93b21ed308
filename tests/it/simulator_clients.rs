//! Clients that were made for Stripe take the simulator for it: Stripe's own for Python, and the one that we use.

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use stripe::{Client, ClientBuilder, IdempotencyKey, RequestStrategy, StripeRequest as _};
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionLineItems, ListLineItemsCheckoutSession,
    RetrieveCheckoutSession,
};
use stripe_core::{
    charge::RetrieveCharge,
    customer::{CreateCustomer, DeleteCustomer, RetrieveCustomer},
    dispute::RetrieveDispute,
    event::ListEvent,
    payment_intent::RetrievePaymentIntent,
    refund::{CreateRefund, ListRefund},
};
use stripe_product::{
    price::{ListPrice, RetrievePrice},
    product::RetrieveProduct,
};
use tokio::process::Command;

use crate::support::simulator::{API_KEY, Receiver, TestSimulator, WEBHOOK_SECRET, id};

fn client(stripe: &TestSimulator) -> Client {
    ClientBuilder::new(API_KEY).url(format!("{}/", stripe.url)).build().expect("a client")
}

#[tokio::test]
async fn our_client_reads_every_object_in_its_own_types() {
    let stripe = TestSimulator::start().await;
    let client = client(&stripe);
    let key = RequestStrategy::Idempotent(IdempotencyKey::new("eff_1").expect("a key"));
    let request = CreateCustomer::new().email("alice@example.com");
    let customer = request.customize().request_strategy(key.clone()).send(&client).await.expect("a customer");
    let again = request.customize().request_strategy(key).send(&client).await.expect("a customer");
    assert_eq!(customer.id, again.id);

    let price = stripe.price("unit_amount=1000&metadata[credits]=100").await;
    let mut line = CreateCheckoutSessionLineItems::new();
    line.price = Some(price.clone());
    line.quantity = Some(2);
    let session = CreateCheckoutSession::new()
        .mode(stripe_checkout::CheckoutSessionMode::Payment)
        .customer(customer.id.to_string())
        .success_url("https://shop.example/{CHECKOUT_SESSION_ID}")
        .line_items(vec![line])
        .send(&client)
        .await
        .expect("a session");
    assert_eq!(session.amount_total, Some(2000));
    stripe.control(&format!("checkout_sessions/{}/complete", session.id), json!({ "outcome": "paid" })).await;

    let session = RetrieveCheckoutSession::new(session.id).send(&client).await.expect("a session");
    let lines = ListLineItemsCheckoutSession::new(session.id.clone()).send(&client).await.expect("lines");
    assert_eq!(lines.data[0].quantity, Some(2));
    let intent = session.payment_intent.expect("a payment intent").into_id();
    let intent = RetrievePaymentIntent::new(intent).send(&client).await.expect("a payment intent");
    let charge = intent.latest_charge.expect("a charge").into_id();
    let charge = RetrieveCharge::new(charge).send(&client).await.expect("a charge");
    assert!(charge.paid);
    CreateRefund::new()
        .payment_intent(intent.id.to_string())
        .amount(500)
        .send(&client)
        .await
        .expect("a refund");
    let refunds =
        ListRefund::new().payment_intent(intent.id.to_string()).send(&client).await.expect("refunds");
    assert_eq!(refunds.data[0].amount, 500);
    let other = stripe.paid_session(1000).await;
    let other = other["payment_intent"].as_str().expect("an intent");
    let dispute = stripe.control(&format!("charges/{other}/dispute"), json!({})).await;
    RetrieveDispute::new(id(&dispute)).send(&client).await.expect("a dispute");

    let price = RetrievePrice::new(price).send(&client).await.expect("a price");
    RetrieveProduct::new(price.product.into_id()).send(&client).await.expect("a product");
    ListPrice::new().limit(100).send(&client).await.expect("prices");
    let events = ListEvent::new().limit(100).send(&client).await.expect("events");
    assert!(events.data.len() > 10);
    DeleteCustomer::new(customer.id.clone()).send(&client).await.expect("a deleted customer");
    RetrieveCustomer::new(customer.id).send(&client).await.expect("a deleted customer");
}

#[tokio::test]
async fn stripes_own_client_sells_refunds_retries_and_believes_our_signature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    run(&mut Command::new(root.join("tests/clients/stripe/prepare"))).await;
    let receiver = Receiver::start().await;
    let stripe = TestSimulator::start_for(&receiver).await;
    let scenario = || {
        let mut command = Command::new(root.join("target/clients/stripe/bin/python"));
        command.arg(root.join("tests/clients/stripe/scenario.py"));
        command.env("STRIPE_URL", &stripe.url).env("STRIPE_API_KEY", API_KEY);
        command.env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET);
        command
    };
    run(&mut scenario()).await;
    let received = receiver.wait_for("customer.created").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("webhook");
    let mut text = received.signature.into_bytes();
    text.push(b'\n');
    text.extend(received.body);
    std::fs::write(&file, text).expect("a file");
    run(scenario().arg(&file)).await;
    assert_eq!(stripe.try_control(Method::GET, "faults", json!({})).await.body["faults"][0]["next"], 0);
}

async fn run(command: &mut Command) {
    let output = command.kill_on_drop(true).output().await.expect("a program that starts");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}
