//! The live stream of events, over HTTP: nothing is missed and nothing comes twice, whatever happens to whoever follows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use counterfoil::{
    credentials::{StripeClients, Vault},
    domain::{
        ids::{Position, RequestId},
        settings::Scope,
    },
    service::{Request, Service},
    store::{database_url::DatabaseUrl, pool::Database, sealing::KeyRing},
    stripe::client::ClientSettings,
    writer::{WriterSettings, Writers},
};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    api_support::{Answer, Requests},
    export_interrupted::write_many,
    support::{app::TestApp, proxy::Proxy, slow_client::SlowClient, wait},
    writer_support::open,
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream that is read.
struct Live {
    response: Response,
    text: String,
}

impl Live {
    async fn open(app: &TestApp, query: &str, last_seen: Option<&str>) -> Self {
        let answer = request(app, &app.ledger.api_key, query, last_seen).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { response: answer, text: String::new() }
    }

    /// The next event and its id; none when the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let line =
                    |name: &str| block.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
                if let Some(data) = line("data: ") {
                    return Some((line("id: ").expect("an id"), serde_json::from_str(&data).expect("JSON")));
                }
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("something in time");
            let chunk = chunk.expect("an unbroken stream")?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    /// Reads on to an event, of which every one must follow the one before. Gives the last id.
    async fn read_on(&mut self, from: i64, to: i64) -> String {
        let mut id = String::new();
        for expected in from..=to {
            let (next, event) = self.next().await.expect("an event");
            assert_eq!(event["position"], expected);
            id = next;
        }
        id
    }
}

async fn request(app: &TestApp, key: &str, query: &str, last_seen: Option<&str>) -> Response {
    let mut request = app.client.get(format!("{}/v1/events{query}", app.url)).bearer_auth(key);
    request = request.header("Accept", "text/event-stream");
    if let Some(last_seen) = last_seen {
        request = request.header("Last-Event-ID", last_seen);
    }
    request.send().await.expect("an answer")
}

async fn spend(app: &TestApp, key: &str) {
    let body = json!({"unit": "credits", "amount": 1});
    let spent = app.keyed("/v1/accounts/ada/spends", key, &body).await;
    assert_eq!(spent.status, 201, "{spent:?}");
}

async fn head(app: &TestApp) -> i64 {
    app.get("/v1/events?limit=1").await["head"].as_i64().expect("a position")
}

#[tokio::test]
async fn a_stream_goes_from_old_events_to_new_ones_without_a_gap_or_a_repetition() {
    let app = TestApp::start().await;
    app.account_with("ada", 1_000).await;
    for turn in 0..20 {
        spend(&app, &format!("before {turn}")).await;
    }
    let begun = head(&app).await;
    let (mut from_the_beginning, mut from_within) =
        (Live::open(&app, "", None).await, Live::open(&app, &format!("?after={}", begun - 5), None).await);
    let writing = async {
        for turn in 0..60 {
            spend(&app, &format!("meanwhile {turn}")).await;
        }
    };
    let last = begun + 60;
    let (_, _, _) =
        tokio::join!(writing, from_the_beginning.read_on(1, last), from_within.read_on(begun - 4, last));

    // It is the same event as on a page.
    let mut again = Live::open(&app, &format!("?after={}", last - 1), None).await;
    let (_, event) = again.next().await.expect("an event");
    assert_eq!(event, app.get(&format!("/v1/events?after={}", last - 1)).await["events"][0]);
}

#[tokio::test]
async fn whoever_was_cut_off_goes_on_after_the_last_event_that_he_saw_even_at_a_new_process() {
    let mut app = TestApp::start().await;
    app.account_with("ada", 100).await;
    let begun = head(&app).await;
    let mut live = Live::open(&app, "", None).await;
    let id = live.read_on(1, begun).await;
    drop(live);
    spend(&app, "nobody looks").await;
    // What the id says counts, whatever the address was.
    let mut live = Live::open(&app, "?after=0", Some(&id)).await;
    let id = live.read_on(begun + 1, begun + 1).await;
    app.restart().await;
    spend(&app, "after the restart").await;
    let mut live = Live::open(&app, "", Some(&id)).await;
    live.read_on(begun + 2, begun + 2).await;
}

