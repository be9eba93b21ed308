//! Who may do what: keys that work, keys that do not, scopes, and ledgers that never see each other.

use counterfoil::api;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::{Answer, Requests},
    support::{app::TestApp, wait},
};

async fn with_key(app: &TestApp, api_key: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let request = app.client.request(method, format!("{}{path}", app.url)).bearer_auth(api_key);
    let request = match body {
        Some(body) => request.header("Idempotency-Key", format!("{path} {api_key}")).json(body),
        None => request,
    };
    Answer::of(request.send().await.expect("an answer")).await
}

async fn make_key(app: &TestApp, name: &str, body: Value) -> (String, String) {
    let mut body = body;
    body["name"] = json!(name);
    let made = app.keyed("/v1/api-keys", name, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let text = |name: &str| made[name].as_str().expect(name).to_owned();
    (text("key_id"), text("api_key"))
}

#[tokio::test]
async fn whoever_has_no_key_that_works_is_told_so_and_nothing_else() {
    let app = TestApp::start().await;
    app.account_with("alice", 10).await;
    let good = app.ledger.api_key.clone();
    let mut wrong_secret = good.clone();
    wrong_secret.replace_range(good.len() - 5..good.len() - 1, "AAAA");
    let values = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer nonsense".to_owned(),
        format!("Basic {good}"),
        format!("Bearer {wrong_secret}"),
        format!("Bearer {}", good.replace("_test_test_", "_live_test_")),
        format!("Bearer {}", good.replace("_test_test_", "_test_other_")),
        format!("Bearer {good}x"),
    ];
    for value in values {
        let request = app.client.get(format!("{}/v1/accounts/alice/balance", app.url));
        let answer =
            Answer::of(request.header("Authorization", &value).send().await.expect("an answer")).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"), "{value}");
        assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer"));
    }
    let none = app.client.get(format!("{}/v1/accounts/nobody", app.url)).send().await.expect("an answer");
    assert_eq!(none.status().as_u16(), 401);
}

/// Every operation of the specification: the scope that it says it asks for, its method, and a path.
fn operations_with_scopes() -> Vec<(String, Method, String)> {
    let specification = api::specification();
    let mut operations = Vec::new();
    for (template, methods) in specification["paths"].as_object().expect("paths") {
        let part = |part: &str| match part {
            "{account}" => "alice".to_owned(),
            _ if part.starts_with('{') => "unknown".to_owned(),
            _ => part.to_owned(),
        };
        let path = template.split('/').map(part).collect::<Vec<_>>().join("/");
        for (method, operation) in methods.as_object().expect("methods") {
            let scope = operation["security"][0]["api_key"][0].as_str().expect("a scope").to_owned();
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            operations.push((scope, method, path.clone()));
        }
    }
    operations
}

#[tokio::test]
async fn every_operation_asks_for_its_scope_before_it_looks_at_anything_else() {
    let app = TestApp::start().await;
    app.account_with("alice", 100).await;
    let operations = operations_with_scopes();
    let all = ["read", "spend", "grant", "billing", "operate", "audit"];
    for scope in all.into_iter().chain(["admin"]) {
        let others: Vec<&str> = all.into_iter().filter(|other| *other != scope).collect();
        let (_, without) = make_key(&app, &format!("without {scope}"), json!({"scopes": others})).await;
        let of_scope: Vec<_> = operations.iter().filter(|(needed, ..)| *needed == scope).collect();
        assert!(!of_scope.is_empty(), "nothing asks for {scope}");
        for (_, method, path) in &of_scope {
            let body = (*method != Method::GET).then(|| json!({"not": "looked at"}));
            let refused = with_key(&app, &without, method.clone(), path, body.as_ref()).await;
            assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "{method} {path}");
            assert_eq!(refused.json()["error"]["detail"], json!({"scope": scope}));
        }
        let (_, alone) = make_key(&app, &format!("only {scope}"), json!({"scopes": [scope]})).await;
        for (_, method, path) in &of_scope {
            let body = (*method != Method::GET).then(|| json!({"not": "looked at"}));
            let passed = with_key(&app, &alone, method.clone(), path, body.as_ref()).await;
            assert!(![401, 403].contains(&passed.status), "{scope} {method} {path}: {passed:?}");
        }
    }
}

