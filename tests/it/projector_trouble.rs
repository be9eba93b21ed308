//! Projections that cannot be filled for no fault of an event: their SQL does not end, the disk is full, or whoever fills
//! them is stopped. Everything else goes on, the command says what is wrong, and what was filled is not lost.

use std::process::Output;

use counterfoil::{
    domain::event::AccountOpened,
    store::{
        projections::{
            definition::in_directory,
            fold::{FoldError, fold_page},
            install::{install, make_build},
            read::Progress,
        },
        verification::{Refolded, Refolder, RowsCompared},
    },
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    projector_support::{
        Book, Fact, Place, Running, definition_of, follow, wait_until_level, write_projection, write_some,
    },
    support::{
        process::{self, Process},
        wait,
    },
};

/// A directory with a projection that folds in `naps` statements, each of which takes `seconds` for each event. By name it
/// comes before those that tests wait for.
fn with_a_sleeper(naps: usize, seconds: f64) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let nap = |nap| {
        format!(
            "INSERT INTO asleep SELECT e.ledger_id, e.position, {nap} FROM events e
              CROSS JOIN LATERAL pg_sleep({seconds} + e.position * 0)
              WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3;\n"
        )
    };
    write_projection(
        &directory.path().join("asleep"),
        "CREATE TABLE asleep (ledger_id bigint, position bigint, nap bigint, PRIMARY KEY (ledger_id, position, nap));",
        &(0..naps).map(nap).collect::<String>(),
    );
    directory
}

/// SQL that takes longer than a page may: one statement without end, and three of which none takes too long alone.
fn sleepers() -> [TempDir; 2] {
    [with_a_sleeper(1, 60.0), with_a_sleeper(3, 1.5)]
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
    install_from(&with_a_sleeper(1, 60.0), &place).await;
    let superuser = place.database.superuser().await;
    // Who is at it, in which transaction: the same answer twice means that nothing has ended in between. (A statement begins
    // more than once: when it is parsed, bound, and run.)
    let attempt = async || {
        let statement = "SELECT pid, xact_start::text FROM pg_stat_activity
                          WHERE datname = current_database() AND state = 'active' AND query LIKE 'INSERT INTO asleep %'";
        let row = superuser.query_opt(statement, &[]).await.expect("the sessions");
        row.map(|row| (row.get::<_, i32>(0), row.get::<_, String>(1)))
    };
    // At first nothing is known of its pace, then it is known to be slow.
    write_some(&mut book, 1).await;
    let running = Running::start(&place.service);
    let mut last = None;
    for round in 0..3 {
        let next = async || attempt().await.filter(|attempt| last.as_ref() != Some(attempt));
        let this = wait::until("the slow one to be tried", next).await;
        if round > 0 {
            book.write(&[Fact::about(AccountOpened {})]).await;
            running.tell_of(&book);
        }
        wait_until_level(&place, &book).await;
        assert_eq!(attempt().await.as_ref(), Some(&this), "the others are level before it has ended");
        last = Some(this);
    }
    let slow = serving(&place, &book, "asleep").await;
    assert_eq!((slow.position, slow.halt.is_none()), (0, true), "no event is to blame for slowness");
}

#[tokio::test]
async fn a_rebuild_says_what_takes_too_long() {
    let place = Place::new().await;
    let mut book = place.book("patient").await;
    book.write(&[Fact::about(AccountOpened {})]).await;
    let words = [
        "asleep of patient is not rebuilt",
        "to fold the event at position 1 takes longer than 4 s",
        "canceling statement due to statement timeout",
    ];
    for directory in sleepers() {
        fails_saying(&place, &["rebuild", "asleep"], &directory, &words).await;
    }
}

