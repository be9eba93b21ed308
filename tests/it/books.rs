//! The books: random histories through the real writer, and whether the money adds up to the cent after each of their
//! events.

use std::{collections::BTreeMap, sync::Arc};

use counterfoil::{
    audit::{replay::Replay, revenue::RevenueDay},
    domain::settings::ClawbackPolicy,
    store::{
        database_url::DatabaseUrl,
        pool::Database,
        projections::{Build, definition::compiled_in, fold::Page, install::make_build},
    },
};
use tokio_postgres::Client;

use crate::{
    books_history::{History, Plot},
    projector_support::{self, fold_next},
    writer_support::Book,
};

/// A build of the books that the ledger is folded into page by page.
async fn build(book: &Book) -> Build {
    let url = DatabaseUrl::parse(&book.database.owner_url()).expect("an address");
    let mut owner = Database::open(&url, 1).expect("a database").connect().await.expect("a connection");
    let definitions = compiled_in().expect("projections");
    let books = definitions.into_iter().find(|definition| definition.name == "books").expect("the books");
    let build = make_build(&mut owner, &books, None).await.expect("a build");
    let client = book.database.superuser().await;
    let follow = "INSERT INTO projection_cursors (ledger_id, projection, build, is_serving)
                  VALUES ($1, $2, $3, false)";
    client.execute(follow, &[&book.ledger.0, &build.projection, &build.build]).await.expect("a cursor");
    build
}

/// Folds one more page; gives the position up to which everything is folded.
async fn fold(service: &Database, book: &Book, build: &Build, limit: i64) -> Option<i64> {
    let page = fold_next(service, book.ledger, build, limit).await;
    assert!(!matches!(page, Page::Halted | Page::Passed), "{page:?}");
    let Page::Folded { .. } = page else { return None };
    let superuser = book.database.superuser().await;
    let cursor =
        "SELECT position FROM projection_cursors WHERE ledger_id = $1 AND projection = $2 AND build = $3";
    let row = superuser.query_one(cursor, &[&book.ledger.0, &build.projection, &build.build]).await;
    Some(row.expect("a cursor").get(0))
}

/// By currency: earned (recognised and breakage) and deferred, three times: by the lots, by the journal, by the days.
async fn sums(client: &Client, build: &Build) -> BTreeMap<String, [(i64, i64); 3]> {
    let schema = &build.schema;
    let statement = format!(
        "SELECT c.currency,
                (SELECT sum(l.recognised + l.breakage)::bigint FROM {schema}.lots l WHERE l.currency = c.currency),
                (SELECT sum(l.deferred)::bigint FROM {schema}.lots l WHERE l.currency = c.currency),
                (SELECT sum(j.recognised + j.breakage)::bigint FROM {schema}.journal j WHERE j.currency = c.currency),
                (SELECT sum(j.deferred)::bigint FROM {schema}.journal j WHERE j.currency = c.currency),
                (SELECT sum(r.recognised + r.breakage)::bigint FROM {schema}.revenue r WHERE r.currency = c.currency),
                (SELECT r.deferred_at_close FROM {schema}.revenue r WHERE r.currency = c.currency
                  ORDER BY r.day DESC LIMIT 1)
           FROM (SELECT DISTINCT currency FROM {schema}.lots WHERE currency IS NOT NULL) c"
    );
    let rows = client.query(&statement, &[]).await.expect("sums");
    let number = |row: &tokio_postgres::Row, at: usize| row.get::<_, Option<i64>>(at).unwrap_or(0);
    let pairs = |row: &tokio_postgres::Row| [1, 3, 5].map(|at| (number(row, at), number(row, at + 1)));
    rows.iter().map(|row| (row.get(0), pairs(row))).collect()
}

async fn check_history(plot: Plot, pages: i64) {
    let book = &Book::open().await;
    let history = &History::of(book.ledger, Arc::clone(&book.writers), plot).await;
    let superuser = book.database.superuser().await;
    let service = projector_support::open(&book.database.runtime_url());
    let build_in_pages = build(book).await;
    while let Some(position) = fold(&service, book, &build_in_pages, pages).await {
        // Within a command, a sale or a transfer is not complete.
        if !history.ends_command(position) {
            continue;
        }
        let cash = history.net_cash(position);
        for (currency, [lots, journal, days]) in sums(&superuser, &build_in_pages).await {
            assert_eq!((lots, lots), (journal, days), "{currency} at {position}");
            assert_eq!(lots.0 + lots.1, cash[&currency], "net cash of {currency} at {position}");
        }
    }
    let at_once = build(book).await;
    while fold(&service, book, &at_once, 100_000).await.is_some() {}
    check_same(&superuser, &build_in_pages, &at_once).await;
    check_lots(&superuser, book, &at_once).await;
    check_revenue(&superuser, history, &at_once).await;
}

