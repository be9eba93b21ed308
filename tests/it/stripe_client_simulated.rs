//! Our client against the simulated Stripe: a whole sale, and a look after everything that can go wrong with a call.

use std::time::Duration;

use counterfoil::{
    domain::{
        amount::Amount,
        ids::{EffectId, PriceId},
        payment::{PaymentFact, RefundStatus},
        time::Timestamp,
    },
    stripe::{
        CheckoutStatus, Customer,
        client::{
            CallClass, CheckoutMode, ClientSettings, EventQuery, NewCheckoutSession, NewCustomer, NewRefund,
            Origin, RefundReason, StripeClient,
        },
        extract_refund,
    },
};
use serde_json::{Value, json};

use crate::{
    stripe_client_support::{client_with_key, id, origin},
    support::simulator::{API_KEY, TestSimulator},
};

fn client(stripe: &TestSimulator) -> StripeClient {
    client_with_key(&stripe.url, API_KEY, &ClientSettings::default(), 1_000)
}

/// One that does not wait for an answer that does not come.
fn impatient_client(stripe: &TestSimulator) -> StripeClient {
    let settings = ClientSettings { call_limit: Duration::from_secs(2), ..ClientSettings::default() };
    client_with_key(&stripe.url, API_KEY, &settings, 1_000)
}

/// Where something comes from that effect `number` makes.
fn from_effect(number: u128) -> Origin {
    Origin { effect: EffectId::from_bits(number), ..origin() }
}

fn new_customer(number: u128) -> NewCustomer {
    let email = Some("alice@example.com".to_owned());
    NewCustomer { origin: from_effect(number), email, name: None, locale: Some("de".to_owned()) }
}

/// A moment before anything that the simulator makes.
fn long_ago() -> Timestamp {
    Timestamp::from_unix_seconds(1_000_000_000).expect("a moment")
}

#[tokio::test]
async fn a_whole_sale_is_made_read_and_taken_back() {
    let stripe = TestSimulator::start().await;
    let client = client(&stripe);
    let price =
        PriceId::parse(&stripe.price("unit_amount=1000&metadata[credits]=100").await).expect("a price");
    let customer = client.create_customer(&new_customer(1)).await.expect("a customer").id;
    let session = NewCheckoutSession {
        trial_days: None,
        origin: from_effect(2),
        mode: CheckoutMode::Payment,
        customer: customer.clone(),
        price: price.clone(),
        quantity: Amount::new(2).expect("an amount"),
        locale: Some("de-AT".to_owned()),
        success_url: "https://shop.example/thanks".to_owned(),
        cancel_url: Some("https://shop.example/back".to_owned()),
        automatic_tax: true,
        collect_tax_id: true,
        allow_promotion_codes: true,
        create_invoice: true,
        expires_at: None,
    };
    let session = client.create_checkout_session(&session).await.expect("a session");
    assert_eq!((session.status, session.customer.as_ref()), (CheckoutStatus::Open, Some(&customer)));
    assert!(session.url.is_some() && session.expires_at.is_some(), "{session:?}");
    let found = client.find_checkout_session(EffectId::from_bits(2), &customer).await.expect("a look");
    assert_eq!(found.map(|found| found.id), Some(session.id.clone()));

    stripe.control(&format!("checkout_sessions/{}/complete", session.id), json!({ "outcome": "paid" })).await;
    let paid = client.fetch_checkout_session(&session.id).await.expect("a session");
    assert_eq!(paid.status, CheckoutStatus::Complete);
    let line_item = &paid.object.json()["line_items"]["data"][0];
    assert_eq!((&line_item["quantity"], &line_item["price"]["id"]), (&json!(2), &json!(price.as_str())));
    let payment = paid.payment_intent.expect("a payment");
    let intent = client.fetch_payment_intent(&payment).await.expect("a payment intent");
    assert_eq!(intent.metadata("counterfoil_effect"), Some(EffectId::from_bits(2).to_string().as_str()));
    let charge = intent.json()["latest_charge"].as_str().expect("a charge").to_owned();
    assert_eq!(client.fetch_charge(&id(&charge)).await.expect("a charge").json()["paid"], json!(true));

    let refund = NewRefund {
        origin: from_effect(3),
        payment: payment.clone(),
        amount: Amount::new(500),
        reason: Some(RefundReason::RequestedByCustomer),
    };
    let refund = client.create_refund(&refund).await.expect("a refund");
    let report = extract_refund(&refund).expect("a fact");
    assert!(matches!(
        &report.facts[..],
        [PaymentFact::Refund { status: RefundStatus::Succeeded, amount: 500, .. }]
    ));
    let found = client.find_refund(EffectId::from_bits(3), &payment).await.expect("a look");
    assert_eq!(found.map(|found| found.id), Some(refund.id.clone()));
    assert_eq!(client.find_refund(EffectId::from_bits(4), &payment).await.expect("a look"), None);
    assert_eq!(client.fetch_refund(&refund.id).await.expect("a refund").id, refund.id);

    let prices = client.list_prices(None).await.expect("prices");
    assert_eq!(prices.prices[0]["product"]["object"], json!("product"));
    let with_product = client.fetch_price(&price).await.expect("a price");
    assert_eq!(with_product.json()["product"]["name"], json!("Credits"));
    let types = ["refund.created"];
    let query = EventQuery { types: &types, since: Some(long_ago()), ..EventQuery::default() };
    let events = client.list_events(&query).await.expect("events");
    assert_eq!(events.objects.len(), 1);
    client.fetch_event(events.objects[0].id()).await.expect("an event");
    client.fetch_account().await.expect("an account");
    let expired = client.expire_checkout_session(&session.id).await.expect_err("it is complete");
    assert_eq!(expired.class, CallClass::Permanent);
}

