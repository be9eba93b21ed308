//! What the interface promises, resource by resource.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::{Answer, Requests},
    support::app::TestApp,
};

fn names(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn an_account_is_opened_once_and_found_after_that() {
    let app = TestApp::start().await;
    let body = json!({
        "account_id": "org:7/user", "email": "ada@example.com", "name": "Ada", "locale": "de-AT",
        "metadata": {"plan": "pro"},
    });
    let refused = app.send(Method::POST, "/v1/accounts", Some(&body)).await;
    assert_eq!((refused.status, refused.field()), (400, "account_id".to_owned()));

    let mut body = body;
    body["account_id"] = json!("org:7.user@x-1_");
    let opened = app.send(Method::POST, "/v1/accounts", Some(&body)).await;
    assert_eq!(opened.status, 201, "{opened:?}");
    assert!(opened.header("X-Position-Token").is_some());
    let account = opened.written();
    assert_eq!(account["account_id"], "org:7.user@x-1_");
    assert_eq!(account["status"], "open");
    assert_eq!(account["metadata"], json!({"plan": "pro"}));
    let other = json!({"account_id": "org:7.user@x-1_", "email": "eve@example.com"});
    let again = app.send(Method::POST, "/v1/accounts", Some(&other)).await;
    assert_eq!((again.status, again.json()), (200, account.clone()));
    assert_eq!(app.get("/v1/accounts/org:7.user@x-1_").await, account);
}

#[tokio::test]
async fn what_is_known_of_an_account_changes_field_by_field_and_goes_when_it_is_erased() {
    let app = TestApp::start().await;
    let body =
        json!({"account_id": "alice", "email": "a@example.com", "name": "Alice", "metadata": {"a": "1"}});
    assert_eq!(app.send(Method::POST, "/v1/accounts", Some(&body)).await.status, 201);
    let change = json!({"email": null, "locale": "en", "metadata": {"b": "2"}});
    let changed = app.send(Method::PATCH, "/v1/accounts/alice", Some(&change)).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let account = changed.json();
    assert_eq!(
        (account.get("email"), &account["name"], &account["locale"]),
        (None, &json!("Alice"), &json!("en"))
    );
    assert_eq!(account["metadata"], json!({"b": "2"}));
    let removed = app.send(Method::PATCH, "/v1/accounts/alice", Some(&json!({"metadata": null}))).await;
    assert_eq!((removed.status, &removed.json()["metadata"]), (200, &json!({})), "{removed:?}");

    let limit = json!({"unit": "credits", "limit": 25});
    let limited = app.send(Method::PUT, "/v1/accounts/alice/overdraft-limit", Some(&limit)).await;
    assert_eq!((limited.status, limited.written()), (200, limit));
    assert_eq!(app.get("/v1/accounts/alice").await["overdraft_limits"], json!({"credits": 25}));

    let erased = app.send(Method::DELETE, "/v1/accounts/alice/profile", None).await;
    assert_eq!(erased.status, 200, "{erased:?}");
    let name = erased.json()["account_id"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("erased:"));
    assert_eq!(app.send(Method::GET, "/v1/accounts/alice", None).await.code(), "account_not_found");
    let account = app.get(&format!("/v1/accounts/{name}")).await;
    assert_eq!(account.get("name"), None);
    assert_eq!(account["metadata"], json!({}));
    assert_eq!(account["overdraft_limits"], json!({"credits": 25}));
}

#[tokio::test]
async fn an_account_is_frozen_unfrozen_and_closed() {
    let app = TestApp::start().await;
    app.account_with("alice", 50).await;
    let spend = json!({"unit": "credits", "amount": 1});
    let reason = json!({"reason": "asked for by phone"});
    let frozen = app.keyed("/v1/accounts/alice/freeze", "freeze", &reason).await;
    assert_eq!(frozen.json()["status"], "frozen", "{frozen:?}");
    let again = app.keyed("/v1/accounts/alice/freeze", "freeze again", &json!({})).await;
    assert_eq!((again.status, again.json()), (200, json!({"account_id": "alice", "status": "frozen"})));
    let refused = app.keyed("/v1/accounts/alice/spends", "s1", &spend).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "account_frozen"));
    let adjustment = json!({"unit": "credits", "amount": -5, "reason": "correction"});
    assert_eq!(app.keyed("/v1/accounts/alice/adjustments", "a1", &adjustment).await.status, 201);
    assert_eq!(
        app.keyed("/v1/accounts/alice/unfreeze", "unfreeze", &json!({})).await.json()["status"],
        "open"
    );
    assert_eq!(app.keyed("/v1/accounts/alice/spends", "s1", &spend).await.status, 201);
    assert_eq!(app.keyed("/v1/accounts/alice/close", "close", &json!({})).await.json()["status"], "closed");
    let refused = app.keyed("/v1/accounts/alice/spends", "s2", &spend).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "account_closed"));
    assert_eq!(app.get("/v1/accounts/alice/balance").await["balances"][0]["available"], 44);
}

