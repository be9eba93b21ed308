//! An export that is cut off: it holds nothing up while it stands still, whoever audits it is told, and it can be completed.

use std::fs;

use reqwest::Method;
use serde_json::Value;

use crate::{
    api_support::{Answer, Requests},
    proof_support::Sealed,
    reports,
    support::{app::TestApp, slow_client::SlowClient, wait},
};

async fn export(app: &TestApp, path: &str) -> String {
    let request = app.request(Method::GET, path).header("Accept", "application/x-ndjson");
    let answer = Answer::of(request.send().await.expect("an answer")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text
}

fn position(line: &str) -> i64 {
    let event: Value = serde_json::from_str(line).expect("JSON");
    event["position"].as_i64().expect("a position")
}

/// Up to the end of the last whole line.
fn whole_lines(text: &str) -> &str {
    text.rsplit_once('\n').map_or("", |(lines, _)| &text[..=lines.len()])
}

/// More events than fit into what lies between a service and a client that does not read.
const MANY: i64 = 40_000;

/// Writes many small events.
pub async fn write_many(app: &TestApp) {
    let many = format!(
        "INSERT INTO events
                (ledger_id, position, command, command_size, account_number, type, version, amount, recorded_at, actor, body)
         SELECT h.ledger_id, h.position + n, h.position + n, 1, 1, 'account.opened', 1, 0, h.recorded_at, 'operator', '{{}}'
           FROM ledger_heads h CROSS JOIN generate_series(1, {MANY}) n;
         UPDATE ledger_heads SET position = position + {MANY}"
    );
    app.database.superuser().await.batch_execute(&many).await.expect("events");
}

/// A service with many events, and an export of them that has just begun.
async fn begun_export() -> (TestApp, SlowClient) {
    let app = TestApp::start().await;
    app.account_with("ada", 10).await;
    write_many(&app).await;
    let mut client = SlowClient::get(&app, "/v1/events", "application/x-ndjson").await;
    client.take(4 * 1024).await;
    (app, client)
}

#[tokio::test]
async fn an_export_that_stands_still_holds_no_transaction_and_goes_on_after_its_last_line() {
    let (app, client) = begun_export().await;
    let superuser = app.database.superuser().await;
    // It is in the middle now. Whatever it reads is read in transactions that end although nobody takes what was read.
    let now = superuser.query_one("SELECT now()::text", &[]).await.expect("the time").get::<_, String>(0);
    let older = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start <= $1::text::timestamptz";
    wait::until("every transaction of now to end", async || {
        let row = superuser.query_one(older, &[&now]).await.expect("the sessions");
        (row.get::<_, i64>(0) == 0).then_some(())
    })
    .await;
    let begun = client.body();
    drop(client);

    let begun = whole_lines(&begun);
    let last = begun.lines().next_back().map(position).expect("a whole line");
    let rest = export(&app, &format!("/v1/events?after={last}")).await;
    let whole = export(&app, "/v1/events").await;
    assert!(whole.lines().count() > 40_000);
    assert!(format!("{begun}{rest}") == whole, "the parts are not the whole");
}

#[tokio::test]
async fn an_export_of_a_ledger_that_became_shorter_is_cut_off() {
    let (app, mut client) = begun_export().await;
    let superuser = app.database.superuser().await;
    superuser.batch_execute("UPDATE ledger_heads SET position = 1000").await.expect("an older head");
    client.take_rest().await;
    let body = client.body();
    let last = body.lines().next_back().expect("a line");
    assert!(serde_json::from_str::<Value>(last).is_err(), "it ended as if it were whole: {last}");
}

#[tokio::test]
async fn a_journal_that_is_cut_off_is_no_journal_to_the_tools_that_read_it() {
    let app = TestApp::start().await;
    app.account_with("ada", 10).await;
    write_many(&app).await;
    let schema = reports::schema_of_books(&app).await;
    let superuser = app.database.superuser().await;
    let entries = format!(
        "INSERT INTO {schema}.journal (ledger_id, position, currency, account_number, type, day, sold, refunded, carried,
                                       recognised, breakage, deferred)
         SELECT ledger_id, position, 'eur', 1, type, current_date, 3, 0, 0, 2, 1, 0 FROM events WHERE position > 1"
    );
    superuser.batch_execute(&entries).await.expect("entries");
    let events = app.get("/v1/events?limit=1").await["head"].as_i64().expect("a position");
    let level = "SELECT FROM projection_cursors WHERE projection = 'books' AND is_serving AND position = $1";
    wait::until("the books to be level", async || {
        let rows = superuser.query(level, &[&events]).await.expect("the cursors");
        (!rows.is_empty()).then_some(())
    })
    .await;

    let mut clients = Vec::new();
    for format in ["beancount", "hledger"] {
        let path = format!("/v1/reports/journal?format={format}");
        let mut client = SlowClient::get(&app, &path, "text/plain").await;
        client.take(4 * 1024).await;
        clients.push(client);
    }
    superuser.batch_execute(&format!("ALTER TABLE {schema}.journal RENAME TO lost")).await.expect("no table");
    for (mut client, read) in clients.into_iter().zip([reports::bean_check, reports::hledger_check]) {
        client.take_rest().await;
        let body = client.body();
        assert!(i64::try_from(body.matches("account.opened").count()).expect("few") < MANY);
        // The tools are slow: what they read is what stands before the entries, and the last entry with what follows it.
        let before = body.split_once("account.opened").map(|(before, _)| whole_lines(before));
        let (before, (_, end)) = before.zip(body.rsplit_once("\n\n")).expect("entries");
        assert_eq!(read(&format!("{before}\n{}", whole_lines(end))), (true, String::new()));
        let (is_good, said) = read(&format!("{before}\n{end}"));
        assert!(!is_good && !said.is_empty(), "it ended as if it were whole: {end}");
    }
}

#[tokio::test]
async fn whoever_audits_an_export_that_was_cut_off_is_told_and_can_complete_it() {
    let sealed = Sealed::start().await;
    sealed.trade("ada", 3).await;
    sealed.everything_sealed().await;
    let note = sealed.app.send(Method::GET, "/v1/audit/checkpoint", None).await.text;
    let checkpoint = sealed.auditor.join("checkpoint");
    fs::write(&checkpoint, note).expect("written");
    let checkpoint = checkpoint.to_str().expect("a path");
    let file = sealed.auditor.join("export");
    let audit = async |events: &str| {
        fs::write(&file, events).expect("written");
        let file = file.to_str().expect("a path");
        sealed.audit(&["--export", file, "--checkpoint", checkpoint]).await
    };

    for path in ["/v1/audit/events", "/v1/events"] {
        let whole = export(&sealed.app, path).await;
        let events = whole.lines().count();
        let in_the_last_line = &whole[..whole.len() - 10];
        let (is_good, said) = audit(in_the_last_line).await;
        assert!(!is_good && said.contains(&format!("position {events}")), "{path}: {said}");
        let at_an_end = whole_lines(in_the_last_line);
        let (is_good, said) = audit(at_an_end).await;
        let words = format!("position {events}: the head covers these events, and they are not there");
        assert!(!is_good && said.contains(&words), "{path}: {said}");
        let rest = export(&sealed.app, &format!("{path}?after={}", events - 1)).await;
        let (is_good, said) = audit(&format!("{at_an_end}{rest}")).await;
        assert!(is_good, "{path}: {said}");
    }
}