#[tokio::test]
async fn events_that_another_process_writes_are_followed_too() {
    let app = TestApp::start().await;
    app.account_with("ada", 100).await;
    let (_other, url) = app.start_another().await;
    let begun = head(&app).await;
    let mut live = Live::open(&app, &format!("?after={begun}"), None).await;
    let request = app.client.post(format!("{url}/v1/accounts/ada/spends")).bearer_auth(&app.ledger.api_key);
    let request =
        request.header("Idempotency-Key", "elsewhere").json(&json!({"unit": "credits", "amount": 1}));
    assert_eq!(request.send().await.expect("an answer").status(), 201);
    live.read_on(begun + 1, begun + 1).await;
}

#[tokio::test]
async fn a_stream_ends_in_order_when_the_process_does() {
    let mut app = TestApp::start().await;
    app.account_with("ada", 1).await;
    let mut live = Live::open(&app, "", None).await;
    live.read_on(1, head(&app).await).await;
    let (ended, rest) = tokio::join!(timeout(PATIENCE, app.terminate()), live.next());
    assert_eq!((ended, rest), (Ok(true), None));
}

#[tokio::test]
async fn a_stream_ends_with_its_key_and_begins_only_with_one_that_may_read_everything() {
    let app = TestApp::start().await;
    app.account_with("ada", 1).await;
    let make = async |name: &str, scope: &str| {
        let made = app.keyed("/v1/api-keys", name, &json!({"name": name, "scopes": [scope]})).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()
    };
    let (reader, auditor) = (make("reader", "read").await, make("auditor", "audit").await);
    let refused = Answer::of(request(&app, reader["api_key"].as_str().expect("a key"), "", None).await).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "{refused:?}");
    let begun = head(&app).await;
    let opened =
        request(&app, auditor["api_key"].as_str().expect("a key"), &format!("?after={begun}"), None).await;
    assert_eq!(opened.status(), 200);
    let mut live = Live { response: opened, text: String::new() };
    let path = format!("/v1/api-keys/{}", auditor["key_id"].as_str().expect("an id"));
    let revoked = app.send(Method::DELETE, &path, None).await;
    assert!(revoked.status < 300, "{revoked:?}");
    assert_eq!(live.next().await, None);
}

#[tokio::test]
async fn when_the_history_is_lost_streams_end_and_cannot_be_resumed() {
    let app = TestApp::start().await;
    app.account_with("ada", 1).await;
    let mut live = Live::open(&app, "", None).await;
    let id = live.read_on(1, head(&app).await).await;
    let superuser = app.database.superuser().await;
    let lost = "UPDATE ledger_heads SET incarnation = gen_random_uuid()";
    superuser.execute(lost, &[]).await.expect("another incarnation");
    assert_eq!(live.next().await, None);
    let refused = Answer::of(request(&app, &app.ledger.api_key, "", Some(&id)).await).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "history_lost"), "{refused:?}");
}