#[tokio::test]
async fn a_balance_lists_every_unit_with_what_expires_next() {
    let app = TestApp::start().await;
    app.account_with("alice", 0).await;
    for (key, amount, expires_at) in [
        ("g1", 10, "2100-01-01T00:00:00Z"),
        ("g2", 5, "2100-01-01T01:00:00+01:00"),
        ("g3", 7, "2200-01-01T00:00:00Z"),
    ] {
        let grant = json!({"unit": "credits", "amount": amount, "reason": "bonus", "expires_at": expires_at});
        assert_eq!(app.keyed("/v1/accounts/alice/grants", key, &grant).await.status, 201);
    }
    let balance = app.get("/v1/accounts/alice/balance").await;
    assert_eq!(names(&balance), ["account_id", "position", "as_of", "balances"]);
    assert_eq!(
        balance["balances"],
        json!([
            {"unit": "credits", "available": 22, "held": 0, "disputed": 0, "debt": 0, "spendable": 22,
             "next_expiry": {"amount": 15, "at": "2100-01-01T00:00:00.000000Z"}},
            {"unit": "licence_30d", "available": 0, "held": 0, "disputed": 0, "debt": 0, "spendable": 0,
             "next_expiry": null},
        ])
    );
}

#[tokio::test]
async fn a_spend_of_a_feature_costs_what_the_feature_costs_and_says_where_it_came_from() {
    let app = TestApp::start().await;
    app.account_with("alice", 100).await;
    let feature = json!({"unit": "credits", "cost": 15});
    let set = app.send(Method::PUT, "/v1/features/resume_improvement", Some(&feature)).await;
    let full = json!({"feature": "resume_improvement", "unit": "credits", "cost": 15, "active": true});
    assert_eq!((set.status, set.written()), (200, full.clone()));
    assert_eq!(app.get("/v1/features/resume_improvement").await, full);
    assert_eq!(app.get("/v1/features").await, json!({"items": [full], "next_cursor": null}));

    let spend = json!({"feature": "resume_improvement", "quantity": 2, "metadata": {"job": "4711"}});
    let spent = app.keyed("/v1/accounts/alice/spends", "s1", &spend).await;
    assert_eq!(spent.status, 201, "{spent:?}");
    let body = spent.json();
    assert_eq!(
        names(&body),
        [
            "spend_id",
            "account_id",
            "unit",
            "amount",
            "feature",
            "quantity",
            "draws",
            "balance",
            "position",
            "recorded_at"
        ]
    );
    assert_eq!(
        (&body["amount"], &body["feature"], &body["quantity"]),
        (&json!(30), &json!("resume_improvement"), &json!(2))
    );
    assert_eq!(body["draws"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        body["balance"],
        json!({"unit": "credits", "available": 70, "held": 0, "disputed": 0, "debt": 0})
    );

    let too_much =
        app.keyed("/v1/accounts/alice/spends", "s2", &json!({"unit": "credits", "amount": 71})).await;
    assert_eq!((too_much.status, too_much.code().as_str()), (402, "insufficient_credits"));
    let detail = json!({"unit": "credits", "available": 70, "spendable": 70, "required": 71});
    assert_eq!(too_much.json()["error"]["detail"], detail);

    let retired = json!({"unit": "credits", "cost": 15, "active": false});
    assert_eq!(app.send(Method::PUT, "/v1/features/resume_improvement", Some(&retired)).await.status, 200);
    let refused = app.keyed("/v1/accounts/alice/spends", "s3", &spend).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "feature_inactive"));
}

