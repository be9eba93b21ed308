//! Following and rebuilding: pages, halts, several workers, builds that take over.

use std::sync::Arc;

use counterfoil::{
    domain::{
        event::AccountOpened,
        ids::{AccountNumber, Position},
    },
    projector::{RebuildError, rebuild},
    store::{
        database_url::DatabaseUrl,
        migrate,
        pool::Database,
        projections::{
            Build,
            definition::{Definition, compiled_in, in_directory},
            fold::Page,
            install::{InstallError, abandon, drop_unused, install, make_build},
            read::history,
        },
    },
};
use tokio::sync::watch;

use crate::{
    projector_support::{
        ACCOUNT, Book, Fact, Place, Running, definition_of, fold_next, follow, granted, spent,
        wait_until_level, whole, write_projection, write_some,
    },
    support::{process, wait},
};

/// The same projection with other SQL: another version.
fn changed(name: &str) -> Definition {
    let mut definition = definition_of(name);
    definition.version = "0123456789ab".to_owned();
    definition
}

#[tokio::test]
async fn migrating_again_makes_no_further_build() {
    let place = Place::new().await;
    let (before, _) = (place.build("balances").await, place.build("history").await);
    let url = DatabaseUrl::parse(&place.database.owner_url()).expect("an address");
    let owner = Database::open(&url, 1).expect("a database");
    let migrated = migrate::run(&owner, None).await.expect("migrated");
    assert_eq!(migrated.projections, []);
    assert_eq!(place.build("balances").await, before);
}

#[tokio::test]
async fn a_running_projector_follows_new_ledgers_and_new_events() {
    let place = Place::new().await;
    let running = Running::start(&place.service);
    let mut book = place.book("live").await;
    write_some(&mut book, 3).await;
    wait_until_level(&place, &book).await;
    assert_eq!(
        place.balances(&book).await,
        [(1, "credits".to_owned(), 21, 0, 0, 12), (2, "credits".to_owned(), 21, 0, 0, 14)]
    );
    book.write(&[granted(5, 26)]).await;
    running.tell_of(&book);
    wait_until_level(&place, &book).await;
    assert_eq!(place.balances(&book).await[0], (1, "credits".to_owned(), 26, 0, 0, 15));
    assert_eq!(place.history(&book, ACCOUNT).await.len(), 8);
}

#[tokio::test]
async fn the_size_of_pages_makes_no_difference() {
    let place = Place::new().await;
    let mut expected = None;
    for limit in [1, 2, 3, 7, 1_000] {
        let mut book = place.book(&format!("pages-of-{limit}")).await;
        write_some(&mut book, 5).await;
        for projection in ["balances", "history"] {
            fold_in_pages(&place, &book, &*place.build(projection).await, limit).await;
        }
        let folded = (place.balances(&book).await, place.history(&book, ACCOUNT).await.len());
        assert_eq!(*expected.get_or_insert(folded.clone()), folded, "in pages of {limit}");
    }
}

async fn fold_in_pages(place: &Place, book: &Book, build: &Build, limit: i64) {
    let client = place.database.runtime().await;
    let scope = format!("BEGIN; SET LOCAL counterfoil.ledger_id = '{}'", book.ledger);
    client.batch_execute(&scope).await.expect("a transaction");
    let follow =
        "INSERT INTO projection_cursors (ledger_id, projection, build, is_serving) VALUES ($1, $2, $3, true)";
    client.execute(follow, &[&book.ledger.0, &build.projection, &build.build]).await.expect("a cursor");
    client.batch_execute("COMMIT").await.expect("a commit");
    while fold_next(&place.service, book.ledger, build, limit).await != Page::Level {}
}

#[tokio::test]
async fn workers_that_meet_fold_every_event_once() {
    let place = Place::new().await;
    let mut book = place.book("crowd").await;
    let crowd: Vec<Running> = (0..4).map(|_| Running::start(&place.service)).collect();
    for _ in 0..20 {
        let balance_after = book.position + 1;
        book.write(&[granted(1, balance_after)]).await;
        for one in &crowd {
            one.tell_of(&book);
        }
    }
    wait_until_level(&place, &book).await;
    assert_eq!(place.balances(&book).await, [(1, "credits".to_owned(), 20, 0, 0, 20)]);
    assert_eq!(place.history(&book, ACCOUNT).await.len(), 20);
}

