//! The JSON Schemas of events: that they are those of the code, and that whatever was ever written is valid by them.

use std::{collections::BTreeMap, fs, path::PathBuf};

use counterfoil::api::event_schemas;
use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{reports::trade_for, support::app::TestApp};

fn files(directory: &[&str]) -> BTreeMap<String, Value> {
    let path: PathBuf = [&[env!("CARGO_MANIFEST_DIR")], directory].concat().iter().collect();
    let files = fs::read_dir(path).expect("a directory").map(|entry| {
        let path = entry.expect("a file").path();
        let text = fs::read_to_string(&path).expect("text");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, serde_json::from_str(&text).expect("JSON"))
    });
    files.collect()
}

fn validators() -> BTreeMap<String, Validator> {
    let bodies = files(&["openapi", "events"]).into_iter().filter(|(name, _)| name != "event.json");
    bodies.map(|(name, schema)| (name, jsonschema::validator_for(&schema).expect("a schema"))).collect()
}

#[test]
fn the_schemas_in_the_repository_are_up_to_date() {
    assert!(files(&["openapi", "events"]) == event_schemas(), "run `counterfoil schemas`");
}

#[test]
fn every_body_that_any_release_wrote_is_valid_by_its_schema() {
    let validators = validators();
    let mut seen = 0;
    for (name, bodies) in files(&["tests", "golden", "events"]) {
        for body in bodies.as_array().expect("bodies") {
            let errors: Vec<_> = validators[&name].iter_errors(body).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}: {body}");
            let mut with_more = body.clone();
            with_more["nobody_knows_this"] = json!(1);
            assert!(!validators[&name].is_valid(&with_more), "{name} takes anything");
            seen += 1;
        }
    }
    assert!(seen > validators.len(), "{seen} bodies");
}

#[tokio::test]
async fn every_event_of_an_exported_history_is_valid_by_the_schemas() {
    let app = TestApp::start().await;
    trade_for(&app, 7).await;
    let request = app.request(Method::GET, "/v1/events").header("Accept", "application/x-ndjson");
    let exported = request.send().await.expect("an answer").text().await.expect("text");
    let (validators, mut schemas) = (validators(), files(&["openapi", "events"]));
    // The whole without its bodies, which are looked at one by one.
    let mut whole = schemas.remove("event.json").expect("a schema");
    whole.as_object_mut().expect("an object").remove("allOf");
    let whole = jsonschema::validator_for(&whole).expect("a schema");
    for line in exported.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let errors: Vec<_> = whole.iter_errors(&event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}: {event}");
        let name = format!("{}.v{}.json", event["type"].as_str().expect("a type"), event["version"]);
        let errors: Vec<_> =
            validators[&name].iter_errors(&event["body"]).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}: {event}");
    }
    assert!(exported.lines().count() > 20);
    // A page says the same, in the same order.
    let page = app.get("/v1/events?limit=500").await;
    let listed: Vec<String> =
        page["events"].as_array().expect("events").iter().map(ToString::to_string).collect();
    assert_eq!(listed, exported.lines().collect::<Vec<_>>());
    assert_eq!(app.get("/v1/events?limit=1").await["head"], exported.lines().count());
}