#[tokio::test]
async fn an_overdraft_is_drawn_last_and_paid_off_by_the_next_grant() {
    let app = TestApp::start().await;
    app.account_with("alice", 10).await;
    let limit = json!({"unit": "credits", "limit": 5});
    assert_eq!(app.send(Method::PUT, "/v1/accounts/alice/overdraft-limit", Some(&limit)).await.status, 200);
    let spent = app.keyed("/v1/accounts/alice/spends", "s1", &json!({"unit": "credits", "amount": 13})).await;
    assert_eq!(spent.json()["overdraft"], 3, "{spent:?}");
    assert_eq!(spent.json()["balance"]["debt"], 3);
    let grant = json!({"unit": "credits", "amount": 10, "reason": "bonus"});
    let granted = app.keyed("/v1/accounts/alice/grants", "g2", &grant).await;
    let balance = json!({"unit": "credits", "available": 7, "held": 0, "disputed": 0, "debt": 0});
    assert_eq!(granted.json()["balance"], balance, "{granted:?}");
}

#[tokio::test]
async fn grants_and_adjustments_say_which_lot_they_made_or_drew() {
    let app = TestApp::start().await;
    app.account_with("alice", 0).await;
    let grant =
        json!({"unit": "credits", "amount": 10, "reason": "bonus", "priority": 0, "metadata": {"by": "me"}});
    let granted = app.keyed("/v1/accounts/alice/grants", "g", &grant).await.json();
    assert_eq!(
        names(&granted),
        [
            "lot_id",
            "account_id",
            "unit",
            "amount",
            "expires_at",
            "priority",
            "balance",
            "position",
            "recorded_at"
        ]
    );
    let added = json!({"unit": "credits", "amount": 4, "reason": "correction"});
    let added = app.keyed("/v1/accounts/alice/adjustments", "a+", &added).await.json();
    assert!(added["lot_id"].as_str().is_some_and(|lot| lot.starts_with("lot_")), "{added}");
    let removed = json!({"unit": "credits", "amount": -12, "reason": "correction"});
    let removed = app.keyed("/v1/accounts/alice/adjustments", "a-", &removed).await.json();
    assert_eq!((&removed["amount"], &removed["lot_id"]), (&json!(-12), &Value::Null));
    let draws =
        json!([{"lot_id": granted["lot_id"], "amount": 10}, {"lot_id": added["lot_id"], "amount": 2}]);
    assert_eq!(removed["draws"], draws);
    let too_much = json!({"unit": "credits", "amount": -3, "reason": "correction"});
    let refused = app.keyed("/v1/accounts/alice/adjustments", "a--", &too_much).await;
    assert_eq!((refused.status, refused.code().as_str()), (402, "insufficient_credits"));
}

