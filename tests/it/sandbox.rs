//! The private PostgreSQL cluster: made, adopted, recovered, and never left behind.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Instant;

use counterfoil::sandbox::postgres::{Cluster, SUPERUSER};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User, chown};

use crate::support::cluster::connect;
use crate::support::database::TestDatabase;
use crate::support::private::{open_directory, settings, start, stop};
use crate::support::proxy::{Cut, Proxy};
use crate::support::{cluster, wait};

fn is_alive(process_id: i32) -> bool {
    kill(Pid::from_raw(process_id), None).is_ok()
}

#[tokio::test]
async fn a_cluster_keeps_its_data_and_its_port_from_one_start_to_the_next() {
    let directory = open_directory();
    let settings = settings(directory.path());

    let cluster = start(&settings).await;
    let (port, process_id) = (cluster.port(), cluster.process_id());
    let client = connect(cluster.url(SUPERUSER, SUPERUSER)).await;
    client.batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").await.expect("a table");
    stop(cluster).await;
    assert!(!is_alive(process_id));

    let cluster = start(&settings).await;
    assert_eq!(cluster.port(), port);
    let client = connect(cluster.url(SUPERUSER, SUPERUSER)).await;
    let row = client.query_one("SELECT n FROM kept", &[]).await.expect("the row");
    assert_eq!(row.get::<_, i32>(0), 7);
    stop(cluster).await;
}

#[tokio::test]
async fn a_surviving_server_is_adopted() {
    let directory = open_directory();
    let settings = settings(directory.path());
    let first = start(&settings).await;
    let process_id = first.process_id();
    first.leave_running();

    let second = start(&settings).await;
    assert!(second.adopted());
    assert_eq!(second.process_id(), process_id);
    stop(second).await;
    assert!(Cluster::adopt(&settings.directory).expect("readable files").is_none());
}

#[tokio::test]
async fn a_killed_server_recovers_what_was_committed() {
    let directory = open_directory();
    let settings = settings(directory.path());
    let cluster = start(&settings).await;
    let client = connect(cluster.url(SUPERUSER, SUPERUSER)).await;
    client.batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").await.expect("a table");
    kill(Pid::from_raw(cluster.process_id()), Signal::SIGKILL).expect("a process to kill");
    drop(cluster);

    let cluster = start(&settings).await;
    assert!(!cluster.adopted());
    let client = connect(cluster.url(SUPERUSER, SUPERUSER)).await;
    let row = client.query_one("SELECT n FROM kept", &[]).await.expect("the row");
    assert_eq!(row.get::<_, i32>(0), 7);
    stop(cluster).await;
}

#[tokio::test]
async fn dropping_a_cluster_stops_it() {
    let directory = open_directory();
    let cluster = start(&settings(directory.path())).await;
    let process_id = cluster.process_id();
    tokio::task::spawn_blocking(|| drop(cluster)).await.expect("no panic");
    assert!(!is_alive(process_id));
}

#[tokio::test]
async fn as_root_the_server_runs_under_the_owner_of_the_directory() {
    let directory = open_directory();
    let is_root = Uid::effective().is_root();
    let nobody = User::from_name("nobody").expect("the accounts").expect("an account `nobody`");
    if is_root {
        chown(directory.path(), Some(nobody.uid), Some(nobody.gid)).expect("another owner");
    }
    let expected = if is_root { nobody.uid } else { Uid::effective() };
    let cluster = start(&settings(directory.path())).await;
    assert!(!cluster.moved());
    let data = std::fs::metadata(cluster.directory().join("data")).expect("the data");
    assert_eq!(data.uid(), expected.as_raw());
    stop(cluster).await;
}

#[tokio::test]
async fn a_directory_that_the_server_cannot_enter_is_replaced_by_one_that_keeps_the_data() {
    let only_us = Permissions::from_mode(0o700);
    let closed = tempfile::Builder::new().permissions(only_us).tempdir().expect("a temporary directory");
    let settings = settings(closed.path());
    let cluster = start(&settings).await;
    let (place, moved) = (cluster.directory().to_owned(), cluster.moved());
    // Only root runs the server as somebody else.
    assert_eq!(moved, Uid::effective().is_root());
    assert_eq!(moved, !place.starts_with(closed.path()));
    let process_id = cluster.process_id();
    cluster.leave_running();
    let cluster = start(&settings).await;
    assert_eq!((cluster.directory(), cluster.process_id()), (place.as_path(), process_id));
    stop(cluster).await;
    std::fs::remove_dir_all(&place).expect("a directory of ours");
    // The directory that replacements share goes with the last of them.
    let _ = place.parent().map(std::fs::remove_dir);
}

