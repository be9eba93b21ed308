//! Every request that the client makes, field by field, and held against Stripe's own specification where that is on
//! this machine.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use counterfoil::{
    domain::{
        amount::Amount,
        ids::{PriceId, RefundRequestId},
        time::{Span, Timestamp},
    },
    stripe::client::{
        CheckoutMode, EventQuery, NewCheckoutSession, NewCustomer, NewRefund, RefundReason, StripeClient,
        api_version,
    },
};
use serde_json::{Value, json};

use crate::stripe_client_support::{API_KEY, Received, Reply, ScriptedServer, effect, id, origin};

/// Answers each request with an object or a list of the kind that belongs to its path.
async fn any_stripe() -> ScriptedServer {
    ScriptedServer::start(|request| {
        let words: Vec<&str> = request.path.trim_start_matches("/v1/").split('/').collect();
        let is_list = request.query.contains_key("limit");
        let kind = match words[0] {
            "checkout" if words.last() == Some(&"line_items") => "item",
            "checkout" => "checkout.session",
            "account" => "account",
            plural => plural.trim_end_matches('s'),
        };
        let object = json!({ "id": "x_1", "object": kind });
        Reply::json(&if is_list { json!({ "object": "list", "data": [object] }) } else { object })
    })
    .await
}

/// Makes one call and returns its request.
async fn request_of(call: impl AsyncFn(&StripeClient)) -> Received {
    let server = any_stripe().await;
    call(&server.client()).await;
    let mut received = server.received();
    assert_eq!(received.len(), 1);
    let request = received.remove(0);
    assert_eq!(request.headers["authorization"], format!("Bearer {API_KEY}"));
    assert_eq!(request.headers["stripe-version"], api_version());
    assert!(request.headers["user-agent"].starts_with("Counterfoil/"));
    hold_against_specification(&request);
    request
}

