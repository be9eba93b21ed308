//! What the log says, and above all what it does not: nothing that a client sent, and no secret, at any level.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use counterfoil::{
    stripe::signature::{SigningSecret, sign},
    writer::system_clock,
};

use crate::{
    support::{
        app::{self, TestApp},
        proxy::Proxy,
        wait,
    },
    telemetry_canaries::{self, CANARY, Operation},
};

/// The most talkative that the service can be told to be, and what a habit would try.
const TALKATIVE: &[(&str, &str)] = &[("COUNTERFOIL_LOG_LEVEL", "trace"), ("RUST_LOG", "trace")];

fn lines(app: &TestApp) -> Vec<Value> {
    let log = app.process.standard_error();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}")))
        .collect()
}

/// Waits until the log names a request that is made now: it has then told of everything before.
async fn wait_for_the_log(app: &TestApp) {
    let id = format!("req_{}", uuid::Uuid::new_v4().simple());
    let request = app.request(Method::GET, "/v1/accounts/nobody").header("X-Request-Id", &id);
    request.send().await.expect("an answer");
    wait::until("the log to name the request", async || {
        app.process.standard_error().contains(&id).then_some(())
    })
    .await;
}

/// Fails if anything that must not be told has been told.
async fn assert_silent(app: &TestApp, done: &str) {
    wait_for_the_log(app).await;
    let database_url = app.database.runtime_url();
    let password = database_url.expose_secret().split([':', '@']).nth(2).expect("a password").to_owned();
    let key_secret = app.ledger.api_key.splitn(5, '_').nth(4).expect("a secret").to_owned();
    let secrets = [CANARY.to_owned(), password, key_secret, app.ledger.webhook_secret.clone()];
    let told = app.process.standard_error() + &app.process.standard_output();
    let told = told.to_lowercase();
    for secret in secrets {
        if let Some(place) = told.find(&secret.to_lowercase()) {
            let from = told[..place].rfind('\n').map_or(0, |newline| newline + 1);
            let line = told[from..].lines().next().unwrap_or_default();
            panic!("after {done}, `{secret}` is in the log: {line}");
        }
    }
}

/// With a canary in every header that can hold one. The id of the request is logged if it is sane, so it is not.
fn with_headers(request: RequestBuilder) -> RequestBuilder {
    request
        .header("User-Agent", format!("{CANARY}/1.0"))
        .header("X-Request-Id", format!("{CANARY} with blanks"))
        .header("Accept-Language", CANARY)
        .header("Cookie", format!("session={CANARY}"))
        .header("Referer", format!("https://example.com/{CANARY}"))
        .header("X-Forwarded-For", CANARY)
        .header("X-Anything", CANARY)
        .header("Idempotency-Key", format!("{CANARY}-{}", uuid::Uuid::new_v4()))
}