/// What is folded by SQL is what an auditor recounts from the events.
async fn check_revenue(client: &Client, history: &History, build: &Build) {
    let mut replay = Replay::default();
    for event in &history.events {
        replay.play(event).expect("an event that follows");
    }
    let statement = format!(
        "SELECT currency, day::text, sold, recognised, breakage, refunded FROM {}.revenue ORDER BY currency, day",
        build.schema
    );
    let rows = client.query(&statement, &[]).await.expect("the days");
    let by_sql: Vec<(String, String, RevenueDay)> = rows
        .iter()
        .map(|row| {
            let day = RevenueDay {
                sold: row.get(2),
                recognised: row.get(3),
                breakage: row.get(4),
                refunded: row.get(5),
            };
            (row.get(0), row.get(1), day)
        })
        .filter(|(.., day)| *day != RevenueDay::default())
        .collect();
    let recounted: Vec<(String, String, RevenueDay)> = replay
        .revenue()
        .days()
        .iter()
        .filter(|(_, day)| **day != RevenueDay::default())
        .map(|((currency, day), of_day)| (currency.to_string(), day.to_string(), *of_day))
        .collect();
    assert!(!by_sql.is_empty());
    assert_eq!(by_sql, recounted);
}

/// However the events are cut into pages, the tables are the same.
async fn check_same(client: &Client, one: &Build, other: &Build) {
    for table in
        ["lots", "lot_changes", "payment_facts", "pending_counts", "journal", "revenue", "deferred_days"]
    {
        let (one, other) = (&one.schema, &other.schema);
        let statement = format!(
            "SELECT count(*) FROM ((TABLE {one}.{table} EXCEPT TABLE {other}.{table})
                                   UNION ALL (TABLE {other}.{table} EXCEPT TABLE {one}.{table})) d"
        );
        let different: i64 = client.query_one(&statement, &[]).await.expect("a comparison").get(0);
        assert_eq!(different, 0, "{table}");
    }
}

/// The lots of the books are those that commands are decided on.
async fn check_lots(client: &Client, book: &Book, build: &Build) {
    let statement = format!(
        "WITH live AS (
             SELECT jsonb_path_query(a.state::jsonb, '$.books.*.lots.*') AS lot FROM accounts a WHERE a.ledger_id = $1
              UNION
             SELECT l.state FROM lots l WHERE l.ledger_id = $1 AND l.state IS NOT NULL
         ), numbers AS (
             SELECT substr(l.lot ->> 'id', 5)::uuid AS lot,
                    ARRAY(SELECT COALESCE((l.lot ->> name)::bigint, 0)
                            FROM unnest(ARRAY['granted', 'remaining', 'held', 'disputed', 'spent', 'settled', 'expired',
                                              'adjusted', 'clawed', 'moved', 'cost']) name) AS numbers,
                    (l.lot ->> 'expires_at')::timestamptz AS expires_at
               FROM live l
         ), folded AS (
             SELECT b.lot, ARRAY[b.granted, b.remaining, b.held, b.disputed, b.spent, b.settled, b.expired, b.adjusted,
                                 b.clawed, b.moved, COALESCE(b.cost, 0)] AS numbers, b.expires_at
               FROM {}.lots b WHERE b.ledger_id = $1
         )
         SELECT (SELECT count(*) FROM folded),
                (SELECT count(*) FROM numbers),
                (SELECT count(*) FROM ((TABLE numbers EXCEPT TABLE folded) UNION ALL (TABLE folded EXCEPT TABLE numbers)) d)",
        build.schema
    );
    let row = client.query_one(&statement, &[&book.ledger.0]).await.expect("a comparison");
    assert!(row.get::<_, i64>(0) > 0);
    assert_eq!((row.get::<_, i64>(1), row.get::<_, i64>(2)), (row.get(0), 0), "lots that differ");
}

#[tokio::test]
async fn money_adds_up_to_the_cent_after_each_event_of_any_history() {
    let policy = ClawbackPolicy::Debt;
    check_history(Plot { seed: 7, steps: 150, policy, claw_on_pending: false }, 1).await;
}

#[tokio::test]
async fn money_adds_up_where_shortfalls_are_written_off_and_pending_refunds_count() {
    let policy = ClawbackPolicy::LotOnly;
    check_history(Plot { seed: 11, steps: 250, policy, claw_on_pending: true }, 7).await;
}

#[tokio::test]
async fn money_adds_up_in_a_longer_history() {
    let policy = ClawbackPolicy::Debt;
    check_history(Plot { seed: 23, steps: 500, policy, claw_on_pending: false }, 50).await;
}
