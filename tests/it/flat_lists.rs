//! Every list costs the same on its first page, deep inside and at its end, whatever it is filtered by, and however the
//! planner thinks of its tables: looked at in a ledger where to read a table through would be noticed.
//!
//! What is not here is short by itself: prices and features, lots of an account (a thousand open ones of a unit at most).

use std::fmt::Write as _;

use counterfoil::domain::{
    ids::{AccountNumber, Position, StripeId},
    subscription::{SUBSCRIPTION_STATE_VERSION, Subscription, SubscriptionStatus, SubscriptionTerms},
    time::Timestamp,
};
use counterfoil::store::{
    projections::reports::{outstanding_statement, usage_statement},
    reads,
    reconciliation::{
        findings::{FindingFilter, FindingKind, FindingState, findings_statement},
        runs::LIST_RUNS,
    },
};
use tokio_postgres::Client;

use crate::{
    api_support::Requests,
    projector_support::{Book, Place},
    support::{app::TestApp, plan::touched_by},
    writer_storage::sql_type,
};

/// Rows of each table, and of a page.
const ROWS: i64 = 100_000;
const PAGE: i64 = 20;
/// How many rows a page may look at whose filter no index serves.
const LOOKED_AT: i64 = 100;
/// Accounts that have much of everything: half of all that there is.
const BUSY: i64 = 7;

/// A list, read with some filter: the values of its parameters on each page that is looked at, and what a page may touch.
struct List {
    name: String,
    sql: String,
    types: String,
    pages: Vec<String>,
    at_most: u64,
}

/// The `n`th id of its kind: ids are in the order of time.
fn id(n: i64) -> String {
    format!("uuid '00000000-0000-0000-0000-{n:012x}'")
}

