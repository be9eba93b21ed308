//! Lists, narrowed down by type and by time, over HTTP: each tells all that was asked for and nothing else, page by page.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::{Answer, Requests},
    support::{app::TestApp, shop::Shop, wait},
};

/// How many events [`fill`] writes.
const EVENTS: i64 = 25_000;
/// Among them there is one of another type, as many after the first.
const RARE: i64 = 1_000;

/// All items of a list that has a cursor, and how many pages they came in.
async fn all(app: &TestApp, path: &str) -> (Vec<Value>, usize) {
    let (mut items, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = app.get(&format!("{path}{cursor}")).await;
        items.extend(page["items"].as_array().expect("items").clone());
        pages += 1;
        let Some(next) = page["next_cursor"].as_str() else { return (items, pages) };
        cursor = format!("&cursor={next}");
    }
}

/// All events of a query, and how many pages they came in.
async fn all_events(app: &TestApp, query: &str) -> (Vec<Value>, usize) {
    let (mut events, mut pages, mut after) = (Vec::new(), 0, 0);
    loop {
        let page = app.get(&format!("/v1/events?after={after}{query}")).await;
        events.extend(page["events"].as_array().expect("events").clone());
        pages += 1;
        let next = page["next_after"].as_i64().expect("a position");
        if page["has_more"] == json!(false) {
            return (events, pages);
        }
        assert!(next > after, "{page}");
        after = next;
    }
}

async fn lines(app: &TestApp, query: &str) -> Vec<Value> {
    let request = app.request(Method::GET, &format!("/v1/events?{query}"));
    let answer =
        Answer::of(request.header("Accept", "application/x-ndjson").send().await.expect("one")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn field<'a>(items: &'a [Value], name: &str) -> Vec<&'a Value> {
    items.iter().map(|item| &item[name]).collect()
}

/// A long history of `alice`, written past the service: a thousandth of a second between two events, and one of them that is of
/// a type of its own. The position of the first.
async fn fill(app: &TestApp) -> i64 {
    let superuser = app.database.superuser().await;
    let first = app.get("/v1/events").await["head"].as_i64().expect("a position") + 1;
    let events = "INSERT INTO events (ledger_id, position, command, command_size, batch_id, account_number, type, version,
                                      amount, recorded_at, actor, body)
                  SELECT h.ledger_id, h.position + n, h.position + n, 1,
                         CASE WHEN n = $1::bigint THEN '00000000-0000-0000-0000-000000000001'::uuid END, a.account_number,
                         CASE WHEN n = $2::bigint + 1 THEN 'account.closed' ELSE 'account.unfrozen' END, 1, 0,
                         h.recorded_at + n * interval '1 ms', 'operator', '{}'
                    FROM ledger_heads h, accounts a, generate_series(1, $1::bigint) n
                   WHERE a.external_id = 'alice'";
    superuser.execute(events, &[&EVENTS, &RARE]).await.expect("events");
    let head =
        "UPDATE ledger_heads SET position = position + $1::bigint, batch_id = '00000000-0000-0000-0000-000000000001',
                       recorded_at = recorded_at + $1::bigint * interval '1 ms'";
    superuser.execute(head, &[&EVENTS]).await.expect("a head");
    first
}

#[tokio::test]
async fn a_history_is_narrowed_down_by_type_and_time_and_stays_whole_while_more_is_written() {
    let app = TestApp::start().await;
    app.account_with("alice", 1_000).await;
    let mut token = String::new();
    for turn in 0..6 {
        let body = json!({"unit": "credits", "amount": 1});
        let spent = app.keyed("/v1/accounts/alice/spends", &format!("s{turn}"), &body).await;
        token = spent.header("X-Position-Token").expect("a token").to_owned();
    }
    let whole = app.get(&format!("/v1/accounts/alice/history?min_position={token}")).await;
    let whole = whole["items"].as_array().expect("items").clone();
    assert_eq!(whole.len(), 8);
    let spends = "/v1/accounts/alice/history?type=credits.spent&limit=2";
    let first = app.get(spends).await;
    assert_eq!(first["items"], json!(whole[..2]));
    let body = json!({"unit": "credits", "amount": 1});
    let spent = app.keyed("/v1/accounts/alice/spends", "meanwhile", &body).await;
    let token = spent.header("X-Position-Token").expect("a token");
    let seen = app.get(&format!("{spends}&min_position={token}")).await;
    assert_eq!(seen["items"][0]["position"], spent.json()["position"]);
    let mut rest = Vec::new();
    let mut page = first;
    while let Some(next) = page["next_cursor"].as_str() {
        page = app.get(&format!("{spends}&cursor={next}")).await;
        rest.extend(page["items"].as_array().expect("items").clone());
    }
    assert_eq!(rest, whole[2..6], "what came meanwhile moves nothing");

    let both = "/v1/accounts/alice/history?type=account.opened,credits.granted&limit=1";
    assert_eq!(all(&app, both).await, (whole[6..].to_vec(), 2));
    let time = |place: usize| whole[place]["recorded_at"].as_str().expect("a time");
    for (query, expected) in [
        (format!("recorded_from={}&recorded_until={}", time(5), time(2)), &whole[3..6]),
        (format!("recorded_until={}&type=credits.spent", time(4)), &whole[5..6]),
        (format!("recorded_from={0}&recorded_until={0}", time(4)), &[]),
        ("recorded_until=1999-01-01T00:00:00Z".to_owned(), &[]),
        ("recorded_from=2999-01-01T00:00:00Z".to_owned(), &[]),
    ] {
        let (items, _) = all(&app, &format!("/v1/accounts/alice/history?{query}&limit=2")).await;
        assert_eq!(items, expected, "{query}");
    }
}

