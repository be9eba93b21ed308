//! Subscriptions at the simulated Stripe: sold, renewed by the clock, unpaid, changed, ended; and cards charged while
//! their owners are away.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::simulator::{Receiver, TestSimulator, id};
use crate::support::stripe_spec;

const DAY: i64 = 86_400;

/// A customer with a monthly subscription, paid from this card.
pub async fn subscribe(stripe: &TestSimulator, card: &str, more: &str) -> (String, Value) {
    let customer = id(&stripe.post("/v1/customers", "email=alice@example.com&name=Alice").await.ok());
    let price = stripe.price("unit_amount=1000&recurring[interval]=month&metadata[credits]=100").await;
    let form = format!(
        "mode=subscription&customer={customer}&success_url=https://shop.example/&line_items[0][price]={price}\
         &line_items[0][quantity]=2&subscription_data[metadata][plan]=basic&{more}"
    );
    let session = stripe.post("/v1/checkout/sessions", &form).await.ok();
    let order = json!({ "outcome": "paid", "card": card });
    let session = stripe.control(&format!("checkout_sessions/{}/complete", id(&session)), order).await;
    (customer, session)
}

fn path_of(session: &Value) -> String {
    format!("/v1/subscriptions/{}", session["subscription"].as_str().expect("a subscription"))
}

pub async fn advance(stripe: &TestSimulator, days: i64) {
    stripe.control("clock/advance", json!({ "seconds": days * DAY })).await;
}

pub async fn invoices(stripe: &TestSimulator, customer: &str) -> Vec<Value> {
    let list =
        stripe.get(&format!("/v1/invoices?customer={customer}&limit=100&expand[]=data.payments")).await.ok();
    let mut invoices = list["data"].as_array().cloned().expect("data");
    invoices.reverse();
    invoices
}

#[tokio::test]
async fn a_subscription_is_sold_and_renews_every_month() {
    let receiver = Receiver::start().await;
    let stripe = TestSimulator::start_for(&receiver).await;
    let (customer, session) = subscribe(&stripe, "4242424242424242", "").await;
    assert_eq!((&session["status"], &session["payment_status"]), (&json!("complete"), &json!("paid")));
    assert_eq!((&session["amount_total"], &session["payment_intent"]), (&json!(2000), &Value::Null));
    let subscription =
        stripe.get(&format!("{}?expand[]=latest_invoice.payments", path_of(&session))).await.ok();
    assert_eq!(
        (&subscription["status"], &subscription["metadata"]),
        (&json!("active"), &json!({ "plan": "basic" }))
    );
    assert_eq!(subscription["latest_invoice"]["id"], session["invoice"]);
    assert_eq!(subscription["latest_invoice"]["payments"]["data"][0]["status"], "paid");

    advance(&stripe, 32).await;
    advance(&stripe, 31).await;
    let invoices = invoices(&stripe, &customer).await;
    let reasons: Vec<&Value> = invoices.iter().map(|invoice| &invoice["billing_reason"]).collect();
    assert_eq!(reasons, ["subscription_create", "subscription_cycle", "subscription_cycle"]);
    for invoice in &invoices {
        assert_eq!((&invoice["status"], &invoice["amount_paid"]), (&json!("paid"), &json!(2000)));
        assert_eq!(invoice["parent"]["subscription_details"]["subscription"], subscription["id"]);
        assert_eq!(invoice["parent"]["subscription_details"]["metadata"]["plan"], "basic");
        let line = &invoice["lines"]["data"][0];
        assert_eq!(line["parent"]["subscription_item_details"]["proration"], false);
        assert_eq!(
            line["pricing"]["price_details"]["price"],
            subscription["items"]["data"][0]["price"]["id"]
        );
    }
    let first_line = &invoices[0]["lines"]["data"][0]["period"];
    assert_eq!(first_line["end"], invoices[1]["lines"]["data"][0]["period"]["start"]);
    assert_eq!(invoices[1]["created"], first_line["end"], "renewed at its own moment");

    receiver.wait_for_count(32).await;
    // The list of events has forgotten the first month; the endpoint has heard of all of it.
    let types: Vec<Value> =
        receiver.received().iter().map(|received| received.event["type"].clone()).collect();
    for (event_type, count) in
        [("invoice.paid", 3), ("customer.subscription.created", 1), ("customer.subscription.updated", 2)]
    {
        assert_eq!(types.iter().filter(|known| *known == event_type).count(), count, "{event_type}");
    }
    for event in stripe.objects("event").await {
        stripe_spec::check_event(&event);
    }
    let updated = receiver.wait_for("customer.subscription.updated").await.event;
    assert!(updated["data"]["previous_attributes"]["items"].is_object(), "{updated}");
}