async fn send(request: RequestBuilder) -> (u16, String) {
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

async fn call(app: &TestApp, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
    let request = with_headers(app.request(method, path));
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let (status, text) = send(request).await;
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// One good request for everything that takes a text, with canaries wherever one fits. Returns what was asked.
async fn trade(app: &TestApp) -> BTreeSet<(u16, String)> {
    let metadata = json!({ CANARY: CANARY });
    let account = format!("/v1/accounts/{CANARY}@example.com");
    let mut answered = BTreeSet::new();
    let requests = [
        (
            Method::POST,
            "/v1/accounts".to_owned(),
            json!({
                "account_id": format!("{CANARY}@example.com"), "email": format!("{CANARY}@example.com"),
                "name": CANARY, "locale": "de", "metadata": metadata,
            }),
        ),
        (Method::PATCH, account.clone(), json!({ "name": format!("{CANARY} II"), "metadata": metadata })),
        (
            Method::PUT,
            format!("/v1/features/{CANARY}"),
            json!({ "unit": "credits", "cost": 5, "active": true }),
        ),
        (
            Method::PUT,
            format!("/v1/prices/{CANARY}"),
            json!({
                "display_name": CANARY, "display_order": 1, "active": true,
                "money": { "amount": 500, "currency": "eur" },
                "grants": [{ "unit": "credits", "amount": 100 }],
            }),
        ),
        (
            Method::POST,
            format!("{account}/grants"),
            json!({ "unit": "credits", "amount": 100, "reason": CANARY, "metadata": metadata }),
        ),
        (
            Method::POST,
            format!("{account}/spends"),
            json!({ "feature": CANARY, "quantity": 2, "reason": CANARY, "metadata": metadata }),
        ),
        (
            Method::POST,
            format!("{account}/adjustments"),
            json!({ "unit": "credits", "amount": -1, "reason": CANARY, "metadata": metadata }),
        ),
        (
            Method::POST,
            format!("{account}/purchases"),
            json!({
                "unit": "credits", "amount": 100, "money": { "amount": 500, "currency": "eur" },
                "reference": CANARY, "metadata": metadata,
            }),
        ),
        (Method::PUT, format!("{account}/overdraft-limit"), json!({ "unit": "credits", "limit": 5 })),
        (Method::POST, format!("{account}/freeze"), json!({ "reason": CANARY })),
        (Method::POST, format!("{account}/unfreeze"), json!({ "reason": CANARY })),
        (Method::POST, "/v1/api-keys".to_owned(), json!({ "name": CANARY, "scopes": ["read"] })),
    ];
    for (method, path, body) in requests {
        let (status, answer) = call(app, method.clone(), &path, Some(&body)).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        if let Some(purchase) = answer["purchase_id"].as_str() {
            let refund =
                json!({ "amount": 100, "reason": CANARY, "reference": CANARY, "metadata": metadata });
            let path = format!("/v1/purchases/{purchase}/refunds");
            let (status, answer) = call(app, Method::POST, &path, Some(&refund)).await;
            assert!((200..300).contains(&status), "{path}: {status} {answer}");
        }
        answered.insert((status, format!("{method} {path}")));
    }
    answered
}

/// Every operation of the interface, as its own specification lists them.
async fn every_operation(app: &TestApp) -> Vec<Operation> {
    let specification = app.client.get(format!("{}/openapi.yaml", app.url)).send().await.expect("an answer");
    let specification: Value =
        serde_yaml_ng::from_str(&specification.text().await.expect("a body")).expect("YAML");
    telemetry_canaries::operations(&specification)
}

/// Sends every operation everything that it says it takes, with canaries in every text. Returns what was accepted.
async fn use_everything(app: &TestApp, operations: &[Operation]) -> BTreeSet<String> {
    let mut accepted = BTreeSet::new();
    let (end, on_the_way): (Vec<&Operation>, Vec<&Operation>) =
        operations.iter().partition(|operation| operation.is_the_end());
    for operation in on_the_way.into_iter().chain(end) {
        let method = Method::from_bytes(operation.method.as_bytes()).expect("a method");
        for body in &operation.bodies {
            let (status, _) = call(app, method.clone(), &operation.path(), Some(body)).await;
            if status < 300 {
                accepted.insert(format!("{method} {}", operation.template));
            }
        }
        for name in &operation.query {
            let path = format!("{}?{name}={CANARY}", operation.path());
            call(app, method.clone(), &path, operation.bodies.first()).await;
        }
    }
    accepted
}

/// Every operation, with canaries in path, query and body where nobody asked for them.
async fn misuse_everything(app: &TestApp, operations: &[Operation]) {
    for operation in operations {
        let method = Method::from_bytes(operation.method.as_bytes()).expect("a method");
        let path = operation.path().replace(&telemetry_canaries::account(), CANARY);
        for query in ["", &format!("?cursor={CANARY}"), &format!("?{CANARY}={CANARY}")] {
            let url = format!("{path}{query}");
            call(app, method.clone(), &url, None).await;
            call(app, method.clone(), &url, Some(&json!({ CANARY: CANARY }))).await;
            let request = with_headers(app.request(method.clone(), &url));
            send(request.header("Content-Type", "application/json").body(format!("{{\"{CANARY}"))).await;
        }
        let request = app.client.request(method.clone(), format!("{}{path}", app.url));
        send(with_headers(request.bearer_auth(format!("cfk_test_test_{CANARY}")))).await;
        let request = app.client.request(method.clone(), format!("{}{path}", app.url));
        send(with_headers(request.basic_auth(CANARY, Some(CANARY)))).await;
        // Headers that decide what a request is: with them nothing else of it may be looked at.
        for (name, value) in [
            ("Accept", format!("text/{CANARY}")),
            ("Content-Type", format!("application/{CANARY}")),
            ("Last-Event-ID", CANARY.to_owned()),
        ] {
            let request = with_headers(app.request(method.clone(), &path)).header(name, value);
            send(request.body(format!("{{\"{CANARY}\":1}}"))).await;
        }
    }
}

/// Links that are not there, and forms that nobody sent.
async fn misuse_pages(app: &TestApp) {
    for path in [format!("/buy/{CANARY}/lnk_{CANARY}"), format!("/buy/{}/lnk_{CANARY}", app.ledger.slug)] {
        let url = format!("{}{path}?locale={CANARY}&{CANARY}={CANARY}", app.url);
        send(with_headers(app.client.get(&url))).await;
        let form = format!("quantity={CANARY}&locale={CANARY}&{CANARY}={CANARY}");
        let post = app.client.post(&url).header("Content-Type", "application/x-www-form-urlencoded");
        send(with_headers(post).body(form)).await;
    }
}

async fn misuse_the_rest(app: &TestApp) {
    misuse_pages(app).await;
    for path in [format!("/{CANARY}"), format!("/v1/{CANARY}"), format!("/v1/accounts/{CANARY}/{CANARY}")] {
        for method in [Method::GET, Method::POST, Method::from_bytes(CANARY.as_bytes()).expect("a method")] {
            call(app, method, &path, None).await;
        }
    }
    let account = json!({ "account_id": format!("{CANARY} with blanks"), "email": CANARY, "locale": CANARY });
    call(app, Method::POST, "/v1/accounts", Some(&account)).await;
    let huge = json!({ "account_id": "huge", "name": CANARY.repeat(100_000) });
    // On a connection of its own: the service closes it without reading to the end.
    let request = reqwest::Client::new().post(format!("{}/v1/accounts", app.url));
    assert_eq!(send(with_headers(request).bearer_auth(&app.ledger.api_key).json(&huge)).await.0, 400);
    let spend = json!({ "unit": "credits", "amount": 1_000_000, "reason": CANARY });
    let (status, _) =
        call(app, Method::POST, &format!("/v1/accounts/{CANARY}@example.com/spends"), Some(&spend)).await;
    assert_eq!(status, 402);
}

/// Webhooks that are good, that make no sense, and that nobody signed. Only the id of a signed one may be logged.
async fn post_webhooks(app: &TestApp) {
    let url = format!("{}/webhooks/stripe/{}", app.url, app.ledger.slug);
    let session = json!({
        "id": "evt_1", "object": "event", "type": "checkout.session.completed", "livemode": false,
        "api_version": CANARY, "created": 1_763_692_800,
        "data": { "object": {
            "id": format!("cs_{CANARY}"), "object": "checkout.session", "status": "complete",
            "payment_status": "paid", "mode": "payment", "amount_total": 500, "currency": "eur",
            "payment_intent": format!("pi_{CANARY}"), "client_reference_id": CANARY,
            "customer_details": { "email": format!("{CANARY}@example.com"), "name": CANARY },
            "metadata": { "account_id": CANARY, "credits": CANARY, CANARY: CANARY },
        } },
    });
    let nonsense = json!({ "id": "evt_2", "type": CANARY, "data": CANARY });
    for body in [session.to_string(), nonsense.to_string(), CANARY.to_owned()] {
        let good = signed(&app.ledger.webhook_secret, &body);
        for signature in [good.as_str(), &format!("t=1,v1={CANARY}"), CANARY, ""] {
            let request = with_headers(app.client.post(&url)).header("Stripe-Signature", signature);
            send(request.body(body.clone())).await;
        }
    }
    let elsewhere = format!("{}/webhooks/stripe/{CANARY}", app.url);
    send(with_headers(app.client.post(elsewhere)).body(CANARY)).await;
}

fn signed(secret: &str, body: &str) -> String {
    let secret = SigningSecret::parse(secret).expect("a signing secret");
    sign(body.as_bytes(), &secret, system_clock().unix_seconds())
}

#[tokio::test]
async fn nothing_that_a_client_sends_is_ever_logged() {
    let app = TestApp::start_with(TALKATIVE).await;
    trade(&app).await;
    assert_silent(&app, "good requests").await;
    let operations = every_operation(&app).await;
    assert!(operations.len() >= 80, "there are only {} operations", operations.len());
    misuse_everything(&app, &operations).await;
    assert_silent(&app, "bad requests for every operation").await;
    misuse_the_rest(&app).await;
    let accepted = use_everything(&app, &operations).await;
    assert!(accepted.len() >= 15, "only these were accepted: {accepted:?}");
    assert_silent(&app, "everything that every operation says it takes").await;
    assert_silent(&app, "requests for what does not exist").await;
    post_webhooks(&app).await;
    wait::until("the webhooks to be worked off", async || {
        let inbox = app.get("/v1/inbox").await;
        let items = inbox["items"].as_array().expect("items").clone();
        (!items.is_empty() && items.iter().all(|item| item["status"] != "received")).then_some(())
    })
    .await;
    assert_silent(&app, "webhooks").await;
    // The log was watched where it mattered.
    let codes: BTreeSet<String> =
        lines(&app).iter().filter_map(|line| line["code"].as_str().map(str::to_owned)).collect();
    for code in ["insufficient_credits", "unauthenticated", "not_found", "body_too_large"] {
        assert!(codes.contains(code), "{code} is not among {codes:?}");
    }
}

#[tokio::test]
async fn nothing_is_logged_of_what_the_database_refuses() {
    let app = TestApp::start_with(TALKATIVE).await;
    trade(&app).await;
    let superuser = app.database.superuser().await;
    // The server quotes the row that it refuses.
    for table in ["accounts", "event_notes", "profiles", "events", "features", "prices", "stripe_inbox"] {
        let refuse = format!("ALTER TABLE {table} ADD CONSTRAINT refused CHECK (ledger_id < 0) NOT VALID");
        superuser.batch_execute(&refuse).await.expect("a constraint");
    }
    let account = json!({ "account_id": format!("{CANARY}2"), "email": format!("{CANARY}@example.com") });
    let (status, _) = call(&app, Method::POST, "/v1/accounts", Some(&account)).await;
    assert_eq!(status, 500);
    misuse_the_rest(&app).await;
    post_webhooks(&app).await;
    assert_silent(&app, "refused rows").await;
    for table in ["accounts", "events", "features", "prices", "api_keys", "stripe_inbox", "profiles"] {
        superuser
            .batch_execute(&format!("ALTER TABLE {table} RENAME TO {table}_away"))
            .await
            .expect("renamed");
    }
    let operations = every_operation(&app).await;
    misuse_everything(&app, &operations).await;
    use_everything(&app, &operations).await;
    post_webhooks(&app).await;
    assert_silent(&app, "missing tables").await;
}

#[tokio::test]
async fn nothing_is_logged_when_the_database_is_away() {
    let (database, ledger) = app::prepared().await;
    let proxy = Proxy::start(database.port()).await;
    let url = proxy.url(&database.runtime_url());
    let app = TestApp::start_on(database, ledger, &url, TALKATIVE).await;
    trade(&app).await;
    proxy.refuse();
    let grant = json!({ "unit": "credits", "amount": 1, "reason": CANARY });
    let grants = format!("/v1/accounts/{CANARY}@example.com/grants");
    let (status, answer) = call(&app, Method::POST, &grants, Some(&grant)).await;
    assert_eq!((status, &answer["error"]["detail"]), (503, &answer["error"]["detail"]));
    call(&app, Method::GET, &format!("/v1/accounts/{CANARY}@example.com/balance"), None).await;
    let operations = every_operation(&app).await;
    let calls = operations.iter().map(async |operation| {
        let method = Method::from_bytes(operation.method.as_bytes()).expect("a method");
        call(&app, method, &operation.path(), operation.bodies.first()).await
    });
    futures_util::future::join_all(calls).await;
    post_webhooks(&app).await;
    assert_silent(&app, "an outage").await;
    proxy.resume();
    app.wait_until_ready().await;
    assert_silent(&app, "the end of an outage").await;
}

#[tokio::test]
async fn every_line_is_json_and_names_its_request() {
    let app = TestApp::start().await;
    let request =
        app.request(Method::GET, "/v1/accounts/nobody/balance").header("X-Request-Id", "my-request-1");
    assert_eq!(send(request).await.0, 404);
    let refused = wait::until("the line of the request", async || {
        lines(&app).into_iter().find(|line| line["code"] == "account_not_found")
    })
    .await;
    assert_eq!(refused["span"]["request_id"], "my-request-1");
    assert_eq!(refused["span"]["route"], "/v1/accounts/{account}/balance");
    for line in lines(&app) {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} is missing in {line}");
        }
    }
}