#[tokio::test]
async fn a_purchase_outside_of_stripe_becomes_lots_and_its_refund_takes_them_back() {
    let app = TestApp::start().await;
    app.account_with("alice", 0).await;
    let price = json!({
        "display_name": "Pro", "money": {"amount": 2000, "currency": "EUR"},
        "grants": [{"unit": "credits", "amount": 500, "share": 3},
                   {"unit": "licence_30d", "amount": 1, "expires_days": 30, "priority": 10}],
    });
    let set = app.send(Method::PUT, "/v1/prices/price_pro", Some(&price)).await;
    assert_eq!(set.status, 200, "{set:?}");
    let set = set.written();
    assert_eq!(app.get("/v1/prices/price_pro").await, set);
    assert_eq!(app.get("/v1/prices").await["items"], json!([set]));
    assert_eq!(
        (&set["mode"], &set["findings"], &set["active"]),
        (&json!("one_time"), &json!([]), &json!(true))
    );
    assert_eq!(set["overridden"], json!(["display_name", "money", "grants"]));

    let purchase = json!({
        "price_id": "price_pro", "quantity": 2, "money": {"amount": 4760, "tax": 760, "currency": "eur"},
        "reference": "invoice 2031-17",
    });
    let bought = app.keyed("/v1/accounts/alice/purchases", "p1", &purchase).await;
    assert_eq!(bought.status, 201, "{bought:?}");
    let bought = bought.json();
    assert_eq!(bought["money"], json!({"amount": 4760, "tax": 760, "currency": "eur"}));
    let lots = bought["lots"].as_array().expect("lots");
    assert_eq!((&lots[0]["amount"], &lots[0]["cost"]), (&json!(1000), &json!(3000)));
    assert_eq!((&lots[1]["amount"], &lots[1]["cost"]), (&json!(2), &json!(1000)));
    assert!(lots[1]["expires_at"].is_string());

    let path = format!("/v1/purchases/{}/refunds", bought["purchase_id"].as_str().expect("an id"));
    let refund = json!({"amount": 2380, "reason": "half of it", "reference": "transfer 9"});
    let refunded = app.keyed(&path, "r1", &refund).await;
    assert_eq!(refunded.status, 201, "{refunded:?}");
    let body = refunded.json();
    assert_eq!((&body["amount"], &body["currency"]), (&json!(2380), &json!("eur")));
    assert_eq!(body["clawbacks"][0]["amount"], -500);
    assert_eq!(body["clawbacks"][0]["balance"]["available"], 500);
    assert_eq!(body["clawbacks"][1]["amount"], -1);
    assert_eq!(app.keyed(&path, "r1", &refund).await.text, refunded.text);
    let beyond = app.keyed(&path, "r2", &json!({"amount": 2381})).await;
    assert_eq!((beyond.status, beyond.code().as_str()), (409, "refund_exceeds_payment"));
    assert_eq!(beyond.json()["error"]["detail"]["refundable"], 2380);
    assert_eq!(app.keyed(&path, "r3", &json!({})).await.json()["amount"], 2380);
}

