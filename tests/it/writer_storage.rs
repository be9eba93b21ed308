//! How the write path leaves its tables: append-only, one ledger visible at a time, found by index, and such that what is
//! stored is what the events say.

use std::collections::{BTreeMap, BTreeSet};

use counterfoil::{
    domain::{
        Command, EventBody, Needs, Rejection, WorkingSet,
        amount::{Currency, PaidMoney},
        command::{
            Bought, EraseProfile, GrantCredits, Note, OpenAccount, PaidThrough, ProfileChange,
            RecordPaymentFact, RecordPurchase,
        },
        evolve,
        ids::{AccountNumber, PaymentReference, StripeId},
        payment::{DisputeStatus, PaymentFact, RefundStatus},
        time::Span,
    },
    store::{
        events::event_from_row,
        pool::Database,
        reads, scope,
        session::{Session, statements},
        working_set::{Loaded, Wanted, load},
    },
    writer::{Outcome, WriterSettings, system_clock},
};
use tokio_postgres::{Client, error::SqlState, types::Type};

use crate::{
    support::database::TestDatabase,
    writer_support::{
        Book, accepted, account, amount, create, grant, keyed, open, plain, rejected, spend, unit, writers,
    },
};

#[tokio::test]
async fn events_cannot_be_changed_by_the_service_nor_by_mistake_by_anyone_else() {
    let book = Book::open().await;
    book.account_with("alice", 10).await;
    let (runtime, owner, superuser) =
        (book.database.runtime().await, book.database.owner().await, book.database.superuser().await);
    for statement in ["UPDATE events SET amount = 1", "DELETE FROM events", "TRUNCATE events"] {
        for (client, who) in [(&runtime, "runtime"), (&owner, "owner"), (&superuser, "superuser")] {
            let refused = client.batch_execute(statement).await.expect_err(who);
            assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{who}: {statement}");
        }
    }
    book.check().await;
}