/// Fills the tables that lists are read from, each with a row for each number. The n-th account was opened n minutes after
/// the beginning of 2020.
async fn fill(superuser: &Client, place: &Place, book: &Book) {
    let (overview, books, usage) = (
        place.build("accounts_overview").await.schema.clone(),
        place.build("books").await.schema.clone(),
        place.build("usage").await.schema.clone(),
    );
    let ledger = book.ledger;
    let id = "('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid";
    let opened = "timestamptz '2020-01-01 00:00Z' + n * interval '1 minute'";
    let whose = format!("CASE WHEN n % 2 = 0 THEN {BUSY} ELSE n END");
    let rare = "n % 1000 = 0";
    // A hundred features on each of a thousand days; one was used once.
    let used = format!(
        "date '2020-01-01' + (n / 100)::int, CASE n WHEN {ROWS} / 2 THEN 'rare' ELSE 'feature ' || n % 100 END, 'credits', 1, 1, 1"
    );
    let rows = [
        (
            "accounts (ledger_id, account_number, external_id, status, opened_at, version, decided_on, state_version, state)",
            format!(
                "n, 'account ' || n, CASE WHEN {rare} THEN 'frozen' ELSE 'open' END, {opened}, n, 0, 1, '{{}}'"
            ),
        ),
        ("profiles (ledger_id, account_number, email)", "n, n || '@example.com'".to_owned()),
        (
            "lots (ledger_id, lot_id, account_number, unit, is_open, state_version, state)",
            format!("{id}, {BUSY}, 'credits', n > {ROWS} - 70, 1, '{{}}'"),
        ),
        (
            "orders (ledger_id, order_id, account_number, status, version, purchases, state_version, state)",
            format!("{id}, {whose}, CASE WHEN {rare} THEN 'failed' ELSE 'paid' END, n, '{{}}', 1, '{{}}'"),
        ),
        (
            "checkout_links (ledger_id, link_id, account_number, price, quantity, created_at)",
            format!("{id}, {whose}, 'price', 1, now()"),
        ),
        (
            "subscriptions (ledger_id, subscription_id, account_number, status, started, version, state_version, state)",
            format!(
                "'sub_' || n, {whose}, CASE WHEN {rare} THEN 'paused' ELSE 'active' END, n, n, 1, '{{}}'"
            ),
        ),
        (
            "api_keys (ledger_id, key_id, secret_hash, name, scopes, created_at)",
            format!("{id}, sha256(n::text::bytea), 'key', '{{read}}', now()"),
        ),
        (
            "reconciliation_runs (ledger_id, run_id, kind, state, actor, repairs, requested_at, finished_at, counts)",
            format!("{id}, 'events', 'done', 'system', false, now(), now(), '{{}}'"),
        ),
        (
            "reconciliation_findings (ledger_id, finding_id, kind, object, state, details, found_at, seen_at, closed_at)",
            format!(
                "{id}, CASE WHEN {rare} THEN 'events_missed' ELSE 'paid_not_credited' END, n::text,
                  CASE WHEN n % 500 = 0 THEN 'open' ELSE 'vanished' END, '{{}}', now(), now(),
                  CASE WHEN n % 500 <> 0 THEN now() END"
            ),
        ),
    ];
    let projected = [
        (format!("{overview}.accounts_overview"),
         format!("n, 'open', {opened}, {opened}, 1, 0, n"), String::new()),
        // One account in five hundred has been busy for three years, the last one too.
        (format!("{overview}.account_days (ledger_id, account_number, unit, day, net, held, disputed, position)"),
         "n, u, date '2020-01-01' + d, d, 0, 0, n".to_owned(),
         ", unnest('{credits,licence}'::text[]) u, generate_series(0, CASE n % 500 WHEN 0 THEN 1000 ELSE 0 END) d".to_owned()),
        (format!("{books}.deferred_days"),
         "n, 'eur', date '2020-01-01' + d, d".to_owned(),
         ", generate_series(0, CASE n % 500 WHEN 0 THEN 1000 ELSE 0 END) d".to_owned()),
        (format!("{usage}.account_usage"), format!("{whose}, {used}"), String::new()),
        (format!("{usage}.usage"), used.clone(), String::new()),
    ];
    let mut statements = "SET session_replication_role = replica;".to_owned();
    let rows = rows.map(|(table, values)| (table.to_owned(), values, String::new()));
    for (table, values, more) in rows.into_iter().chain(projected) {
        let _ = write!(
            statements,
            "INSERT INTO {table} SELECT {ledger}, {values} FROM generate_series(1, {ROWS}) n{more};"
        );
    }
    superuser.batch_execute(&statements).await.expect("rows");
}

/// A list that is read by a statement of that name. Parameters that are not given are null.
fn list(name: &str, filter: &str, pages: &[String]) -> List {
    let statement = reads::statements().into_iter().find(|statement| statement.name == name);
    let statement = statement.unwrap_or_else(|| panic!("no statement is called {name}"));
    let types: Vec<String> = statement.parameters.iter().map(sql_type).collect();
    let given = |page: &String| page.matches(", ").count() + 2;
    let nulls = |page: &String| ", NULL".repeat(types.len() - given(page));
    List {
        name: format!("{name} {filter}"),
        sql: statement.sql.to_owned(),
        pages: pages.iter().map(|page| format!("{page}{}", nulls(page))).collect(),
        types: types.join(", "),
        at_most: 300,
    }
}

/// The first page of a list that goes from the newest to the oldest, one in the middle, and the last one.
fn newest_first(page: impl Fn(i64) -> String) -> [String; 3] {
    [ROWS * 2, ROWS / 2, PAGE].map(page)
}

fn lists_of_accounts() -> Vec<List> {
    let mut lists = Vec::new();
    for (name, status) in [("list_accounts", "NULL"), ("list_accounts_of_status", "'frozen'")] {
        let pages = newest_first(|n| format!("0, {n}, {status}, {PAGE}"));
        lists.push(list(name, "opened at any time", &pages));
        // What was opened long ago, what was lately, and a time in which nothing was.
        for (from, until) in [(10, 5_000), (ROWS - 5_000, ROWS + 10), (ROWS + 10, ROWS + 20)] {
            lists.push(list(name, "opened in a time", &[format!("{from}, {until}, {status}, {PAGE}")]));
        }
    }
    lists
}