#[tokio::test]
async fn lots_explain_the_balance_in_the_order_in_which_they_are_spent() {
    let app = TestApp::start().await;
    app.account_with("alice", 0).await;
    let grant = |amount: i64, more: Value| {
        let mut body = json!({"unit": "credits", "amount": amount, "reason": "bonus"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let grants = [
        (1, json!({})),
        (2, json!({"expires_at": "2100-01-01T00:00:00Z"})),
        (3, json!({"priority": 0})),
        (4, json!({"expires_at": "2090-01-01T00:00:00Z"})),
    ];
    for (amount, more) in grants {
        let granted =
            app.keyed("/v1/accounts/alice/grants", &format!("g{amount}"), &grant(amount, more)).await;
        assert_eq!(granted.status, 201, "{granted:?}");
    }
    let bought = json!({"unit": "credits", "amount": 5, "money": {"amount": 100, "currency": "eur"}});
    assert_eq!(app.keyed("/v1/accounts/alice/purchases", "p", &bought).await.status, 201);
    let other = json!({"unit": "licence_30d", "amount": 6, "reason": "bonus"});
    assert_eq!(app.keyed("/v1/accounts/alice/grants", "other", &other).await.status, 201);

    let all = app.get("/v1/accounts/alice/lots").await;
    let remaining: Vec<i64> =
        all["items"].as_array().expect("lots").iter().filter_map(|lot| lot["remaining"].as_i64()).collect();
    assert_eq!(remaining, [3, 4, 2, 1, 5, 6]);
    assert_eq!(all["items"][4]["source"], "purchase");
    assert_eq!(all["items"][4]["cost"], json!({"amount": 100, "currency": "eur"}));
    assert_eq!(all["items"][0]["source"], "grant");

    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/v1/accounts/alice/lots?unit=credits&limit=2{cursor}")).await;
        paged.extend(page["items"].as_array().expect("lots").clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(Value::from(paged), Value::from(all["items"].as_array().expect("lots")[..5].to_vec()));
}

#[tokio::test]
async fn history_tells_in_words_what_happened() {
    let app = TestApp::start().await;
    app.account_with("alice", 100).await;
    let spent = app.keyed("/v1/accounts/alice/spends", "s1", &json!({"unit": "credits", "amount": 40})).await;
    let token = spent.header("X-Position-Token").expect("a token");
    let history = app.get(&format!("/v1/accounts/alice/history?min_position={token}")).await;
    let first = &history["items"][0];
    assert_eq!(
        names(first),
        [
            "position",
            "type",
            "unit",
            "amount",
            "balance_after",
            "description",
            "recorded_at",
            "actor",
            "reference"
        ]
    );
    assert_eq!((&first["amount"], &first["balance_after"]), (&json!(-40), &json!(60)));
    assert_eq!(first["reference"], spent.json()["spend_id"]);
    assert!(first["actor"].as_str().is_some_and(|actor| actor.starts_with("api_key:key_")));
    let types: Vec<&str> =
        history["items"].as_array().expect("items").iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!(types, ["credits.spent", "credits.granted", "account.opened"]);
    let page = app.get("/v1/accounts/alice/history?limit=2").await;
    let cursor = page["next_cursor"].as_str().expect("another page");
    let rest = app.get(&format!("/v1/accounts/alice/history?limit=2&cursor={cursor}")).await;
    assert_eq!((&rest["items"][0]["type"], &rest["next_cursor"]), (&json!("account.opened"), &Value::Null));
}

#[tokio::test]
async fn events_are_read_in_order_as_pages_or_as_lines() {
    let app = TestApp::start().await;
    app.account_with("alice", 100).await;
    let spend = json!({"unit": "credits", "amount": 1, "metadata": {"secret": "in the note"}});
    for number in 0..5 {
        let key = format!("s{number}");
        assert_eq!(app.keyed("/v1/accounts/alice/spends", &key, &spend).await.status, 201);
    }
    let page = app.get("/v1/events?after=0&limit=3").await;
    let head = page["head"].as_i64().expect("a head");
    let positions: Vec<i64> = page["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter_map(|event| event["position"].as_i64())
        .collect();
    assert_eq!(positions, [1, 2, 3]);

    let lines = app.request(Method::GET, "/v1/events").header("Accept", "application/x-ndjson").send().await;
    let lines = Answer::of(lines.expect("an answer")).await;
    assert_eq!(lines.header("Content-Type"), Some("application/x-ndjson"));
    let events: Vec<Value> =
        lines.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.last().map(|event| event["position"].as_i64()), Some(Some(head)));
    assert_eq!(events[..3], page["events"].as_array().expect("events")[..]);
    let last = events.last().expect("an event");
    assert_eq!((&last["type"], &last["account_id"]), (&json!("credits.spent"), &json!("alice")));
    assert_eq!((&last["amount"], &last["balance_after"]), (&json!(-1), &json!(95)));
    assert!(last["note_hash"].is_string() && !lines.text.contains("in the note"), "{last}");

    let some =
        app.request(Method::GET, "/v1/events?after=2&limit=4").header("Accept", "application/x-ndjson");
    let some = Answer::of(some.send().await.expect("an answer")).await;
    assert_eq!(some.text.lines().count(), 4);
    let end = app.get(&format!("/v1/events?after={head}")).await;
    assert_eq!(end, json!({"events": [], "next_after": head, "has_more": false, "head": head}));

    for (accept, form) in [
        ("Application/X-NDJSON", "application/x-ndjson"),
        ("application/x-ndjson;q=0.5, application/json;q=0.1", "application/x-ndjson"),
        ("application/x-ndjson;q=0", "application/json"),
        ("text/event-stream;q=0, */*", "application/json"),
        ("application/json, application/x-ndjson", "application/json"),
        ("*/*, text/event-stream;q=0.1", "application/json"),
        ("nonsense", "application/json"),
    ] {
        let asked = app.request(Method::GET, "/v1/events?limit=1").header("Accept", accept);
        let answer = Answer::of(asked.send().await.expect("an answer")).await;
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some(form)), "{accept}");
    }
}

#[tokio::test]
async fn lists_of_accounts_are_paged_and_filtered_while_accounts_come() {
    let app = TestApp::start().await;
    for number in 0..7 {
        app.account_with(&format!("user-{number}"), 0).await;
    }
    assert_eq!(app.keyed("/v1/accounts/user-3/freeze", "f", &json!({})).await.status, 200);
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("items");
        items.iter().filter_map(|item| item["account_id"].as_str()).map(str::to_owned).collect()
    };
    let first = app.get("/v1/accounts?limit=3").await;
    assert_eq!(ids(&first), ["user-6", "user-5", "user-4"]);
    app.account_with("user-7", 0).await;
    let cursor = first["next_cursor"].as_str().expect("another page");
    let second = app.get(&format!("/v1/accounts?limit=3&cursor={cursor}")).await;
    assert_eq!(ids(&second), ["user-3", "user-2", "user-1"]);
    assert_eq!(ids(&app.get("/v1/accounts?status=frozen").await), ["user-3"]);
    let opened = app.get("/v1/accounts/user-6").await["created_at"].as_str().expect("a time").to_owned();
    assert_eq!(ids(&app.get(&format!("/v1/accounts?opened_from={opened}")).await), ["user-7", "user-6"]);
    assert_eq!(ids(&app.get(&format!("/v1/accounts?opened_until={opened}&limit=1")).await), ["user-5"]);
}

#[tokio::test]
async fn webhooks_in_the_inbox_are_listed_shown_and_replayed() {
    let app = TestApp::start().await;
    let superuser = app.database.superuser().await;
    let insert = "INSERT INTO stripe_inbox (ledger_id, event_id, type, received_at, body, status, reason)
                  SELECT ledger_id, 'evt_' || n, 'charge.refunded', now() + make_interval(secs => n), '{}'::bytea,
                         'quarantined', 'nonsense: says nothing' FROM ledgers, generate_series(1, 3) n";
    superuser.batch_execute(insert).await.expect("webhooks");
    let list = app.get("/v1/inbox?status=quarantined&limit=2").await;
    assert_eq!(list["items"][0]["event_id"], "evt_3");
    assert_eq!(list["items"][0].get("body"), None);
    let cursor = list["next_cursor"].as_str().expect("another page");
    let rest = app.get(&format!("/v1/inbox?status=quarantined&cursor={cursor}")).await;
    assert_eq!((&rest["items"][0]["event_id"], &rest["next_cursor"]), (&json!("evt_1"), &Value::Null));
    // However long an id of Stripe's may be, the next page is reached.
    let long = "INSERT INTO stripe_inbox (ledger_id, event_id, type, received_at, body, status, reason)
                SELECT ledger_id, rpad('evt_', 255, 'x'), 'charge.refunded', now() + interval '1 h', '{}'::bytea,
                       'quarantined', 'nonsense: says nothing' FROM ledgers";
    superuser.batch_execute(long).await.expect("a webhook");
    let list = app.get("/v1/inbox?limit=1").await;
    let cursor = list["next_cursor"].as_str().expect("another page");
    assert_eq!(app.get(&format!("/v1/inbox?limit=1&cursor={cursor}")).await["items"][0]["event_id"], "evt_3");
    assert_eq!(app.get("/v1/inbox/evt_2").await["body"], "{}");
    let replayed = app.send(Method::POST, "/v1/inbox/evt_2/replay", None).await;
    assert_eq!(replayed.status, 200, "{replayed:?}");
    let unknown = app.send(Method::POST, "/v1/inbox/evt_9/replay", None).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "inbox_event_not_found"));
    let forget =
        "UPDATE stripe_inbox SET body = NULL, status = 'ignored', finished_at = now(), next_attempt_at = NULL
                   WHERE event_id = 'evt_3'";
    superuser.batch_execute(forget).await.expect("a webhook without a body");
    let gone = app.send(Method::POST, "/v1/inbox/evt_3/replay", None).await;
    assert_eq!((gone.status, gone.code().as_str()), (409, "body_gone"));
}