fn fields(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Checks a request that makes something.
#[track_caller]
fn assert_creates(request: &Received, path: &str, form: &[(&str, &str)]) {
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", path));
    assert_eq!(request.headers["idempotency-key"], effect().to_string());
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(request.query, BTreeMap::new());
    assert_eq!(request.form, fields(form));
}

const EFFECT: &str = "eff_000000000000000000000000000000e1";
const ORDER: &str = "ord_00000000000000000000000000000007";
const ACCOUNT: &str = "alice@example.com";

#[tokio::test]
async fn a_customer_is_made_with_what_is_known_and_our_marks() {
    let new = NewCustomer {
        origin: origin(),
        email: Some("a+b&c@example.com".to_owned()),
        name: Some("Ada Löffel".to_owned()),
        locale: Some("de-AT".to_owned()),
    };
    let request = request_of(async |client| {
        client.create_customer(&new).await.expect("a customer");
    });
    assert_creates(
        &request.await,
        "/v1/customers",
        &[
            ("email", "a+b&c@example.com"),
            ("name", "Ada Löffel"),
            ("preferred_locales[0]", "de-AT"),
            ("metadata[counterfoil_effect]", EFFECT),
            ("metadata[counterfoil_ledger]", "shop"),
            ("metadata[counterfoil_account]", ACCOUNT),
            ("metadata[counterfoil_order]", ORDER),
        ],
    );
}

fn least_session(mode: CheckoutMode) -> NewCheckoutSession {
    NewCheckoutSession {
        trial_days: None,
        origin: origin(),
        mode,
        customer: id("cus_1"),
        price: PriceId::parse("price_1").expect("a price"),
        quantity: Amount::new(2).expect("an amount"),
        locale: None,
        success_url: "https://shop.test/thanks?order=1&lang=de".to_owned(),
        cancel_url: None,
        automatic_tax: false,
        collect_tax_id: false,
        allow_promotion_codes: false,
        create_invoice: false,
        expires_at: None,
    }
}

/// What every session has.
const SESSION: &[(&str, &str)] = &[
    ("client_reference_id", ACCOUNT),
    ("customer", "cus_1"),
    ("line_items[0][price]", "price_1"),
    ("line_items[0][quantity]", "2"),
    ("success_url", "https://shop.test/thanks?order=1&lang=de"),
    ("metadata[counterfoil_effect]", EFFECT),
    ("metadata[counterfoil_ledger]", "shop"),
    ("metadata[counterfoil_account]", ACCOUNT),
    ("metadata[counterfoil_order]", ORDER),
    ("metadata[account_id]", ACCOUNT),
    ("metadata[order_id]", ORDER),
    ("metadata[price_id]", "price_1"),
    ("metadata[quantity]", "2"),
];

#[tokio::test]
async fn a_checkout_says_whose_it_is_on_the_session_and_on_what_pays() {
    let new = NewCheckoutSession {
        trial_days: None,
        locale: Some("de-AT".to_owned()),
        cancel_url: Some("https://shop.test/back".to_owned()),
        automatic_tax: true,
        collect_tax_id: true,
        allow_promotion_codes: true,
        create_invoice: true,
        expires_at: Timestamp::from_unix_seconds(1_800_000_000),
        ..least_session(CheckoutMode::Payment)
    };
    let request = request_of(async |client| {
        client.create_checkout_session(&new).await.expect("a session");
    });
    let more = [
        ("mode", "payment"),
        ("locale", "de"),
        ("cancel_url", "https://shop.test/back"),
        ("automatic_tax[enabled]", "true"),
        ("tax_id_collection[enabled]", "true"),
        ("customer_update[address]", "auto"),
        ("customer_update[name]", "auto"),
        ("allow_promotion_codes", "true"),
        ("expires_at", "1800000000"),
        ("invoice_creation[enabled]", "true"),
        ("invoice_creation[invoice_data][metadata][counterfoil_effect]", EFFECT),
        ("invoice_creation[invoice_data][metadata][counterfoil_ledger]", "shop"),
        ("invoice_creation[invoice_data][metadata][counterfoil_account]", ACCOUNT),
        ("invoice_creation[invoice_data][metadata][counterfoil_order]", ORDER),
        ("payment_intent_data[metadata][counterfoil_effect]", EFFECT),
        ("payment_intent_data[metadata][counterfoil_ledger]", "shop"),
        ("payment_intent_data[metadata][counterfoil_account]", ACCOUNT),
        ("payment_intent_data[metadata][counterfoil_order]", ORDER),
    ];
    assert_creates(&request.await, "/v1/checkout/sessions", &[SESSION, &more].concat());
}

#[tokio::test]
async fn a_checkout_of_a_subscription_marks_the_subscription() {
    let new = NewCheckoutSession { create_invoice: true, ..least_session(CheckoutMode::Subscription) };
    let request = request_of(async |client| {
        client.create_checkout_session(&new).await.expect("a session");
    });
    let more = [
        ("mode", "subscription"),
        ("allow_promotion_codes", "false"),
        ("subscription_data[metadata][counterfoil_effect]", EFFECT),
        ("subscription_data[metadata][counterfoil_ledger]", "shop"),
        ("subscription_data[metadata][counterfoil_account]", ACCOUNT),
        ("subscription_data[metadata][counterfoil_order]", ORDER),
    ];
    assert_creates(&request.await, "/v1/checkout/sessions", &[SESSION, &more].concat());
}

#[tokio::test]
async fn a_refund_is_made_of_a_payment_in_part_or_in_whole() {
    let mut new = NewRefund { origin: origin(), payment: id("pi_1"), amount: None, reason: None };
    new.origin.order = None;
    new.origin.refund = Some(RefundRequestId::from_bits(9));
    let least = [
        ("payment_intent", "pi_1"),
        ("metadata[counterfoil_effect]", EFFECT),
        ("metadata[counterfoil_ledger]", "shop"),
        ("metadata[counterfoil_account]", ACCOUNT),
        ("metadata[counterfoil_refund]", "rfd_00000000000000000000000000000009"),
    ];
    let whole = request_of(async |client| {
        client.create_refund(&new).await.expect("a refund");
    });
    assert_creates(&whole.await, "/v1/refunds", &least);
    for (reason, name) in [
        (RefundReason::Duplicate, "duplicate"),
        (RefundReason::Fraudulent, "fraudulent"),
        (RefundReason::RequestedByCustomer, "requested_by_customer"),
    ] {
        let new = NewRefund { amount: Amount::new(250), reason: Some(reason), ..new.clone() };
        let part = request_of(async |client| {
            client.create_refund(&new).await.expect("a refund");
        });
        let expected = [&least[..], &[("amount", "250"), ("reason", name)]].concat();
        assert_creates(&part.await, "/v1/refunds", &expected);
    }
}

#[tokio::test]
async fn ending_a_session_needs_no_key() {
    let request = request_of(async |client| {
        client.expire_checkout_session(&id("cs_1")).await.expect("a session");
    });
    let request = request.await;
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/v1/checkout/sessions/cs_1/expire")
    );
    assert!(!request.headers.contains_key("idempotency-key"));
    assert_eq!(request.form, BTreeMap::new());
}