#[tokio::test]
async fn whoever_meets_another_worker_folds_what_that_one_left() {
    let place = Place::new().await;
    let mut book = place.book("meeting").await;
    let running = Running::start(&place.service);
    write_some(&mut book, 1).await;
    wait_until_level(&place, &book).await;
    // Nobody looks around from now on, and another worker has begun a page of the history.
    let (builds, worker) = (place.database.superuser().await, place.database.superuser().await);
    let lock = "BEGIN; LOCK TABLE projection_versions IN ACCESS EXCLUSIVE MODE";
    builds.batch_execute(lock).await.expect("the builds");
    let lock = "BEGIN; SELECT FROM projection_cursors WHERE projection = 'history' FOR UPDATE";
    worker.batch_execute(lock).await.expect("the cursor");
    let are_level = async |book: &Book, projections: &[&str]| {
        let progress = place.progress(book).await;
        let is_level = |name: &&str| {
            progress.iter().any(|one| one.projection == **name && one.position == book.position)
        };
        projections.iter().all(is_level).then_some(())
    };
    for _ in 0..3 {
        let opened = Fact::about(AccountOpened {}).of(AccountNumber(book.position));
        book.write(&[opened]).await;
        running.tell_of(&book);
        // Those before and after it in their turn.
        wait::until("the others", async || are_level(&book, &["balances", "usage"]).await).await;
    }
    worker.batch_execute("COMMIT").await.expect("the cursor let go");
    wait::until("the history", async || are_level(&book, &["history"]).await).await;
}

