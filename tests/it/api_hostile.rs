//! What bad input gets: the right status, a code from the list, and the name of the field; and nothing is written.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::{Answer, Requests},
    support::{
        app::{TestApp, prepared},
        proxy::Proxy,
        wait,
    },
};

const SPENDS: &str = "/v1/accounts/alice/spends";
const GRANTS: &str = "/v1/accounts/alice/grants";
const ADJUSTMENTS: &str = "/v1/accounts/alice/adjustments";
const PURCHASES: &str = "/v1/accounts/alice/purchases";

/// Posts bytes with a fresh key.
async fn post_bytes(app: &TestApp, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Answer {
    let key = format!("hostile {}", uuid::Uuid::new_v4());
    let request = app.request(Method::POST, path).header("Idempotency-Key", key).body(body);
    let request = match content_type {
        Some(content_type) => request.header("Content-Type", content_type),
        None => request,
    };
    Answer::of(request.send().await.expect("an answer")).await
}

/// The ledger with one account, and where it ends.
async fn app() -> (TestApp, i64) {
    let app = TestApp::start().await;
    app.account_with("alice", 100).await;
    let head = app.get("/v1/events?limit=1").await["head"].as_i64().expect("a head");
    (app, head)
}

async fn assert_nothing_was_written(app: &TestApp, head: i64) {
    assert_eq!(app.get("/v1/events?limit=1").await["head"], json!(head));
}

#[tokio::test]
async fn a_body_that_is_not_valid_is_refused_by_the_name_of_the_field() {
    let (app, _) = app().await;
    let sold = json!({"display_name": "P", "money": {"amount": 1, "currency": "eur"},
                      "grants": [{"unit": "credits", "amount": 2}]});
    for (path, body) in [("/v1/features/f", json!({"unit": "credits", "cost": 2})), ("/v1/prices/p", sold)] {
        assert_eq!(app.send(Method::PUT, path, Some(&body)).await.status, 200);
    }
    let head = app.get("/v1/events?limit=1").await["head"].as_i64().expect("a head");
    let long = |length: usize| "x".repeat(length);
    let table: Vec<(&str, &str, Value)> = vec![
        // Amounts.
        (SPENDS, "amount", json!({"unit": "credits", "amount": 0})),
        (SPENDS, "amount", json!({"unit": "credits", "amount": -1})),
        (SPENDS, "amount", json!({"unit": "credits", "amount": 1.5})),
        (SPENDS, "amount", json!({"unit": "credits", "amount": 1.0})),
        (SPENDS, "amount", json!({"unit": "credits", "amount": 9_007_199_254_740_992_i64})),
        (SPENDS, "amount", json!({"unit": "credits", "amount": u64::MAX})),
        (SPENDS, "amount", json!({"unit": "credits", "amount": 1e300})),
        (SPENDS, "quantity", json!({"feature": "f", "quantity": 0})),
        (GRANTS, "amount", json!({"unit": "credits", "amount": 0, "reason": "r"})),
        (GRANTS, "amount", json!({"unit": "credits", "amount": 9_007_199_254_740_991_i64, "reason": "r"})),
        (ADJUSTMENTS, "amount", json!({"unit": "credits", "amount": 0, "reason": "r"})),
        (
            ADJUSTMENTS,
            "amount",
            json!({"unit": "credits", "amount": -9_007_199_254_740_992_i64, "reason": "r"}),
        ),
        (
            PURCHASES,
            "money.amount",
            json!({"unit": "credits", "amount": 1, "money": {"amount": 0, "currency": "eur"}}),
        ),
        (
            PURCHASES,
            "money.tax",
            json!({"unit": "credits", "amount": 1, "money": {"amount": 1, "tax": 2, "currency": "eur"}}),
        ),
        (
            PURCHASES,
            "money.tax",
            json!({"unit": "credits", "amount": 1, "money": {"amount": 1, "tax": -1, "currency": "eur"}}),
        ),
        (
            PURCHASES,
            "money.currency",
            json!({"unit": "credits", "amount": 1, "money": {"amount": 1, "currency": "euro"}}),
        ),
        (PURCHASES, "money.currency", json!({"unit": "credits", "amount": 1, "money": {"amount": 1}})),
        (PURCHASES, "money", json!({"unit": "credits", "amount": 1})),
        // Each within bounds, and all of it together not.
        (SPENDS, "quantity", json!({"feature": "f", "quantity": 9_007_199_254_740_991_i64})),
        (
            PURCHASES,
            "quantity",
            json!({"price_id": "p", "quantity": 9_007_199_254_740_991_i64, "money": {"amount": 1, "currency": "eur"}}),
        ),
        (
            PURCHASES,
            "quantity",
            json!({"price_id": "p", "quantity": -1, "money": {"amount": 1, "currency": "eur"}}),
        ),
        // Units, features, prices.
        (SPENDS, "unit", json!({"unit": "gold", "amount": 1})),
        (SPENDS, "unit", json!({"unit": "NOT A UNIT", "amount": 1})),
        (SPENDS, "feature", json!({"feature": "flying"})),
        (SPENDS, "feature", json!({"feature": "Not A Feature"})),
        (SPENDS, "feature", json!({})),
        (GRANTS, "unit", json!({"unit": "gold", "amount": 1, "reason": "r"})),
        (ADJUSTMENTS, "unit", json!({"unit": "gold", "amount": 1, "reason": "r"})),
        (PURCHASES, "price_id", json!({"price_id": "price_9", "money": {"amount": 1, "currency": "eur"}})),
        (PURCHASES, "unit", json!({"unit": "gold", "amount": 1, "money": {"amount": 1, "currency": "eur"}})),
        // Texts.
        (GRANTS, "reason", json!({"unit": "credits", "amount": 1})),
        (GRANTS, "reason", json!({"unit": "credits", "amount": 1, "reason": ""})),
        (GRANTS, "reason", json!({"unit": "credits", "amount": 1, "reason": long(501)})),
        (GRANTS, "reason", json!({"unit": "credits", "amount": 1, "reason": "nul\u{0}"})),
        (GRANTS, "reason", json!({"unit": "credits", "amount": 1, "reason": "bell\u{7}"})),
        (
            GRANTS,
            "expires_at",
            json!({"unit": "credits", "amount": 1, "reason": "r", "expires_at": "2020-01-01T00:00:00Z"}),
        ),
        (
            GRANTS,
            "expires_at",
            json!({"unit": "credits", "amount": 1, "reason": "r", "expires_at": "tomorrow"}),
        ),
        (
            GRANTS,
            "expires_at",
            json!({"unit": "credits", "amount": 1, "reason": "r", "expires_at": "12026-01-01T00:00:00Z"}),
        ),
        (GRANTS, "priority", json!({"unit": "credits", "amount": 1, "reason": "r", "priority": 101})),
        (
            PURCHASES,
            "reference",
            json!({"unit": "credits", "amount": 1, "reference": long(201), "money": {"amount": 1, "currency": "eur"}}),
        ),
        ("/v1/accounts", "account_id", json!({"account_id": ""})),
        ("/v1/accounts", "account_id", json!({"account_id": long(129)})),
        ("/v1/accounts", "account_id", json!({"account_id": "with space"})),
        ("/v1/accounts", "account_id", json!({"account_id": "nul\u{0}"})),
        ("/v1/accounts", "account_id", json!({"account_id": "erased:1"})),
        ("/v1/accounts", "account_id", json!({})),
        ("/v1/accounts", "email", json!({"account_id": "a", "email": "no address"})),
        ("/v1/accounts", "email", json!({"account_id": "a", "email": format!("{}@example.com", long(250))})),
        ("/v1/accounts", "name", json!({"account_id": "a", "name": long(201)})),
        ("/v1/accounts", "locale", json!({"account_id": "a", "locale": "de_AT"})),
        ("/v1/accounts", "metadata", json!({"account_id": "a", "metadata": {"key": long(501)}})),
        ("/v1/accounts", "metadata", json!({"account_id": "a", "metadata": {"": "empty"}})),
        ("/v1/accounts", "metadata.key", json!({"account_id": "a", "metadata": {"key": {"deep": 1}}})),
        ("/v1/accounts", "metadata.key", json!({"account_id": "a", "metadata": {"key": "nul\u{0}"}})),
        // Wrong types.
        (SPENDS, "amount", json!({"unit": "credits", "amount": "10"})),
        (SPENDS, "amount", json!({"unit": "credits", "amount": true})),
        (SPENDS, "amount", json!({"unit": "credits", "amount": [10]})),
        (SPENDS, "unit", json!({"unit": 7, "amount": 10})),
        (SPENDS, "metadata", json!({"unit": "credits", "amount": 1, "metadata": []})),
        (PURCHASES, "money", json!({"unit": "credits", "amount": 1, "money": [1, 0, "eur"]})),
        ("/v1/api-keys", "scopes", json!({"name": "n", "scopes": []})),
        ("/v1/api-keys", "scopes[1]", json!({"name": "n", "scopes": ["read", "everything"]})),
        // Unknown fields, and fields that contradict each other.
        (SPENDS, "ammount", json!({"unit": "credits", "ammount": 10})),
        (
            PURCHASES,
            "money.vat",
            json!({"unit": "credits", "amount": 1, "money": {"amount": 1, "currency": "eur", "vat": 1}}),
        ),
        (SPENDS, "unit", json!({"feature": "f", "unit": "credits", "amount": 1})),
        (SPENDS, "quantity", json!({"unit": "credits", "amount": 1, "quantity": 1})),
        ("/v1/accounts/alice/freeze", "why", json!({"why": "typo"})),
    ];
    for (path, field, body) in table {
        let answer = post_bytes(&app, path, Some("application/json"), body.to_string().into_bytes()).await;
        assert_eq!((answer.status, answer.field().as_str()), (400, field), "{path} {body}: {}", answer.text);
        answer.code();
    }
    assert_nothing_was_written(&app, head).await;
}

#[tokio::test]
async fn what_is_no_json_is_refused_by_the_place_where_that_shows() {
    let (app, head) = app().await;
    let large = format!(r#"{{"unit":"credits","amount":1,"reason":"{}"}}"#, "x".repeat(300 * 1024));
    let deep = format!(r#"{{"unit":{}{}"#, "[".repeat(10_000), "]".repeat(10_000));
    let table: Vec<(&str, &str, &[u8])> = vec![
        ("malformed_json", "body", b""),
        ("malformed_json", "body", b"not json"),
        ("malformed_json", "body", b"\xff\xfe"),
        ("malformed_json", "amount", br#"{"unit":"credits","amount":"#),
        ("malformed_json", "amount", br#"{"unit":"credits","amount":NaN}"#),
        ("malformed_json", "amount", br#"{"unit":"credits","amount":1e999}"#),
        ("malformed_json", "amount", br#"{"unit":"credits","amount":01}"#),
        ("malformed_json", "unit", b"{\"unit\":\"cr\xffdits\",\"amount\":1}"),
        ("malformed_json", "unit", br#"{"unit":"\ud800","amount":1}"#),
        ("malformed_json", "body", br#"{"unit":"credits","amount":1}{}"#),
        ("malformed_json", "body", br#"{"unit":"credits","amount":1,}"#),
        ("invalid_request", "unit", br#"{"unit":"credits","unit":"credits","amount":1}"#),
        ("invalid_request", "body", b"null"),
        ("invalid_request", "body", b"[]"),
        ("invalid_request", "body", br#""text""#),
        ("body_too_large", "body", large.as_bytes()),
    ];
    for (code, field, body) in table {
        let answer = post_bytes(&app, SPENDS, Some("application/json"), body.to_vec()).await;
        let told = (answer.status, answer.code(), answer.field());
        assert_eq!(
            told,
            (400, code.to_owned(), field.to_owned()),
            "{:?}",
            String::from_utf8_lossy(&body[..body.len().min(80)])
        );
    }
    let answer = post_bytes(&app, SPENDS, Some("application/json"), deep.into_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "malformed_json"));
    for content_type in [None, Some("text/plain"), Some("application/xml"), Some("application/jsonp")] {
        let answer =
            post_bytes(&app, SPENDS, content_type, br#"{"unit":"credits","amount":1}"#.to_vec()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (415, "unsupported_media_type"),
            "{content_type:?}"
        );
    }
    assert_nothing_was_written(&app, head).await;
    let with_charset = Some("Application/JSON; charset=utf-8");
    let answer = post_bytes(&app, SPENDS, with_charset, br#"{"unit":"credits","amount":1}"#.to_vec()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn keys_parameters_and_paths_are_held_to_the_same() {
    let (app, head) = app().await;
    let body = json!({"unit": "credits", "amount": 1});
    for key in [None, Some(""), Some("ümlaut"), Some(&"k".repeat(256)[..])] {
        let request = app.request(Method::POST, SPENDS).json(&body);
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key.as_bytes()),
            None => request,
        };
        let answer = Answer::of(request.send().await.expect("an answer")).await;
        assert_eq!((answer.status, answer.field().as_str()), (400, "Idempotency-Key"), "{key:?}");
    }
    let twice = app.request(Method::POST, SPENDS).json(&body);
    let twice = twice.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    assert_eq!(Answer::of(twice.send().await.expect("an answer")).await.field(), "Idempotency-Key");

    for (status, code, field, path) in [
        (404, "account_not_found", "", "/v1/accounts/nobody"),
        (404, "account_not_found", "", "/v1/accounts/nobody/balance"),
        (404, "account_not_found", "", "/v1/accounts/nobody/lots"),
        (404, "account_not_found", "", "/v1/accounts/nobody/history"),
        (404, "feature_not_found", "", "/v1/features/flying"),
        (404, "price_not_found", "", "/v1/prices/price_9"),
        (404, "inbox_event_not_found", "", "/v1/inbox/evt_9"),
        (404, "effect_not_found", "", "/v1/outbox/eff_00000000000000000000000000000001"),
        (404, "not_found", "", "/v1"),
        (404, "not_found", "", "/v1/nothing"),
        (404, "not_found", "", "/v1/accounts/alice/nothing"),
        (400, "invalid_request", "path", "/v1/accounts/%ff"),
        (400, "invalid_request", "path", "/v1/accounts/u%ffx/balance"),
        (404, "not_found", "", "/../etc/passwd"),
        (400, "invalid_request", "account", "/v1/accounts//balance"),
        (400, "invalid_request", "account", "/v1/accounts/with%20space"),
        (400, "invalid_request", "account", "/v1/accounts/nul%00/balance"),
        (400, "invalid_request", "account", "/v1/accounts/a%2Fb/balance"),
        (400, "invalid_request", "feature", "/v1/features/Flying"),
        (400, "invalid_request", "limit", "/v1/accounts?limit=0"),
        (400, "invalid_request", "limit", "/v1/accounts?limit=501"),
        (400, "invalid_request", "limit", "/v1/accounts?limit=many"),
        (400, "invalid_request", "limit", "/v1/accounts?limit="),
        (400, "invalid_request", "limit", "/v1/accounts?limit=1&limit=2"),
        (400, "invalid_request", "limt", "/v1/accounts?limt=1"),
        (400, "invalid_request", "status", "/v1/accounts?status=asleep"),
        (400, "invalid_request", "opened_from", "/v1/accounts?opened_from=yesterday"),
        (400, "invalid_request", "cursor", "/v1/accounts?cursor=nonsense"),
        (400, "invalid_request", "cursor", "/v1/accounts?cursor=bnVsbA%00"),
        (400, "invalid_request", "cursor", "/v1/accounts/alice/lots?cursor=MTI"),
        (400, "invalid_request", "cursor", "/v1/accounts/alice/history?cursor=IngiCg"),
        (400, "invalid_request", "min_position", "/v1/accounts/alice/balance?min_position=7"),
        (400, "invalid_request", "after", "/v1/events?after=-1"),
        (400, "invalid_request", "after", "/v1/events?after=9007199254740992"),
        (400, "invalid_request", "status", "/v1/inbox?status=lost"),
        // A place whose event is called U+0000.
        (400, "invalid_request", "cursor", "/v1/inbox?cursor=WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsIlx1MDAwMCJd"),
        (400, "invalid_request", "event", "/v1/inbox/%E2%9C%93"),
        (400, "invalid_request", "state", "/v1/outbox?state=done"),
        (400, "invalid_request", "code", "/v1/outbox?code=Two%20words"),
        (400, "invalid_request", "cursor", "/v1/outbox?cursor=MTI"),
        (400, "invalid_request", "effect", "/v1/outbox/eff_1"),
    ] {
        let answer = app.send(Method::GET, path, None).await;
        assert_eq!(
            (answer.status, answer.code().as_str(), answer.field().as_str()),
            (status, code, field),
            "{path}"
        );
    }
    let refund = app.keyed("/v1/purchases/pur_1/refunds", "r", &json!({})).await;
    assert_eq!((refund.status, refund.field().as_str()), (400, "purchase"));
    let unknown = "/v1/purchases/pur_00000000000000010000000000000000/refunds";
    assert_eq!(app.keyed(unknown, "r", &json!({})).await.code(), "purchase_not_found");
    assert_nothing_was_written(&app, head).await;
}

#[tokio::test]
async fn a_wrong_method_is_told_which_ones_there_are() {
    let (app, _) = app().await;
    for (method, path, allow) in [
        (Method::DELETE, "/v1/accounts/alice", "GET, HEAD, PATCH"),
        (Method::GET, SPENDS, "POST"),
        (Method::PUT, "/v1/accounts", "GET, HEAD, POST"),
        (Method::from_bytes(b"BREW").expect("a method"), "/v1/events", "GET, HEAD"),
        (Method::POST, "/healthz", "GET, HEAD"),
        (Method::DELETE, "/metrics", "GET, HEAD"),
        (Method::POST, "/openapi.yaml", "GET, HEAD"),
    ] {
        let answer = app.send(method.clone(), path, None).await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "method_not_allowed"), "{method} {path}");
        assert_eq!(answer.header("Allow"), Some(allow), "{method} {path}");
    }
    let head = app.request(Method::HEAD, "/v1/accounts/alice/balance").send().await.expect("an answer");
    assert_eq!(head.status().as_u16(), 200);
}

#[tokio::test]
async fn the_catalogue_is_held_to_the_same() {
    let (app, _) = app().await;
    let money = json!({"amount": 100, "currency": "eur"});
    let grant = json!({"unit": "credits", "amount": 1});
    let price = |grants: Value| json!({"display_name": "P", "money": money, "grants": grants});
    let table = [
        ("/v1/features/f", "cost", json!({"unit": "credits", "cost": 0})),
        ("/v1/features/f", "unit", json!({"unit": "gold", "cost": 1})),
        ("/v1/features/f", "active", json!({"unit": "credits", "cost": 1, "active": "yes"})),
        ("/v1/prices/p", "grants", price(json!([]))),
        ("/v1/prices/p", "grants", price(json!([grant, grant]))),
        ("/v1/prices/p", "unit", price(json!([{"unit": "gold", "amount": 1}]))),
        ("/v1/prices/p", "grants[0].amount", price(json!([{"unit": "credits", "amount": -1}]))),
        (
            "/v1/prices/p",
            "grants[0].expires_days",
            price(json!([{"unit": "credits", "amount": 1, "expires_days": 0}])),
        ),
        ("/v1/prices/p", "grants[0].share", price(json!([{"unit": "credits", "amount": 1, "share": -1}]))),
        (
            "/v1/prices/p",
            "money.amount",
            json!({"display_name": "P", "money": {"amount": -1, "currency": "eur"}, "grants": [grant]}),
        ),
        ("/v1/prices/p", "display_name", json!({"money": money, "grants": [grant]})),
        (
            "/v1/prices/p",
            "display_order",
            json!({"display_name": "P", "display_order": 3_000_000_000_i64, "money": money, "grants": [grant]}),
        ),
        ("/v1/accounts/alice/overdraft-limit", "limit", json!({"unit": "credits", "limit": -1})),
        ("/v1/accounts/alice/overdraft-limit", "unit", json!({"unit": "gold", "limit": 1})),
    ];
    for (path, field, body) in table {
        let answer = app.send(Method::PUT, path, Some(&body)).await;
        assert_eq!((answer.status, answer.field().as_str()), (400, field), "{path} {body}: {}", answer.text);
        answer.code();
    }
    let patched = app.send(Method::PATCH, "/v1/accounts/alice", Some(&json!({"account_id": "bob"}))).await;
    assert_eq!((patched.status, patched.field().as_str()), (400, "account_id"));
    assert_eq!(
        app.send(Method::PATCH, "/v1/accounts/nobody", Some(&json!({}))).await.code(),
        "account_not_found"
    );
}

#[tokio::test]
async fn a_database_that_is_away_is_told_with_a_time_to_come_again_and_comes_back_by_itself() {
    let (database, ledger) = prepared().await;
    let proxy = Proxy::start(database.port()).await;
    let url = proxy.url(&database.runtime_url());
    let app = TestApp::start_on(database, ledger, &url, &[]).await;
    app.account_with("alice", 100).await;
    proxy.refuse();
    let spend = json!({"unit": "credits", "amount": 1});
    for answer in [
        app.keyed(SPENDS, "while away", &spend).await,
        app.send(Method::GET, "/v1/accounts/alice/balance", None).await,
        app.send(Method::GET, "/v1/accounts/alice/history", None).await,
        app.send(Method::GET, "/readyz", None).await,
    ] {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("Retry-After"), Some("1"));
        assert!(["unavailable", "outcome_unknown"].contains(&answer.code().as_str()), "{answer:?}");
    }
    proxy.resume();
    wait::until("the service to recover", async || {
        (app.keyed(SPENDS, "while away", &spend).await.status == 201).then_some(())
    })
    .await;
    assert_eq!(app.get("/v1/accounts/alice/balance").await["balances"][0]["available"], 99);
}

#[tokio::test]
async fn a_request_id_is_taken_if_it_is_sane() {
    let (app, _) = app().await;
    for (given, is_taken) in [("job-4711.retry_2", true), ("two words", false), ("", false)] {
        let request = app.request(Method::GET, "/v1/accounts/alice").header("X-Request-Id", given);
        let answer = Answer::of(request.send().await.expect("an answer")).await;
        assert_eq!(answer.header("X-Request-Id") == Some(given), is_taken, "{given}");
    }
    let request =
        app.request(Method::POST, SPENDS).header("X-Request-Id", "mine-1").header("Idempotency-Key", "k");
    let spent = request.json(&json!({"unit": "credits", "amount": 1})).send().await.expect("an answer");
    let position = spent.json::<Value>().await.expect("JSON")["position"].as_i64().expect("a position");
    let events = app.get(&format!("/v1/events?after={}", position - 1)).await;
    assert_eq!(events["events"][0]["request_id"], "mine-1");
}
