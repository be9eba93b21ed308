//! The keys that ledgers call Stripe with and the secrets that their webhooks are signed with: how they come in, lie in
//! the database, are opened, and what happens when they cannot be.

use std::{
    io::Write,
    process::{Output, Stdio},
    sync::Arc,
};

use counterfoil::{
    credentials::{NoStripe, StripeClients, Vault},
    domain::ids::{LedgerId, LedgerSlug},
    store::{database_url::DatabaseUrl, ledgers::find_ledger, pool::Database, sealing::KeyRing},
    stripe::{
        client::ClientSettings,
        signature::{SigningSecret, sign},
    },
    writer::system_clock,
};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::{
    stripe_client_support::{Reply, ScriptedServer, id},
    support::{
        app::{LEDGER, TestApp, prepared},
        database::TestDatabase,
        process, wait,
    },
};

const API_KEY: &str = "sk_test_CanaryKey0123456789";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";
const KEY_VARIABLE: &str = "COUNTERFOIL_KEY_ENCRYPTION_KEY";
const PREVIOUS_VARIABLE: &str = "COUNTERFOIL_KEY_ENCRYPTION_KEY_PREVIOUS";
const API_KEY_VARIABLE: &str = "COUNTERFOIL_STRIPE_API_KEY";

type Environment<'a> = &'a [(&'a str, &'a str)];

/// Runs the binary as the service's role.
async fn run(database: &TestDatabase, environment: Environment<'_>, arguments: &[&str]) -> Output {
    let mut command = process::command(arguments);
    command.env("DATABASE_URL", database.runtime_url().expose_secret());
    command.envs(environment.iter().copied());
    process::output(command).await
}

