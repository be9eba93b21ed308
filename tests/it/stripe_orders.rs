//! Orders of ours and Stripe's webhooks: paid, free, expired, failed, paid twice, paid with something else than was ordered;
//! refunds that we asked for; customers that are gone.

use counterfoil::{
    domain::{
        Command, EventBody,
        amount::Amount,
        command::{LinkCustomer, Note, RequestRefund},
        event::LinkCause,
        ids::{OrderId, StripeId},
        order::{OrderFailure, OrderStatus},
        settings::LedgerMode,
    },
    store::reads::orders::find_account_of_customer,
};
use futures_util::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::stripe_support::{ACCOUNT, WebhookLedger, as_another_event, body};

/// The body of that name about a session of the order, with other fields.
fn told(name: &str, session: &str, order: OrderId, fields: Value) -> Value {
    let mut event = as_another_event(&body(name));
    let object = &mut event["data"]["object"];
    object["id"] = json!(session);
    object["payment_intent"] = json!(format!("pi_of_{session}"));
    object["metadata"]["order_id"] = json!(order.to_string());
    for (name, value) in fields.as_object().expect("fields") {
        object[name] = value.clone();
    }
    event
}

fn paid(session: &str, order: OrderId, fields: Value) -> Value {
    told("session_completed__order_of_ours", session, order, fields)
}

/// An order of 500 credits for 20 euro.
async fn ordered(ledger: &WebhookLedger) -> OrderId {
    ledger.order(ACCOUNT, "price_demo_pro", 1).await
}

#[tokio::test]
async fn a_paid_session_pays_its_order_with_what_was_sold_then() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let order = ordered(&ledger).await;
    let event_id = ledger.deliver_and_settle(&paid("cs_1", order, json!({}))).await;
    assert_eq!(ledger.fate(&event_id).await, "processed");
    let found = ledger.find_order(order).await;
    assert_eq!((found.status, found.paid_sessions.len(), found.purchases.len()), (OrderStatus::Paid, 1, 1));
    assert_eq!(ledger.credits(ACCOUNT).await, 500);
    assert_eq!(ledger.last_purchase().await["price"], "price_demo_pro");
}

#[tokio::test]
async fn a_discount_and_taxes_change_what_is_paid_and_not_what_was_ordered() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let order = ordered(&ledger).await;
    let fields = json!({"amount_total": 1_904, "total_details": {"amount_discount": 400, "amount_tax": 304}});
    ledger.deliver_and_settle(&paid("cs_1", order, fields)).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 500);
    assert_eq!(ledger.last_purchase().await["money"]["gross"], 1_904);
}

#[tokio::test]
async fn an_order_that_costs_nothing_in_the_end_is_paid_without_a_purchase() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let order = ordered(&ledger).await;
    let fields = json!({
        "payment_status": "no_payment_required", "payment_intent": null, "amount_total": 0,
        "total_details": {"amount_discount": 2_000, "amount_tax": 0},
    });
    ledger.deliver_and_settle(&paid("cs_1", order, fields)).await;
    let found = ledger.find_order(order).await;
    assert_eq!((found.status, found.purchases.len()), (OrderStatus::Paid, 0));
    assert_eq!((ledger.credits(ACCOUNT).await, ledger.count_events("credits.granted").await), (500, 1));
}

#[tokio::test]
async fn a_session_that_ends_unpaid_ends_its_order_and_money_that_comes_after_all_still_pays_it() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    for (name, status, failure) in [
        ("session_expired__order_of_ours", OrderStatus::Expired, None),
        (
            "session_async_payment_failed__order_of_ours",
            OrderStatus::Failed,
            Some(OrderFailure::PaymentFailed),
        ),
    ] {
        let order = ordered(&ledger).await;
        let session = format!("cs_{name}");
        let before = ledger.credits(ACCOUNT).await;
        for _ in 0..2 {
            let event = told(name, &session, order, json!({"payment_intent": null}));
            let event_id = ledger.deliver_and_settle(&event).await;
            assert_eq!(ledger.fate(&event_id).await, "processed");
        }
        let found = ledger.find_order(order).await;
        assert_eq!((found.status, found.failure), (status, failure));
        ledger.deliver_and_settle(&paid(&session, order, json!({}))).await;
        assert_eq!(ledger.find_order(order).await.status, OrderStatus::Paid);
        assert_eq!(ledger.credits(ACCOUNT).await - before, 500, "{name}");
    }
}

