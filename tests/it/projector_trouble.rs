//! Projections that cannot be filled for no fault of an event: their SQL does not end, or the disk is full. Everything else
//! goes on, the command says what is wrong, and what was filled is not lost.

use std::process::Output;

use counterfoil::{
    domain::event::AccountOpened,
    store::projections::{
        definition::in_directory,
        install::{install, make_build},
        read::Progress,
    },
};
use tempfile::TempDir;

use crate::{
    projector_support::{
        Book, Fact, Place, Running, definition_of, follow, wait_until_level, write_projection, write_some,
    },
    support::{process, wait},
};

/// A directory with a projection whose SQL takes a minute for each event.
fn with_a_slow_projection() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    write_projection(
        &directory.path().join("slow"),
        "CREATE TABLE slow (ledger_id bigint, position bigint, PRIMARY KEY (ledger_id, position));",
        "INSERT INTO slow SELECT e.ledger_id, e.position FROM events e CROSS JOIN LATERAL pg_sleep(60 + e.position * 0)
          WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3;",
    );
    directory
}

async fn install_from(directory: &TempDir, place: &Place) {
    let definitions = in_directory(directory.path()).expect("a projection");
    install(&mut place.database.owner().await, &definitions).await.expect("made");
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a command that knows the projections of a directory too, and fails saying all of these words.
async fn fails_saying(place: &Place, arguments: &[&str], directory: &TempDir, words: &[&str]) {
    let mut command = place.command(arguments);
    command.arg("--projections-dir").arg(directory.path());
    let output = process::output(command).await;
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in words {
        assert!(said.contains(words), "{words}: {said}");
    }
}

async fn serving(place: &Place, book: &Book, projection: &str) -> Progress {
    let all = place.progress(book).await;
    all.into_iter().find(|one| one.projection == projection && one.is_serving).expect("one that serves")
}

#[tokio::test]
async fn sql_that_does_not_end_keeps_no_other_projection_waiting() {
    let place = Place::new().await;
    let mut book = place.book("patient").await;
    install_from(&with_a_slow_projection(), &place).await;
    let running = Running::start(&place.service);
    let superuser = place.database.superuser().await;
    // Who is at it and since when: the same answer twice means that nothing has ended in between.
    let attempt = async || {
        let statement = "SELECT pid, query_start::text FROM pg_stat_activity
                          WHERE datname = current_database() AND state = 'active' AND query LIKE 'INSERT INTO slow %'";
        let row = superuser.query_opt(statement, &[]).await.expect("the sessions");
        row.map(|row| (row.get::<_, i32>(0), row.get::<_, String>(1)))
    };
    write_some(&mut book, 1).await;
    let mut is_independent = false;
    for _ in 0..10 {
        let before = wait::until("the slow one to be tried", attempt).await;
        book.write(&[Fact::about(AccountOpened {})]).await;
        running.tell_of(&book);
        wait_until_level(&place, &book).await;
        is_independent |= attempt().await == Some(before);
        if is_independent {
            break;
        }
    }
    assert!(is_independent, "others were never level before an attempt at the slow one had ended");
    let slow = serving(&place, &book, "slow").await;
    assert_eq!((slow.position, slow.halt.is_none()), (0, true), "no event is to blame for slowness");
}

#[tokio::test]
async fn a_rebuild_says_what_takes_too_long() {
    let place = Place::new().await;
    let mut book = place.book("patient").await;
    write_some(&mut book, 1).await;
    let directory = with_a_slow_projection();
    let words = [
        "slow of patient is not rebuilt",
        "to fold the event at position 1 takes longer than 4 s",
        "canceling statement due to statement timeout",
    ];
    fails_saying(&place, &["rebuild", "slow"], &directory, &words).await;
}

#[tokio::test]
async fn verifying_says_what_takes_too_long() {
    let place = Place::new().await;
    let mut book = place.book("patient").await;
    write_some(&mut book, 1).await;
    let directory = with_a_slow_projection();
    install_from(&directory, &place).await;
    follow(&place, &book, &*place.build("slow").await).await;
    // As if its first event had been folded on a better day.
    let folded = "UPDATE projection_cursors SET position = 1 WHERE projection = 'slow'";
    place.database.superuser().await.execute(folded, &[]).await.expect("folded");
    let words = ["slow of patient cannot be compared", "to fold the event at position 1 takes too long"];
    fails_saying(&place, &["verify"], &directory, &words).await;
}

#[tokio::test]
async fn a_full_disk_stops_a_rebuild_and_nothing_else() {
    let place = Place::new().await;
    let mut book = place.book("full").await;
    write_some(&mut book, 3).await;
    place.fold(&book, "history").await;
    place.fold(&book, "balances").await;
    let old = serving(&place, &book, "history").await.build;
    let begun =
        make_build(&mut place.database.owner().await, &definition_of("history"), None).await.expect("made");
    follow(&place, &book, &begun).await;
    // What PostgreSQL raises when a table cannot grow.
    let superuser = place.database.superuser().await;
    let table = format!("{}.history_entries", begun.schema);
    let full = format!(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE 'could not extend file' USING ERRCODE = 'disk_full', HINT = 'Check free disk space.';
         END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION full_disk()"
    );
    superuser.batch_execute(&full).await.expect("a full disk");

    let failed = process::output(place.command(&["rebuild", "history"])).await;
    let told = said(&failed);
    assert_eq!(failed.status.code(), Some(1), "{told}");
    assert!(told.contains("history of full is not rebuilt: what served goes on serving"), "{told}");
    assert!(told.contains("could not extend file"), "{told}");
    let running = Running::start(&place.service);
    book.write(&[Fact::about(AccountOpened {})]).await;
    running.tell_of(&book);
    wait_until_level(&place, &book).await;
    let serves = serving(&place, &book, "history").await;
    assert_eq!((serves.build, serves.position), (old, book.position));

    // It would finish the build by itself.
    drop(running);
    superuser.batch_execute(&format!("DROP TRIGGER full_disk ON {table}")).await.expect("room again");
    let done = process::output(place.command(&["rebuild", "history"])).await;
    let told = said(&done);
    assert!(done.status.success(), "{told}");
    assert!(told.contains(&format!("a rebuild that was begun goes on in {}", begun.schema)), "{told}");
    let serves = serving(&place, &book, "history").await;
    assert_eq!((serves.build, serves.position), (begun.build, book.position));
}