#[tokio::test]
async fn a_range_has_its_end_and_one_that_is_not_there_is_refused() {
    let app = TestApp::start().await;
    app.account_with("ada", 10).await;
    for turn in 0..5 {
        spend(&app, &format!("{turn}")).await;
    }
    let head = head(&app).await;
    let lines = async |query: &str| {
        let request = app.request(Method::GET, &format!("/v1/events{query}"));
        let request = request.header("Accept", "application/x-ndjson");
        Answer::of(request.send().await.expect("an answer")).await
    };
    let range = lines(&format!("?after=2&until={}", head - 1)).await;
    let positions: Vec<i64> = range
        .text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["position"].as_i64().expect("a position")
        })
        .collect();
    assert_eq!(positions, (3..head).collect::<Vec<_>>());
    assert_eq!(lines("?after=3&until=3").await.text, "");
    let page = app.get("/v1/events?after=1&until=3").await;
    assert_eq!(page["events"].as_array().map(Vec::len), Some(2));
    for (query, field) in [
        (format!("?until={}", head + 1), "until"),
        (format!("?until={}&recorded_until=1999-01-01T00:00:00Z", head + 1), "until"),
        (format!("?after={}&recorded_from=1999-01-01T00:00:00Z", head + 1), "after"),
        ("?after=4&until=3".to_owned(), "until"),
        ("?until=soon".to_owned(), "until"),
    ] {
        let page = Answer::of(
            app.request(Method::GET, &format!("/v1/events{query}")).send().await.expect("an answer"),
        );
        for refused in [lines(&query).await, page.await] {
            assert_eq!((refused.status, refused.field().as_str()), (400, field), "{query}: {refused:?}");
        }
    }
    let narrowed = lines(&format!("?until={head}&recorded_until=1999-01-01T00:00:00Z")).await;
    assert_eq!((narrowed.status, narrowed.text.as_str()), (200, ""));
    for (query, last_seen, field) in [
        (format!("?after={}", head + 1), None, "after"),
        ("?until=2".to_owned(), None, "until"),
        ("?limit=2".to_owned(), None, "limit"),
        (String::new(), Some("17"), "Last-Event-ID"),
    ] {
        let refused = Answer::of(request(&app, &app.ledger.api_key, &query, last_seen).await).await;
        assert_eq!((refused.status, refused.field().as_str()), (400, field), "{query}: {refused:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_keeps_nobody_waiting_and_reads_everything_later() {
    let app = TestApp::start().await;
    app.account_with("ada", 10).await;
    let begun = head(&app).await;
    let mut slow = SlowClient::get(&app, "/v1/events", "text/event-stream").await;
    slow.take_until(&format!("\"position\":{begun},")).await;
    let mut quick = Live::open(&app, &format!("?after={begun}"), None).await;
    write_many(&app).await;
    let last = head(&app).await;
    quick.read_on(begun + 1, last).await;

    slow.take_until(&format!("\"position\":{last},")).await;
    let body = slow.body();
    let lines = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let positions = lines.map(|line| line.split_once("\"position\":")?.1.split_once(',')?.0.parse().ok());
    assert!(positions.eq((1..=last).map(Some)));
}

#[tokio::test]
async fn a_database_that_is_away_is_asked_less_and_less_for_what_was_announced() {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.port()).await;
    let open_database = |url| {
        let url = DatabaseUrl::parse(&url).expect("an address");
        Database::open(&url, 8).expect("a database")
    };
    let database = open_database(proxy.url(&app.database.runtime_url()));
    // The writers still reach it, so that a commit is announced which cannot be read.
    let writers = Writers::new(open_database(app.database.runtime_url()), WriterSettings::default());
    let clients =
        StripeClients::new(Vault::new(database.clone(), KeyRing::default()), ClientSettings::default());
    let service = Service::new(database, Arc::clone(&writers), clients, None);
    let caller = service.authorise(&app.ledger.api_key, Scope::Admin).await.expect("a key that works");
    let (mut follower, begun) = service.follow(&caller, Position(0), None).await.expect("a follower");
    proxy.refuse();
    let request = Request {
        command: open("alice"),
        key: None,
        fingerprint: [0; 32],
        request_id: RequestId::from_bits(1),
    };
    let accepted = service.submit(&caller, request).await.expect("an account");
    let (before, since) = (proxy.connections(), Instant::now());
    wait::until("four attempts", async || (proxy.connections() >= before + 4).then_some(())).await;
    assert!(since.elapsed() >= Duration::from_millis(700), "four attempts took {:?}", since.elapsed());
    proxy.resume();
    let mut read = Position(0);
    while read < accepted.head {
        let next = timeout(PATIENCE, follower.next()).await.expect("in time").expect("events");
        read = next.expect("a stream that goes on").0.last();
    }
    assert!(begun < read);
    service.begin_to_go_down();
    writers.drain().await;
}

