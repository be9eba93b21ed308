//! Making ledgers and keys at the command line, and what they open.

use std::process::Output;

use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::app::{LEDGER, TestApp};
use crate::support::database::TestDatabase;
use crate::support::process;

/// Runs the binary as the service's role.
async fn run(database: &TestDatabase, arguments: &[&str]) -> Output {
    let mut command = process::command(arguments);
    command.env("DATABASE_URL", database.runtime_url().expose_secret());
    process::output(command).await
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", complaint(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_ledger_is_opened_by_its_own_keys_only() {
    let app = TestApp::start().await;
    let other = app.create_ledger("other", &["--unit", "minutes:2"]).await;
    assert_eq!(app.post("/v1/accounts", "open", &json!({ "account_id": "alice" })).await.0, 201);
    let balance = app.client.get(format!("{}/v1/accounts/alice/balance", app.url));
    let balance = balance.bearer_auth(&other.api_key).send().await.expect("an answer");
    assert_eq!(balance.status().as_u16(), 404);

    let list = printed(&run(&app.database, &["ledger", "list"]).await);
    let names: Vec<&str> = list.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(names, [LEDGER, &other.slug]);

    let again = run(&app.database, &["ledger", "create", "other", "--mode", "live"]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(complaint(&again).contains("there is a ledger `other` already"), "{}", complaint(&again));
}

#[tokio::test]
async fn a_key_may_do_what_it_was_made_for() {
    let app = TestApp::start().await;
    let create = ["key", "create", LEDGER, "--name", "reader", "--scope", "read"];
    let key = printed(&run(&app.database, &create).await);
    let request = async |method: Method, path: &str| {
        let request = app.client.request(method, format!("{}{path}", app.url)).bearer_auth(key.trim());
        let request = request.header("Idempotency-Key", "key").json(&json!({ "account_id": "alice" }));
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(request(Method::GET, "/v1/accounts").await, 200);
    assert_eq!(request(Method::POST, "/v1/accounts").await, 403);
}

#[tokio::test]
async fn a_key_that_makes_no_sense_is_not_made() {
    let app = TestApp::start().await;
    for (arguments, expected) in [
        (vec!["nowhere", "--name", "x", "--scope", "read"], "there is no ledger `nowhere`"),
        (vec![LEDGER, "--name", "x", "--scope", "everything"], "one of read, spend"),
        (vec![LEDGER, "--name", "x"], "--scope"),
        (
            vec![LEDGER, "--name", "x", "--scope", "read", "--expires-at", "2020-01-01T00:00:00Z"],
            "the expiry",
        ),
    ] {
        let output = run(&app.database, &[vec!["key", "create"], arguments].concat()).await;
        assert!(!output.status.success());
        assert!(complaint(&output).contains(expected), "{}", complaint(&output));
    }
}
