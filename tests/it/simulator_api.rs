//! The simulated Stripe as its clients meet it: objects, refusals, keys, lists, and how money moves.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::simulator::{TestSimulator, id};

#[tokio::test]
async fn a_customer_is_made_changed_listed_and_deleted() {
    let stripe = TestSimulator::start().await;
    let form = "email=alice@example.com&name=Alice&metadata[counterfoil_account]=alice&expand[]=tax";
    let customer = stripe.post("/v1/customers", form).await.ok();
    assert_eq!(customer["tax"]["automatic_tax"], "unrecognized_location");
    let path = format!("/v1/customers/{}", id(&customer));
    let changed = stripe.post(&path, "name=&metadata[counterfoil_account]=&metadata[other]=1").await.ok();
    assert_eq!((&changed["name"], &changed["metadata"]), (&Value::Null, &json!({ "other": "1" })));

    stripe.post("/v1/customers", "email=bob@example.com").await.ok();
    let list = stripe.get("/v1/customers?email=alice@example.com").await.ok();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1));
    let found = stripe.get("/v1/customers/search?query=metadata['other']:'1'").await.ok();
    assert_eq!(found["data"][0]["id"], customer["id"]);

    let deleted = stripe.send(Method::DELETE, &path, "", &[]).await.ok();
    assert_eq!(deleted, json!({ "id": customer["id"], "object": "customer", "deleted": true }));
    assert_eq!(stripe.get(&path).await.ok(), deleted);
    assert_eq!(stripe.post(&path, "name=x").await.code(), "resource_missing");
    let types: Vec<Value> = stripe.objects("event").await.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["customer.created", "customer.updated", "customer.created", "customer.deleted"]);
}

