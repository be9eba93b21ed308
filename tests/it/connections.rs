//! Connections to PostgreSQL as production makes them: encrypted, verified, to the right one of several servers.

use counterfoil::sandbox::postgres::SUPERUSER;
use counterfoil::sandbox::run_as::RunAs;
use counterfoil::store::database_url::DatabaseUrl;
use counterfoil::store::pool::{ConnectError, Database};
use counterfoil::store::roles::{self, Login};
use counterfoil::store::{migrate, provision};
use secrecy::ExposeSecret;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::support::certificates;
use crate::support::cluster::connect;
use crate::support::database::TestDatabase;
use crate::support::pgbouncer::PgBouncer;
use crate::support::private::{open_directory, settings, start, stop};
use crate::support::proxy::Proxy;

async fn try_to_connect(url: &str) -> Result<Client, ConnectError> {
    let url = DatabaseUrl::parse(&url.into()).expect("a valid address");
    Database::open(&url, 1).expect("a usable address").connect().await
}

async fn is_encrypted(client: &Client) -> bool {
    let statement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    client.query_one(statement, &[]).await.expect("what the server sees").get(0)
}

async fn server_port(client: &Client) -> u16 {
    let row = client.query_one("SELECT inet_server_port()", &[]).await.expect("the server's port");
    u16::try_from(row.get::<_, i32>(0)).expect("a port")
}