#[tokio::test]
async fn what_is_rare_in_a_long_history_is_found_in_pages_that_may_be_empty() {
    let app = TestApp::start().await;
    app.account_with("alice", 1).await;
    let first = fill(&app).await;
    let rare = first + RARE;
    let one = json!([rare]);

    let (events, pages) = all_events(&app, "&type=account.closed&limit=500").await;
    assert_eq!((json!(field(&events, "position")), pages), (one.clone(), 3));
    let early = app.get(&format!("/v1/events?after={}&type=account.closed", rare)).await;
    let reached = json!(rare + 10_000);
    assert_eq!(
        (&early["events"], &early["has_more"], &early["next_after"]),
        (&json!([]), &json!(true), &reached)
    );
    let told = lines(&app, "type=account.closed,history.lost").await;
    assert_eq!(told, events);
    let (often, _) = all_events(&app, "&type=account.unfrozen&limit=500").await;
    assert_eq!(often.len() as i64, EVENTS - 1);
    for limit in [1, 500] {
        let told = lines(&app, &format!("type=account.unfrozen&limit={limit}&after={}", first + 400)).await;
        let begin = often.iter().position(|event| event["position"] == first + 401).expect("one of them");
        assert_eq!(told, often[begin..begin + limit], "{limit}");
    }

    let between = format!(
        "recorded_from={}&recorded_until={}",
        often[700]["recorded_at"].as_str().expect("a time"),
        often[2_700]["recorded_at"].as_str().expect("a time")
    );
    let (within, _) = all_events(&app, &format!("&{between}&limit=500")).await;
    assert_eq!(within.len(), 2_001, "those, and the other one");
    assert_eq!((&within[0], &within[2_000]), (&often[700], &often[2_699]));
    assert_eq!(lines(&app, &between).await, within);
    let (closed, pages) = all_events(&app, &format!("&{between}&type=account.closed")).await;
    assert_eq!((json!(field(&closed, "position")), pages), (one.clone(), 1));

    wait::until("the history to have it all", async || {
        let newest = app.get("/v1/accounts/alice/history?limit=1").await;
        (newest["items"][0]["position"] == first + EVENTS - 1).then_some(())
    })
    .await;
    let path = "/v1/accounts/alice/history?type=account.closed";
    let page = app.get(path).await;
    assert_eq!((&page["items"], page["next_cursor"].is_string()), (&json!([]), true));
    let (items, pages) = all(&app, path).await;
    assert_eq!((json!(field(&items, "position")), pages), (one.clone(), 13));
    let (items, pages) = all(&app, &format!("{path}&{between}")).await;
    assert_eq!((json!(field(&items, "position")), pages), (one, 2));
}

#[tokio::test]
async fn webhooks_are_narrowed_down_by_type_status_and_time() {
    let app = TestApp::start().await;
    let superuser = app.database.superuser().await;
    let insert = "INSERT INTO stripe_inbox (ledger_id, event_id, type, received_at, body, status, reason, finished_at)
                  SELECT ledger_id, 'evt_' || n, CASE n % 3 WHEN 0 THEN 'charge.refunded' WHEN 1 THEN 'v1.odd' ELSE 'price.created' END,
                         '2031-01-01T00:00:00Z'::timestamptz + make_interval(secs => n), '{}'::bytea,
                         CASE n % 2 WHEN 0 THEN 'quarantined' ELSE 'processed' END,
                         CASE n % 2 WHEN 0 THEN 'nonsense: x' END, CASE n % 2 WHEN 1 THEN now() END
                    FROM ledgers, generate_series(0, 11) n";
    superuser.batch_execute(insert).await.expect("webhooks");
    let moment = |second: u8| format!("2031-01-01T00:00:{second:02}Z");
    for (query, expected) in [
        ("type=charge.refunded".to_owned(), vec![9, 6, 3, 0]),
        ("type=charge.refunded,v1.odd".to_owned(), vec![10, 9, 7, 6, 4, 3, 1, 0]),
        ("type=charge.refunded,charge.refunded&status=processed".to_owned(), vec![9, 3]),
        ("type=never.heard_of".to_owned(), vec![]),
        (format!("received_from={}&received_until={}", moment(4), moment(8)), vec![7, 6, 5, 4]),
        (format!("received_from={}&type=v1.odd,price.created", moment(7)), vec![11, 10, 8, 7]),
        (format!("received_until={}&status=quarantined", moment(6)), vec![4, 2, 0]),
        (format!("received_until={}&status=quarantined&type=price.created", moment(8)), vec![2]),
    ] {
        for limit in [1, 2, 50] {
            let (items, _) = all(&app, &format!("/v1/inbox?{query}&limit={limit}")).await;
            let ids: Vec<String> = expected.iter().map(|number| format!("evt_{number}")).collect();
            assert_eq!(json!(field(&items, "event_id")), json!(ids), "{query}, {limit} a page");
        }
    }
}