/// Makes a call that reads and checks what it asks for.
async fn assert_reads(path: &str, query: &[(&str, &str)], call: impl AsyncFn(&StripeClient)) {
    let request = request_of(call).await;
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", path));
    assert_eq!(request.query, fields(query), "{path}");
    assert!(!request.headers.contains_key("idempotency-key"), "{path}");
    assert_eq!(request.form, BTreeMap::new(), "{path}");
}

#[tokio::test]
async fn single_objects_are_asked_for_by_their_ids() {
    let price = PriceId::parse("price_1").expect("a price");
    assert_reads("/v1/customers/cus_1", &[], async |stripe| drop(stripe.fetch_customer(&id("cus_1")).await))
        .await;
    let line_items = [("expand[0]", "line_items")];
    assert_reads("/v1/checkout/sessions/cs_1", &line_items, async |stripe| {
        drop(stripe.fetch_checkout_session(&id("cs_1")).await);
    })
    .await;
    assert_reads("/v1/refunds/re_1", &[], async |stripe| drop(stripe.fetch_refund(&id("re_1")).await)).await;
    assert_reads("/v1/charges/ch_1", &[], async |stripe| drop(stripe.fetch_charge(&id("ch_1")).await)).await;
    assert_reads("/v1/payment_intents/pi_1", &[], async |stripe| {
        drop(stripe.fetch_payment_intent(&id("pi_1")).await);
    })
    .await;
    assert_reads("/v1/prices/price_1", &[("expand[0]", "product")], async |stripe| {
        drop(stripe.fetch_price(&price).await);
    })
    .await;
    assert_reads("/v1/products/prod_1", &[], async |stripe| drop(stripe.fetch_product(&id("prod_1")).await))
        .await;
    assert_reads("/v1/events/evt_1", &[], async |stripe| drop(stripe.fetch_event(&id("evt_1")).await)).await;
    assert_reads("/v1/account", &[], async |stripe| drop(stripe.fetch_account().await)).await;
}

#[tokio::test]
async fn lists_are_asked_for_page_by_page() {
    let since = Timestamp::from_unix_seconds(1_800_000_000).expect("a moment");
    let (after, newer) = (id("x_9"), id("evt_5"));
    let prices = [("limit", "100"), ("expand[0]", "data.product"), ("starting_after", "x_9")];
    assert_reads("/v1/prices", &prices, async |stripe| drop(stripe.list_prices(Some("x_9")).await)).await;
    let query = EventQuery {
        types: &["price.updated", "refund.created"],
        since: Some(since),
        until: Some(since.plus(Span::seconds(60))),
        newer_than: Some(&newer),
        older_than: None,
    };
    let events = [
        ("limit", "100"),
        ("types[0]", "price.updated"),
        ("types[1]", "refund.created"),
        ("created[gte]", "1800000000"),
        ("created[lt]", "1800000060"),
        ("ending_before", "evt_5"),
    ];
    assert_reads("/v1/events", &events, async |stripe| drop(stripe.list_events(&query).await)).await;
    let older = EventQuery { older_than: Some(&after), ..EventQuery::default() };
    let events = [("limit", "100"), ("starting_after", "x_9")];
    assert_reads("/v1/events", &events, async |stripe| drop(stripe.list_events(&older).await)).await;
    let refunds = [("limit", "100"), ("payment_intent", "pi_1")];
    assert_reads("/v1/refunds", &refunds, async |stripe| drop(stripe.list_refunds(&id("pi_1"), None).await))
        .await;
    let sessions = [("limit", "100"), ("customer", "cus_1"), ("starting_after", "x_9")];
    assert_reads("/v1/checkout/sessions", &sessions, async |stripe| {
        drop(stripe.list_checkout_sessions(&id("cus_1"), Some(&after)).await);
    })
    .await;
    let customers = [("limit", "100"), ("created[gte]", "1800000000")];
    assert_reads("/v1/customers", &customers, async |stripe| drop(stripe.list_customers(since, None).await))
        .await;
}