/// A full account of an error: `tokio-postgres` says what went wrong only in the cause.
fn told(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[tokio::test]
async fn encryption_is_as_strong_as_the_address_asks_for() {
    let directory = open_directory();
    let ours = certificates::make(directory.path(), "ours");
    let other = open_directory();
    let stranger = certificates::make(other.path(), "stranger");
    RunAs::for_directory(directory.path()).and_then(|user| user.give(&ours.server_key)).expect("an owner");
    let mut settings = settings(directory.path());
    for (name, value) in [
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", ours.server.display().to_string()),
        ("ssl_key_file", ours.server_key.display().to_string()),
    ] {
        settings.parameters.push((name.to_owned(), value));
    }
    let cluster = start(&settings).await;
    let password = cluster.password().expose_secret();
    let by_number = format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{}/postgres", cluster.port());
    let by_name = by_number.replace("127.0.0.1", "localhost");
    let (good, bad) = (ours.authority.display(), stranger.authority.display());

    for (url, encrypted) in [
        (format!("{by_number}?sslmode=disable"), false),
        (format!("{by_number}?sslmode=prefer"), true),
        (format!("{by_number}?sslmode=require"), true),
        (format!("{by_number}?sslmode=require&channel_binding=require"), true),
        (format!("{by_number}?sslmode=require&sslrootcert={good}"), true),
        (format!("{by_number}?sslmode=verify-ca&sslrootcert={good}"), true),
        (format!("{by_name}?sslmode=verify-full&sslrootcert={good}&hostaddr=127.0.0.1"), true),
    ] {
        let client = try_to_connect(&url).await.unwrap_or_else(|error| panic!("{url}: {}", told(&error)));
        assert_eq!(is_encrypted(&client).await, encrypted, "{url}");
    }
    for (url, because) in [
        (format!("{by_number}?sslmode=require&sslrootcert={bad}"), "UnknownIssuer"),
        (format!("{by_number}?sslmode=verify-ca&sslrootcert={bad}"), "UnknownIssuer"),
        (format!("{by_number}?sslmode=verify-full&sslrootcert={good}"), "not valid for name"),
        (format!("{by_name}?sslmode=verify-full&hostaddr=127.0.0.1"), "UnknownIssuer"),
        (format!("{by_name}?sslmode=verify-full&sslrootcert={bad}&hostaddr=127.0.0.1"), "UnknownIssuer"),
    ] {
        let error = try_to_connect(&url).await.err().unwrap_or_else(|| panic!("{url} was accepted"));
        assert!(told(&error).contains(because), "{url}: {}", told(&error));
    }
    stop(cluster).await;
}

#[tokio::test]
async fn a_server_without_encryption_is_refused_where_encryption_is_required() {
    let database = TestDatabase::empty().await;
    let url = database.owner_url().expose_secret().replace("sslmode=disable", "sslmode=require");
    let error = try_to_connect(&url).await.expect_err("a refusal");
    assert!(told(&error).contains("does not support TLS"), "{}", told(&error));
    assert!(!told(&error).contains(password_of(&url)));

    let url = url.replace("sslmode=require", "sslmode=prefer");
    assert!(!is_encrypted(&try_to_connect(&url).await.expect("a connection")).await);
}

#[tokio::test]
async fn of_several_hosts_the_one_that_takes_writes_is_chosen() {
    let directories = [open_directory(), open_directory()];
    let primary = start(&settings(directories[0].path())).await;
    let mut read_only = settings(directories[1].path());
    read_only.parameters.push(("default_transaction_read_only".to_owned(), "on".to_owned()));
    let replica = start(&read_only).await;
    for cluster in [&primary, &replica] {
        let superuser = connect(cluster.url(SUPERUSER, SUPERUSER)).await;
        superuser.batch_execute("SET default_transaction_read_only = off").await.expect("a setting");
        let login = Login { name: "both".to_owned(), password: Some("same".into()) };
        provision::ensure_owner(&superuser, &login).await.expect("the same login on both");
    }
    let nobody = free_port();
    let hosts = |ports: [u16; 3]| ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let all = hosts([nobody, replica.port(), primary.port()]);
    for (attributes, expected) in [
        ("any", &replica),
        ("read-write", &primary),
        ("primary", &primary),
        ("read-only", &replica),
        ("standby", &replica),
    ] {
        let url = format!("postgres://both:same@{all}/postgres?target_session_attrs={attributes}");
        let client = try_to_connect(&url).await.unwrap_or_else(|error| panic!("{}", told(&error)));
        assert_eq!(server_port(&client).await, expected.port(), "{attributes}");
    }
    let url =
        format!("postgres://both:same@127.0.0.1:{}/postgres?target_session_attrs=primary", replica.port());
    let error = try_to_connect(&url).await.expect_err("a refusal");
    assert!(told(&error).contains("does not allow writes"), "{}", told(&error));
    for cluster in [primary, replica] {
        stop(cluster).await;
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_does_not_hold_the_caller() {
    let database = TestDatabase::empty().await;
    let proxy = Proxy::start(database.port()).await;
    proxy.pause();
    let url = format!("{}&connect_timeout=1", proxy.url(&database.owner_url()).expose_secret());
    let error = try_to_connect(&url).await.expect_err("a time-out");
    assert!(matches!(error, ConnectError::TimedOut(_)), "{}", told(&error));
}

#[tokio::test]
async fn the_checks_of_a_start_need_no_session_of_their_own() {
    let database = TestDatabase::migrated().await;
    let bouncer = PgBouncer::start().await;
    let url = bouncer.url(&database.runtime_url());

    let (one, other) = (connect(url.clone()).await, connect(url.clone()).await);
    let statement = one.prepare("SELECT 1").await.expect("a named statement");
    let refused = one.query(&statement, &[]).await.expect_err("a statement of a session that is over");
    assert_eq!(refused.code(), Some(&SqlState::INVALID_SQL_STATEMENT_NAME));

    for _ in 0..3 {
        for client in [&one, &other] {
            roles::check_runtime_role(client).await.expect("a fit role");
            migrate::check_schema(client).await.expect("a current schema");
        }
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn password_of(url: &str) -> &str {
    let credentials = url.split_once("//").and_then(|(_, rest)| rest.split_once('@'));
    let credentials = credentials.map(|(credentials, _)| credentials).expect("credentials");
    credentials.split_once(':').map(|(_, password)| password).expect("a password")
}
