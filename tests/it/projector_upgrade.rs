//! Upgrades: an event of a newer release comes while the build that knows it is still being filled.

use counterfoil::{
    domain::event::AccountOpened,
    store::projections::{
        definition::Definition,
        install::{install, make_build},
        read::Progress,
    },
};
use tokio_postgres::Client;

use crate::{
    projector_support::{Book, Fact, Place, Running, definition_of, follow, granted, wait_until_level},
    support::wait,
};

/// The lock at which the newer build waits.
const GATE: i64 = 7;

/// `books` of a release that does not know the version of an event. It counts how often it meets one.
fn older_books() -> Definition {
    let mut books = definition_of("books");
    let known = "WHEN 'credits.granted' THEN e.version <= 3";
    let knows = |statement: &&mut String| statement.contains(known);
    let statement = books.apply.iter_mut().find(knows).expect("the versions that it knows");
    *statement = statement.replace(known, "WHEN 'credits.granted' THEN e.version < 1");
    books.apply.insert(
        0,
        "SELECT nextval('public.met') FROM events e
          WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'credits.granted'"
            .to_owned(),
    );
    books.version = "0123456789ab".to_owned();
    books
}

/// `books` as it is, which begins no page before the gate is open.
fn newer_books() -> Definition {
    let mut books = definition_of("books");
    let wait = format!(
        "SELECT pg_advisory_xact_lock_shared({GATE}) WHERE $1::bigint > 0 AND $2::bigint < $3::bigint"
    );
    books.apply.insert(0, wait);
    books.version = "123456789abc".to_owned();
    books
}

/// A ledger whose books are served by an older build, while a newer one of some definition is being filled, and which has got
/// an event that the older one does not know.
struct Upgrade {
    place: Place,
    book: Book,
    superuser: Client,
    running: Running,
}

impl Upgrade {
    async fn to(newer: &Definition, prepare: &str) -> Self {
        let place = Place::new().await;
        let superuser = place.database.superuser().await;
        let count = "CREATE SEQUENCE public.met; GRANT USAGE ON SEQUENCE public.met TO PUBLIC";
        superuser.batch_execute(count).await.expect("a count");
        superuser.batch_execute(prepare).await.expect("prepared");
        let mut owner = place.database.owner().await;
        install(&mut owner, &[older_books()]).await.expect("made");
        let mut book = place.book("upgraded").await;
        book.write(&[Fact::about(AccountOpened {})]).await;
        place.fold(&book, "books").await;
        let newer = make_build(&mut owner, newer, None).await.expect("made");
        follow(&place, &book, &newer).await;
        book.write(&[granted(10, 10)]).await;
        let running = Running::start(&place.service);
        running.tell_of(&book);
        wait_until_level(&place, &book).await;
        Self { place, book, superuser, running }
    }

    /// How often the older build has met the event.
    async fn met(&self) -> i64 {
        let met = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.met";
        self.superuser.query_one(met, &[]).await.expect("a count").get(0)
    }

    async fn builds(&self) -> Vec<Progress> {
        let all = self.place.progress(&self.book).await.into_iter();
        all.filter(|one| one.projection == "books").collect()
    }
}

#[tokio::test]
async fn a_build_that_does_not_know_an_event_waits_for_the_newer_one_that_does() {
    let close = format!("SELECT pg_advisory_lock({GATE})");
    let upgrade = Upgrade::to(&newer_books(), &close).await;
    wait::until("the older build to try again", async || (upgrade.met().await >= 2).then_some(())).await;
    let builds = upgrade.builds().await;
    let told: Vec<_> = builds.iter().map(|one| (one.position, one.is_serving, one.halt.as_ref())).collect();
    assert_eq!(told, [(1, true, None), (0, false, None)], "the older one serves what it knows");

    let open = format!("SELECT pg_advisory_unlock({GATE})");
    upgrade.superuser.batch_execute(&open).await.expect("an open gate");
    wait::until("the newer build to serve", async || {
        let builds = upgrade.builds().await;
        let is_level = |one: &Progress| one.is_serving && one.position == upgrade.book.position;
        (builds.len() == 1 && is_level(&builds[0])).then_some(())
    })
    .await;
    assert_eq!(upgrade.builds().await[0].halt, None);
    drop(upgrade.running);
}

#[tokio::test]
async fn a_build_waits_for_no_newer_one_that_has_stopped() {
    let newer = Definition { version: "123456789abc".to_owned(), ..older_books() };
    let upgrade = Upgrade::to(&newer, "").await;
    wait::until("both to stop", async || {
        let builds = upgrade.builds().await;
        let stopped = builds.iter().filter_map(|one| one.halt.as_ref().map(|halt| halt.position.0));
        (stopped.collect::<Vec<_>>() == [2, 2]).then_some(())
    })
    .await;
    let serving: Vec<bool> = upgrade.builds().await.iter().map(|one| one.is_serving).collect();
    assert_eq!(serving, [true, false]);
    drop(upgrade.running);
}