#[tokio::test]
async fn what_was_not_ordered_so_is_put_aside_and_credits_nothing() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    ledger.open("somebody-else").await;
    let order = ordered(&ledger).await;
    let metadata = |more: Value| {
        let mut metadata = json!({"account_id": ACCOUNT, "order_id": order.to_string()});
        for (name, value) in more.as_object().expect("an object") {
            metadata[name] = value.clone();
        }
        json!({ "metadata": metadata })
    };
    for (number, (fields, expected)) in [
        (json!({"amount_subtotal": 1_999}), "quarantined contradiction"),
        (json!({"currency": "usd"}), "quarantined contradiction"),
        (metadata(json!({"price_id": "price_demo_starter"})), "quarantined contradiction"),
        (metadata(json!({"price_id": "price_demo_pro", "quantity": "2"})), "quarantined contradiction"),
        (metadata(json!({"credits": "501"})), "quarantined contradiction"),
        (
            json!({
                "client_reference_id": "somebody-else",
                "metadata": {"account_id": "somebody-else", "order_id": order.to_string()},
            }),
            "quarantined contradiction",
        ),
        (metadata(json!({"counterfoil_order": OrderId::from_bits(1).to_string()})), "quarantined nonsense"),
        (metadata(json!({"order_id": "ord_1"})), "quarantined nonsense"),
        (metadata(json!({"order_id": OrderId::from_bits(1).to_string()})), "quarantined unknown_order"),
    ]
    .into_iter()
    .enumerate()
    {
        let event_id = ledger.deliver_and_settle(&paid(&format!("cs_{number}"), order, fields.clone())).await;
        assert_eq!(ledger.fate(&event_id).await, expected, "{fields}");
    }
    assert!(ledger.credits_of_all().await.values().all(|credits| *credits == 0));
    assert_eq!(ledger.find_order(order).await.status, OrderStatus::Placed);
}

#[tokio::test]
async fn a_hundred_webhooks_of_one_payment_at_once_are_one_purchase() {
    let mut ledger = WebhookLedger::new(LedgerMode::Test).await;
    for _ in 0..2 {
        ledger.start_worker();
    }
    let order = ordered(&ledger).await;
    let event = paid("cs_1", order, json!({}));
    let events: Vec<String> =
        (0..100).flat_map(|_| [event.to_string(), as_another_event(&event).to_string()]).collect();
    let delivered = join_all(events.iter().map(|event| ledger.deliver(event.as_bytes()))).await;
    assert!(delivered.iter().all(Result::is_ok));
    ledger.settle().await;
    assert_eq!(ledger.statuses().await, ["processed"]);
    assert_eq!((ledger.stored().await, ledger.count_events("credits.purchased").await), (101, 1));
    assert_eq!((ledger.count_events("order.paid").await, ledger.credits(ACCOUNT).await), (1, 500));
    ledger.stop_workers().await;
}

#[tokio::test]
async fn two_paid_sessions_of_one_order_are_two_purchases_that_the_order_shows() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let order = ordered(&ledger).await;
    for session in ["cs_1", "cs_2", "cs_1", "cs_2"] {
        ledger.deliver_and_settle(&paid(session, order, json!({}))).await;
    }
    let found = ledger.find_order(order).await;
    let sessions: Vec<&str> = found.paid_sessions.iter().map(StripeId::as_str).collect();
    assert_eq!((sessions, found.purchases.len()), (vec!["cs_1", "cs_2"], 2));
    assert_eq!(ledger.credits(ACCOUNT).await, 1_000);
    assert_eq!(ledger.statuses().await, ["processed"]);
}

#[tokio::test]
async fn the_same_session_with_other_money_or_of_another_order_is_put_aside() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let (order, other) = (ordered(&ledger).await, ordered(&ledger).await);
    ledger.deliver_and_settle(&paid("cs_1", order, json!({}))).await;
    for event in [paid("cs_1", order, json!({"amount_total": 1_999})), paid("cs_1", other, json!({}))] {
        let event_id = ledger.deliver_and_settle(&event).await;
        assert_eq!(ledger.fate(&event_id).await, "quarantined money_differs");
    }
    assert_eq!(ledger.find_order(other).await.status, OrderStatus::Placed);
    assert_eq!(ledger.credits(ACCOUNT).await, 500);
}