#[tokio::test]
async fn a_renewal_that_is_not_paid_is_tried_again_and_then_ends_the_subscription() {
    let stripe = TestSimulator::start().await;
    let (customer, session) = subscribe(&stripe, "4242424242424242", "").await;
    let path = path_of(&session);
    stripe.control(&format!("customers/{customer}/card"), json!({ "card": "4000000000000341" })).await;
    advance(&stripe, 31).await;
    assert_eq!(stripe.get(&path).await.ok()["status"], "past_due");
    let open = invoices(&stripe, &customer).await.pop().expect("an invoice");
    assert_eq!((&open["status"], &open["attempt_count"]), (&json!("open"), &json!(1)));
    let failed = stripe.get("/v1/events?type=invoice.payment_failed").await.ok();
    assert_eq!(failed["data"].as_array().map(Vec::len), Some(1));

    stripe.control(&format!("invoices/{}/pay", id(&open)), json!({})).await;
    assert_eq!(stripe.get(&path).await.ok()["status"], "active");
    let again = stripe.try_control(Method::POST, &format!("invoices/{}/pay", id(&open)), json!({})).await;
    assert_eq!(again.body["error"]["message"], "Invoice is already paid");

    advance(&stripe, 31 + 16).await;
    let ended = stripe.get(&path).await.ok();
    assert_eq!(
        (&ended["status"], &ended["cancellation_details"]["reason"]),
        (&json!("canceled"), &json!("payment_failed"))
    );
    let open = invoices(&stripe, &customer).await.pop().expect("an invoice");
    assert_eq!((&open["status"], &open["attempt_count"]), (&json!("open"), &json!(4)));
    assert_eq!(stripe.post(&format!("/v1/invoices/{}/void", id(&open)), "").await.ok()["status"], "void");
}

#[tokio::test]
async fn a_change_in_the_middle_of_a_month_is_prorated() {
    let stripe = TestSimulator::start().await;
    let (customer, session) = subscribe(&stripe, "4242424242424242", "").await;
    let path = path_of(&session);
    let subscription = stripe.get(&path).await.ok();
    let item = id(&subscription["items"]["data"][0]);
    let bigger = stripe.price("unit_amount=4000&recurring[interval]=month").await;
    let period = &subscription["items"]["data"][0];
    let length = period["current_period_end"].as_i64().expect("an end")
        - period["current_period_start"].as_i64().expect("a start");
    stripe.control("clock/advance", json!({ "seconds": length / 2 })).await;
    let form = format!(
        "items[0][id]={item}&items[0][price]={bigger}&items[0][quantity]=1&proration_behavior=always_invoice"
    );
    let changed = stripe.post(&path, &form).await.ok();
    assert_eq!(changed["items"]["data"][0]["price"]["id"], bigger.as_str());
    let invoice = invoices(&stripe, &customer).await.pop().expect("an invoice");
    assert_eq!(
        (&invoice["billing_reason"], &invoice["status"]),
        (&json!("subscription_update"), &json!("paid"))
    );
    let lines = invoice["lines"]["data"].as_array().expect("lines");
    let amounts: Vec<i64> = lines.iter().map(|line| line["amount"].as_i64().expect("an amount")).collect();
    assert!((-1001..=-999).contains(&amounts[0]) && (1999..=2001).contains(&amounts[1]), "{amounts:?}");
    assert!(lines.iter().all(|line| line["parent"]["subscription_item_details"]["proration"] == true));

    stripe.post(&path, &format!("items[0][id]={item}&items[0][quantity]=2")).await.ok();
    advance(&stripe, 31).await;
    let cycle = invoices(&stripe, &customer).await.pop().expect("an invoice");
    assert_eq!(
        (&cycle["billing_reason"], cycle["lines"]["data"].as_array().map(Vec::len)),
        (&json!("subscription_cycle"), Some(3))
    );
}

