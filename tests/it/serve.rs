//! `counterfoil serve`: starts, ends and goes on as production needs it.

use nix::sys::signal::Signal;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::app::{TestApp, prepared};
use crate::support::database::TestDatabase;
use crate::support::pgbouncer::PgBouncer;
use crate::support::process::{self, Process};
use crate::support::proxy::Proxy;
use crate::support::wait;

#[tokio::test]
async fn what_was_accepted_survives_an_orderly_end_and_a_kill() {
    let mut app = TestApp::start().await;
    let opened = app.post("/v1/accounts", "open", &json!({ "account_id": "alice" })).await;
    assert_eq!(opened.0, 201, "{opened:?}");
    let grant = json!({ "unit": "credits", "amount": 100, "reason": "welcome" });
    assert_eq!(app.post("/v1/accounts/alice/grants", "grant", &grant).await.0, 201);
    assert!(app.terminate().await, "{}", app.process.standard_error());
    app.restart().await;
    let spend = json!({ "unit": "credits", "amount": 30 });
    assert_eq!(app.post("/v1/accounts/alice/spends", "spend", &spend).await.0, 201);
    app.kill();
    app.restart().await;
    assert_eq!(app.get("/v1/accounts/alice/balance").await["balances"][0]["available"], 70);

    let (_other, url) = app.start_another().await;
    let balance = app.client.get(format!("{url}/v1/accounts/alice/balance"));
    let balance = balance.bearer_auth(&app.ledger.api_key).send().await.expect("an answer");
    assert_eq!(balance.status().as_u16(), 200);
}

#[tokio::test]
async fn a_process_without_workers_answers_and_leaves_the_work_to_another() {
    let mut app = TestApp::start_with(&[("COUNTERFOIL_WORKERS", "false")]).await;
    assert_eq!(app.post("/v1/accounts", "open", &json!({ "account_id": "alice" })).await.0, 201);
    let grant = json!({ "unit": "credits", "amount": 100, "reason": "welcome" });
    assert_eq!(app.post("/v1/accounts/alice/grants", "grant", &grant).await.0, 201);
    assert_eq!(app.get("/v1/accounts/alice/balance").await["balances"][0]["available"], 100);
    let runtime = app.database.superuser().await;
    let folded = "SELECT count(*) FROM projection_cursors WHERE position > 0";
    let folded = async || -> i64 { runtime.query_one(folded, &[]).await.expect("the cursors").get(0) };
    assert!(app.terminate().await, "{}", app.process.standard_error());
    assert_eq!(folded().await, 0);

    app.set("COUNTERFOIL_WORKERS", None);
    app.restart().await;
    wait::until("the events to be folded", async || (folded().await > 0).then_some(())).await;
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_process_ends() {
    let mut app = TestApp::start().await;
    assert_eq!(app.post("/v1/accounts", "open", &json!({ "account_id": "alice" })).await.0, 201);
    let blocker = app.database.superuser().await;
    blocker.batch_execute("BEGIN; SELECT FROM ledger_heads FOR UPDATE").await.expect("the lock of the head");

    let grant = json!({ "unit": "credits", "amount": 1, "reason": "slow" });
    let request = app.request(Method::POST, "/v1/accounts/alice/grants").header("Idempotency-Key", "grant");
    let request = tokio::spawn(request.json(&grant).send());
    wait::until("the writer to wait for the lock", async || {
        let waiting = "SELECT FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (!blocker.query(waiting, &[]).await.expect("the sessions").is_empty()).then_some(())
    })
    .await;
    app.process.signal(Signal::SIGTERM);
    wait::until("the service to stop listening", async || {
        app.client.get(format!("{}/healthz", app.url)).send().await.is_err().then_some(())
    })
    .await;
    blocker.batch_execute("ROLLBACK").await.expect("the lock given back");
    let answer = request.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status().as_u16(), 201);
    assert!(app.process.wait().await.success());
}

#[tokio::test]
async fn a_database_that_is_away_is_waited_for_at_the_start_and_later() {
    let (database, ledger) = prepared().await;
    let proxy = Proxy::start(database.port()).await;
    let url = proxy.url(&database.runtime_url());
    proxy.refuse();
    let mut command = process::command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("DATABASE_URL", url.expose_secret());
    let process = Process::start(command);
    wait::until("the service to notice", async || {
        process.standard_error().contains("the database is away").then_some(())
    })
    .await;
    drop(process);
    proxy.resume();

    let app = TestApp::start_on(database, ledger, &url, &[]).await;
    assert_eq!(app.post("/v1/accounts", "open", &json!({ "account_id": "alice" })).await.0, 201);
    proxy.refuse();
    wait::until("the service to be unready", async || (!app.is_ready().await).then_some(())).await;
    let (status, answer) = app.post("/v1/accounts", "open-2", &json!({ "account_id": "bob" })).await;
    assert_eq!(status, 503, "{answer}");
    proxy.resume();
    app.wait_until_ready().await;
    let opened = wait::until("writing to work again", async || {
        let (status, _) = app.post("/v1/accounts", "open-3", &json!({ "account_id": "carol" })).await;
        (status != 503).then_some(status)
    });
    assert_eq!(opened.await, 201);
}

#[tokio::test]
async fn everything_works_behind_a_pooler_that_clears_every_session() {
    let (database, ledger) = prepared().await;
    let bouncer = PgBouncer::start().await;
    let url = bouncer.url(&database.runtime_url());
    let app = TestApp::start_on(database, ledger, &url, &[]).await;
    assert_eq!(app.post("/v1/accounts", "open", &json!({ "account_id": "alice" })).await.0, 201);
    let grant = json!({ "unit": "credits", "amount": 100, "reason": "welcome" });
    assert_eq!(app.post("/v1/accounts/alice/grants", "grant", &grant).await.0, 201);
    for number in 0..10 {
        let spend = json!({ "unit": "credits", "amount": 10 });
        let (status, answer) =
            app.post("/v1/accounts/alice/spends", &format!("spend-{number}"), &spend).await;
        assert_eq!(status, 201, "{answer}");
    }
    assert_eq!(app.get("/v1/accounts/alice/balance").await["balances"][0]["available"], 0);
    let history = wait::until("the history to be there", async || {
        let history = app.get("/v1/accounts/alice/history").await;
        (history["items"].as_array().map(Vec::len) == Some(12)).then_some(history)
    });
    assert_eq!(history.await["items"][0]["type"], "credits.spent");
}

#[tokio::test]
async fn a_role_or_a_schema_that_breaks_what_is_promised_is_refused_with_the_remedy() {
    let migrated = TestDatabase::migrated().await;
    let empty = TestDatabase::empty().await;
    for (url, expected) in [
        (migrated.superuser_url(), "is a superuser"),
        (migrated.owner_url(), "owns the table"),
        (empty.runtime_url(), "run `counterfoil migrate`"),
    ] {
        let mut command = process::command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("DATABASE_URL", url.expose_secret());
        let output = process::output(command).await;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}
