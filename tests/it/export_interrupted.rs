//! An export that is cut off: it holds nothing up while it stands still, whoever audits it is told, and it can be completed.

use std::fs;

use reqwest::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    api_support::{Answer, Requests},
    proof_support::Sealed,
    support::{app::TestApp, wait},
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

/// A service with 40,000 events, and an export of them that has just begun, with its first lines. The client's buffer is
/// small and stays so: what has been sent is less than all, as long as it does not read.
async fn begun_export() -> (TestApp, TcpStream, String) {
    let app = TestApp::start().await;
    app.account_with("ada", 10).await;
    let many = "
        INSERT INTO events
               (ledger_id, position, command, command_size, account_number, type, version, amount, recorded_at, actor, body)
        SELECT h.ledger_id, h.position + n, h.position + n, 1, 1, 'account.opened', 1, 0, h.recorded_at, 'operator', '{}'
          FROM ledger_heads h CROSS JOIN generate_series(1, 40000) n;
        UPDATE ledger_heads SET position = position + 40000";
    app.database.superuser().await.batch_execute(many).await.expect("events");

    let address = app.url.strip_prefix("http://").expect("an address").parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
    let mut connection = socket.connect(address).await.expect("a connection");
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nAccept: application/x-ndjson\r\n\r\n",
        app.ledger.api_key
    );
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut begun = vec![0; 4 * 1024];
    connection.read_exact(&mut begun).await.expect("a beginning");
    let begun = String::from_utf8(begun).expect("text");
    assert!(begun.starts_with("HTTP/1.1 200 "), "{begun}");
    // Behind the head and the size of the first chunk.
    let lines = begun.split_once("\r\n\r\n").and_then(|(_, body)| body.split_once("\r\n"));
    let lines = lines.expect("a chunk").1.to_owned();
    (app, connection, lines)
}

#[tokio::test]
async fn an_export_that_stands_still_holds_no_transaction_and_goes_on_after_its_last_line() {
    let (app, connection, begun) = begun_export().await;
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
    drop(connection);

    let begun = whole_lines(&begun);
    let last = begun.lines().next_back().map(position).expect("a whole line");
    let rest = export(&app, &format!("/v1/events?after={last}")).await;
    let whole = export(&app, "/v1/events").await;
    assert!(whole.lines().count() > 40_000);
    assert!(format!("{begun}{rest}") == whole, "the parts are not the whole");
}

#[tokio::test]
async fn an_export_of_a_ledger_that_became_shorter_is_cut_off() {
    let (app, mut connection, _) = begun_export().await;
    let superuser = app.database.superuser().await;
    superuser.batch_execute("UPDATE ledger_heads SET position = 1000").await.expect("an older head");
    let mut rest = Vec::new();
    let mut text = String::new();
    while !text.contains("\r\n0\r\n\r\n") && connection.read_buf(&mut rest).await.expect("a connection") > 0 {
        text = String::from_utf8_lossy(&rest).into_owned();
    }
    let last = text.lines().rfind(|line| line.starts_with(['{', '"'])).expect("a line");
    assert!(serde_json::from_str::<Value>(last).is_err(), "it ended as if it were whole: {last}");
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