fn lists_by_id() -> Vec<List> {
    let mut lists = Vec::new();
    for name in ["list_checkout_links", "list_keys"] {
        lists.push(list(name, "of all", &newest_first(|n| format!("{}, {PAGE}", id(n)))));
    }
    let orders = |name: &str, which: &str, more: &str| {
        list(name, which, &newest_first(|n| format!("{}, {}, {PAGE}{more}", id(0), id(n))))
    };
    lists.push(orders("list_orders", "of all", ""));
    for (which, account) in [("busy", BUSY), ("idle", 501)] {
        let pages = newest_first(|n| format!("{}, {PAGE}, {account}", id(n)));
        lists.push(list("list_checkout_links_of_account", which, &pages));
        lists.push(orders("list_orders_of_account", which, &format!(", {account}")));
    }
    for status in ["paid", "failed", "expired"] {
        lists.push(orders("list_orders_of_status", status, &format!(", '{status}'")));
        let more = format!(", {BUSY}, '{status}', {LOOKED_AT}");
        lists.push(orders("list_orders_of_account_and_status", status, &more));
    }
    for status in ["", "active", "paused", "canceled"] {
        let looked_at = if status.is_empty() { PAGE } else { LOOKED_AT };
        let pages = newest_first(|n| format!("{BUSY}, {n}, {PAGE}, '{status}', {looked_at}"));
        lists.push(list("list_subscriptions", status, &pages));
    }
    lists.push(List {
        name: "runs".to_owned(),
        sql: LIST_RUNS.to_owned(),
        types: "bigint, uuid, bigint".to_owned(),
        pages: newest_first(|n| format!("{}, {PAGE}", id(n))).to_vec(),
        at_most: 100,
    });
    // Of 100,000 lots 70 are open.
    lists.push(list("read_lots", "of all that it ever had", &[format!("'account {BUSY}'")]));
    lists
}

fn lists_of_findings() -> Vec<List> {
    let states = [None, Some(FindingState::Open), Some(FindingState::Vanished), Some(FindingState::Repaired)];
    let kinds = [None, Some(FindingKind::EventsMissed), Some(FindingKind::PaidNotCredited)];
    let filters = states.into_iter().flat_map(|state| kinds.map(|kind| FindingFilter { kind, state }));
    let lists = filters.map(|filter| {
        let quoted = |text: Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
        let (state, kind) =
            (quoted(filter.state.map(FindingState::as_str)), quoted(filter.kind.map(FindingKind::as_str)));
        List {
            name: format!("findings {state} {kind}"),
            sql: findings_statement(filter),
            types: "bigint, text, uuid, text, bigint".to_owned(),
            pages: newest_first(|n| format!("{state}, {}, {kind}, {PAGE}", id(n))).to_vec(),
            at_most: 100,
        }
    });
    lists.collect()
}

async fn reports(place: &Place) -> Vec<List> {
    let overview = place.build("accounts_overview").await;
    let (books, usage) = (place.build("books").await, place.build("usage").await);
    let mut lists = Vec::new();
    // On the last of these days two hundred accounts look back at three years; on the first most were not open yet.
    for day in ["2020-01-02", "2020-02-01", "2026-01-01"] {
        lists.push(List {
            name: format!("outstanding as of {day}"),
            sql: outstanding_statement(&overview.schema, &books.schema),
            types: "bigint, date, bigint, bigint".to_owned(),
            pages: [0, 1_430, ROWS / 2, ROWS - PAGE]
                .map(|after| format!("'{day}', {after}, {PAGE}"))
                .to_vec(),
            at_most: 1_500,
        });
    }
    let (days, types) =
        (["2020-01-01", "2021-01-01", "2022-09-01"], "bigint, bigint, date, date, text, bigint");
    for (account, what) in [("NULL", "everyone"), ("7", "one account")] {
        lists.push(List {
            name: format!("usage by {what}"),
            sql: usage_statement(&usage.schema, account != "NULL", false),
            types: types.to_owned(),
            pages: days.map(|day| format!("{account}, '{day}', '{day}', NULL, 10001")).to_vec(),
            at_most: 100,
        });
        // One that was used once in all those days, one that never was, and one that was used on ten of a thousand.
        let pages = [("2010-01-01", "rare"), ("2010-01-01", "never"), ("2022-09-17", "feature 8")];
        lists.push(List {
            name: format!("usage of one feature by {what}"),
            sql: usage_statement(&usage.schema, account != "NULL", true),
            types: types.to_owned(),
            pages: pages
                .map(|(from, feature)| format!("{account}, '{from}', '2030-01-01', '{feature}', 10001"))
                .to_vec(),
            at_most: 100,
        });
    }
    lists
}