#[tokio::test]
async fn probes_answer_without_a_key() {
    let app = TestApp::start().await;
    app.account_with("alice", 1).await;
    for (path, expected) in [("/healthz", "ok"), ("/readyz", "ready"), ("/openapi.yaml", "openapi: 3.1.0")] {
        let answer = app.client.get(format!("{}{path}", app.url)).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        assert!(answer.text().await.expect("text").contains(expected), "{path}");
    }
    let metrics = app.client.get(format!("{}/metrics", app.url)).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    let counted = r#"counterfoil_http_requests_total{method="POST",route="/v1/accounts/{account}/grants",status="201"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn prices_are_listed_as_a_shop_shows_them() {
    let app = TestApp::start().await;
    app.account_with("alice", 0).await;
    let set = async |id: &str, order: i32, money: i64, currency: &str, active: bool| {
        let body = json!({
            "display_name": id, "display_order": order, "active": active,
            "money": {"amount": money, "currency": currency}, "grants": [{"unit": "credits", "amount": 1}],
        });
        let answer = app.send(Method::PUT, &format!("/v1/prices/{id}"), Some(&body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    set("b", 1, 900, "eur", true).await;
    set("a", 1, 900, "usd", true).await;
    set("c", 1, 100, "eur", true).await;
    set("d", -1, 5000, "eur", false).await;
    let list = async |query: &str| -> Vec<String> {
        let items = app.get(&format!("/v1/prices{query}")).await["items"].clone();
        let ids = items.as_array().expect("items").iter();
        ids.map(|item| item["price_id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(list("").await, ["d", "c", "a", "b"]);
    assert_eq!(list("?active=true").await, ["c", "a", "b"]);
    assert_eq!(list("?active=false").await, ["d"]);
    assert_eq!(list("?currency=EUR&active=true").await, ["c", "b"]);
    // Page by page.
    let (mut found, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let page = app.get(&format!("/v1/prices{query}")).await;
        found.push(page["items"][0]["price_id"].as_str().expect("one").to_owned());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=1&cursor={cursor}");
    }
    assert_eq!(found, ["d", "c", "a", "b"]);
    for (query, field) in [("?active=yes", "active"), ("?currency=euro", "currency"), ("?cursor=x", "cursor")]
    {
        let answer = app.send(Method::GET, &format!("/v1/prices{query}"), None).await;
        assert_eq!((answer.status, answer.field().as_str()), (400, field), "{query}");
    }
}

#[tokio::test]
async fn a_price_that_stripe_has_told_nothing_of_cannot_follow_stripe() {
    let app = TestApp::start().await;
    let empty = app.send(Method::PUT, "/v1/prices/price_1", Some(&json!({}))).await;
    assert_eq!((empty.status, empty.field().as_str()), (400, "price"));
    let removed = app.send(Method::DELETE, "/v1/prices/price_1/overrides", None).await;
    assert_eq!((removed.status, removed.field().as_str()), (400, "price"));
}