#[tokio::test]
async fn verifying_says_what_takes_too_long() {
    for directory in sleepers() {
        let place = Place::new().await;
        let mut book = place.book("patient").await;
        write_some(&mut book, 1).await;
        install_from(&directory, &place).await;
        follow(&place, &book, &*place.build("asleep").await).await;
        // As if its first event had been folded on a better day.
        let folded = "UPDATE projection_cursors SET position = 1 WHERE projection = 'asleep'";
        place.database.superuser().await.execute(folded, &[]).await.expect("folded");
        let words =
            ["asleep of patient cannot be compared", "to fold the event at position 1 takes too long"];
        fails_saying(&place, &["verify"], &directory, &words).await;
    }
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

#[tokio::test]
async fn a_worker_whose_cursor_was_moved_writes_nothing() {
    let place = Place::new().await;
    let mut book = place.book("moved").await;
    write_some(&mut book, 1).await;
    let directory = tempfile::tempdir().expect("a directory");
    // While the cursor is locked only the page itself can move it.
    write_projection(
        &directory.path().join("moving"),
        "CREATE TABLE moving (ledger_id bigint, position bigint, PRIMARY KEY (ledger_id, position));",
        "INSERT INTO moving SELECT e.ledger_id, e.position FROM events e
          WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3;
         UPDATE projection_cursors SET position = position + 1
          WHERE ledger_id = $1 AND projection = 'moving' AND $2::bigint < $3::bigint;",
    );
    install_from(&directory, &place).await;
    let build = place.build("moving").await;
    follow(&place, &book, &build).await;
    let mut client = place.service.pool().get().await.expect("a connection");
    let folded = fold_page(&place.service, &mut client, book.ledger, &build, 100).await;
    assert!(matches!(folded, Err(FoldError::LostCursor)), "{folded:?}");
    let rows = format!("SELECT count(*) FROM {}.moving", build.schema);
    let rows = place.database.superuser().await.query_one(&rows, &[]).await.expect("a count");
    assert_eq!((rows.get::<_, i64>(0), serving(&place, &book, "moving").await.position), (0, 0));
}

#[tokio::test]
async fn a_worker_that_was_stopped_within_a_page_changes_nothing_when_it_goes_on() {
    const GATE: i64 = 7;
    let place = Place::new().await;
    let mut book = place.book("stopped").await;
    write_some(&mut book, 2).await;
    let directory = tempfile::tempdir().expect("a directory");
    write_projection(
        &directory.path().join("gated"),
        "CREATE TABLE gated (ledger_id bigint PRIMARY KEY, events bigint);",
        &format!(
            "SELECT pg_advisory_xact_lock_shared({GATE}) WHERE $1::bigint > 0 AND $2::bigint < $3::bigint;
             INSERT INTO gated AS t SELECT e.ledger_id, count(*) FROM events e
              WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 GROUP BY e.ledger_id
                 ON CONFLICT (ledger_id) DO UPDATE SET events = t.events + excluded.events;"
        ),
    );
    let gate = place.database.superuser().await;
    gate.execute("SELECT pg_advisory_lock($1)", &[&GATE]).await.expect("a closed gate");
    let mut command = place.command(&["rebuild", "gated", "--projections-dir"]);
    command.arg(directory.path());
    let mut worker = Process::start(command);
    wait::until("the worker to stand at the gate", async || {
        let waiting = "SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database
                        WHERE locktype = 'advisory' AND NOT granted AND d.datname = current_database()";
        gate.query_opt(waiting, &[]).await.expect("the locks").map(drop)
    })
    .await;
    worker.signal(Signal::SIGSTOP);
    gate.execute("SELECT pg_advisory_unlock($1)", &[&GATE]).await.expect("an open gate");

    // The database ends its session; until then the other one passes by.
    let running = Running::start(&place.service);
    let is_level = async |book: &Book| {
        let progress = place.progress(book).await;
        let is_level = |one: &Progress| one.projection == "gated" && one.position == book.position;
        progress.iter().any(is_level).then_some(())
    };
    wait::until("another one to fold the page", async || is_level(&book).await).await;
    worker.signal(Signal::SIGCONT);
    let status = worker.wait().await;
    let said = worker.standard_error();
    assert!(!status.success() && said.contains("gated of stopped is not rebuilt"), "{said}");
    book.write(&[Fact::about(AccountOpened {})]).await;
    running.tell_of(&book);
    wait::until("the next event to be folded", async || is_level(&book).await).await;
    let counted = format!("SELECT events FROM {}.gated", place.build("gated").await.schema);
    let counted = gate.query_one(&counted, &[]).await.expect("a count");
    assert_eq!(counted.get::<_, i64>(0), book.position, "every event once");
}

#[tokio::test]
async fn verifying_folds_what_has_come_meanwhile_in_as_many_pages_as_that_takes() {
    let place = Place::new().await;
    let mut book = place.book("patient").await;
    write_some(&mut book, 1).await;
    let directory = with_a_sleeper(1, 0.9);
    install_from(&directory, &place).await;
    let build = place.build("asleep").await;
    follow(&place, &book, &build).await;
    let definitions = in_directory(directory.path()).expect("a projection");
    let superuser = place.database.superuser().await;
    // As if the events up to there had been folded on a better day.
    let folded_until = async |position: i64| {
        let statement = format!(
            "INSERT INTO {}.asleep SELECT ledger_id, position, 0 FROM events WHERE position <= {position} ON CONFLICT DO NOTHING;
             UPDATE projection_cursors SET position = {position} WHERE projection = 'asleep'",
            build.schema
        );
        superuser.batch_execute(&statement).await.expect("folded");
    };
    folded_until(1).await;
    let mut refolder = Refolder::open(&place.service).await.expect("a session");
    let mut refolding = refolder.refold(&definitions[0], book.ledger).await.expect("tables");
    assert!(matches!(refolding.advance(1).await, Ok(Refolded::Until(1))));
    // At 0.9 s each, the five that come then take longer than a transaction may.
    folded_until(6).await;
    let compared = refolding.compare(0, &None).await.expect("compared");
    let RowsCompared::Rows(page) = compared else { panic!("nothing was compared") };
    assert_eq!((page.rows, page.differing.len(), refolding.position()), (6, 0, 6), "{:?}", page.differing);
}
