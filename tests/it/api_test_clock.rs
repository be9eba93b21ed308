//! A test ledger's clock is moved on, over HTTP; a live one's is not.

use counterfoil::domain::time::Timestamp;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    api_support::{Answer, Requests},
    support::{app::TestApp, process, wait},
};

const ADVANCE: &str = "/v1/test/clock/advance";
const DAY: i64 = 86_400;

fn moment(value: &Value) -> Timestamp {
    Timestamp::parse(value.as_str().expect("a moment")).expect("RFC 3339")
}

#[tokio::test]
async fn credits_expire_when_a_test_ledgers_clock_has_passed_their_moment() {
    let app = TestApp::start().await;
    app.account_with("alice", 5).await;
    let clock = app.get("/v1/test/clock").await;
    assert_eq!(clock["ahead_seconds"], 0);
    let expires_at = Timestamp::from_unix_seconds(moment(&clock["now"]).unix_seconds() + 30 * DAY);
    let expires_at = expires_at.expect("a moment").to_string();
    let body = json!({"unit": "credits", "amount": 7, "reason": "for a month", "expires_at": expires_at});
    assert_eq!(app.keyed("/v1/accounts/alice/grants", "for a month", &body).await.status, 201);
    let available = async || app.get("/v1/accounts/alice/balance").await["balances"][0]["available"].clone();

    let moved = app.keyed(ADVANCE, "29 days", &json!({"seconds": 29 * DAY})).await;
    assert_eq!((moved.status, moved.json()["ahead_seconds"].clone()), (201, json!(29 * DAY)), "{moved:?}");
    assert_eq!(available().await, 12);
    let moved = app.keyed(ADVANCE, "two more", &json!({"seconds": 2 * DAY})).await;
    let repeated = app.keyed(ADVANCE, "two more", &json!({"seconds": 2 * DAY})).await;
    assert_eq!((repeated.status, &repeated.text), (201, &moved.text));
    assert_eq!(moved.json()["ahead_seconds"], 31 * DAY);
    assert!(moment(&moved.json()["now"]) > moment(&json!(expires_at)));
    assert_eq!(available().await, 5);
    assert_eq!(app.get("/v1/test/clock").await["ahead_seconds"], 31 * DAY);

    let expiry = wait::until("the expiry to be written", async || {
        let events = app.get("/v1/events?after=0&limit=500").await["events"].clone();
        events.as_array()?.iter().find(|event| event["type"] == "credits.expired").cloned()
    });
    let expiry = expiry.await;
    assert_eq!(
        (expiry["amount"].clone(), moment(&expiry["effective_at"])),
        (json!(-7), moment(&json!(expires_at)))
    );
    let (status, spent) =
        app.post("/v1/accounts/alice/spends", "later", &json!({"unit": "credits", "amount": 5})).await;
    assert_eq!(status, 201, "{spent}");
    assert!(moment(&spent["recorded_at"]) > moment(&json!(expires_at)));
}

#[tokio::test]
async fn an_api_key_ends_by_the_ledgers_clock() {
    let app = TestApp::start().await;
    let now = moment(&app.get("/v1/test/clock").await["now"]);
    let expires_at = Timestamp::from_unix_seconds(now.unix_seconds() + DAY).expect("a moment").to_string();
    let body = json!({"name": "for a day", "scopes": ["read"], "expires_at": expires_at});
    let key = app.keyed("/v1/api-keys", "for a day", &body).await.json()["api_key"].clone();
    let status = async || {
        let request = app.client.get(format!("{}/v1/test/clock", app.url));
        let request = request.bearer_auth(key.as_str().expect("a key"));
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(status().await, 200);
    assert_eq!(app.keyed(ADVANCE, "two days", &json!({"seconds": 2 * DAY})).await.status, 201);
    wait::until("the key to be looked up again", async || (status().await == 401).then_some(())).await;
}

#[tokio::test]
async fn a_clock_is_not_moved_back_or_by_nonsense_and_a_live_one_not_at_all() {
    let app = TestApp::start().await;
    for (seconds, code) in [
        (json!(0), "invalid_request"),
        (json!(-1), "invalid_request"),
        (json!(1.5), "invalid_request"),
        (json!("1"), "invalid_request"),
        (json!(100 * 366 * DAY), "invalid_request"),
    ] {
        let refused = app.keyed(ADVANCE, "nonsense", &json!({"seconds": seconds})).await;
        assert_eq!(
            (refused.status, refused.code().as_str(), refused.field().as_str()),
            (400, code, "seconds")
        );
    }
    let run = async |arguments: &[&str]| {
        let mut command = process::command(arguments);
        command.env("DATABASE_URL", app.database.runtime_url().expose_secret());
        let output = process::output(command).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    run(&["ledger", "create", "live", "--mode", "live"]).await;
    let key = run(&["key", "create", "live", "--name", "test", "--scope", "admin"]).await;
    let request = app.client.request(Method::POST, format!("{}{ADVANCE}", app.url)).bearer_auth(&key);
    let request = request.header("Idempotency-Key", "live").json(&json!({"seconds": 1}));
    let refused = Answer::of(request.send().await.expect("an answer")).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "test_mode_only"));
}