/// Has a customer made as whoever carries out an effect does: sends again what was not done, looks for what may have been,
/// takes another key for one that is spent. Gives the classes of what went wrong as well.
async fn make(maker: &StripeClient, looker: &StripeClient, number: u128) -> (Customer, Vec<&'static str>) {
    let (mut renewal, mut classes) = (0, Vec::new());
    loop {
        let made = maker.with_renewed_key(renewal).create_customer(&new_customer(number)).await;
        let error = match made {
            Ok(customer) => return (customer, classes),
            Err(error) => error,
        };
        classes.push(error.class.as_str());
        assert!(classes.len() < 5, "{classes:?}: {error}");
        match error.class {
            CallClass::Permanent => panic!("{error}"),
            CallClass::Retry { .. } => {}
            CallClass::Unknown { .. } => {
                match looker.find_customer(EffectId::from_bits(number), long_ago()).await.expect("a look") {
                    Some(found) => return (found, classes),
                    None => renewal += u32::from(error.is_key_spent()),
                }
            }
        }
    }
}

#[tokio::test]
async fn whatever_goes_wrong_with_a_call_one_thing_is_made_and_known() {
    let stripe = TestSimulator::start().await;
    let client = client(&stripe);
    let impatient = impatient_client(&stripe);
    let faults: [(Value, &str, &StripeClient); 9] = [
        (json!({ "api": "rate_limit" }), "retry", &client),
        (json!({ "api": "conflict" }), "retry", &client),
        (json!({ "api": "server_error", "committed": false }), "unknown", &client),
        (json!({ "api": "server_error", "committed": true }), "unknown", &client),
        (json!({ "api": "bad_gateway" }), "unknown", &client),
        (json!({ "api": "bad_gateway", "committed": true }), "unknown", &client),
        (json!({ "api": "garbage" }), "unknown", &client),
        (json!({ "api": "cut" }), "unknown", &client),
        (json!({ "api": "hang", "seconds": 600 }), "unknown", &impatient),
    ];
    for (number, (fault, class, maker)) in (1_u128..).zip(&faults) {
        let mut order = fault.clone();
        order["next"] = json!(1);
        order["method"] = json!("POST");
        stripe.control("faults", order).await;
        let (customer, classes) = make(maker, &client, number).await;
        assert_eq!(classes, [*class], "{fault}");
        let found = client.find_customer(EffectId::from_bits(number), long_ago()).await.expect("a look");
        assert_eq!(found.map(|found| found.id), Some(customer.id), "{fault}");
    }
    assert_eq!(stripe.objects("customer").await.len(), faults.len(), "one for each effect");
}