async fn printed(database: &TestDatabase, environment: Environment<'_>, arguments: &[&str]) -> String {
    let output = run(database, environment, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    String::from_utf8(output.stdout).expect("text")
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sets the key of the ledger, under `KEY`.
async fn set_key(database: &TestDatabase, arguments: &[&str]) -> String {
    let environment = [(KEY_VARIABLE, KEY), (API_KEY_VARIABLE, API_KEY)];
    printed(database, &environment, &[&["ledger", "stripe-key", LEDGER], arguments].concat()).await
}

fn keys(current: &str, previous: &str) -> KeyRing {
    KeyRing::parse(Some(&current.into()), Some(&previous.into())).expect("keys")
}

fn vault(database: &TestDatabase, keys: KeyRing) -> Vault {
    let url = DatabaseUrl::parse(&database.runtime_url()).expect("an address");
    Vault::new(Database::open(&url, 2).expect("a database"), keys)
}

fn clients(database: &TestDatabase, keys: KeyRing) -> Arc<StripeClients> {
    StripeClients::new(vault(database, keys), ClientSettings::default())
}

async fn ledger(database: &TestDatabase) -> LedgerId {
    let slug = LedgerSlug::parse(LEDGER).expect("a name");
    find_ledger(&database.runtime().await, &slug).await.expect("a look").expect("a ledger").ledger
}

/// Why the ledger cannot call Stripe.
async fn trouble(database: &TestDatabase, keys: KeyRing) -> (&'static str, String) {
    let error = clients(database, keys).of(ledger(database).await).await.expect_err("it cannot");
    (error.code(), error.to_string())
}

/// Everything that the tables with secrets hold, as text.
async fn stored(database: &TestDatabase) -> String {
    let superuser = database.superuser().await;
    let statement = "SELECT COALESCE(string_agg(line, E'\\n'), '') FROM (
                         SELECT row_to_json(c)::text || encode(api_key, 'escape') AS line FROM stripe_credentials AS c
                          UNION ALL
                         SELECT row_to_json(w)::text || encode(COALESCE(sealed, ''), 'escape') FROM webhook_secrets AS w
                     ) AS lines";
    superuser.query_one(statement, &[]).await.expect("rows").get(0)
}

#[tokio::test]
async fn a_key_comes_in_by_the_environment_or_standard_input_and_is_kept_sealed() {
    let (database, _) = prepared().await;
    let told = set_key(&database, &[]).await;
    assert_eq!(told, format!("{LEDGER}\tsk_test_…6789\thttps://api.stripe.com\n"));
    let access = clients(&database, keys(KEY, "")).of(ledger(&database).await).await.expect("a client");
    assert_eq!(access.client.api_key().expose(), API_KEY);
    assert_eq!((access.ledger.as_str(), access.account), (LEDGER, None));
    assert!(!stored(&database).await.contains("CanaryKey"), "{}", stored(&database).await);

    let second = "rk_test_CanaryKey9876543210";
    let mut command = process::command(&["ledger", "stripe-key", LEDGER, "--base-url", "http://127.0.0.1:9"]);
    command.env("DATABASE_URL", database.runtime_url().expose_secret()).env(KEY_VARIABLE, KEY);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    writeln!(child.stdin.take().expect("a pipe"), "{second}").expect("written");
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.expect("no panic");
    let output = output.expect("an end");
    assert!(output.status.success(), "{}", complaint(&output));
    let access = clients(&database, keys(KEY, "")).of(ledger(&database).await).await.expect("a client");
    assert_eq!(access.client.api_key().expose(), second);
    assert_eq!(access.client.base_url().as_str(), "http://127.0.0.1:9");
}

#[tokio::test]
async fn a_key_that_cannot_be_kept_or_used_is_refused_and_not_repeated() {
    let (database, _) = prepared().await;
    let live = "sk_live_CanaryKey0123456789";
    let sealing = (KEY_VARIABLE, KEY);
    let cases: &[(Environment<'_>, &[&str], &str)] = &[
        (&[(API_KEY_VARIABLE, API_KEY)], &[LEDGER], "COUNTERFOIL_KEY_ENCRYPTION_KEY is not set"),
        (
            &[(API_KEY_VARIABLE, API_KEY), (KEY_VARIABLE, "CanaryKey")],
            &[LEDGER],
            "COUNTERFOIL_KEY_ENCRYPTION_KEY has to be 32 random bytes",
        ),
        (&[sealing], &[LEDGER], "COUNTERFOIL_STRIPE_API_KEY or on standard input"),
        (&[sealing, (API_KEY_VARIABLE, live)], &[LEDGER], "in test mode and the key in live mode"),
        (&[sealing, (API_KEY_VARIABLE, "pk_test_CanaryKey")], &[LEDGER], "publishable key"),
        (&[sealing, (API_KEY_VARIABLE, "CanaryKey")], &[LEDGER], "begins with `sk_test_`"),
        (&[sealing, (API_KEY_VARIABLE, API_KEY)], &["nobody"], "there is no ledger `nobody`"),
        (&[sealing, (API_KEY_VARIABLE, API_KEY)], &[LEDGER, "--base-url", "stripe"], "--base-url"),
    ];
    for (environment, arguments, expected) in cases {
        let arguments = [&["ledger", "stripe-key"], *arguments].concat();
        let output = run(&database, environment, &arguments).await;
        assert_eq!(output.status.code(), Some(1), "{expected}");
        assert!(complaint(&output).contains(expected), "{}", complaint(&output));
        assert!(!complaint(&output).contains("CanaryKey"), "{}", complaint(&output));
    }
    assert_eq!(trouble(&database, keys(KEY, "")).await.0, "no_stripe_key");
}

#[tokio::test]
async fn stripe_is_asked_about_a_key_before_it_is_kept_if_that_is_wanted() {
    let (database, _) = prepared().await;
    let refusing = ScriptedServer::start(|_| {
        Reply::error(401, &[], &json!({ "type": "invalid_request_error", "message": "Invalid API Key" }))
    })
    .await;
    let environment = [(KEY_VARIABLE, KEY), (API_KEY_VARIABLE, API_KEY)];
    let check = |url: &str| {
        vec![
            "ledger".to_owned(),
            "stripe-key".into(),
            LEDGER.into(),
            "--check".into(),
            "--base-url".into(),
            url.into(),
        ]
    };
    let arguments = check(&refusing.url);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = run(&database, &environment, &arguments).await;
    assert!(complaint(&output).contains("Stripe refuses: 401"), "{}", complaint(&output));
    assert_eq!(trouble(&database, keys(KEY, "")).await.0, "no_stripe_key");

    let taking =
        ScriptedServer::start(|_| Reply::json(&json!({ "id": "acct_1", "object": "account" }))).await;
    set_key(&database, &["--check", "--base-url", &taking.url]).await;
    let access = clients(&database, keys(KEY, "")).of(ledger(&database).await).await.expect("a client");
    assert_eq!(access.account, Some(id("acct_1")));
    assert_eq!(taking.received()[0].headers["authorization"], format!("Bearer {API_KEY}"));
}

#[tokio::test]
async fn a_missing_or_wrong_key_encryption_key_is_said_and_passes_when_it_is_put_right() {
    let (database, _) = prepared().await;
    set_key(&database, &[]).await;
    let (code, text) = trouble(&database, KeyRing::default()).await;
    assert_eq!(code, "key_encryption_key_missing");
    assert!(text.contains("COUNTERFOIL_KEY_ENCRYPTION_KEY is not set"), "{text}");
    let (code, text) = trouble(&database, keys(OTHER_KEY, "")).await;
    assert_eq!(code, "key_encryption_key_wrong");
    assert!(text.contains("neither COUNTERFOIL_KEY_ENCRYPTION_KEY"), "{text}");
    assert!(clients(&database, keys(KEY, "")).of(ledger(&database).await).await.is_ok());
}

#[tokio::test]
async fn a_ledger_is_called_for_at_the_rate_of_its_mode_however_it_began() {
    let (database, _) = prepared().await;
    printed(&database, &[], &["ledger", "create", "live", "--mode", "live"]).await;
    let slug = LedgerSlug::parse("live").expect("a name");
    let live = find_ledger(&database.runtime().await, &slug).await.expect("a look").expect("a ledger").ledger;
    let clients = clients(&database, keys(KEY, ""));
    assert_eq!(clients.of(live).await.expect_err("no key yet").code(), "no_stripe_key");
    set_key(&database, &[]).await;
    let environment = [(KEY_VARIABLE, KEY), (API_KEY_VARIABLE, "sk_live_CanaryKey0123456789")];
    printed(&database, &environment, &["ledger", "stripe-key", "live"]).await;
    let shown = format!("{:?}", clients.of(live).await.expect("a client").client);
    assert_eq!(shown, "Stripe at https://api.stripe.com with sk_live_…6789, 100 calls a second");
    let shown = format!("{:?}", clients.of(ledger(&database).await).await.expect("a client").client);
    assert_eq!(shown, "Stripe at https://api.stripe.com with sk_test_…6789, 25 calls a second");
}

#[tokio::test]
async fn a_sealed_key_that_was_moved_to_another_ledger_does_not_open() {
    let app = TestApp::start().await;
    set_key(&app.database, &[]).await;
    app.create_ledger("other", &[]).await;
    let superuser = app.database.superuser().await;
    superuser
        .batch_execute(
            "UPDATE stripe_credentials SET ledger_id = (SELECT ledger_id FROM ledgers WHERE slug = 'other')",
        )
        .await
        .expect("moved");
    let slug = LedgerSlug::parse("other").expect("a name");
    let other = find_ledger(&superuser, &slug).await.expect("a look").expect("a ledger").ledger;
    let error = clients(&app.database, keys(KEY, "")).of(other).await.expect_err("it is not his");
    assert_eq!(error.code(), "sealed_secret_damaged");
    assert!(matches!(error, NoStripe::Closed(_)));
}

#[tokio::test]
async fn the_key_encryption_key_is_replaced_without_losing_a_secret() {
    let (database, _) = prepared().await;
    set_key(&database, &[]).await;
    let both = [(KEY_VARIABLE, OTHER_KEY), (PREVIOUS_VARIABLE, KEY)];
    let ledger = ledger(&database).await;
    assert!(clients(&database, keys(OTHER_KEY, KEY)).of(ledger).await.is_ok(), "an older key opens");

    // Without the older one nothing is changed, and that is said.
    let output = run(&database, &[(KEY_VARIABLE, OTHER_KEY)], &["ledger", "reseal", LEDGER]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("stay as they are: 1"), "{}", complaint(&output));
    assert!(clients(&database, keys(KEY, "")).of(ledger).await.is_ok(), "nothing was lost");

    // The signing secret of the ledger's webhooks, which is in clear, has been sealed by that already.
    let told = printed(&database, &both, &["ledger", "reseal"]).await;
    assert_eq!(told, format!("{LEDGER}\t1 sealed anew\t1 were already\n"));
    let told = printed(&database, &both, &["ledger", "reseal"]).await;
    assert_eq!(told, format!("{LEDGER}\t0 sealed anew\t2 were already\n"));
    assert!(clients(&database, keys(OTHER_KEY, "")).of(ledger).await.is_ok());
    assert_eq!(trouble(&database, keys(KEY, "")).await.0, "key_encryption_key_wrong");
    let output = run(&database, &[], &["ledger", "reseal"]).await;
    assert!(
        complaint(&output).contains("COUNTERFOIL_KEY_ENCRYPTION_KEY is not set"),
        "{}",
        complaint(&output)
    );
}

#[tokio::test]
async fn a_key_that_is_replaced_is_used_within_seconds_and_is_one_client_until_then() {
    let (database, _) = prepared().await;
    set_key(&database, &[]).await;
    let (clients, ledger) = (clients(&database, keys(KEY, "")), ledger(&database).await);
    let first = clients.of(ledger).await.expect("a client").client;
    assert!(Arc::ptr_eq(&first, &clients.of(ledger).await.expect("a client").client));
    let environment = [(KEY_VARIABLE, KEY), (API_KEY_VARIABLE, "sk_test_Replacement0123456789")];
    printed(&database, &environment, &["ledger", "stripe-key", LEDGER]).await;
    wait::until("the new key to be used", async || {
        let access = clients.of(ledger).await.expect("a client");
        (access.client.api_key().hint() == "sk_test_…6789" && !Arc::ptr_eq(&first, &access.client))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_ledger_has_is_shown_without_what_is_secret_of_it() {
    let (database, given) = prepared().await;
    set_key(&database, &[]).await;
    let environment = [(KEY_VARIABLE, OTHER_KEY)];
    let told = printed(&database, &environment, &["ledger", "secrets", LEDGER]).await;
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((lines[0][0], lines[0][1]), ("stripe_api_key", "sk_test_…6789"));
    assert!(lines[0][2].starts_with("sealed under ") && lines[0][3].contains("neither"), "{told}");
    assert_eq!((lines[1][0], lines[1][2], lines[1][3]), ("webhook_secret", "in clear", "opens"));
    assert!(!told.contains("CanaryKey") && !told.contains(&given.webhook_secret), "{told}");
}

/// Posts a webhook, signed with a secret, and gives the status of the answer.
async fn post(app: &TestApp, secret: &str, number: u32) -> u16 {
    let body =
        json!({ "id": format!("evt_{number}"), "object": "event", "type": "radar.unknown", "livemode": false,
                       "data": { "object": { "id": "x_1" } } })
        .to_string();
    let secret = SigningSecret::parse(secret).expect("a secret");
    let signature = sign(body.as_bytes(), &secret, system_clock().unix_seconds());
    let request = app.client.post(format!("{}/webhooks/stripe/{LEDGER}", app.url));
    let answer = request.header("Stripe-Signature", signature).body(body).send().await.expect("an answer");
    answer.status().as_u16()
}

#[tokio::test]
async fn sealed_signing_secrets_let_webhooks_in_and_nobody_is_turned_away_for_want_of_the_key() {
    let (database, given) = prepared().await;
    let url = database.runtime_url();
    printed(&database, &[(KEY_VARIABLE, KEY)], &["ledger", "reseal"]).await;
    assert!(!stored(&database).await.contains(&given.webhook_secret), "it is sealed");
    let secret = given.webhook_secret.clone();
    let app = TestApp::start_on(database, given.clone(), &url, &[(KEY_VARIABLE, KEY)]).await;
    assert_eq!(post(&app, &secret, 1).await, 200);
    assert_eq!(post(&app, "whsec_wrong", 2).await, 400);

    // With another key the service cannot tell Stripe's webhooks from others, so Stripe is asked to come again.
    let TestApp { database, .. } = app;
    let app = TestApp::start_on(database, given, &url, &[(KEY_VARIABLE, OTHER_KEY)]).await;
    assert_eq!(post(&app, &secret, 3).await, 503);
    assert_eq!(post(&app, "whsec_wrong", 4).await, 503);
    let unsigned = app.client.post(format!("{}/webhooks/stripe/{LEDGER}", app.url)).body("{}");
    assert_eq!(unsigned.send().await.expect("an answer").status().as_u16(), 400);
    let log = wait::until("the log to say why", async || {
        let log = app.process.standard_error();
        log.contains("neither COUNTERFOIL_KEY_ENCRYPTION_KEY").then_some(log)
    })
    .await;
    assert!(!log.contains(&secret) && !log.contains(OTHER_KEY) && !log.contains(KEY), "{log}");
}

#[tokio::test]
async fn a_ledger_that_is_made_with_a_key_at_hand_has_its_signing_secret_sealed_from_the_start() {
    let (database, _) = prepared().await;
    let sealing = [(KEY_VARIABLE, KEY), ("COUNTERFOIL_WEBHOOK_SECRET", "whsec_CanarySecret")];
    printed(&database, &sealing, &["ledger", "create", "sealed", "--mode", "test"]).await;
    assert!(!stored(&database).await.contains("CanarySecret"));
    let told = printed(&database, &sealing, &["ledger", "secrets", "sealed"]).await;
    assert!(told.contains("sealed under") && told.contains("opens"), "{told}");
}

#[tokio::test]
async fn a_service_does_not_start_with_a_key_that_is_none() {
    let (database, _) = prepared().await;
    let output = run(&database, &[(KEY_VARIABLE, "CanaryKey")], &["serve", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("COUNTERFOIL_KEY_ENCRYPTION_KEY has to be 32 random bytes"));
    assert!(!complaint(&output).contains("CanaryKey"), "{}", complaint(&output));
}