#[tokio::test]
async fn lists_are_walked_by_cursors_newest_first() {
    let stripe = TestSimulator::start().await;
    let mut made = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        made.push(id(&stripe.post("/v1/customers", &format!("name={name}")).await.ok()));
    }
    made.reverse();
    let ids =
        |list: &Value| -> Vec<String> { list["data"].as_array().expect("data").iter().map(id).collect() };
    let first = stripe.get("/v1/customers?limit=2").await.ok();
    assert_eq!((ids(&first), &first["has_more"]), (made[..2].to_vec(), &json!(true)));
    let rest = stripe.get(&format!("/v1/customers?limit=3&starting_after={}", made[1])).await.ok();
    assert_eq!((ids(&rest), &rest["has_more"]), (made[2..].to_vec(), &json!(false)));
    let back = stripe.get(&format!("/v1/customers?limit=2&ending_before={}", made[3])).await.ok();
    assert_eq!((ids(&back), &back["has_more"]), (made[1..3].to_vec(), &json!(true)));
    assert_eq!(stripe.get("/v1/customers?limit=0").await.status, 400);
    assert_eq!(stripe.get("/v1/customers?starting_after=cus_none").await.status, 400);
    assert_eq!(stripe.get("/v1/customers?created[gt]=99999999999").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn what_stripe_refuses_is_refused_in_its_words() {
    let stripe = TestSimulator::start().await;
    let price = stripe.price("unit_amount=1000").await;
    let monthly = stripe.price("unit_amount=1000&recurring[interval]=month").await;
    let customer = id(&stripe.post("/v1/customers", "email=alice@example.com").await.ok());
    let session = |more: &str| {
        format!(
            "mode=payment&success_url=https://a.example/&line_items[0][price]={price}&line_items[0][quantity]=1&{more}"
        )
    };
    for (path, form, status, code, param) in [
        ("/v1/customers", "foo=1".to_owned(), 400, "parameter_unknown", "foo"),
        ("/v1/customers", "email=nobody".to_owned(), 400, "email_invalid", "email"),
        ("/v1/nothing", String::new(), 404, "", ""),
        ("/v1/customers/cus_none", "name=a".to_owned(), 404, "resource_missing", "id"),
        ("/v1/refunds", "charge=ch_none".to_owned(), 400, "resource_missing", "charge"),
        (
            "/v1/refunds",
            "payment_intent=pi_none&amount=x".to_owned(),
            400,
            "parameter_invalid_integer",
            "amount",
        ),
        ("/v1/checkout/sessions", "mode=payment".to_owned(), 400, "parameter_missing", "success_url"),
        (
            "/v1/checkout/sessions",
            "success_url=https://a.example/".to_owned(),
            400,
            "parameter_missing",
            "mode",
        ),
        ("/v1/checkout/sessions", session("success_url=shop.example"), 400, "url_invalid", "success_url"),
        (
            "/v1/checkout/sessions",
            session("payment_method_types[]=card"),
            400,
            "payment_method_types_no_longer_supported",
            "payment_method_types",
        ),
        ("/v1/checkout/sessions", session("ui_mode=hosted"), 400, "", "ui_mode"),
        ("/v1/checkout/sessions", session("customer=cus_none"), 400, "resource_missing", "customer"),
        (
            "/v1/checkout/sessions",
            session("line_items[0][price]=price_none"),
            400,
            "resource_missing",
            "line_items[0][price]",
        ),
        ("/v1/checkout/sessions", session(&format!("line_items[0][price]={monthly}")), 400, "", "line_items"),
        ("/v1/checkout/sessions", session("expires_at=1"), 400, "", "expires_at"),
        (
            "/v1/checkout/sessions",
            session(&format!("customer={customer}&automatic_tax[enabled]=true")),
            400,
            "customer_tax_location_invalid",
            "automatic_tax",
        ),
        (
            "/v1/checkout/sessions",
            session(&format!("customer={customer}&tax_id_collection[enabled]=true")),
            400,
            "",
            "customer_update[name]",
        ),
        ("/v1/checkout/sessions", session("customer_update[address]=auto"), 400, "", "customer_update"),
    ] {
        let answer = stripe.post(path, &form).await;
        let error = &answer.body["error"];
        let said = (answer.status, answer.code(), error["param"].as_str().unwrap_or_default());
        assert_eq!(said, (status, code, param), "{path} {form}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(answer.header("request-id").starts_with("req_"));
    }
    let both = stripe
        .post("/v1/checkout/sessions", &session(&format!("customer={customer}&customer_email=a@b.example")))
        .await;
    assert_eq!(
        both.body["error"]["message"],
        "You may only specify one of these parameters: customer, customer_email."
    );
    assert_eq!(stripe.objects("checkout.session").await.len(), 0);

    stripe.post(&format!("/v1/prices/{price}"), "active=false").await.ok();
    let inactive = stripe.post("/v1/checkout/sessions", &session("")).await;
    assert_eq!((inactive.status, &inactive.body["error"]["param"]), (400, &json!("line_items[0][price]")));
}

#[tokio::test]
async fn a_wrong_key_opens_nothing() {
    let stripe = TestSimulator::start().await;
    let url = format!("{}/v1/customers", stripe.url);
    for (request, message) in [
        (stripe.client.get(&url), "You did not provide an API key."),
        (stripe.client.get(&url).bearer_auth("sk_test_wrong"), "Invalid API Key provided: sk_test_****"),
    ] {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 401);
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert!(body["error"]["message"].as_str().is_some_and(|text| text.starts_with(message)), "{body}");
    }
    let basic = stripe.client.get(&url).basic_auth(crate::support::simulator::API_KEY, Some(""));
    assert_eq!(basic.send().await.expect("an answer").status().as_u16(), 200);
}

#[tokio::test]
async fn paying_a_session_moves_money_and_tells_of_it() {
    let stripe = TestSimulator::start().await;
    let price = stripe.price("unit_amount=1000&metadata[credits]=100").await;
    let customer = id(&stripe.post("/v1/customers", "email=alice@example.com").await.ok());
    let more = format!(
        "customer={customer}&client_reference_id=alice&metadata[a]=1&payment_intent_data[metadata][b]=2\
         &line_items[0][quantity]=3&invoice_creation[enabled]=true"
    );
    let session = stripe.session(&price, &more).await;
    assert_eq!((&session["status"], &session["payment_status"]), (&json!("open"), &json!("unpaid")));
    assert_eq!((&session["amount_total"], &session["payment_intent"]), (&json!(3000), &Value::Null));
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    let lines = stripe.get(&format!("{path}/line_items")).await.ok();
    assert_eq!(lines["data"][0]["price"]["metadata"]["credits"], "100");
    assert_eq!((&lines["data"][0]["quantity"], &lines["data"][0]["amount_total"]), (&json!(3), &json!(3000)));

    let before = stripe.objects("event").await.len();
    stripe
        .control(&format!("checkout_sessions/{}/complete", id(&session)), json!({ "outcome": "paid" }))
        .await;
    let expand =
        "expand[]=payment_intent.latest_charge.balance_transaction&expand[]=line_items&expand[]=customer";
    let paid = stripe.get(&format!("{path}?{expand}")).await.ok();
    assert_eq!((&paid["status"], &paid["payment_status"]), (&json!("complete"), &json!("paid")));
    assert_eq!(paid["url"], Value::Null);
    assert_eq!(paid["customer"]["email"], "alice@example.com");
    let intent = &paid["payment_intent"];
    assert_eq!((&intent["status"], &intent["amount_received"]), (&json!("succeeded"), &json!(3000)));
    assert_eq!(intent["metadata"], json!({ "b": "2" }));
    let charge = &intent["latest_charge"];
    assert_eq!((&charge["paid"], &charge["metadata"]["b"]), (&json!(true), &json!("2")));
    assert_eq!(charge["balance_transaction"]["amount"], 3000);
    assert_eq!(paid["line_items"]["data"][0]["quantity"], 3);

    let events = stripe.objects("event").await;
    let types: Vec<&str> = events[before..].iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(
        types,
        [
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "invoice.created",
            "invoice.finalized",
            "invoice_payment.paid",
            "invoice.paid",
            "invoice.payment_succeeded",
            "checkout.session.completed",
        ]
    );
    let query = format!("payment[type]=payment_intent&payment[payment_intent]={}", id(intent));
    let payments = stripe.get(&format!("/v1/invoice_payments?{query}&expand[]=data.invoice")).await.ok();
    assert_eq!(payments["data"][0]["invoice"]["id"], paid["invoice"]);
    assert_eq!(payments["data"][0]["invoice"]["status"], "paid");

    let again = stripe
        .try_control(
            Method::POST,
            &format!("checkout_sessions/{}/complete", id(&session)),
            json!({ "outcome": "paid" }),
        )
        .await;
    assert_eq!(again.status, 400);
    assert_eq!(stripe.post(&format!("{path}/expire"), "").await.status, 400);
}

#[tokio::test]
async fn a_declined_card_leaves_the_session_open_for_another() {
    let stripe = TestSimulator::start().await;
    let price = stripe.price("unit_amount=1000").await;
    let session = id(&stripe.session(&price, "").await);
    let complete = format!("checkout_sessions/{session}/complete");
    let declined = stripe.control(&complete, json!({ "outcome": "declined" })).await;
    assert_eq!(declined["status"], "open");
    let path = format!("/v1/payment_intents/{}", declined["payment_intent"].as_str().expect("an intent"));
    let intent = stripe.get(&path).await.ok();
    assert_eq!(intent["status"], "requires_payment_method");
    assert_eq!(intent["last_payment_error"]["decline_code"], "generic_decline");

    let asked = stripe.control(&complete, json!({ "outcome": "paid", "card": "4000000000003220" })).await;
    assert_eq!(asked["status"], "open");
    assert_eq!(stripe.get(&path).await.ok()["next_action"]["type"], "redirect_to_url");
    let challenge = format!("checkout_sessions/{session}/challenge");
    stripe.control(&challenge, json!({ "outcome": "failed" })).await;
    stripe.control(&complete, json!({ "outcome": "paid", "card": "4000000000003220" })).await;
    let passed = stripe.control(&challenge, json!({ "outcome": "passed" })).await;
    assert_eq!(passed["payment_status"], "paid");
    assert_eq!(stripe.get(&path).await.ok()["status"], "succeeded");
    assert_eq!(stripe.objects("payment_intent").await.len(), 1);
}

#[tokio::test]
async fn money_of_a_delayed_method_arrives_later_or_not() {
    let stripe = TestSimulator::start().await;
    let price = stripe.price("unit_amount=1000").await;
    for (outcome, payment_status, event_type) in [
        ("succeeded", "paid", "checkout.session.async_payment_succeeded"),
        ("failed", "unpaid", "checkout.session.async_payment_failed"),
    ] {
        let session = id(&stripe.session(&price, "").await);
        let unpaid = stripe
            .control(&format!("checkout_sessions/{session}/complete"), json!({ "outcome": "unpaid" }))
            .await;
        assert_eq!((&unpaid["status"], &unpaid["payment_status"]), (&json!("complete"), &json!("unpaid")));
        let order = format!("checkout_sessions/{session}/async_result");
        let settled = stripe.control(&order, json!({ "outcome": outcome })).await;
        assert_eq!(settled["payment_status"], payment_status);
        let again = stripe.try_control(Method::POST, &order, json!({ "outcome": outcome })).await;
        assert_eq!(again.status, 400);
        let last = stripe.get("/v1/events?limit=1").await.ok()["data"][0].clone();
        assert_eq!((&last["type"], &last["data"]["object"]["id"]), (&json!(event_type), &json!(session)));
    }
}

#[tokio::test]
async fn discounts_and_taxes_change_the_total_and_a_free_order_needs_no_payment() {
    let stripe = TestSimulator::start().await;
    let price = stripe.price("unit_amount=1000").await;
    stripe.post("/v1/coupons", "id=quarter&percent_off=25").await.ok();
    let code = stripe
        .post("/v1/promotion_codes", "promotion[type]=coupon&promotion[coupon]=quarter&code=SAVE25")
        .await
        .ok();
    let session = id(&stripe.session(&price, "allow_promotion_codes=true&automatic_tax[enabled]=true").await);
    let complete = format!("checkout_sessions/{session}/complete");
    let paid = stripe.control(&complete, json!({ "outcome": "paid", "promotion_code": "save25" })).await;
    assert_eq!((&paid["amount_subtotal"], &paid["amount_total"]), (&json!(1000), &json!(893)));
    assert_eq!(
        paid["total_details"],
        json!({ "amount_discount": 250, "amount_shipping": 0, "amount_tax": 143 })
    );
    assert_eq!(paid["discounts"], json!([{ "coupon": "quarter", "promotion_code": code["id"] }]));
    assert_eq!(paid["automatic_tax"]["status"], "complete");

    stripe.post("/v1/coupons", "id=all&percent_off=100").await.ok();
    let free = stripe.session(&price, "discounts[0][coupon]=all").await;
    assert_eq!(free["amount_total"], 0);
    let done = stripe
        .control(&format!("checkout_sessions/{}/complete", id(&free)), json!({ "outcome": "paid" }))
        .await;
    assert_eq!(
        (&done["payment_status"], &done["payment_intent"]),
        (&json!("no_payment_required"), &Value::Null)
    );
}

#[tokio::test]
async fn refunds_are_whole_or_in_part_and_never_more_than_was_paid() {
    let stripe = TestSimulator::start().await;
    let paid = stripe.paid_session(1000).await;
    let intent = paid["payment_intent"].as_str().expect("an intent").to_owned();
    let part = stripe
        .post(
            "/v1/refunds",
            &format!("payment_intent={intent}&amount=400&metadata[counterfoil_effect]=eff_1"),
        )
        .await
        .ok();
    assert_eq!((&part["status"], &part["amount"]), (&json!("succeeded"), &json!(400)));
    let charge = part["charge"].as_str().expect("a charge").to_owned();
    let more = stripe.post("/v1/refunds", &format!("charge={charge}&amount=601")).await;
    assert_eq!((more.status, &more.body["error"]["param"]), (400, &json!("amount")));
    stripe.post("/v1/refunds", &format!("charge={charge}")).await.ok();
    assert_eq!(
        stripe.post("/v1/refunds", &format!("charge={charge}")).await.code(),
        "charge_already_refunded"
    );
    let list = stripe
        .get(&format!("/v1/refunds?payment_intent={intent}&expand[]=data.balance_transaction"))
        .await
        .ok();
    let amounts: Vec<&Value> = list["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|refund| &refund["balance_transaction"]["amount"])
        .collect();
    assert_eq!(amounts, [&json!(-600), &json!(-400)]);
    let whole = stripe.get(&format!("/v1/charges/{charge}?expand[]=refunds")).await.ok();
    assert_eq!((&whole["amount_refunded"], &whole["refunded"]), (&json!(1000), &json!(true)));
    assert_eq!(whole["refunds"]["data"][1]["metadata"]["counterfoil_effect"], "eff_1");

    let failed = stripe.control(&format!("refunds/{}/fail", id(&part)), json!({})).await;
    assert_eq!(
        (&failed["status"], &failed["failure_reason"]),
        (&json!("failed"), &json!("expired_or_canceled_card"))
    );
    assert_eq!(stripe.get(&format!("/v1/charges/{charge}")).await.ok()["amount_refunded"], 600);
    let types: Vec<Value> = stripe.get("/v1/events?type=refund.*").await.ok()["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    assert_eq!(
        types,
        [
            "refund.failed",
            "refund.updated",
            "refund.updated",
            "refund.created",
            "refund.updated",
            "refund.created"
        ]
    );
}

#[tokio::test]
async fn a_slow_refund_waits_for_the_bank_and_one_that_waits_for_the_buyer_can_be_canceled() {
    let stripe = TestSimulator::start().await;
    let price = stripe.price("unit_amount=1000").await;
    let session = id(&stripe.session(&price, "").await);
    let order = json!({ "outcome": "paid", "card": "4000 0000 0000 7726" });
    let paid = stripe.control(&format!("checkout_sessions/{session}/complete"), order).await;
    let intent = paid["payment_intent"].as_str().expect("an intent");
    let slow = stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=100")).await.ok();
    assert_eq!((&slow["status"], &slow["pending_reason"]), (&json!("pending"), &json!("processing")));
    let done = stripe.control(&format!("refunds/{}/succeed", id(&slow)), json!({})).await;
    assert_eq!(done["status"], "succeeded");
    let waiting = stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=200")).await.ok();
    let cancel = format!("/v1/refunds/{}/cancel", id(&waiting));
    assert_eq!(stripe.post(&cancel, "").await.status, 400);
    stripe.control(&format!("refunds/{}/require_action", id(&waiting)), json!({})).await;
    assert_eq!(stripe.post(&cancel, "").await.ok()["status"], "canceled");
}

#[tokio::test]
async fn a_dispute_takes_the_money_and_gives_it_back_if_won() {
    let stripe = TestSimulator::start().await;
    for (outcome, entries, last) in
        [("won", 2, "charge.dispute.closed"), ("lost", 1, "charge.dispute.closed")]
    {
        let paid = stripe.paid_session(1000).await;
        let intent = paid["payment_intent"].as_str().expect("an intent");
        let dispute =
            stripe.control(&format!("charges/{intent}/dispute"), json!({ "reason": "fraudulent" })).await;
        assert_eq!((&dispute["status"], &dispute["amount"]), (&json!("needs_response"), &json!(1000)));
        let refund = stripe.post("/v1/refunds", &format!("payment_intent={intent}")).await;
        assert_eq!(refund.code(), "charge_disputed");
        stripe
            .post(&format!("/v1/disputes/{}", id(&dispute)), "evidence[product_description]=x&submit=true")
            .await
            .ok();
        let closed =
            stripe.control(&format!("disputes/{}/close", id(&dispute)), json!({ "outcome": outcome })).await;
        assert_eq!(closed["status"], outcome);
        assert_eq!(closed["balance_transactions"].as_array().map(Vec::len), Some(entries));
        assert_eq!(stripe.get("/v1/events?limit=1").await.ok()["data"][0]["type"], last);
        stripe.get(&format!("/v1/disputes/{}", id(&dispute))).await.ok();
    }
    let paid = stripe.paid_session(1000).await;
    let intent = paid["payment_intent"].as_str().expect("an intent");
    let inquiry = stripe.control(&format!("charges/{intent}/dispute"), json!({ "inquiry": true })).await;
    assert_eq!(
        (&inquiry["status"], &inquiry["balance_transactions"]),
        (&json!("warning_needs_response"), &json!([]))
    );
    let escalated = stripe.control(&format!("disputes/{}/escalate", id(&inquiry)), json!({})).await;
    assert_eq!(escalated["balance_transactions"][0]["net"], -2500);
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_for_a_day_and_only_for_the_same_request() {
    let stripe = TestSimulator::start().await;
    let first = stripe.post_with_key("/v1/customers", "key-1", "name=Alice&email=a@b.example").await;
    let request_id = first.header("request-id").to_owned();
    assert_eq!(
        (first.header("original-request"), first.header("idempotency-key")),
        (request_id.as_str(), "key-1")
    );
    let again = stripe.post_with_key("/v1/customers", "key-1", "email=a@b.example&name=Alice").await;
    assert_eq!(again.body, first.body);
    assert_eq!(
        (again.header("idempotent-replayed"), again.header("original-request")),
        ("true", request_id.as_str())
    );
    for (path, form) in [("/v1/customers", "name=Bob"), ("/v1/products", "name=Alice&email=a@b.example")] {
        let other = stripe.post_with_key(path, "key-1", form).await;
        assert_eq!((other.status, &other.body["error"]["type"]), (400, &json!("idempotency_error")));
    }
    // Refused for its parameters: the key is free. Refused for the state: it is not.
    assert_eq!(stripe.post_with_key("/v1/customers", "key-2", "foo=1").await.status, 400);
    assert_eq!(stripe.post_with_key("/v1/customers", "key-2", "name=Bob").await.status, 200);
    assert_eq!(stripe.post_with_key("/v1/refunds", "key-3", "charge=ch_none").await.status, 400);
    let replayed = stripe.post_with_key("/v1/refunds", "key-3", "charge=ch_none").await;
    assert_eq!((replayed.code(), replayed.header("idempotent-replayed")), ("resource_missing", "true"));

    stripe.control("clock/advance", json!({ "seconds": 24 * 3600 + 1 })).await;
    let anew = stripe.post_with_key("/v1/customers", "key-1", "email=a@b.example&name=Alice").await.ok();
    assert_ne!(anew["id"], first.body["id"]);
    assert_eq!(stripe.objects("customer").await.len(), 3);
}

#[tokio::test]
async fn time_expires_sessions_at_their_own_moment_and_forgets_events_after_thirty_days() {
    let stripe = TestSimulator::start().await;
    let price = stripe.price("unit_amount=1000").await;
    let session = stripe.session(&price, "").await;
    let now = stripe.control("clock/advance", json!({ "seconds": 23 * 3600 })).await["now"]
        .as_i64()
        .expect("a time");
    let half_an_hour = id(&stripe.session(&price, &format!("expires_at={}", now + 1800)).await);
    stripe.control("clock/advance", json!({ "seconds": 7 * 86_400 })).await;
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    assert_eq!(stripe.get(&path).await.ok()["status"], "expired");
    let expired = stripe.get("/v1/events?type=checkout.session.expired").await.ok();
    let first = &expired["data"][1];
    assert_eq!(first["data"]["object"]["id"], half_an_hour.as_str());
    assert_eq!(first["created"], now + 1800);
    assert_eq!(expired["data"][0]["created"], session["expires_at"]);
    assert_eq!(first["request"]["id"], Value::Null);

    stripe.control("clock/advance", json!({ "seconds": 23 * 86_400 })).await;
    let kept = stripe.get("/v1/events?limit=100").await.ok();
    assert_eq!(kept["data"].as_array().map(Vec::len), Some(2), "the two that expired: {kept}");
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut stripe =
        TestSimulator::start_with(&["--data-dir", folder.path().to_str().expect("a path")]).await;
    let customer = stripe.post_with_key("/v1/customers", "key-1", "name=Alice").await.ok();
    let paid = stripe.paid_session(1000).await;
    stripe.control("clock/advance", json!({ "seconds": 1000 })).await;
    let before = stripe.try_control(Method::GET, "state", json!({})).await.body;
    for _ in 0..2 {
        stripe.restart().await;
    }
    let after = stripe.try_control(Method::GET, "state", json!({})).await.body;
    assert_eq!(after["objects"], before["objects"]);
    assert!(after["now"].as_i64() >= before["now"].as_i64());
    let again = stripe.post_with_key("/v1/customers", "key-1", "name=Alice").await.ok();
    assert_eq!(again, customer);
    let path = format!("/v1/checkout/sessions/{}?expand[]=line_items", id(&paid));
    assert_eq!(stripe.get(&path).await.ok()["line_items"]["data"][0]["amount_total"], 1000);
}