#[tokio::test]
async fn an_event_that_does_not_add_up_stops_the_balances_of_its_ledger_and_nothing_else() {
    let place = Place::new().await;
    let (mut sick, mut sound) = (place.book("sick").await, place.book("sound").await);
    write_some(&mut sick, 40).await;
    let poison = sick.next();
    sick.write(&[granted(5, 1_000)]).await;
    sick.write(&[granted(5, 290).of(AccountNumber(2))]).await;
    write_some(&mut sound, 3).await;
    let build = place.build("balances").await;

    let refused = rebuild(&place.service, sick.ledger, &build, |_| {}).await;
    match refused {
        Err(RebuildError::Halted { position, category, reason, .. }) => {
            assert_eq!((position, category.as_str()), (poison.0, "23514"));
            assert!(reason.contains("balances_add_up"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    place.fold(&sick, "history").await;
    place.fold(&sound, "balances").await;

    let progress = place.progress(&sick).await;
    let of = |projection| progress.iter().find(|one| one.projection == projection).expect("a cursor");
    assert_eq!(of("balances").position, poison.0 - 1, "everything before the event is folded");
    assert_eq!(of("balances").halt.as_ref().map(|halt| halt.position), Some(poison));
    assert_eq!(of("history").position, sick.position);
    assert_eq!(place.balances(&sick).await[0].2, 280);
    assert_eq!(place.balances(&sound).await.len(), 2);
}

#[tokio::test]
async fn statistics_pass_over_an_event_that_they_cannot_count_and_remember_it() {
    let place = Place::new().await;
    let mut book = place.book("odd").await;
    write_some(&mut book, 3).await;
    let poison = book.next();
    book.write(&[Fact { body: r#"{"spent": "some"}"#.to_owned(), ..spent(1, 20) }, spent(1, 19)]).await;
    place.fold(&book, "usage").await;
    let build = place.build("usage").await;
    let superuser = place.database.superuser().await;
    let parked = "SELECT build, position, category, reason FROM projection_parked";
    let rows = superuser.query(parked, &[]).await.expect("what was passed over");
    let row = match rows.as_slice() {
        [row] => row,
        other => panic!("{other:?}"),
    };
    assert_eq!((row.get::<_, i32>(0), Position(row.get(1))), (build.build, poison));
    assert_eq!(row.get::<_, &str>(2), "22P02");
    assert!(row.get::<_, &str>(3).contains("some"), "{row:?}");
    let count = format!("SELECT uses, amount FROM {}.account_usage WHERE account_number = 1", build.schema);
    let counted = superuser.query_one(&count, &[]).await.expect("a count");
    assert_eq!((counted.get::<_, i64>(0), counted.get::<_, i64>(1)), (4, 10), "all but the odd one");
    let progress = place.progress(&book).await;
    let usage = progress.iter().find(|one| one.projection == "usage").expect("a cursor");
    assert_eq!((usage.parked, usage.halt.is_none(), usage.position), (1, true, book.position));

    // Another build meets the event itself; what the old one passed over is forgotten with it.
    let again =
        make_build(&mut place.database.owner().await, &definition_of("usage"), None).await.expect("made");
    rebuild(&place.service, book.ledger, &again, |_| {}).await.expect("rebuilt");
    let rows = superuser.query(parked, &[]).await.expect("what was passed over");
    assert_eq!(rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [again.build]);
}

#[tokio::test]
async fn a_new_version_serves_when_it_is_level_and_the_old_one_goes() {
    let place = Place::new().await;
    let mut book = place.book("upgrade").await;
    write_some(&mut book, 5).await;
    let old = place.build("history").await;
    place.fold(&book, "history").await;
    let mut owner = place.database.owner().await;
    let made = install(&mut owner, &[changed("history"), definition_of("balances")]).await.expect("made");
    assert_eq!(made.iter().map(|build| build.projection.as_str()).collect::<Vec<_>>(), ["history"]);

    // Half filled: reads still go to the old build, which goes on being filled.
    let new = Arc::new(made[0].clone());
    follow(&place, &book, &new).await;
    let page = fold_next(&place.service, book.ledger, &new, 3).await;
    assert_eq!(page, Page::Folded { events: 3, is_level: false });
    assert_eq!(place.history(&book, ACCOUNT).await.len(), 11);
    book.write(&[granted(5, 40)]).await;
    rebuild(&place.service, book.ledger, &old, |_| {}).await.expect("the old one follows");
    assert_eq!(place.history(&book, ACCOUNT).await.len(), 12);

    rebuild(&place.service, book.ledger, &new, |_| {}).await.expect("the new one is filled");
    let progress = place.progress(&book).await;
    let of_history: Vec<_> = progress.iter().filter(|one| one.projection == "history").collect();
    assert_eq!(of_history.iter().map(|one| (one.build, one.is_serving)).collect::<Vec<_>>(), [(2, true)]);
    assert_eq!(place.history(&book, ACCOUNT).await.len(), 12);

    assert_eq!(
        drop_unused(&mut owner).await.expect("retired"),
        [] as [&str; 0],
        "not before its grace is over"
    );
    let superuser = place.database.superuser().await;
    let age = "UPDATE projection_versions SET retired_at = retired_at - interval '1 hour'";
    superuser.execute(age, &[]).await.expect("aged");
    assert_eq!(drop_unused(&mut owner).await.expect("dropped"), [old.schema.as_str()]);
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'projection\\_history\\_%'";
    assert_eq!(superuser.query_one(left, &[]).await.expect("schemas").get::<_, i64>(0), 1);
}

#[tokio::test]
async fn one_ledger_is_rebuilt_without_the_others() {
    let place = Place::new().await;
    let (mut one, mut other) = (place.book("one").await, place.book("other").await);
    let running = Running::start(&place.service);
    write_some(&mut one, 3).await;
    write_some(&mut other, 3).await;
    wait_until_level(&place, &one).await;
    wait_until_level(&place, &other).await;
    // Somebody has written to the projection by hand.
    let build = place.build("balances").await;
    let spoil =
        format!("UPDATE {}.balances SET net = net + 1, net_as_recorded = net_as_recorded + 1", build.schema);
    place.database.superuser().await.execute(&spoil, &[]).await.expect("spoilt");

    let mut owner = place.database.owner().await;
    let made = make_build(&mut owner, &definition_of("balances"), Some(one.ledger)).await.expect("made");
    rebuild(&place.service, one.ledger, &made, |_| {}).await.expect("rebuilt");
    assert_eq!(place.balances(&one).await[0].2, 21);
    wait_until_level(&place, &one).await;
    let serving = |progress: Vec<counterfoil::store::projections::read::Progress>| {
        let serving = progress.into_iter().find(|one| one.projection == "balances" && one.is_serving);
        serving.expect("a serving build").build
    };
    assert_eq!(serving(place.progress(&one).await), 2);
    assert_eq!(serving(place.progress(&other).await), 1);
    drop(running);
}

#[tokio::test]
async fn nobody_follows_an_abandoned_projection_until_it_is_installed_again() {
    let place = Place::new().await;
    let book = place.book("left").await;
    let own = [Definition { name: "own".to_owned(), ..definition_of("balances") }];
    let mut owner = place.database.owner().await;
    let followed = async || {
        let progress = place.progress(&book).await.into_iter();
        progress.filter(|one| one.projection == "own").map(|one| one.build).collect::<Vec<_>>()
    };
    let made = install(&mut owner, &own).await.expect("made");
    follow(&place, &book, &made[0]).await;
    assert_eq!(followed().await, [1]);
    assert_eq!(abandon(&mut owner, "own").await.expect("abandoned"), 1);
    // As by a process that has not looked since.
    follow(&place, &book, &made[0]).await;
    assert_eq!(followed().await, [] as [i32; 0]);
    let made = install(&mut owner, &own).await.expect("made");
    assert_eq!(made.iter().map(|build| build.build).collect::<Vec<_>>(), [2]);
    follow(&place, &book, &made[0]).await;
    assert_eq!(followed().await, [2]);
}

#[tokio::test]
async fn sql_that_cannot_work_is_refused_before_anything_follows_it() {
    const TABLE: &str = "CREATE TABLE t (ledger_id bigint PRIMARY KEY);";
    let place = Place::new().await;
    let mut owner = place.database.owner().await;
    for (tables, apply, complaint) in [
        ("CREATE TABLE t (id bigint PRIMARY KEY);", "DELETE FROM t;", "ledger_id"),
        ("CREATE TABLE t (id bigint);", "DELETE FROM t;", "ledger_id"),
        ("CREATE TABEL t;", "DELETE FROM t;", "tables.sql"),
        (TABLE, "DELETE FROM elsewhere;", "apply.sql"),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        write_projection(&directory.path().join("wrong"), tables, apply);
        let definitions = in_directory(directory.path()).expect("a projection");
        let refused = install(&mut owner, &definitions).await;
        let refused: InstallError = refused.expect_err("refused");
        assert!(refused.to_string().contains(complaint), "{refused}");
    }
    let client = place.database.runtime().await;
    let builds = counterfoil::store::projections::list_builds(&client).await.expect("builds");
    assert_eq!(builds.len(), compiled_in().expect("projections").len());
}

#[tokio::test]
async fn no_ledger_sees_rows_of_another_in_a_projection() {
    let place = Place::new().await;
    let (mut one, mut other) = (place.book("mine").await, place.book("yours").await);
    for book in [&mut one, &mut other] {
        write_some(book, 1).await;
        place.fold(book, "history").await;
        place.fold(book, "balances").await;
    }
    let client = place.database.runtime().await;
    for projection in ["history", "balances"] {
        let build = place.build(projection).await;
        let count = format!("SELECT count(*), count(DISTINCT ledger_id) FROM {}.{projection}", build.schema);
        let row = client.query_one(&count, &[]).await.expect("a count");
        assert_eq!(row.get::<_, i64>(0), 0, "{projection} without a ledger");
        let scope = format!("BEGIN; SET LOCAL counterfoil.ledger_id = '{}'", one.ledger);
        client.batch_execute(&scope).await.expect("a transaction");
        let row = client.query_one(&count, &[]).await.expect("a count");
        client.batch_execute("COMMIT").await.expect("a commit");
        assert_eq!(row.get::<_, i64>(1), 1, "{projection} of one ledger");
    }
}

#[tokio::test]
async fn a_projector_outlives_its_database() {
    let place = Place::new().await;
    let proxy = crate::support::proxy::Proxy::start(place.database.port()).await;
    let url = DatabaseUrl::parse(&proxy.url(&place.database.runtime_url())).expect("an address");
    let _running = Running::start(&Database::open(&url, 4).expect("a database"));
    let mut book = place.book("outage").await;
    write_some(&mut book, 1).await;
    wait_until_level(&place, &book).await;
    proxy.refuse();
    let before = proxy.connections();
    book.write(&[Fact::about(AccountOpened {}).of(AccountNumber(3))]).await;
    wait::until("attempts to connect", async || (proxy.connections() > before + 1).then_some(())).await;
    proxy.resume();
    wait_until_level(&place, &book).await;
}

#[tokio::test]
async fn an_interrupted_rebuild_goes_on_where_it_was() {
    let place = Place::new().await;
    let mut book = place.book("long").await;
    write_some(&mut book, 10).await;
    place.fold(&book, "history").await;
    let command = || place.command(&["rebuild", "history"]);
    // What a rebuild leaves behind that was killed after its first page.
    let mut owner = place.database.owner().await;
    let begun = make_build(&mut owner, &definition_of("history"), None).await.expect("made");
    follow(&place, &book, &begun).await;
    fold_next(&place.service, book.ledger, &begun, 15).await;

    let first = process::output(command()).await;
    let said = String::from_utf8_lossy(&first.stdout);
    assert!(first.status.success(), "{first:?}");
    assert!(said.contains(&format!("a rebuild that was begun goes on in {}", begun.schema)), "{said}");
    assert!(said.contains(&format!("history of long: {} events in", book.position - 15)), "{said}");
    let serving =
        place.progress(&book).await.into_iter().find(|one| one.projection == "history").expect("one");
    assert_eq!((serving.build, serving.is_serving, serving.position), (begun.build, true, book.position));

    // One that was finished is no reason not to begin another.
    let second = process::output(command()).await;
    let said = String::from_utf8_lossy(&second.stdout);
    assert!(said.contains(&format!("history of long: {} events in", book.position)), "{said}");
    assert!(!said.contains("goes on"), "{said}");
}

#[tokio::test]
async fn whoever_reads_while_builds_take_over_never_sees_less_than_before() {
    let place = Place::new().await;
    let mut book = place.book("watched").await;
    write_some(&mut book, 20).await;
    place.fold(&book, "history").await;
    let (stop, is_stopped) = watch::channel(false);
    let url = place.database.runtime_url();
    let ledger = book.ledger;
    let reader = tokio::spawn(async move {
        let mut client = crate::support::cluster::connect(url).await;
        let (mut seen, mut reads) = (0, 0_usize);
        while !*is_stopped.borrow() {
            let page = history(&mut client, ledger, ACCOUNT, &whole()).await.expect("a history");
            assert!(page.entries.len() >= seen, "{} entries after {seen}", page.entries.len());
            assert_eq!(page.entries.first().map(|entry| entry.position <= page.position), Some(true));
            (seen, reads) = (page.entries.len(), reads + 1);
        }
        (seen, reads)
    });
    let mut owner = place.database.owner().await;
    for round in 0..5 {
        let build = make_build(&mut owner, &definition_of("history"), None).await.expect("made");
        follow(&place, &book, &build).await;
        book.write(&[granted(1, 141 + round)]).await;
        while fold_next(&place.service, book.ledger, &build, 7).await != Page::Level {}
        drop_unused(&mut owner).await.expect("retired");
    }
    stop.send(true).expect("a reader");
    let (seen, reads) = reader.await.expect("a reader that saw no gap");
    let after = place.history(&book, ACCOUNT).await.len();
    assert!(seen <= after && after == 41 + 5, "{seen} of {after}");
    assert!(reads > 10, "{reads} reads");
}