#[tokio::test]
async fn a_subscription_ends_when_it_is_told_to() {
    let stripe = TestSimulator::start().await;
    let (customer, session) = subscribe(&stripe, "4242424242424242", "").await;
    let path = path_of(&session);
    let portal = stripe
        .post("/v1/billing_portal/sessions", &format!("customer={customer}&return_url=https://shop.example/"))
        .await
        .ok();
    let url = portal["url"].as_str().expect("a URL");
    let page = stripe.client.get(url).send().await.expect("an answer").text().await.expect("a page");
    let subscription = session["subscription"].as_str().expect("a subscription");
    assert!(
        page.contains(subscription) && page.contains("€10.00") && page.contains("https://shop.example/"),
        "{page}"
    );
    let form = format!("cancel={subscription}");
    let page =
        stripe.client.post(url).body(form).send().await.expect("an answer").text().await.expect("a page");
    assert!(page.contains("Ends with the current period"), "{page}");
    assert_eq!(stripe.get(&path).await.ok()["cancel_at_period_end"], true);
    let kept = stripe.post(&path, "cancel_at_period_end=false").await.ok();
    assert_eq!((&kept["cancel_at"], &kept["canceled_at"]), (&Value::Null, &Value::Null));
    stripe.post(&path, "cancel_at_period_end=true").await.ok();
    advance(&stripe, 32).await;
    assert_eq!(stripe.get(&path).await.ok()["status"], "canceled");
    assert_eq!(invoices(&stripe, &customer).await.len(), 1);
    assert_eq!(stripe.post(&path, "cancel_at_period_end=false").await.status, 404);

    let (customer, session) = subscribe(&stripe, "4242424242424242", "").await;
    let ended = stripe.send(Method::DELETE, &path_of(&session), "", &[]).await.ok();
    assert_eq!(ended["status"], "canceled");
    assert_eq!(stripe.get(&format!("/v1/subscriptions?customer={customer}")).await.ok()["data"], json!([]));
    let all = stripe.get(&format!("/v1/subscriptions?customer={customer}&status=all")).await.ok();
    assert_eq!(all["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_trial_costs_nothing_until_it_ends() {
    let stripe = TestSimulator::start().await;
    let (customer, session) =
        subscribe(&stripe, "4242424242424242", "subscription_data[trial_period_days]=7").await;
    assert_eq!(
        (&session["amount_total"], &session["payment_status"]),
        (&json!(0), &json!("no_payment_required"))
    );
    assert_eq!(stripe.get(&path_of(&session)).await.ok()["status"], "trialing");
    advance(&stripe, 8).await;
    assert_eq!(stripe.get(&path_of(&session)).await.ok()["status"], "active");
    let paid: Vec<Value> =
        invoices(&stripe, &customer).await.iter().map(|invoice| invoice["amount_paid"].clone()).collect();
    assert_eq!(paid, [0, 2000]);
}

#[tokio::test]
async fn an_older_endpoint_hears_of_invoices_in_their_older_shape() {
    let receiver = Receiver::start().await;
    let stripe = TestSimulator::start_for(&receiver).await;
    stripe.control("faults", json!({ "webhooks": "api_version", "version": "2024-06-20" })).await;
    let (_, session) = subscribe(&stripe, "4242424242424242", "").await;
    let event = receiver.wait_for("invoice.paid").await.event;
    let invoice = &event["data"]["object"];
    assert_eq!((&invoice["subscription"], &invoice["paid"]), (&session["subscription"], &json!(true)));
    assert_eq!(invoice["lines"]["data"][0]["price"]["metadata"]["credits"], "100");
    assert_eq!(invoice["lines"]["data"][0]["proration"], false);
    assert!(invoice.get("parent").is_none() && invoice["charge"].is_string(), "{invoice}");
    let created = receiver.wait_for("customer.subscription.created").await.event;
    assert!(created["data"]["object"]["current_period_end"].is_i64());
}

#[tokio::test]
async fn a_stored_card_is_charged_while_its_owner_is_away_unless_the_bank_wants_to_see_them() {
    let stripe = TestSimulator::start().await;
    let customer = id(&stripe.post("/v1/customers", "email=alice@example.com").await.ok());
    let attach = format!("customer={customer}");
    let card = id(&stripe.post("/v1/payment_methods/pm_card_visa/attach", &attach).await.ok());
    let form = format!(
        "amount=1500&currency=eur&customer={customer}&confirm=true&off_session=true&metadata[top_up]=1"
    );
    let charge = |card: &str| format!("{form}&payment_method={card}");
    let paid = stripe.post("/v1/payment_intents", &charge(&card)).await.ok();
    assert_eq!((&paid["status"], &paid["amount_received"]), (&json!("succeeded"), &json!(1500)));

    let strict =
        id(&stripe.post("/v1/payment_methods/pm_card_threeDSecure2Required/attach", &attach).await.ok());
    let refused = stripe.post_with_key("/v1/payment_intents", "key", &charge(&strict)).await;
    assert_eq!((refused.status, refused.code()), (402, "authentication_required"));
    assert_eq!(refused.header("stripe-should-retry"), "false");
    let intent = &refused.body["error"]["payment_intent"];
    assert_eq!(
        (&intent["status"], &intent["metadata"]["top_up"]),
        (&json!("requires_payment_method"), &json!("1"))
    );
    let again = stripe.post_with_key("/v1/payment_intents", "key", &charge(&strict)).await;
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&refused.body, "true"));
    let path = format!("/v1/payment_intents/{}", id(intent));
    let confirmed = stripe.post(&format!("{path}/confirm"), &format!("payment_method={card}")).await.ok();
    assert_eq!(confirmed["status"], "succeeded");

    let declined =
        stripe.post("/v1/payment_intents", &charge("pm_card_visa_chargeDeclinedInsufficientFunds")).await;
    let error = &declined.body["error"];
    assert_eq!(
        (&error["code"], &error["decline_code"]),
        (&json!("card_declined"), &json!("insufficient_funds"))
    );
    let path = format!("/v1/payment_intents/{}", id(&error["payment_intent"]));
    assert_eq!(stripe.post(&format!("{path}/cancel"), "").await.ok()["status"], "canceled");
    let methods = stripe.get(&format!("/v1/customers/{customer}/payment_methods")).await.ok();
    assert_eq!(methods["data"].as_array().map(Vec::len), Some(2));
    let detached = stripe.post(&format!("/v1/payment_methods/{card}/detach"), "").await.ok();
    assert_eq!(detached["customer"], Value::Null);
    let least = stripe.post("/v1/payment_intents", "amount=0&currency=eur").await;
    assert_eq!((least.status, least.code()), (400, "parameter_invalid_integer"));
}
