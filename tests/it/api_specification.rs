//! The specification in the repository is the one that the service has, and its page needs no network.

use std::fs;

use counterfoil::api;
use serde_json::Value;

use crate::support::app::TestApp;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/counterfoil.yaml");

#[test]
fn the_specification_in_the_repository_is_up_to_date() {
    let kept = fs::read_to_string(FILE).expect("openapi/counterfoil.yaml");
    let made = api::openapi::to_yaml(&api::specification());
    assert!(kept == made, "run `counterfoil openapi` and look at the difference");
}

#[test]
fn every_operation_says_who_may_call_it_and_how_it_fails() {
    let specification = api::specification();
    let paths = specification["paths"].as_object().expect("paths");
    let operations: Vec<(&String, &String, &Value)> = paths
        .iter()
        .flat_map(|(path, operations)| {
            let operations = operations.as_object().expect("operations");
            operations.iter().map(move |(method, operation)| (path, method, operation))
        })
        .collect();
    assert!(operations.len() > 25);
    for (path, method, operation) in operations {
        let place = format!("{method} {path}");
        let scopes = operation["security"][0]["api_key"].as_array().expect("a scope");
        assert_eq!(scopes.len(), 1, "{place}");
        for status in ["400", "401", "403", "500", "503"] {
            assert!(operation["responses"][status]["$ref"].is_string(), "{place} {status}");
        }
        let key = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["name"] == "Idempotency-Key");
        // Repeats of these are the same by themselves, or change nothing in the ledger.
        let is_same_twice = [
            "/replay",
            "/retry",
            "/discard",
            "/prices/sync",
            "/portal-sessions",
            "/preview",
            "/reconciliation/runs",
            "/repair",
            "/dismiss",
        ]
        .iter()
        .any(|end| path.ends_with(end));
        let must_have_key = method == "post" && path != "/v1/accounts" && !is_same_twice;
        assert_eq!(key.is_some_and(|key| key["required"] == true), must_have_key, "{place}");
    }
}

#[tokio::test]
async fn the_page_for_readers_loads_nothing_from_elsewhere() {
    let app = TestApp::start().await;
    let page = app.client.get(format!("{}/docs", app.url)).send().await.expect("an answer");
    assert_eq!(page.status().as_u16(), 200);
    let policy = page.headers()["Content-Security-Policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
    assert!(!policy.contains("http"), "{policy}");
    let page = page.text().await.expect("text");
    let head = page.split("<script charset").next().expect("a page");
    assert!(head.contains("spend_credits") && head.contains("withDefaultFonts"), "{}", &head[..500]);
    assert!(!head.contains("src=") && !head.contains("<link"));
}
