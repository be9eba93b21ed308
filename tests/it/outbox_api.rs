//! The outbox by HTTP: what waits, what is dead and of which cause, and what is decided of it.

use counterfoil::{
    domain::time::{Span, Timestamp},
    store::outbox::shard_of,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{api_support::Requests, outbox_support::keep_workers_away, support::app::TestApp};

/// Effects as the worker leaves them: one waiting, one backing off with one held behind it, two dead of the same cause
/// and one of another. The ids of the dead.
async fn outbox(app: &TestApp) -> Vec<String> {
    let superuser = app.database.superuser().await;
    let ledger: i64 =
        superuser.query_one("SELECT ledger_id FROM ledgers", &[]).await.expect("a ledger").get(0);
    keep_workers_away(&superuser, ledger).await;
    let place = |account: i64| shard_of(&format!("refund:{account}"));
    for (account, position) in [(1, 10), (2, 11), (2, 12), (3, 13), (4, 14), (5, 15)] {
        let (table, rest, values) = match position {
            10 => ("outbox", "", String::new()),
            11 => (
                "outbox_retry",
                ", repeat_from, attempts, next_attempt_at, must_look, destination, class, code",
                ", now(), 3, now() + interval '1 minute', false, 'stripe', 'unavailable', 'http_502'"
                    .to_owned(),
            ),
            12 => (
                "outbox_retry",
                ", repeat_from, attempts, next_attempt_at, must_look",
                ", now(), 0, NULL, false".to_owned(),
            ),
            dead => (
                "outbox_dead",
                ", attempts, died_at, blocks, destination, class, code",
                format!(
                    ", 1, now(), true, 'stripe', 'refused', '{}'",
                    if dead == 15 { "resource_missing" } else { "charge_already_refunded" }
                ),
            ),
        };
        let (effect, key) =
            (json!({"kind": "create_refund", "account": account}), format!("refund:{account}"));
        let statement = format!(
            "INSERT INTO {table} (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at{rest})
             VALUES ($1, $2, $3, 0, $4, $5, 'create_refund', $6, now() - interval '1 hour'{values})"
        );
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&ledger, &place(account), &i64::from(position), &Uuid::new_v4(), &key, &effect];
        superuser
            .execute(&statement, &parameters)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    let dead = app.get("/v1/outbox?state=dead").await;
    let dead = dead["items"].as_array().expect("items").clone();
    dead.iter().map(|effect| effect["effect_id"].as_str().expect("an id").to_owned()).collect()
}

fn positions(list: &Value) -> Vec<i64> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|effect| effect["position"].as_i64().expect("a position")).collect()
}

