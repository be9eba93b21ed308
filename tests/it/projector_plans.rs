//! What a page costs: as much as its events, whatever the planner believes of the tables.

use counterfoil::store::{projections::reports::journal_statement, scope};
use tokio_postgres::Client;

use crate::projector_support::{Book, Place};

const EVENTS: i64 = 20_000;
const PAGE: i64 = 10;

/// Grants of 1 to a hundred accounts in turn, straight into the table.
async fn fill(place: &Place, book: &mut Book) {
    let superuser = place.database.superuser().await;
    let statement = "
        INSERT INTO events (ledger_id, position, command, command_size, account_number, type, version, unit, amount,
                            balance_after, held_after, disputed_after, recorded_at, actor, body)
        SELECT $1, n, n, 1, n % 100 + 1, 'credits.granted', 1, 'credits', 1, 0,
               0, 0, now(), 'operator', '{\"source\": \"requested\"}'
          FROM generate_series(1, $2::bigint) n";
    superuser.execute(statement, &[&book.ledger.0, &EVENTS]).await.expect("events");
    // Each account's running sum, counted rather than thought out.
    let sums = "
        UPDATE events e SET balance_after = s.sum
          FROM (SELECT position, sum(amount) OVER (PARTITION BY account_number ORDER BY position) FROM events) s
         WHERE s.position = e.position";
    superuser.batch_execute("SET session_replication_role = replica").await.expect("a superuser");
    superuser.batch_execute(sums).await.expect("sums");
    let head = "UPDATE ledger_heads SET position = $2 WHERE ledger_id = $1";
    superuser.execute(head, &[&book.ledger.0, &EVENTS]).await.expect("a head");
    book.position = EVENTS;
}

/// Pages of memory touched, as EXPLAIN counts them.
async fn buffers(client: &Client, statement: &str) -> (u64, String) {
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}");
    let row = client.query_one(&explain, &[]).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let plan: serde_json::Value = row.get(0);
    let count = |kind: &str| plan[0]["Plan"][kind].as_u64().expect("a number");
    (count("Shared Hit Blocks") + count("Shared Read Blocks"), plan.to_string())
}

async fn assert_cheap(place: &Place, book: &Book, when: &str) {
    let last = EVENTS - PAGE;
    let undo_balances = "UPDATE balances SET net = net - 1, net_as_recorded = net_as_recorded - 1";
    for (projection, undo) in [("balances", undo_balances), ("history", "DELETE FROM history_entries")] {
        let undo = format!("{undo} WHERE position > {last}");
        let build = place.build(projection).await;
        let client = place.database.runtime().await;
        let begin = format!(
            "{}; SET LOCAL search_path = {}, public",
            scope::begin_writing(book.ledger),
            build.schema
        );
        for (number, statement) in build.apply.iter().enumerate() {
            client.batch_execute(&begin).await.expect("a transaction");
            let prepare = format!("PREPARE page_{number} (bigint, bigint, bigint) AS {statement}");
            client.batch_execute(&prepare).await.expect("prepared");
            // The last page once more, as if it had not been folded.
            client.batch_execute(&undo).await.expect("undone");
            let execute = format!("EXECUTE page_{number} ({}, {last}, {EVENTS})", book.ledger);
            let (touched, plan) = buffers(&client, &execute).await;
            client.batch_execute("ROLLBACK").await.expect("rolled back");
            assert!(touched < 400, "{projection} {when}: a page of {PAGE} touched {touched}: {plan}");
        }
    }
}

#[tokio::test]
async fn a_small_page_of_a_large_ledger_is_cheap_before_and_after_tables_are_analysed() {
    let place = Place::new().await;
    let mut book = place.book("large").await;
    fill(&place, &mut book).await;
    for projection in ["balances", "history"] {
        place.fold(&book, projection).await;
    }
    assert_cheap(&place, &book, "as the tables have grown").await;
    place.database.superuser().await.batch_execute("ANALYZE").await.expect("analysed");
    assert_cheap(&place, &book, "analysed").await;
}

#[tokio::test]
async fn a_page_of_history_reads_its_rows_only() {
    let place = Place::new().await;
    let mut book = place.book("reading").await;
    fill(&place, &mut book).await;
    place.fold(&book, "history").await;
    let build = place.build("history").await;
    let client = place.database.runtime().await;
    for when in ["as the table has grown", "analysed"] {
        client.batch_execute(&scope::begin_reading(book.ledger)).await.expect("a transaction");
        let read = format!(
            "SELECT * FROM {}.history WHERE ledger_id = {} AND account_number = 7 AND position < {}
              ORDER BY position DESC LIMIT 50",
            build.schema,
            book.ledger,
            EVENTS / 2
        );
        let (touched, plan) = buffers(&client, &read).await;
        client.batch_execute("COMMIT").await.expect("a commit");
        // Each row's event is found by the primary key: three pages down to it, and the one that it is on.
        assert!(touched < 300, "{when}: 50 rows touched {touched} pages: {plan}");
        place.database.superuser().await.batch_execute("ANALYZE").await.expect("analysed");
    }
}

#[tokio::test]
async fn a_page_of_the_journal_costs_the_same_at_the_beginning_and_at_the_end_of_a_long_day() {
    let place = Place::new().await;
    let book = place.book("selling").await;
    let build = place.build("books").await;
    let superuser = place.database.superuser().await;
    let entries = format!(
        "INSERT INTO {}.journal (ledger_id, position, currency, account_number, type, day, sold, refunded, carried,
                                 recognised, breakage, deferred)
         SELECT {}, n, 'eur', n, 'credits.purchased', '2026-01-31', 1, 0, 0, 0, 0, 1 FROM generate_series(1, {EVENTS}) n",
        build.schema, book.ledger
    );
    superuser.batch_execute(&entries).await.expect("entries");
    let client = place.database.runtime().await;
    for when in ["as the table has grown", "analysed"] {
        client.batch_execute(&scope::begin_reading(book.ledger)).await.expect("a transaction");
        let statement = journal_statement(&build.schema);
        let kinds = "bigint, date, bigint, text, bigint, date, bigint, bigint";
        client.batch_execute(&format!("PREPARE page ({kinds}) AS {statement}")).await.expect("prepared");
        for after in [0, EVENTS / 2, EVENTS - PAGE] {
            let page = format!(
                "EXECUTE page ({}, '2026-01-31', {after}, 'eur', {after}, '9999-12-31', {EVENTS}, {PAGE})",
                book.ledger
            );
            let (touched, plan) = buffers(&client, &page).await;
            assert!(touched < 20, "{when}: {PAGE} entries after {after} touched {touched} pages: {plan}");
        }
        client.batch_execute("COMMIT; DEALLOCATE page").await.expect("a commit");
        superuser.batch_execute("ANALYZE").await.expect("analysed");
    }
}