#[tokio::test]
async fn a_page_of_any_list_touches_as_little_deep_inside_as_at_the_beginning() {
    let place = Place::new().await;
    let book = place.book("large").await;
    let superuser = place.database.superuser().await;
    fill(&superuser, &place, &book).await;
    let mut lists = lists_of_accounts();
    lists.extend(lists_by_id());
    lists.extend(lists_of_findings());
    lists.extend(reports(&place).await);
    let runtime = place.database.runtime().await;
    for when in ["as the tables have grown", "analysed"] {
        for List { name, sql, types, pages, at_most } in &lists {
            for page in pages {
                let values = format!("{}, {page}", book.ledger);
                let (touched, plan) = touched_by(&runtime, book.ledger, sql, types, &values).await;
                assert!(touched <= *at_most, "{when}: {name} ({values}) touched {touched} pages: {plan}");
            }
        }
        superuser.batch_execute("ANALYZE").await.expect("analysed");
    }
}

#[tokio::test]
async fn a_rare_status_is_found_among_the_subscriptions_of_an_account_in_pages_that_may_be_empty() {
    const MANY: i32 = 2_500;
    let app = TestApp::start().await;
    app.account_with("ada", 0).await;
    let subscription = Subscription {
        id: StripeId::parse("sub_1").expect("an id"),
        account: AccountNumber(1),
        order: None,
        terms: SubscriptionTerms {
            as_of: Timestamp::default(),
            status: SubscriptionStatus::Active,
            items: Vec::new(),
            period_end: None,
            cancel_at_period_end: false,
            collection_paused: false,
        },
        started: Position(1),
        started_at: Timestamp::default(),
        lots: Vec::new(),
        changes: Vec::new(),
        requests: Vec::new(),
        version: Position(1),
    };
    let state = serde_json::to_string(&subscription).expect("JSON");
    let many = format!(
        "INSERT INTO subscriptions (ledger_id, subscription_id, account_number, status, started, version, state_version, state)
         SELECT a.ledger_id, 'sub_' || n, a.account_number, s.status, n, n, {SUBSCRIPTION_STATE_VERSION},
                '{state}'::jsonb || jsonb_build_object('id', 'sub_' || n, 'started', n, 'version', n,
                                                       'terms', '{state}'::jsonb -> 'terms' || jsonb_build_object('status', s.status))
           FROM accounts a, generate_series(1, {MANY}) n,
                LATERAL (SELECT CASE n WHEN 3 THEN 'paused' ELSE 'active' END AS status) s"
    );
    app.database.superuser().await.batch_execute(&many).await.expect("subscriptions");
    let (mut pages, mut cursor) = (Vec::<Vec<String>>::new(), String::new());
    while pages.len() < 10 {
        let path = format!("/v1/accounts/ada/subscriptions?status=paused{cursor}");
        let page = app.get(&path).await;
        let items = page["items"].as_array().expect("items");
        pages.push(
            items.iter().map(|item| item["subscription_id"].as_str().expect("an id").to_owned()).collect(),
        );
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(pages, [vec![], vec![], vec!["sub_3".to_owned()]]);
    let page = app.get("/v1/accounts/ada/subscriptions?limit=2&status=active").await;
    let ids = page["items"].as_array().expect("items").iter().map(|item| &item["subscription_id"]);
    assert_eq!(ids.collect::<Vec<_>>(), ["sub_2500", "sub_2499"]);
}
