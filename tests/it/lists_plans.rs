//! What a page of a long list costs that is narrowed down: as much as it may look at, however long the list is and however rare
//! what is asked for, and whatever the planner believes of the tables.

use counterfoil::store::{
    inbox,
    projections::read::{HISTORY_LOOKED_AT, history_of_types_statement},
    reads::statements,
};
use serde_json::Value;
use tokio_postgres::{Client, types::Type};

use crate::{
    projector_support::{Book, Place},
    support::plan::touched_by,
};

const ROWS: i64 = 20_000;

/// What is looked at, by what statement, with which values; and how many pages of memory that may touch.
type Try = (&'static str, String, String, u64);

/// A statement of those that read for the interface.
fn named(name: &str) -> (String, String) {
    let statement = statements().into_iter().find(|statement| statement.name == name).expect("the statement");
    let types: Vec<&str> = statement.parameters.iter().map(Type::name).collect();
    (statement.sql.to_owned(), types.join(", ").replace("_text", "text[]"))
}

async fn assert_cheap(client: &Client, place: &Place, book: &Book, tries: &[(Try, &str)]) {
    let mut dear = Vec::new();
    for when in ["as the table has grown", "analysed"] {
        for ((what, statement, values, most), types) in tries {
            let (touched, plan) = touched_by(client, book.ledger, statement, types, values).await;
            if touched >= *most {
                dear.push(format!("{what}, {when}, touched {touched}:\n{}", used(&plan)));
            }
        }
        place.database.superuser().await.batch_execute("ANALYZE").await.expect("analysed");
    }
    assert!(dear.is_empty(), "{}", dear.join("\n"));
}

/// The indexes that a plan uses: what there is to look at when it touches too much.
fn used(plan: &Value) -> String {
    let names = plan.to_string();
    let names = names.split("\"Index Name\":").skip(1);
    names.map(|rest| rest.chars().take(300).collect::<String>()).collect::<Vec<_>>().join("\n")
}

fn tried(what: &'static str, name: &str, values: String, most: u64) -> (Try, String) {
    let (statement, types) = named(name);
    ((what, statement, values, most), types)
}

async fn long(name: &str, fill: &str) -> (Place, Book) {
    let place = Place::new().await;
    let book = place.book(name).await;
    let superuser = place.database.superuser().await;
    superuser.execute(fill, &[&book.ledger.0, &ROWS]).await.expect("rows");
    let head = "UPDATE ledger_heads SET position = $2 WHERE ledger_id = $1";
    superuser.execute(head, &[&book.ledger.0, &ROWS]).await.expect("a head");
    (place, book)
}

#[tokio::test]
async fn events_and_histories_are_looked_through_so_far_and_no_further() {
    let fill = "INSERT INTO events (ledger_id, position, command, command_size, account_number, type, version, amount,
                                    recorded_at, actor, body)
                SELECT $1, n, n, 1, 7, 'account.unfrozen', 1, 0, '2031-01-01Z'::timestamptz + n * interval '1 s', 'operator',
                       jsonb_build_object('filler', repeat('x', 200))
                  FROM generate_series(1, $2::bigint) n";
    let (place, book) = long("long", fill).await;
    place.fold(&book, "history").await;
    let client = place.database.runtime().await;
    let ledger = book.ledger;
    let history = history_of_types_statement(&place.build("history").await.schema);
    let history_types = "int8, int8, int8, int8, int8, text[], int8".to_owned();
    let of_types = format!("{ledger}, 7, 0, 15000, 51, '{{account.closed}}', {HISTORY_LOOKED_AT}");
    let tries = [
        tried(
            "events of a type",
            "list_events_of_types",
            format!("{ledger}, 5000, 7000, '{{account.closed}}', 51"),
            160,
        ),
        tried("a moment", "first_recorded", format!("{ledger}, '2031-01-01T03:00:00Z'"), 80),
        tried("a moment before all", "first_recorded", format!("{ledger}, '1999-01-01Z'"), 80),
        tried("a moment after all", "first_recorded", format!("{ledger}, '2999-01-01Z'"), 80),
        (("a history", history, of_types, 5 * HISTORY_LOOKED_AT as u64), history_types),
    ];
    let tries: Vec<_> = tries.iter().map(|(tried, types)| (tried.clone(), types.as_str())).collect();
    assert_cheap(&client, &place, &book, &tries).await;
}