#[tokio::test]
async fn orders_and_accounts_are_narrowed_down_by_time() {
    let shop = Shop::open().await;
    let app = &shop.app;
    for account in ["alice", "bob"] {
        app.account_with(account, 0).await;
    }
    for (account, key) in [("alice", "1"), ("bob", "2"), ("alice", "3"), ("alice", "4")] {
        shop.check_out(account, key).await;
    }
    let (orders, _) = all(app, "/v1/orders?limit=50").await;
    let time = |place: usize| orders[place]["created_at"].as_str().expect("a time");
    for (query, expected) in [
        (format!("created_from={}", time(1)), vec![0, 1]),
        (format!("created_from={}&created_until={}", time(2), time(0)), vec![1, 2]),
        (format!("created_until={}&account_id=alice", time(0)), vec![1, 3]),
        (format!("created_from={}&account_id=alice&status=placed", time(1)), vec![0, 1]),
        (format!("created_from={}&status=paid", time(3)), vec![]),
        ("created_from=2999-01-01T00:00:00Z".to_owned(), vec![]),
    ] {
        let (items, _) = all(app, &format!("/v1/orders?{query}&limit=1")).await;
        let expected: Vec<&Value> = expected.iter().map(|place: &usize| &orders[*place]).collect();
        assert_eq!(items.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let (accounts, _) = all(app, "/v1/accounts?limit=1").await;
    let opened = accounts[0]["created_at"].as_str().expect("a time");
    let (later, _) = all(app, &format!("/v1/accounts?opened_from={opened}&limit=1")).await;
    assert_eq!(json!(field(&later, "account_id")), json!(["bob"]));
    let (earlier, _) = all(app, &format!("/v1/accounts?opened_until={opened}&limit=1")).await;
    assert_eq!(json!(field(&earlier, "account_id")), json!(["alice"]));
}

#[tokio::test]
async fn what_a_list_cannot_be_narrowed_down_by_is_refused_by_name_and_value() {
    let app = TestApp::start().await;
    app.account_with("alice", 0).await;
    let reversed =
        |moment: &str| format!("{moment}_from=2031-01-02T00:00:00Z&{moment}_until=2031-01-01T00:00:00Z");
    let many = vec!["a"; 21].iter().enumerate().map(|(at, text)| format!("{text}{at}")).collect::<Vec<_>>();
    for (path, field, told) in [
        ("/v1/accounts/alice/history?type=credits.spend".to_owned(), "type", "`credits.spend`"),
        ("/v1/accounts/alice/history?type=credits.spent,".to_owned(), "type", "``"),
        ("/v1/accounts/alice/history?type=a.b&type=c.d".to_owned(), "type", "twice"),
        ("/v1/accounts/alice/history?recorded_from=today".to_owned(), "recorded_from", "RFC 3339"),
        (format!("/v1/accounts/alice/history?{}", reversed("recorded")), "recorded_until", "before"),
        ("/v1/events?type=credits.spent,credits.lent".to_owned(), "type", "`credits.lent`"),
        (format!("/v1/events?{}", reversed("recorded")), "recorded_until", "before"),
        ("/v1/inbox?type=two%20words".to_owned(), "type", "`two words`"),
        (format!("/v1/inbox?type={}", many.join(",")), "type", "20"),
        (format!("/v1/inbox?{}", reversed("received")), "received_until", "before"),
        ("/v1/outbox?kind=create_refunds".to_owned(), "kind", "`create_refunds`"),
        ("/v1/outbox?created_until=2031".to_owned(), "created_until", "RFC 3339"),
        (format!("/v1/outbox?{}", reversed("created")), "created_until", "before"),
        (format!("/v1/orders?{}", reversed("created")), "created_until", "before"),
        ("/v1/orders?type=placed".to_owned(), "type", ""),
        (format!("/v1/accounts?{}", reversed("opened")), "opened_until", "before"),
    ] {
        let answer = app.send(Method::GET, &path, None).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{path}");
        assert_eq!(answer.field(), field, "{path}");
        let message = answer.json()["error"]["message"].clone();
        assert!(message.as_str().is_some_and(|message| message.contains(told)), "{path}: {message}");
    }
    for query in
        ["type=credits.spent", "recorded_from=2031-01-01T00:00:00Z", "recorded_until=2031-01-01T00:00:00Z"]
    {
        let request = app.request(Method::GET, &format!("/v1/events?{query}"));
        let answer =
            Answer::of(request.header("Accept", "text/event-stream").send().await.expect("one")).await;
        let name = query.split('=').next();
        assert_eq!((answer.status, Some(answer.field().as_str())), (400, name), "{query}");
    }
}