#[tokio::test]
async fn whoever_is_slow_misses_nothing_and_keeps_nobody_waiting() {
    let app = TestApp::start().await;
    let url = DatabaseUrl::parse(&app.database.runtime_url()).expect("an address");
    let database = Database::open(&url, 8).expect("a database");
    let writers = Writers::new(database.clone(), WriterSettings::default());
    let clients =
        StripeClients::new(Vault::new(database.clone(), KeyRing::default()), ClientSettings::default());
    let service = Service::new(database, Arc::clone(&writers), clients, None);
    let caller = service.authorise(&app.ledger.api_key, Scope::Admin).await.expect("a key that works");
    let (mut quick, begun) = service.follow(&caller, Position(0), None).await.expect("a follower");
    let (mut slow, _) = service.follow(&caller, begun, None).await.expect("a follower");
    // The slow one is level, and takes nothing while far more is written than is kept for him.
    let idle = timeout(Duration::from_millis(1), slow.next()).await;
    assert!(idle.is_err());
    let mut read = Position(0);
    for turn in 0..120 {
        let command = open(&format!("account-{turn}"));
        let request =
            Request { command, key: None, fingerprint: [0; 32], request_id: RequestId::from_bits(turn) };
        let accepted = service.submit(&caller, request).await.expect("an account");
        while read < accepted.head {
            let next = timeout(PATIENCE, quick.next()).await.expect("in time").expect("events");
            let (run, after) = next.expect("a stream that goes on");
            assert_eq!(after, read);
            read = run.last();
        }
    }
    let mut caught_up = begun;
    while caught_up < read {
        let next = timeout(PATIENCE, slow.next()).await.expect("in time").expect("events");
        let (run, after) = next.expect("a stream that goes on");
        assert_eq!(after, caught_up);
        caught_up = run.last();
    }
    service.begin_to_go_down();
    let ended = timeout(PATIENCE, slow.next()).await.expect("in time").expect("an end");
    assert!(ended.is_none());
    writers.drain().await;
}

/// How many round trips to the database are made for so many followers of one ledger, while that many accounts are opened one
/// after another.
async fn round_trips_of(app: &TestApp, followers: usize, accounts: u128) -> u64 {
    let proxy = Proxy::start(app.database.port()).await;
    let open_database = |url| {
        let url = DatabaseUrl::parse(&url).expect("an address");
        Database::open(&url, 8).expect("a database")
    };
    let database = open_database(proxy.url(&app.database.runtime_url()));
    // What is counted is reading: the writers go past the proxy.
    let writers = Writers::new(open_database(app.database.runtime_url()), WriterSettings::default());
    let clients =
        StripeClients::new(Vault::new(database.clone(), KeyRing::default()), ClientSettings::default());
    let service = Service::new(database, Arc::clone(&writers), clients, None);
    let caller = service.authorise(&app.ledger.api_key, Scope::Admin).await.expect("a key that works");
    let open = async |turn: u128| {
        let command = open(&format!("one-of-{followers}-{turn}"));
        let request_id = RequestId::from_bits(turn);
        let request = Request { command, key: None, fingerprint: [0; 32], request_id };
        service.submit(&caller, request).await.expect("an account").head
    };
    let (reached, last) =
        (Arc::new(AtomicUsize::new(0)), open(0).await.0 + i64::try_from(accounts).expect("few"));
    let mut reading = JoinSet::new();
    for _ in 0..followers {
        let (mut follower, begun) = service.follow(&caller, Position(0), None).await.expect("a follower");
        let reached = Arc::clone(&reached);
        reading.spawn(async move {
            let mut read = Position(0);
            while read.0 < last {
                let next = timeout(PATIENCE, follower.next()).await.expect("in time").expect("events");
                let (run, after) = next.expect("a stream that goes on");
                assert_eq!(after, read);
                read = run.last();
                reached.fetch_add(usize::from(after < begun && read >= begun), Ordering::Relaxed);
            }
        });
    }
    wait::until("all to read what there is", async || {
        (reached.load(Ordering::Relaxed) == followers).then_some(())
    })
    .await;
    // Each looks once more before he is level. After that only the looking around is left, as much at any time.
    let meanwhile = async || {
        let before = proxy.round_trips();
        sleep(Duration::from_millis(300)).await;
        proxy.round_trips() - before
    };
    let mut last = u64::MAX;
    loop {
        let trips = meanwhile().await;
        if trips >= last {
            break;
        }
        last = trips;
    }
    let before = proxy.round_trips();
    for turn in 1..=accounts {
        open(turn).await;
    }
    while let Some(read) = reading.join_next().await {
        read.expect("everything");
    }
    let trips = proxy.round_trips() - before;
    service.begin_to_go_down();
    writers.drain().await;
    trips
}

#[tokio::test]
async fn fifty_who_follow_a_ledger_cost_the_database_no_more_than_one() {
    let app = TestApp::start().await;
    let (alone, fifty) = (round_trips_of(&app, 1, 40).await, round_trips_of(&app, 50, 40).await);
    // Each commit is read once, or together with those after it.
    assert!(alone >= 5, "{alone} round trips for one");
    assert!(fifty <= 2 * alone + 40, "{fifty} round trips for fifty, {alone} for one");
}