/// Tables of the public schema that hold rows of ledgers.
async fn guarded_tables(superuser: &Client) -> Vec<String> {
    let statement = "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                      WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                        AND a.attname = 'ledger_id' AND c.relname <> 'ledgers' ORDER BY c.relname";
    superuser.query(statement, &[]).await.expect("tables").iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn an_unfiltered_look_at_any_table_shows_no_foreign_row() {
    let book = Book::open().await;
    book.account_with("alice", 10).await;
    let other = create(&book.database, "other").await;
    let superuser = book.database.superuser().await;
    let runtime = book.database.runtime().await;
    let tables = guarded_tables(&superuser).await;
    assert!(tables.len() >= 14, "{tables:?}");
    let mut seen = 0;
    for table in &tables {
        let forced =
            "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = $1::text::regclass";
        let forced: bool = superuser.query_one(forced, &[table]).await.expect("a table").get(0);
        assert!(forced, "{table} is not guarded against its owner");
        for (ledger, is_own) in [(None, false), (Some(other), false), (Some(book.ledger), true)] {
            let begin = ledger.map_or("BEGIN".to_owned(), scope::begin_reading);
            runtime.batch_execute(&begin).await.expect("a transaction");
            let count = format!("SELECT count(*) FROM {table} WHERE ledger_id = {}", book.ledger);
            let foreign: i64 = match runtime.query_one(&count, &[]).await {
                Ok(row) => row.get(0),
                Err(error) => panic!("{table}: {error:?}"),
            };
            assert!(is_own || foreign == 0, "{table} shows rows of another ledger");
            seen += foreign;
            runtime.batch_execute("COMMIT").await.expect("an end");
        }
    }
    assert!(seen > 5, "nothing was there to be seen");
    let begin = scope::begin_writing(other);
    runtime.batch_execute(&begin).await.expect("a transaction");
    let statement = format!("UPDATE accounts SET version = version WHERE ledger_id = {}", book.ledger);
    assert_eq!(runtime.execute(&statement, &[]).await.expect("no row"), 0);
    let forged = format!(
        "INSERT INTO event_notes VALUES ({}, 1, 1, decode(repeat('00', 16), 'hex'), '{{}}')",
        book.ledger
    );
    let refused = runtime.batch_execute(&forged).await.expect_err("another ledger's row");
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

/// Prepares a statement under its name, as a new connection would, with generic plans.
async fn plan_of(client: &Client, name: &str, sql: &str, parameters: &[Type]) -> String {
    let types: Vec<String> = parameters.iter().map(sql_type).collect();
    let types = if types.is_empty() { String::new() } else { format!("({})", types.join(", ")) };
    client
        .batch_execute(&format!("PREPARE {name} {types} AS {sql}"))
        .await
        .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let nulls = vec!["NULL"; parameters.len()].join(", ");
    let nulls = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    let rows = client.query(&format!("EXPLAIN EXECUTE {name} {nulls}"), &[]).await;
    let rows = rows.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

/// A type as it is written in SQL.
pub fn sql_type(kind: &Type) -> String {
    match kind.name().strip_prefix('_') {
        Some(element) => format!("{element}[]"),
        None => kind.name().to_owned(),
    }
}

/// Whether the plan goes through all rows of a ledger, in a table that has more than a handful of each.
fn scans_a_ledger(plan: &str) -> bool {
    let lines: Vec<&str> = plan.lines().collect();
    // Whether the ledger is the statement's own parameter, or the one that the policy on the table looks up.
    let is_all_of_it = |line: &str| {
        let condition =
            line.strip_prefix("Index Cond: (ledger_id = $").and_then(|rest| rest.strip_suffix(')'));
        condition.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let scans = lines.windows(2).filter(|pair| is_all_of_it(pair[1].trim()));
    let small = [
        "on ledger_heads",
        "on ledger_settings",
        "on ledgers",
        "on logs",
        "on stripe_credentials",
        "on api_keys",
        "on features",
        "on prices",
    ];
    scans.into_iter().any(|pair| !small.iter().any(|table| pair[0].contains(table)))
}

#[tokio::test]
async fn every_statement_finds_its_rows_by_index_even_in_tables_never_analysed() {
    let book = Book::open().await;
    let client = book.database.runtime().await;
    client.batch_execute(&scope::begin_writing(book.ledger)).await.expect("a transaction");
    let mut names = BTreeSet::new();
    for statement in statements().chain(reads::statements()) {
        assert!(names.insert(statement.name), "two statements are called {}", statement.name);
        let plan = plan_of(&client, statement.name, statement.sql, statement.parameters).await;
        assert!(!plan.contains("Seq Scan"), "{}:\n{plan}", statement.name);
        assert!(!scans_a_ledger(&plan), "{}:\n{plan}", statement.name);
    }
}

#[tokio::test]
async fn a_batch_touches_as_much_of_a_large_ledger_as_of_a_small_one() {
    let book = Book::open().await;
    book.account_with("alice", 1_000).await;
    let superuser = book.database.superuser().await;
    let filler = "INSERT INTO events (ledger_id, position, command, command_size, type, version, amount, recorded_at, actor,
                      key_namespace, key, key_hash, body)
                  SELECT $1, h.position + n, h.position + n, 1, 'feature.set', 1, 0, h.recorded_at, 'operator',
                         'system', n::text, substr(sha256(n::text::bytea), 1, 16), '{}'
                    FROM ledger_heads h, generate_series($2::int8, $3::int8) n WHERE h.ledger_id = $1";
    let mut touched = Vec::new();
    for (from, to) in [(1_i64, 10_i64), (11, 20_000)] {
        superuser.execute(filler, &[&book.ledger.0, &from, &to]).await.expect("events");
        let client = book.database.runtime().await;
        client.batch_execute(&scope::begin_writing(book.ledger)).await.expect("a transaction");
        let statement =
            statements().find(|statement| statement.name == "load_commands").expect("the statement");
        plan_of(&client, statement.name, statement.sql, statement.parameters).await;
        let hashes: Vec<String> = (1..=50).map(|n| format!("substr(sha256('{n}'::bytea), 1, 16)")).collect();
        let explain = format!(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE load_commands ({}, ARRAY[{}])",
            book.ledger,
            hashes.join(", ")
        );
        let rows = client.query(&explain, &[]).await.expect("a plan");
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let buffers = plan.iter().find(|line| line.contains("Buffers:")).expect("buffers").clone();
        let pages: u64 = buffers.split(['=', ' ']).filter_map(|word| word.parse::<u64>().ok()).sum();
        touched.push(pages);
    }
    assert!(touched[1] <= 50 * 10, "looking 50 keys up touched {touched:?} pages");
}

/// Evolves a working set through all stored events, as a replay does.
async fn replay(superuser: &Client, book: &Book) -> WorkingSet {
    let statement = "SELECT e.*, e.body::text AS text FROM events e WHERE ledger_id = $1 ORDER BY position";
    let statement = statement.replace(
        "e.*, e.body::text AS text",
        "position, command, account_number, type, version, unit, amount, balance_after, held_after, disputed_after,
         recorded_at, effective_at, actor, key_namespace, key, note_hash, body::text AS body",
    );
    let mut set = WorkingSet::default();
    for row in superuser.query(&statement, &[&book.ledger.0]).await.expect("events") {
        evolve(&mut set, &event_from_row(&row).expect("a readable event"));
    }
    set
}

/// What a process that starts afresh loads of all accounts.
async fn load_all(book: &Book, numbers: Vec<AccountNumber>) -> WorkingSet {
    let database = database_of(&book.database);
    let session = Session::open(&database, std::time::Duration::from_secs(10)).await.expect("a session");
    session.execute(&scope::begin_writing(book.ledger)).await.expect("a transaction");
    let needs = Needs { account_numbers: numbers, ..Needs::default() };
    let wanted = Wanted { needs, configuration: true, ..Wanted::default() };
    let mut loaded = Loaded::default();
    load(&session, book.ledger, &wanted, &mut loaded).await.expect("state");
    loaded.set
}

fn database_of(database: &TestDatabase) -> Database {
    let url =
        counterfoil::store::database_url::DatabaseUrl::parse(&database.runtime_url()).expect("an address");
    Database::open(&url, 1).expect("a usable address")
}

/// Fails unless what is stored is what the events say, down to each lot.
async fn assert_stored_state_is_replayed_state(book: &Book) {
    let superuser = book.database.superuser().await;
    let mut replayed = replay(&superuser, book).await;
    let stored = load_all(book, replayed.accounts.keys().copied().collect()).await;
    let closed_lots = closed_lot_rows(&superuser, book).await;
    let mut closed = BTreeMap::new();
    for account in replayed.accounts.values_mut() {
        for lot in account.books.values().flat_map(|book| book.lots.values()).filter(|lot| !lot.is_open()) {
            closed.insert(lot.id.to_string(), serde_json::to_value(lot).expect("a lot"));
        }
        account.drop_closed_lots();
    }
    let mut stored_accounts = stored.accounts;
    for account in stored_accounts.values_mut() {
        account.drop_closed_lots();
    }
    assert_eq!(stored_accounts, replayed.accounts);
    assert_eq!(closed_lots, closed);
    assert_eq!(stored.settings, replayed.settings);
    assert_eq!(stored.catalogue, replayed.catalogue);
    for (id, purchase) in &stored.purchases {
        assert_eq!(Some(purchase), replayed.purchases.get(id));
    }
    book.check().await;
}

async fn closed_lot_rows(superuser: &Client, book: &Book) -> BTreeMap<String, serde_json::Value> {
    let statement = "SELECT state FROM lots WHERE ledger_id = $1 AND NOT is_open AND state IS NOT NULL";
    let rows = superuser.query(statement, &[&book.ledger.0]).await.expect("lots");
    let lot = |row: &tokio_postgres::Row| {
        let state: serde_json::Value = row.get(0);
        (state["id"].as_str().expect("an id").to_owned(), state)
    };
    rows.iter().map(lot).collect()
}

#[tokio::test]
async fn an_account_with_many_lots_keeps_the_later_ones_in_rows_and_spends_them_all() {
    let book = Book::open().await;
    book.account_with("alice", 0).await;
    for _ in 0..3 {
        let grants = (0..30).map(|_| book.submit(plain(grant("alice", 2))));
        futures_util::future::join_all(grants).await.into_iter().for_each(|outcome| drop(accepted(outcome)));
    }
    let superuser = book.database.superuser().await;
    let open_rows = "SELECT count(*) FROM lots WHERE ledger_id = $1 AND is_open";
    let spilled: i64 = superuser.query_one(open_rows, &[&book.ledger.0]).await.expect("a count").get(0);
    assert!(spilled > 20, "{spilled} lots have rows of their own");
    assert_stored_state_is_replayed_state(&book).await;
    // A process that has it in its cache, and one that has not, must find the same lots.
    let fresh = writers(book.database.runtime_url(), WriterSettings::default());
    accepted(book.submit(plain(spend("alice", 33))).await);
    accepted(fresh.submit(book.ledger, plain(spend("alice", 100))).await);
    assert_stored_state_is_replayed_state(&book).await;
    accepted(book.submit(plain(spend("alice", 47))).await);
    let rejection = rejected(fresh.submit(book.ledger, plain(spend("alice", 1))).await);
    assert!(matches!(rejection, Rejection::InsufficientCredits { available: 0, .. }), "{rejection:?}");
    assert_stored_state_is_replayed_state(&book).await;
}

#[tokio::test]
async fn what_is_due_next_stands_in_a_column() {
    let book = Book::open().await;
    book.account_with("alice", 5).await;
    let superuser = book.database.superuser().await;
    let due = "SELECT next_due_at FROM accounts WHERE ledger_id = $1";
    let next = async || {
        superuser
            .query_one(due, &[&book.ledger.0])
            .await
            .expect("an account")
            .get::<_, Option<time::OffsetDateTime>>(0)
    };
    assert_eq!(next().await, None);
    let expires_at = system_clock().plus(Span::days(1));
    let Command::GrantCredits(grant) = grant("alice", 5) else { panic!("a grant") };
    book.accept(Command::GrantCredits(GrantCredits { expires_at: Some(expires_at), ..grant })).await;
    assert_eq!(next().await, Some(expires_at.to_datetime()));
    book.accept(spend("alice", 5)).await;
    assert_eq!(next().await, None, "the lot that expires is spent first");
}

fn with_text(command: Command, text: &str) -> Command {
    let note: Note = [("reason".to_owned(), text.into())].into_iter().collect();
    match command {
        Command::GrantCredits(grant) => Command::GrantCredits(GrantCredits { note, ..grant }),
        other => other,
    }
}

#[tokio::test]
async fn erasing_a_person_leaves_no_word_and_frees_the_name_even_within_one_batch() {
    let book = Book::open().await;
    let profile = ProfileChange {
        email: Some(Some("alice@example.org".to_owned())),
        name: Some(Some("Alice Liddell".to_owned())),
        locale: Some(Some("en".to_owned())),
        metadata: Some([("team".to_owned(), "hearts".into())].into_iter().collect()),
    };
    let opened = book
        .accept(Command::OpenAccount(OpenAccount {
            account: account("alice"),
            profile,
            stripe_customer: None,
        }))
        .await;
    book.accept(with_text(grant("alice", 5), "for Alice before")).await;
    let erase = Command::EraseProfile(EraseProfile { account: account("alice") });
    let batch = [
        plain(with_text(grant("alice", 6), "for Alice in the batch")),
        keyed(erase, "erase", 1),
        plain(open("alice")),
        plain(with_text(grant("alice", 7), "for the new one")),
    ];
    let outcomes = futures_util::future::join_all(batch.map(|submission| book.submit(submission))).await;
    outcomes.into_iter().for_each(|outcome| drop(accepted(outcome)));

    let superuser = book.database.superuser().await;
    let texts = "SELECT string_agg(t, ' ') FROM (
                     SELECT row_to_json(n)::text FROM event_notes n UNION ALL
                     SELECT row_to_json(p)::text FROM profiles p UNION ALL
                     SELECT row_to_json(a)::text FROM accounts a UNION ALL
                     SELECT row_to_json(e)::text FROM events e) texts (t)";
    let texts: String = superuser.query_one(texts, &[]).await.expect("all texts").get(0);
    for word in ["example.org", "Liddell", "hearts", "for Alice"] {
        assert!(!texts.contains(word), "{word} is still there");
    }
    assert!(texts.contains("for the new one"));
    assert_eq!(book.stored_balance("alice").await, 7);
    let EventBody::AccountOpened(_) = &opened.events[0].body else { panic!("not opened") };
    let erased = format!("erased:{}", opened.events[0].position);
    assert_eq!(book.stored_balance(&erased).await, 11);
    let fresh = writers(book.database.runtime_url(), WriterSettings::default());
    accepted(fresh.submit(book.ledger, plain(spend(&erased, 11))).await);
    accepted(book.submit(plain(spend("alice", 7))).await);
    assert_stored_state_is_replayed_state(&book).await;
}

/// A purchase of 100 credits, paid through Stripe.
fn purchase(name: &str, session: &str) -> Command {
    Command::RecordPurchase(RecordPurchase {
        order: None,
        account: account(name),
        paid_through: PaidThrough::CheckoutSession {
            session: stripe_id("cs", session),
            payment_intent: Some(stripe_id("pi", session)),
        },
        bought: Bought { price: None, totals: [(unit(), amount(100))].into() },
        money: PaidMoney::new(1_000, 0, currency()).expect("money"),
        note: Note::new(),
    })
}

fn stripe_id(prefix: &str, name: &str) -> StripeId {
    StripeId::parse(&format!("{prefix}_{name}")).expect("an id")
}

fn currency() -> Currency {
    Currency::parse("eur").expect("a currency")
}

fn refund(session: &str, name: &str, status: RefundStatus, money: i64) -> Command {
    let fact = PaymentFact::Refund {
        refund: stripe_id("re", name),
        status,
        amount: money,
        currency: currency(),
        request: None,
    };
    Command::RecordPaymentFact(RecordPaymentFact {
        payment: PaymentReference::Stripe(stripe_id("pi", session)),
        fact,
    })
}

fn dispute(session: &str, status: DisputeStatus) -> Command {
    let fact = PaymentFact::Dispute {
        dispute: stripe_id("dp", session),
        status,
        amount: 1_000,
        currency: currency(),
    };
    Command::RecordPaymentFact(RecordPaymentFact {
        payment: PaymentReference::Stripe(stripe_id("pi", session)),
        fact,
    })
}

#[tokio::test]
async fn money_that_goes_back_finds_closed_lots_debts_and_payments_whoever_writes() {
    let book = Book::open().await;
    book.account_with("alice", 0).await;
    book.account_with("bob", 10).await;
    let story = [
        // Reported before the purchase is known.
        refund("one", "early", RefundStatus::Succeeded, 100),
        purchase("alice", "one"),
        purchase("alice", "two"),
        spend("alice", 150),
        // Its own lot is closed by now: the rest comes from the other lot, then as debt.
        refund("one", "later", RefundStatus::Succeeded, 500),
        dispute("two", DisputeStatus::Open),
        grant("alice", 30),
        refund("one", "last", RefundStatus::Succeeded, 400),
        purchase("bob", "three"),
        spend("bob", 20),
        grant("alice", 200),
        dispute("two", DisputeStatus::Won),
        // Money that comes back after all undoes what was taken.
        refund("one", "later", RefundStatus::Failed, 500),
        spend("alice", 60),
        dispute("three", DisputeStatus::Lost),
        grant("bob", 15),
    ];
    // Each step by another process, so that nothing can come from a cache; then some by one that has been idle since.
    for (number, command) in story.into_iter().enumerate() {
        let submission = plain(command.clone());
        let outcome = if number % 4 == 3 {
            book.submit(submission).await
        } else {
            let fresh = writers(book.database.runtime_url(), WriterSettings::default());
            fresh.submit(book.ledger, submission).await
        };
        assert!(matches!(outcome, Ok(Outcome::Accepted(_))), "step {number}: {outcome:?}");
        assert_stored_state_is_replayed_state(&book).await;
    }
    let types = "SELECT array_agg(DISTINCT type::text) FROM events";
    let types: Vec<String> =
        book.database.superuser().await.query_one(types, &[]).await.expect("types").get(0);
    for expected in ["payment.noted", "purchase.clawed", "purchase.restored", "debt.settled"] {
        assert!(types.iter().any(|name| name == expected), "{expected} did not happen");
    }
}