fn refunded(name: &str, session: &str, request: &str, status: &str) -> Value {
    let mut event = as_another_event(&body(name));
    let object = &mut event["data"]["object"];
    object["id"] = json!(format!("re_of_{session}"));
    object["payment_intent"] = json!(format!("pi_of_{session}"));
    object["amount"] = json!(1_000);
    object["currency"] = json!("eur");
    object["status"] = json!(status);
    object["metadata"] = json!({ "counterfoil_refund": request });
    event
}

fn charge_of(session: &str) -> Value {
    let mut event = as_another_event(&body("charge_refunded__half"));
    let object = &mut event["data"]["object"];
    object["id"] = json!(format!("ch_of_{session}"));
    object["payment_intent"] = json!(format!("pi_of_{session}"));
    object["amount_refunded"] = json!(1_000);
    event
}

async fn request_refund(ledger: &WebhookLedger, order: OrderId) -> String {
    let command = RequestRefund { order, amount: Amount::new(1_000), note: Note::new() };
    let events = ledger.submit(Command::RequestRefund(command)).await;
    let refund = events.iter().find_map(|event| match &event.body {
        EventBody::RefundRequested(requested) => Some(requested.refund.to_string()),
        _ => None,
    });
    refund.expect("a request")
}

#[tokio::test]
async fn a_refund_of_ours_ends_the_same_however_its_webhooks_are_told() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    for run in 0..12_u64 {
        let (account, session) = (format!("buyer-{run}"), format!("cs_{run}"));
        let mut random = StdRng::seed_from_u64(run);
        ledger.open(&account).await;
        let order = ledger.order(&account, "price_demo_pro", 1).await;
        let metadata = json!({"account_id": account, "order_id": order.to_string()});
        let fields = json!({"client_reference_id": account, "metadata": metadata});
        ledger.deliver_and_settle(&paid(&session, order, fields)).await;
        let request = request_refund(&ledger, order).await;
        assert_eq!(ledger.credits(&account).await, 250, "set aside at once");
        let fails = run % 3 == 0;
        let mut events = vec![
            refunded("refund_created__pending", &session, &request, "pending"),
            refunded("refund_updated__succeeded", &session, &request, "succeeded"),
            charge_of(&session),
        ];
        events.remove(random.random_range(0..events.len()));
        if fails {
            events.push(refunded("refund_failed", &session, &request, "failed"));
        }
        events.extend(events.clone().iter().map(as_another_event));
        events.shuffle(&mut random);
        for event in &events {
            ledger.deliver_and_settle(event).await;
        }
        let kinds: Vec<String> = events.iter().map(|event| event["type"].to_string()).collect();
        let expected = if fails { 500 } else { 250 };
        assert_eq!(ledger.credits(&account).await, expected, "run {run}, told as {kinds:?}");
    }
    assert_eq!(ledger.statuses().await, ["processed"]);
}

#[tokio::test]
async fn a_refund_that_is_told_before_its_order_is_paid_counts_once_it_is() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let order = ordered(&ledger).await;
    ledger.deliver_and_settle(&refunded("refund_updated__succeeded", "cs_1", "", "succeeded")).await;
    ledger.deliver_and_settle(&charge_of("cs_1")).await;
    ledger.deliver_and_settle(&paid("cs_1", order, json!({}))).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 250);
    assert_eq!(ledger.statuses().await, ["processed"]);
}

#[tokio::test]
async fn an_account_whose_customer_is_deleted_has_none() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    for event in ["customer_deleted", "thin_customer_deleted"] {
        let account = ledger.find_order(ordered(&ledger).await).await.account;
        let customer = StripeId::parse("cus_gone").expect("an id");
        let owner =
            async || find_account_of_customer(&ledger.service, ledger.ledger, &customer).await.expect("read");
        let cause = LinkCause::Adopted;
        let link = LinkCustomer { account, customer: customer.clone(), cause };
        ledger.submit(Command::LinkCustomer(link)).await;
        assert_eq!(owner().await.map(|owner| owner.number), Some(account));
        let event = as_another_event(&body(event));
        let event_id = ledger.deliver_and_settle(&event).await;
        assert_eq!((ledger.fate(&event_id).await.as_str(), owner().await), ("processed", None));
        let event_id = ledger.deliver_and_settle(&as_another_event(&event)).await;
        assert_eq!(ledger.fate(&event_id).await, "ignored unknown_customer");
    }
}
