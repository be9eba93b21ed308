//! `POST /v1/prices/sync`: all prices of a Stripe account, taken in.

use std::sync::{Arc, Mutex};

use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    api_support::{Answer, Requests},
    stripe_client_support::{API_KEY, Received, Reply, ScriptedServer},
    support::{
        app::{LEDGER, TestApp},
        process,
    },
};

const KEY_VARIABLE: &str = "COUNTERFOIL_KEY_ENCRYPTION_KEY";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What the account at Stripe has, and what is wrong with it.
#[derive(Default)]
struct Account {
    prices: Vec<Value>,
    /// Status and error of every answer.
    trouble: Option<(u16, Value)>,
}

struct Shop {
    app: TestApp,
    account: Arc<Mutex<Account>>,
    stripe: ScriptedServer,
}

impl Shop {
    async fn open(prices: Vec<Value>) -> Self {
        let account = Arc::new(Mutex::new(Account { prices, trouble: None }));
        let answering = Arc::clone(&account);
        let stripe =
            ScriptedServer::start(move |request| answer(&answering.lock().expect("no panic"), request)).await;
        let app = TestApp::start_with(&[(KEY_VARIABLE, KEY)]).await;
        let shop = Self { app, account, stripe };
        shop.set_key().await;
        shop
    }

    async fn set_key(&self) {
        let arguments = ["ledger", "stripe-key", LEDGER, "--base-url", self.stripe.url.as_str()];
        let mut command = process::command(&arguments);
        command.env("DATABASE_URL", self.app.database.runtime_url().expose_secret());
        command.env(KEY_VARIABLE, KEY).env("COUNTERFOIL_STRIPE_API_KEY", API_KEY);
        let output = process::output(command).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn change(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.account.lock().expect("no panic"));
    }

    async fn sync(&self) -> Answer {
        self.app.send(Method::POST, "/v1/prices/sync", None).await
    }

    /// How many prices were created, changed, unchanged, ignored and refused.
    async fn counts(&self) -> [u64; 5] {
        let answer = self.sync().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let report = answer.json();
        ["created", "changed", "unchanged", "ignored", "refused"]
            .map(|count| report[count].as_u64().expect("a count"))
    }

    async fn price(&self, id: &str) -> Value {
        self.app.get(&format!("/v1/prices/{id}")).await
    }
}

/// Two prices a page, as Stripe lists them.
fn answer(account: &Account, request: &Received) -> Reply {
    if let Some((status, error)) = &account.trouble {
        return Reply::error(*status, &[], error);
    }
    assert_eq!(request.method, "GET");
    let id = |price: &Value| price["id"].as_str().expect("an id").to_owned();
    if let Some(wanted) = request.path.strip_prefix("/v1/prices/") {
        return match account.prices.iter().find(|price| id(price) == wanted) {
            Some(price) => Reply::json(price),
            None => {
                let error = json!({"type": "invalid_request_error", "code": "resource_missing", "message": "No such price"});
                Reply::error(404, &[], &error)
            }
        };
    }
    assert_eq!(request.path, "/v1/prices");
    let after = request.query.get("starting_after");
    let start = after.map_or(0, |after| {
        1 + account.prices.iter().position(|price| id(price) == *after).expect("a price of the page before")
    });
    let page: Vec<&Value> = account.prices.iter().skip(start).take(2).collect();
    let has_more = start + page.len() < account.prices.len();
    Reply::json(&json!({"object": "list", "url": "/v1/prices", "data": page, "has_more": has_more}))
}

fn price(id: &str, metadata: Value) -> Value {
    json!({
        "id": id, "object": "price", "active": true, "billing_scheme": "per_unit", "currency": "eur",
        "metadata": metadata, "nickname": null, "recurring": null, "type": "one_time", "unit_amount": 500,
        "product": {"id": "prod_1", "object": "product", "active": true, "metadata": {}, "name": "Pack"},
    })
}

fn of_credits(id: &str, credits: u32) -> Value {
    price(id, json!({"credits": credits.to_string(), "credit_unit": "credits"}))
}