#[tokio::test]
async fn a_test_database_is_migrated_its_own_and_gone_afterwards() {
    let database = TestDatabase::migrated().await;
    let other = TestDatabase::migrated().await;
    assert_ne!(database.name(), other.name());
    let history = "SELECT count(*) FROM refinery_schema_history";
    database.runtime().await.query_one(history, &[]).await.expect("a readable history");

    let name = database.name().to_owned();
    drop(database);
    let superuser = cluster::cluster().superuser(SUPERUSER).await;
    let found = superuser.query("SELECT FROM pg_database WHERE datname = $1", &[&name]).await;
    assert!(found.expect("the list of databases").is_empty());
}

#[tokio::test]
async fn the_proxy_counts_pipelined_statements_as_one_round_trip() {
    let database = TestDatabase::empty().await;
    let proxy = Proxy::start(database.port()).await;
    let client = connect(proxy.url(&database.owner_url())).await;
    let before = proxy.round_trips();
    let (one, two, three) = tokio::join!(
        client.simple_query("SELECT 1"),
        client.simple_query("SELECT 2"),
        client.simple_query("SELECT 3"),
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(proxy.round_trips() - before, 1);
    client.simple_query("SELECT 4").await.expect("an answer");
    assert_eq!(proxy.round_trips() - before, 2);
}

#[tokio::test]
async fn the_proxy_cuts_around_a_commit_where_it_was_told_to() {
    let database = TestDatabase::empty().await;
    let observer = database.owner().await;
    observer.batch_execute("CREATE TABLE witness (n int)").await.expect("a table");
    let proxy = Proxy::start(database.port()).await;

    for (number, cut, client_learns, committed) in [
        (1, Cut::BeforeCommit, false, false),
        (2, Cut::BeforeAnswer, false, true),
        (3, Cut::AfterAnswer, true, true),
    ] {
        let client = connect(proxy.url(&database.owner_url())).await;
        client.batch_execute("BEGIN").await.expect("a transaction");
        client.execute("INSERT INTO witness VALUES ($1)", &[&number]).await.expect("a row");
        proxy.cut_next_commit(cut);
        assert_eq!(client.execute("COMMIT", &[]).await.is_ok(), client_learns, "{cut:?}");
        proxy.wait_for_cuts(usize::try_from(number).expect("a small number")).await;
        let there = observer.query("SELECT FROM witness WHERE n = $1", &[&number]).await.expect("an answer");
        assert_eq!(!there.is_empty(), committed, "{cut:?}");
    }
    assert_eq!((proxy.connections(), proxy.commits()), (3, 3));
    assert_eq!(proxy.cuts(), [Cut::BeforeCommit, Cut::BeforeAnswer, Cut::AfterAnswer]);
}

#[tokio::test]
async fn a_withheld_commit_takes_effect_when_it_is_delivered() {
    let database = TestDatabase::empty().await;
    let observer = database.owner().await;
    observer.batch_execute("CREATE TABLE witness (n int)").await.expect("a table");
    let count = async || {
        let row = observer.query_one("SELECT count(*) FROM witness", &[]).await.expect("a count");
        row.get::<_, i64>(0)
    };
    let proxy = Proxy::start(database.port()).await;
    let client = connect(proxy.url(&database.owner_url())).await;
    client.batch_execute("BEGIN; INSERT INTO witness VALUES (1)").await.expect("a row");
    proxy.cut_next_commit(Cut::Withheld);
    assert!(client.batch_execute("COMMIT").await.is_err());
    assert_eq!(count().await, 0);
    proxy.deliver_withheld().await;
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn a_paused_proxy_delays_and_a_refusing_one_disconnects() {
    let database = TestDatabase::empty().await;
    let proxy = Proxy::start(database.port()).await;
    let client = connect(proxy.url(&database.owner_url())).await;

    proxy.pause();
    let asked = Instant::now();
    let (answer, ()) = tokio::join!(client.simple_query("SELECT 1"), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        proxy.resume();
    });
    assert!(answer.is_ok() && asked.elapsed().as_millis() >= 100);

    proxy.refuse();
    wait::until("the connection to be closed", async || client.is_closed().then_some(())).await;
}