#[tokio::test]
async fn an_inbox_is_read_from_where_a_page_begins_and_looked_through_so_far_and_no_further() {
    let fill = "INSERT INTO stripe_inbox (ledger_id, event_id, type, received_at, body, status, reason, finished_at)
                SELECT $1, 'evt_' || n, 'charge.refunded', '2031-01-01Z'::timestamptz + n * interval '1 s', '',
                       CASE WHEN n % 2 = 0 THEN 'ignored' ELSE 'processed' END, CASE WHEN n % 2 = 0 THEN 'odd: x' END, now()
                  FROM generate_series(1, $2::bigint) n";
    let (place, book) = long("inbox", fill).await;
    let client = place.database.runtime().await;
    let types = "int8, timestamptz, timestamptz, text, int8, int8";
    let [of_all, of_status, of_types, of_status_and_types] = inbox::PAGES.map(str::to_owned);
    let asked = |time: &str, looked_at: i64, more: &str| {
        format!("{}, {time}, '', 51, {looked_at}{more}", book.ledger)
    };
    let early = "'2031-01-01T00:10:00Z', '2031-01-01T00:40:00Z'";
    let all = "'1970-01-01Z', '9999-12-31Z'";
    let rare = "'{charge.dispute.created}'";
    let tries: [(Try, &str); 4] = [
        (("the old ones", of_all, asked(early, 51, ""), 20), ""),
        (("old ones of a status", of_status, asked(early, 51, ", 'ignored'"), 20), ", text"),
        (("a rare type", of_types, asked(all, 500, &format!(", {rare}")), 60), ", text[]"),
        (
            (
                "a rare type of a status",
                of_status_and_types,
                asked(all, 500, &format!(", 'ignored', {rare}")),
                60,
            ),
            ", text, text[]",
        ),
    ];
    let tries: Vec<_> = tries.into_iter().map(|(tried, more)| (tried, format!("{types}{more}"))).collect();
    let tries: Vec<_> = tries.iter().map(|(tried, types)| (tried.clone(), types.as_str())).collect();
    assert_cheap(&client, &place, &book, &tries).await;
}

#[tokio::test]
async fn orders_and_accounts_are_read_from_where_a_page_begins() {
    let fill = "INSERT INTO orders (ledger_id, order_id, account_number, status, version, purchases, state_version, state)
                SELECT $1, (lpad(to_hex(n), 16, '0') || repeat('0', 16))::uuid, n % 2 + 1,
                       CASE WHEN n % 9000 = 0 THEN 'failed' ELSE 'paid' END, n, '{}', 1, '{}'
                  FROM generate_series(1, $2::bigint) n";
    let (place, book) = long("orders", fill).await;
    let superuser = place.database.superuser().await;
    let accounts = "INSERT INTO accounts (ledger_id, account_number, external_id, status, opened_at, version, decided_on,
                                          state_version, state)
                    SELECT $1, n, 'user-' || n, 'open', now(), n, 0, 1, '{}' FROM generate_series(1, $2::bigint) n";
    superuser.execute(accounts, &[&book.ledger.0, &ROWS]).await.expect("accounts");
    let client = place.database.runtime().await;
    let id = |position: i64| format!("'{position:016x}0000000000000000'");
    let page = |from: i64, before: i64, more: &str| {
        format!("{}, {}, {}, 51{more}", book.ledger, id(from), id(before))
    };
    let tries = [
        tried("a range", "list_orders", page(100, 5_000, ""), 600),
        tried("an account", "list_orders_of_account", page(0, 15_000, ", 1"), 600),
        tried("a status", "list_orders_of_status", page(0, 20_000, ", 'failed'"), 60),
        tried(
            "an account and a status",
            "list_orders_of_account_and_status",
            page(0, 20_000, ", 1, 'expired', 500"),
            60,
        ),
        tried("accounts of long ago", "list_accounts", format!("{}, 100, 150, NULL, 51", book.ledger), 500),
    ];
    let tries: Vec<_> = tries.iter().map(|(tried, types)| (tried.clone(), types.as_str())).collect();
    assert_cheap(&client, &place, &book, &tries).await;
}