#[tokio::test]
async fn a_sync_takes_in_what_is_ours_and_says_what_became_of_each_price() {
    let several =
        r#"[{"unit":"credits","amount":5,"share":3},{"unit":"licence_30d","amount":1,"expires_days":30}]"#;
    let shop = Shop::open(vec![
        of_credits("price_1", 100),
        price("price_theirs", json!({"colour": "red"})),
        price("gold plan", json!({})),
        price("price_both", json!({"counterfoil_grants": several})),
        price("price_odd", json!({"credits": "many"})),
        price("price_unitless", json!({"credits": "5"})),
        price("price_gold", json!({"credits": "5", "credit_unit": "gold"})),
    ])
    .await;
    let synced = shop.sync().await;
    let report = synced.json();
    let head = shop.app.get("/v1/events").await["head"].clone();
    assert_eq!((&report["position"], json!(synced.written_up_to())), (&head, head.clone()));
    assert_eq!(report["items"][0], json!({"price_id": "price_1", "outcome": "created"}));
    assert_eq!(report["items"][1], json!({"price_id": "price_both", "outcome": "created"}));
    let refused = &report["items"].as_array().expect("items")[2..];
    let reasons: Vec<&str> = refused.iter().map(|item| item["reason"].as_str().expect("a reason")).collect();
    assert_eq!(
        reasons,
        [
            "`price.metadata.credits` is not a whole number",
            "the price `price_unitless` names no unit and the ledger has not just one",
            "the ledger has no unit `gold`",
        ]
    );
    assert_eq!(shop.counts().await, [0, 0, 2, 2, 3], "again, it changes nothing");
    let idle = shop.sync().await;
    assert_eq!((idle.json().get("position"), idle.written_up_to()), (None, None));
    let known = shop.price("price_1").await;
    assert_eq!((&known["display_name"], &known["active"]), (&json!("Pack"), &json!(true)));
    assert_eq!((&known["product_id"], &known["overridden"]), (&json!("prod_1"), &json!([])));
    assert_eq!(known["grants"][0]["amount"], 100);
    assert_eq!(shop.price("price_both").await["grants"][1]["expires_days"], 30);
}

#[tokio::test]
async fn a_sync_finds_what_changed_and_what_is_gone_and_leaves_the_operators_word() {
    let shop = Shop::open((1..=5).map(|number| of_credits(&format!("price_{number}"), 100)).collect()).await;
    assert_eq!(shop.counts().await, [5, 0, 0, 0, 0]);
    let path = "/v1/prices/price_2";
    let overridden =
        shop.app.send(Method::PUT, path, Some(&json!({"display_name": "Two", "display_order": -1}))).await;
    assert_eq!(overridden.status, 200, "{overridden:?}");
    shop.change(|account| {
        account.prices[0] = of_credits("price_1", 150);
        account.prices[1] = of_credits("price_2", 170);
        account.prices[2]["metadata"] = json!({});
        account.prices.remove(4);
    });
    assert_eq!(shop.counts().await, [0, 4, 1, 0, 0]);
    assert_eq!(shop.counts().await, [0, 0, 4, 0, 0]);
    assert_eq!(shop.price("price_1").await["grants"][0]["amount"], 150);
    let two = shop.price("price_2").await;
    assert_eq!((&two["display_name"], &two["grants"][0]["amount"]), (&json!("Two"), &json!(170)));
    assert_eq!(two["overridden"], json!(["display_name", "display_order"]));
    for (id, finding) in [("price_3", "credits_unstated"), ("price_5", "deleted_at_stripe")] {
        let price = shop.price(id).await;
        assert_eq!((&price["active"], &price["findings"]), (&json!(false), &json!([finding])), "{id}");
        assert_eq!(price["grants"][0]["amount"], 100, "{id}");
    }
    let followed = shop.app.send(Method::DELETE, "/v1/prices/price_2/overrides", None).await.json();
    assert_eq!((&followed["display_name"], &followed["overridden"]), (&json!("Pack"), &json!([])));
    let listed = shop.app.get("/v1/prices?active=true").await;
    let ids: Vec<&str> = listed["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|item| item["price_id"].as_str())
        .collect();
    assert_eq!(ids, ["price_1", "price_2", "price_4"]);
}

#[tokio::test]
async fn whoever_syncs_is_told_what_keeps_stripe_from_answering() {
    let shop = Shop::open(vec![of_credits("price_1", 100)]).await;
    let wrong_key =
        json!({"type": "invalid_request_error", "message": "Invalid API Key provided: sk_test_***1"});
    let down = json!({"type": "api_error", "message": "Something went wrong on Stripe's end."});
    for (trouble, status, code, words) in [
        ((401, wrong_key), 502, "stripe_refused", "Invalid API Key provided"),
        ((500, down), 503, "stripe_unavailable", "Something went wrong"),
    ] {
        shop.change(|account| account.trouble = Some(trouble));
        let answer = shop.sync().await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
        let message = answer.json()["error"]["message"].clone();
        assert!(message.as_str().is_some_and(|message| message.contains(words)), "{message}");
    }
    shop.change(|account| account.trouble = None);
    assert_eq!(shop.counts().await, [1, 0, 0, 0, 0]);
    let app = TestApp::start().await;
    let answer = app.send(Method::POST, "/v1/prices/sync", None).await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "stripe_not_configured"), "{answer:?}");
}
