//! Servers that must not be written to: a standby, and a former primary that came back after it had been replaced.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use counterfoil::{
    domain::{ids::LedgerId, ids::LedgerSlug, settings::LedgerMode},
    sandbox::postgres::{Cluster, SUPERUSER},
    store::{
        database_url::DatabaseUrl, ledgers::create_ledger, migrate, pool::Database, provision, roles::Login,
    },
    writer::{SubmitError, WriterSettings, Writers},
};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::{
    support::private::{self, open_directory},
    writer_support::{accepted, open, plain, writers},
};

const OWNER: &str = "owner_of_tables";
const APP: &str = "service";
const DATABASE: &str = "ledgers";

async fn connect(url: &SecretString) -> Client {
    database(url).connect().await.expect("a connection")
}

fn database(url: &SecretString) -> Database {
    let url = DatabaseUrl::parse(url).expect("a valid address");
    Database::open(&url, 1).expect("a usable address")
}

/// A stopped cluster with one ledger, below a directory of its own.
async fn former_primary() -> (TempDir, LedgerId) {
    let directory = open_directory();
    let cluster = private::start(&private::settings(directory.path())).await;
    let superuser = connect(&cluster.url(SUPERUSER, SUPERUSER)).await;
    let login = |name: &str| Login { name: name.to_owned(), password: Some(cluster.password().clone()) };
    provision::ensure_owner(&superuser, &login(OWNER)).await.expect("an owner");
    provision::ensure_database(&superuser, DATABASE, &login(OWNER)).await.expect("a database");
    migrate::run(&database(&cluster.url(OWNER, DATABASE)), Some(&login(APP))).await.expect("tables");
    let client = connect(&cluster.url(APP, DATABASE)).await;
    let slug = LedgerSlug::parse("book").expect("a slug");
    let ledger = create_ledger(&client, &slug, LedgerMode::Test).await.expect("a ledger").ledger;
    drop((client, superuser));
    private::stop(cluster).await;
    (directory, ledger)
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("the program cp");
    assert!(status.success(), "{} cannot be copied", from.display());
}

/// A copy of a stopped cluster that runs as a standby.
async fn standby(of: &Path) -> (TempDir, Cluster) {
    let directory = open_directory();
    let settings = private::settings(directory.path());
    copy(&of.join("postgres"), &settings.directory);
    let data = settings.directory.join("data");
    // A copy, so that it belongs to the user of the server.
    copy(&data.join("PG_VERSION"), &data.join("standby.signal"));
    let cluster = private::start(&settings).await;
    (directory, cluster)
}

fn writers_of(clusters: &[&Cluster]) -> Arc<Writers> {
    let first = clusters[0].url(APP, DATABASE);
    let ports: Vec<String> = clusters.iter().map(|cluster| format!("127.0.0.1:{}", cluster.port())).collect();
    let only_first = format!("127.0.0.1:{}", clusters[0].port());
    let url = first.expose_secret().replace(&only_first, &ports.join(","));
    let settings = WriterSettings { doubt_limit: Duration::from_millis(300), ..WriterSettings::default() };
    writers(url.into(), settings)
}

#[tokio::test]
async fn neither_a_standby_nor_a_primary_that_was_replaced_is_written_to() {
    let (old_directory, ledger) = former_primary().await;
    let (_new_directory, new) = standby(old_directory.path()).await;
    let outcome = writers_of(&[&new]).submit(ledger, plain(open("alice"))).await;
    assert_eq!(outcome, Err(SubmitError::Unavailable), "a standby was written to");

    let superuser = connect(&new.url(SUPERUSER, DATABASE)).await;
    let promoted: bool =
        superuser.query_one("SELECT pg_promote(true)", &[]).await.expect("a promotion").get(0);
    assert!(promoted);
    drop(superuser);
    let old = private::start(&private::settings(old_directory.path())).await;
    let writers = writers_of(&[&new, &old]);
    accepted(writers.submit(ledger, plain(open("alice"))).await);
    private::stop(new).await;

    // The address leads to the old server now, which is open for business and knows nothing of all this.
    for _ in 0..3 {
        let outcome = writers.submit(ledger, plain(open("bob"))).await;
        assert_eq!(outcome, Err(SubmitError::Unavailable), "history went on in the past");
    }
    let superuser = connect(&old.url(SUPERUSER, DATABASE)).await;
    let events: i64 = superuser.query_one("SELECT count(*) FROM events", &[]).await.expect("a count").get(0);
    assert_eq!(events, 0);
    accepted(writers_of(&[&old]).submit(ledger, plain(open("bob"))).await);
    drop(superuser);
    private::stop(old).await;
}