/// Stripe's specification, if it is on this machine.
fn specification() -> Option<Value> {
    let shared = std::env::var_os("COUNTERFOIL_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let file = shared.unwrap_or(beside).join("stripe/stripe-spec-subset.json");
    match fs::read(&file) {
        Ok(text) => Some(serde_json::from_slice(&text).expect("JSON")),
        Err(_) => {
            println!("no specification of Stripe's at {}: nothing to hold against", file.display());
            None
        }
    }
}

/// Fails if Stripe does not know a parameter of a request, or does not take it any more.
fn hold_against_specification(request: &Received) {
    for name in request.form.keys().chain(request.query.keys()) {
        assert!(!name.starts_with("payment_method_types"), "{name} is refused since 2026-09-30");
    }
    let Some(specification) = specification() else { return };
    let paths = specification["paths"].as_object().expect("paths");
    let fits = |template: &str| {
        let (template, path) = (template.split('/'), request.path.split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(expected, part)| expected.starts_with('{') || expected == part)
    };
    // Paths without a variable come first, so that `search` is no id.
    let found = paths
        .iter()
        .filter(|(template, _)| fits(template))
        .min_by_key(|(template, _)| template.contains('{'));
    let Some((template, operations)) = found else {
        assert_eq!(request.path, "/v1/account", "the one path that the subset does not have");
        return;
    };
    let operation = &operations[request.method.to_lowercase()];
    let form = &operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
    for name in request.form.keys() {
        assert!(
            knows(&specification, form, &segments(name)),
            "{} {template}: `{name}` is not known",
            request.method
        );
    }
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    for name in request.query.keys() {
        let segments = segments(name);
        let parameter = parameters.iter().find(|parameter| parameter["name"] == segments[0]);
        let is_known =
            parameter.is_some_and(|parameter| knows(&specification, &parameter["schema"], &segments[1..]));
        assert!(is_known, "{} {template}: `{name}` is not known", request.method);
    }
}

/// `a[b][0]` as `a`, `b`, `0`.
fn segments(name: &str) -> Vec<&str> {
    name.split(['[', ']']).filter(|segment| !segment.is_empty()).collect()
}

/// Whether a schema of a specification has a place for a value under these names.
fn knows(specification: &Value, schema: &Value, segments: &[&str]) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        let referred = specification.pointer(reference.trim_start_matches('#'));
        return knows(specification, referred.expect("a schema"), segments);
    }
    if let Some(variants) = schema["anyOf"].as_array() {
        return variants.iter().any(|variant| knows(specification, variant, segments));
    }
    let Some((first, rest)) = segments.split_first() else { return schema["type"] != "object" };
    let is_index = first.bytes().all(|byte| byte.is_ascii_digit());
    let inner = match (&schema["properties"][first], &schema["additionalProperties"]) {
        _ if is_index && schema["type"] == "array" => &schema["items"],
        (Value::Null, others) => others,
        (property, _) => property,
    };
    inner.is_object() && knows(specification, inner, rest)
}

#[test]
fn the_comparison_notices_what_stripe_does_not_know() {
    let specification = json!({ "components": { "schemas": { "Item": {
        "type": "object", "properties": { "price": { "type": "string" } },
    }}}});
    let schema = json!({ "type": "object", "properties": {
        "metadata": { "anyOf": [
            { "type": "object", "additionalProperties": { "type": "string" } },
            { "type": "string", "enum": [""] },
        ]},
        "items": { "type": "array", "items": { "$ref": "#/components/schemas/Item" } },
    }});
    for (name, expected) in [
        ("metadata[anything]", true),
        ("items[0][price]", true),
        ("items[0][colour]", false),
        ("payment_method_types[0]", false),
        ("items[price]", false),
    ] {
        assert_eq!(knows(&specification, &schema, &segments(name)), expected, "{name}");
    }
}