#[tokio::test]
async fn effects_are_listed_by_state_and_cause_page_by_page_and_grouped_when_they_are_dead() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/v1/outbox").await, json!({"items": [], "next_cursor": null}));
    outbox(&app).await;
    let all = app.get("/v1/outbox").await;
    assert_eq!(positions(&all), [10, 11, 12, 13, 14, 15]);
    let states: Vec<&str> = all["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|effect| effect["state"].as_str())
        .collect();
    assert_eq!(states, ["waiting", "backing_off", "held", "dead", "dead", "dead"]);
    let (waiting, backing_off) = (&all["items"][0], &all["items"][1]);
    assert_eq!(
        (&waiting["cause"], &waiting["attempts"], &waiting["key"]),
        (&json!(null), &json!(0), &json!("refund:1"))
    );
    assert_eq!(waiting["effect"], json!({"kind": "create_refund", "account": 1}));
    let cause = json!({"destination": "stripe", "class": "unavailable", "code": "http_502"});
    assert_eq!((&backing_off["cause"], &backing_off["attempts"]), (&cause, &json!(3)));
    assert!(backing_off["next_attempt_at"].is_string());

    for (query, expected) in [
        ("state=waiting", vec![10]),
        ("state=backing_off", vec![11]),
        ("state=held", vec![12]),
        ("code=charge_already_refunded", vec![13, 14]),
        ("state=waiting&code=http_502", vec![]),
    ] {
        assert_eq!(positions(&app.get(&format!("/v1/outbox?{query}")).await), expected, "{query}");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/v1/outbox?limit=4{cursor}")).await;
        seen.extend(positions(&page));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, [10, 11, 12, 13, 14, 15]);

    let groups = app.get("/v1/outbox/dead").await;
    let groups: Vec<_> = groups["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|group| (group["cause"]["code"].clone(), group["kind"].clone(), group["effects"].clone()))
        .collect();
    let kind = json!("create_refund");
    assert_eq!(
        groups,
        [
            (json!("charge_already_refunded"), kind.clone(), json!(2)),
            (json!("resource_missing"), kind, json!(1))
        ]
    );
}

#[tokio::test]
async fn effects_are_narrowed_down_by_kind_and_time() {
    let app = TestApp::start().await;
    outbox(&app).await;
    let superuser = app.database.superuser().await;
    for (table, position, kind, ago) in [
        ("outbox", 10, "create_customer", 3),
        ("outbox_retry", 12, "create_customer", 2),
        ("outbox_dead", 14, "change_subscription", 3),
    ] {
        let other = format!(
            "UPDATE {table} SET kind = $1, created_at = now() - make_interval(hours => $2) WHERE position = $3"
        );
        superuser.execute(&other, &[&kind, &ago, &i64::from(position)]).await.expect("changed");
    }
    let ago = async |hours: i64| -> String {
        let clock = app.get("/v1/test/clock").await;
        let now = Timestamp::parse(clock["now"].as_str().expect("a time")).expect("a time");
        now.plus(Span::seconds(-hours * 3_600 - 1_800)).to_string()
    };
    for (query, expected) in [
        ("kind=create_customer".to_owned(), vec![10, 12]),
        ("kind=create_customer,change_subscription".to_owned(), vec![10, 12, 14]),
        ("kind=change_subscription&state=dead".to_owned(), vec![14]),
        ("kind=change_subscription&code=http_502".to_owned(), vec![]),
        (format!("created_from={}", ago(2).await), vec![11, 12, 13, 15]),
        (format!("created_from={}&created_until={}", ago(3).await, ago(2).await), vec![10, 14]),
        (format!("created_until={}&kind=create_customer", ago(1).await), vec![10, 12]),
    ] {
        assert_eq!(positions(&app.get(&format!("/v1/outbox?{query}")).await), expected, "{query}");
    }
}

#[tokio::test]
async fn whoever_retries_or_discards_says_why_and_stays_on_record() {
    let app = TestApp::start().await;
    let dead = outbox(&app).await;
    let path = |effect: &str, verb: &str| format!("/v1/outbox/{effect}{verb}");
    let reason = json!({"reason": "the key was replaced"});
    for (body, field) in [
        (json!({}), "reason"),
        (json!({"reason": ""}), "reason"),
        (json!({"reason": "why not", "force": true}), "force"),
    ] {
        let refused = app.send(Method::POST, &path(&dead[0], "/retry"), Some(&body)).await;
        assert_eq!((refused.status, refused.field().as_str()), (400, field), "{body}");
    }
    let retried = app.send(Method::POST, &path(&dead[0], "/retry"), Some(&reason)).await;
    assert_eq!(retried.status, 200, "{retried:?}");
    let retried = retried.json();
    assert_eq!(retried["effect"]["state"], "backing_off");
    assert_eq!(retried["effect"]["attempts"], 0);
    let decision = &retried["decisions"][0];
    assert_eq!((&decision["decision"], &decision["reason"]), (&json!("retry"), &reason["reason"]));
    assert!(decision["actor"].as_str().is_some_and(|actor| actor.starts_with("api_key:key_")), "{decision}");
    assert_eq!(decision["cause"]["code"], "charge_already_refunded");

    let discarded = app.send(Method::POST, &path(&dead[1], "/discard"), Some(&reason)).await;
    assert_eq!((discarded.status, &discarded.json()["effect"]), (200, &json!(null)));
    let known = app.get(&path(&dead[1], "")).await;
    assert_eq!((&known["effect"], &known["decisions"][0]["decision"]), (&json!(null), &json!("discard")));

    for (effect, verb) in [(&dead[0], "/retry"), (&dead[1], "/discard")] {
        let again = app.send(Method::POST, &path(effect, verb), Some(&reason)).await;
        assert_eq!(
            (again.status, again.json()["decisions"].as_array().map(Vec::len)),
            (200, Some(1)),
            "{verb}"
        );
        let other = app.send(Method::POST, &path(effect, verb), Some(&json!({"reason": "another"}))).await;
        assert_eq!((other.status, other.code().as_str()), (409, "effect_not_dead"), "{verb}");
    }
    for (effect, verb) in [(&dead[0], "/discard"), (&dead[1], "/retry")] {
        let refused = app.send(Method::POST, &path(effect, verb), Some(&reason)).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "effect_not_dead"), "{verb}");
    }
    let unknown = path("eff_00000000000000000000000000000001", "/retry");
    let unknown = app.send(Method::POST, &unknown, Some(&reason)).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "effect_not_found"));
    assert_eq!(positions(&app.get("/v1/outbox?state=dead").await), [15]);
    assert_eq!(app.get("/v1/outbox/dead").await["items"].as_array().expect("items").len(), 1);
}

#[tokio::test]
async fn one_ledger_does_not_see_anothers_effects() {
    let app = TestApp::start().await;
    let dead = outbox(&app).await;
    let other = app.create_ledger("other", &["--unit", "credits"]).await;
    let get = async |path: &str| {
        let request = app.client.get(format!("{}{path}", app.url)).bearer_auth(&other.api_key);
        request.send().await.expect("an answer")
    };
    let list: Value = get("/v1/outbox").await.json().await.expect("JSON");
    assert_eq!(positions(&list), Vec::<i64>::new());
    assert_eq!(get(&format!("/v1/outbox/{}", dead[0])).await.status().as_u16(), 404);
}