#[tokio::test]
async fn keys_are_listed_without_secrets_rotated_with_overlap_and_revoked_everywhere() {
    let app = TestApp::start().await;
    let (other, other_url) = app.start_another().await;
    let (old_id, old) = make_key(&app, "old", json!({"scopes": ["read", "spend"]})).await;
    let (_, new) =
        make_key(&app, "new", json!({"scopes": ["read"], "expires_at": "2100-01-01T00:00:00Z"})).await;
    for key in [&old, &new] {
        assert_eq!(with_key(&app, key, Method::GET, "/v1/accounts", None).await.status, 200);
    }
    let at_other = app.client.get(format!("{other_url}/v1/accounts")).bearer_auth(&old).send().await;
    assert_eq!(at_other.expect("an answer").status().as_u16(), 200);

    let list = app.get("/v1/api-keys").await;
    assert!(!list.to_string().contains("cfk_"), "{list}");
    assert_eq!((&list["items"][0]["name"], &list["items"][1]["name"]), (&json!("new"), &json!("old")));
    assert_eq!(list["items"][1]["scopes"], json!(["read", "spend"]));

    let revoked = app.send(Method::DELETE, &format!("/v1/api-keys/{old_id}"), None).await;
    assert_eq!((revoked.status, &revoked.json()["key_id"]), (200, &json!(old_id)));
    assert_eq!(with_key(&app, &old, Method::GET, "/v1/accounts", None).await.status, 401);
    assert_eq!(with_key(&app, &new, Method::GET, "/v1/accounts", None).await.status, 200);
    wait::until("the other process to notice", async || {
        let answer = app.client.get(format!("{other_url}/v1/accounts")).bearer_auth(&old).send().await;
        (answer.expect("an answer").status().as_u16() == 401).then_some(())
    })
    .await;
    drop(other);
    let again = app.send(Method::DELETE, &format!("/v1/api-keys/{old_id}"), None).await;
    assert_eq!((again.status, again.code().as_str()), (404, "api_key_not_found"));
    assert!(app.get("/v1/api-keys").await["items"][1]["revoked_at"].is_string());
}

#[tokio::test]
async fn a_key_stops_working_when_it_expires() {
    let app = TestApp::start().await;
    let (id, key) =
        make_key(&app, "short", json!({"scopes": ["read"], "expires_at": "2100-01-01T00:00:00Z"})).await;
    assert_eq!(with_key(&app, &key, Method::GET, "/v1/accounts", None).await.status, 200);
    let past = json!({"name": "late", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"});
    let refused = app.keyed("/v1/api-keys", "late", &past).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "expiry_not_in_future"));

    let superuser = app.database.superuser().await;
    let expire = "UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE name = 'short'";
    assert_eq!(superuser.execute(expire, &[]).await.expect("a key"), 1, "{id}");
    wait::until("the key to be looked up again", async || {
        (with_key(&app, &key, Method::GET, "/v1/accounts", None).await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn another_ledgers_data_is_not_there() {
    let app = TestApp::start().await;
    app.account_with("alice", 100).await;
    let purchase = json!({"unit": "credits", "amount": 50, "money": {"amount": 500, "currency": "eur"}});
    let bought = app.keyed("/v1/accounts/alice/purchases", "p", &purchase).await.json();
    let (key_id, _) = make_key(&app, "of the first ledger", json!({"scopes": ["read"]})).await;
    let other = app.create_ledger("other", &["--unit", "credits"]).await;
    let purchase = bought["purchase_id"].as_str().expect("an id");
    for (method, path, code) in [
        (Method::GET, "/v1/accounts/alice".to_owned(), "account_not_found"),
        (Method::GET, "/v1/accounts/alice/balance".to_owned(), "account_not_found"),
        (Method::GET, "/v1/accounts/alice/lots".to_owned(), "account_not_found"),
        (Method::GET, "/v1/accounts/alice/history".to_owned(), "account_not_found"),
        (Method::POST, "/v1/accounts/alice/close".to_owned(), "account_not_found"),
        (Method::POST, format!("/v1/purchases/{purchase}/refunds"), "purchase_not_found"),
        (Method::DELETE, format!("/v1/api-keys/{key_id}"), "api_key_not_found"),
    ] {
        let body = (method == Method::POST).then(|| json!({}));
        let answer = with_key(&app, &other.api_key, method, &path, body.as_ref()).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, code), "{path}");
    }
    let accounts = with_key(&app, &other.api_key, Method::GET, "/v1/accounts", None).await.json();
    assert_eq!(accounts, json!({"items": [], "next_cursor": null}));
    let events = with_key(&app, &other.api_key, Method::GET, "/v1/events", None).await.text;
    assert!(!events.contains("alice") && !events.contains("account.opened"), "{events}");
}

#[tokio::test]
async fn the_last_use_of_a_key_is_recorded() {
    let app = TestApp::start().await;
    wait::until("the use to be recorded", async || {
        app.get("/v1/api-keys").await["items"][0]["last_used_at"].is_string().then_some(())
    })
    .await;
}
