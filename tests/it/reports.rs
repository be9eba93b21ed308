//! Reports over HTTP: the figures of a small sale, pages, formats that the tools of plain-text accounting accept.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use counterfoil::domain::{amount::Currency, day::Day};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{api_support::Requests, support::app::TestApp};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Buys 100 credits for EUR 11.90 with EUR 1.90 of tax, uses 33, and has a fifth of the money given back. Gives the token of
/// the last write.
async fn trade(app: &TestApp) -> String {
    app.account_with("ada", 0).await;
    let feature = json!({"unit": "credits", "cost": 11});
    assert!(app.send(Method::PUT, "/v1/features/report", Some(&feature)).await.status < 300);
    let purchase = json!({"unit": "credits", "amount": 100,
                          "money": {"amount": 1190, "tax": 190, "currency": "eur"}, "reference": "invoice 1"});
    let bought = app.keyed("/v1/accounts/ada/purchases", "buy", &purchase).await;
    assert_eq!(bought.status, 201, "{bought:?}");
    let spend = json!({"feature": "report", "quantity": 3});
    assert_eq!(app.keyed("/v1/accounts/ada/spends", "use", &spend).await.status, 201);
    let path = format!("/v1/purchases/{}/refunds", bought.json()["purchase_id"].as_str().expect("an id"));
    let refunded = app.keyed(&path, "refund", &json!({"amount": 238, "reason": "a fifth"})).await;
    assert_eq!(refunded.status, 201, "{refunded:?}");
    refunded.header("X-Position-Token").expect("a token").to_owned()
}

#[tokio::test]
async fn reports_say_what_was_sold_used_refunded_and_is_still_owed() {
    let app = TestApp::start().await;
    let token = trade(&app).await;
    for granularity in ["day", "month"] {
        let path = format!("/v1/reports/revenue?granularity={granularity}&currency=eur&min_position={token}");
        let report = app.get(&path).await;
        let line = &report["items"][0];
        assert_eq!(
            [
                &line["deferred_at_open"],
                &line["sold"],
                &line["recognised"],
                &line["breakage"],
                &line["refunded"]
            ],
            [&json!(0), &json!(1000), &json!(330), &json!(0), &json!(200)],
            "{report}"
        );
        assert_eq!(line["deferred_at_close"], 470);
        assert_eq!((report["items"].as_array().map(Vec::len), &report["is_final"]), (Some(1), &json!(false)));
    }
    for path in ["/v1/reports/usage", "/v1/reports/usage?account=ada&feature=report"] {
        let separator = if path.contains('?') { '&' } else { '?' };
        let report = app.get(&format!("{path}{separator}min_position={token}")).await;
        let line = &report["items"][0];
        assert_eq!(
            [&line["feature"], &line["unit"], &line["uses"], &line["quantity"], &line["amount"]],
            [&json!("report"), &json!("credits"), &json!(1), &json!(3), &json!(33)],
            "{report}"
        );
    }
    let outstanding = app.get(&format!("/v1/reports/outstanding?min_position={token}")).await;
    let ada = &outstanding["items"][0];
    assert_eq!(ada["account_id"], "ada", "{outstanding}");
    assert_eq!(
        ada["units"],
        json!([{"unit": "credits", "available": 47, "debt": 0, "held": 0, "disputed": 0}])
    );
    assert_eq!(ada["deferred"], json!([{"currency": "eur", "amount": 470}]));
    let before = app.get("/v1/reports/outstanding?as_of=2000-01-01").await;
    assert_eq!(before["items"], json!([]));
}

#[tokio::test]
async fn the_journal_is_read_in_pages_and_each_entry_balances() {
    let app = TestApp::start().await;
    let token = trade(&app).await;
    let mut entries = Vec::new();
    let mut path = format!("/v1/reports/journal?limit=1&min_position={token}");
    loop {
        let page = app.get(&path).await;
        entries.extend(page["items"].as_array().expect("items").iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/reports/journal?limit=1&cursor={cursor}");
    }
    let types: Vec<&str> = entries.iter().filter_map(|entry| entry["type"].as_str()).collect();
    assert_eq!(types, ["credits.purchased", "credits.spent", "purchase.clawed"]);
    for entry in &entries {
        let postings = entry["postings"].as_array().expect("postings");
        assert_eq!(
            postings.iter().filter_map(|posting| posting["amount"].as_i64()).sum::<i64>(),
            0,
            "{entry}"
        );
    }
    let csv = app.send(Method::GET, "/v1/reports/journal?format=csv", None).await;
    assert_eq!(csv.header("Content-Type"), Some("text/csv"));
    assert_eq!(csv.text.lines().count(), 7, "{}", csv.text);
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).expect("31 bits").rem_euclid(sides)
    }
}

/// Trades for some days by a test clock, with all that moves money. Gives the first day.
pub async fn trade_for(app: &TestApp, days: i64) -> Day {
    trade_in_steps(app, days, 86_400).await
}

/// The same with so many seconds from one day of trade to the next.
pub async fn trade_in_steps(app: &TestApp, days: i64, seconds: i64) -> Day {
    let mut dice = Dice(5);
    let mut purchases: Vec<(String, i64)> = Vec::new();
    for account in ["ada", "bob", "eve"] {
        app.account_with(account, 0).await;
    }
    let first = app.get("/v1/test/clock").await["now"].as_str().expect("a moment").to_owned();
    for turn in 0..days * 9 {
        if turn > 0 && turn % 9 == 0 {
            let moved = app
                .keyed("/v1/test/clock/advance", &format!("day {turn}"), &json!({"seconds": seconds}))
                .await;
            assert_eq!(moved.status, 201, "{moved:?}");
        }
        let (account, key) =
            (["ada", "bob", "eve"][usize::try_from(dice.roll(3)).expect("small")], format!("turn {turn}"));
        let credits = 1 + dice.roll(30);
        let (path, body) = match dice.roll(9) {
            0..3 => {
                let (amount, tax) = (1 + dice.roll(4_000), 0);
                let currency = ["eur", "jpy", "kwd"][usize::try_from(dice.roll(3)).expect("small")];
                let body = json!({"unit": "credits", "amount": credits, "reference": key,
                                  "money": {"amount": amount, "tax": tax, "currency": currency}});
                let bought = app.keyed(&format!("/v1/accounts/{account}/purchases"), &key, &body).await;
                assert_eq!(bought.status, 201, "{bought:?}");
                purchases.push((bought.json()["purchase_id"].as_str().expect("an id").to_owned(), amount));
                continue;
            }
            3..6 => (format!("/v1/accounts/{account}/spends"), json!({"unit": "credits", "amount": credits})),
            6 => {
                let body = json!({"unit": "credits", "amount": -credits, "reason": "a mistake"});
                (format!("/v1/accounts/{account}/adjustments"), body)
            }
            7 => {
                let body = json!({"from_account_id": "ada", "to_account_id": "bob", "unit": "credits", "amount": credits});
                ("/v1/transfers".to_owned(), body)
            }
            _ => {
                let Some((purchase, paid)) = purchases.pop() else { continue };
                let body = json!({"amount": 1 + dice.roll(paid), "reason": "asked for"});
                (format!("/v1/purchases/{purchase}/refunds"), body)
            }
        };
        // Some of it is refused, because nothing is left.
        let answer = app.keyed(&path, &key, &body).await;
        assert!([201, 402, 409, 422].contains(&answer.status), "{path} {body}: {answer:?}");
    }
    Day::parse(&first[..10]).expect("a day")
}

/// Where the tables of the projection `books` are.
pub async fn schema_of_books(app: &TestApp) -> String {
    let statement = "SELECT v.schema_name FROM projection_versions v WHERE v.projection = 'books'";
    app.database.superuser().await.query_one(statement, &[]).await.expect("the books").get(0)
}

/// By currency, of the lots as they were at the end of a day, how much is deferred.
async fn deferred_of_lots(app: &TestApp, day: Day) -> BTreeMap<String, i64> {
    let superuser = app.database.superuser().await;
    let schema = schema_of_books(app).await;
    let statement = format!(
        "SELECT l.currency, sum(c.deferred)::bigint
           FROM {schema}.lot_changes c
           JOIN {schema}.lots l ON l.ledger_id = c.ledger_id AND l.lot = c.lot
           JOIN events e ON e.ledger_id = c.ledger_id AND e.position = c.position
          WHERE l.currency IS NOT NULL AND (e.recorded_at AT TIME ZONE 'UTC')::date <= $1
          GROUP BY l.currency HAVING sum(c.deferred) <> 0"
    );
    let rows = superuser.query(&statement, &[&day.to_date()]).await.expect("lots");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn at_any_date_revenue_the_journal_and_what_is_outstanding_tie_to_the_lots_to_the_cent() {
    let app = TestApp::start().await;
    let first = trade_for(&app, 7).await;
    let journal = all_pages(&app, "/v1/reports/journal?limit=7").await;
    let revenue = app.get("/v1/reports/revenue").await;
    let lines = revenue["items"].as_array().expect("lines");
    let mut day = first;
    for _ in 0..7 {
        let lots = deferred_of_lots(&app, day).await;
        let mut outstanding = BTreeMap::new();
        for account in all_pages(&app, &format!("/v1/reports/outstanding?as_of={day}&limit=2")).await {
            for money in account["deferred"].as_array().expect("money") {
                let currency = money["currency"].as_str().expect("a currency").to_owned();
                *outstanding.entry(currency).or_insert(0) += money["amount"].as_i64().expect("an amount");
            }
        }
        assert_eq!(outstanding, lots, "outstanding at {day}");
        let until = |line: &&Value, name: &str| line[name].as_str() <= Some(day.to_string().as_str());
        let mut owed = BTreeMap::new();
        for entry in journal.iter().filter(|entry| until(entry, "day")) {
            let currency = entry["currency"].as_str().expect("a currency").to_owned();
            for posting in entry["postings"].as_array().expect("postings") {
                if posting["account"] == "Liabilities:Credits" {
                    *owed.entry(currency.clone()).or_insert(0) -=
                        posting["amount"].as_i64().expect("an amount");
                }
            }
        }
        owed.retain(|_, amount| *amount != 0);
        assert_eq!(owed, lots, "the journal at {day}");
        let mut closed = BTreeMap::new();
        for line in lines.iter().filter(|line| until(line, "period")) {
            let currency = line["currency"].as_str().expect("a currency").to_owned();
            closed.insert(currency, line["deferred_at_close"].as_i64().expect("an amount"));
        }
        closed.retain(|_, amount| *amount != 0);
        assert_eq!(closed, lots, "revenue at {day}");
        // A day by itself says the same, also if nothing moved on it.
        let alone = app.get(&format!("/v1/reports/revenue?from={day}&to={day}")).await;
        let alone = alone["items"].as_array().expect("lines").iter().map(|line| {
            let currency = line["currency"].as_str().expect("a currency").to_owned();
            (currency, line["deferred_at_close"].as_i64().expect("an amount"))
        });
        let alone: BTreeMap<String, i64> = alone.filter(|(_, amount)| *amount != 0).collect();
        assert_eq!(alone, closed, "revenue of {day}");
        day = Day::new(day.to_date().next_day().expect("a day")).expect("a day");
    }
    assert!(!deferred_of_lots(&app, day).await.is_empty());
    check_roll_forward(lines);
    let over = app.get(&format!("/v1/reports/revenue?to={first}")).await;
    assert_eq!(over["is_final"], true, "{over}");

    // The tools of others agree, and so does hledger's own sum of what is owed.
    let text = async |format: &str| {
        let answer = app.send(Method::GET, &format!("/v1/reports/journal?format={format}"), None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text
    };
    assert_eq!(bean_check(&text("beancount").await), (true, String::new()));
    let exported = text("hledger").await;
    assert_eq!(hledger_check(&exported), (true, String::new()));
    let (is_good, owed) =
        ask(Command::new("hledger").args(["-f", "-", "balance", "-O", "csv", "Liabilities"]), &exported);
    assert!(is_good, "{owed}");
    for (currency, amount) in deferred_of_lots(&app, day).await {
        let money = Currency::parse(&currency).expect("a currency");
        let line = format!("{} {}", money.write(-amount), currency.to_ascii_uppercase());
        assert!(owed.contains(&line), "{line}: {owed}");
    }
}

/// Each day or month opens with what the one before closed with, and adds up.
pub fn check_roll_forward(lines: &[Value]) {
    let mut closed = BTreeMap::new();
    for line in lines {
        let number = |name: &str| line[name].as_i64().expect("an amount");
        let opened =
            closed.insert(line["currency"].as_str().expect("a currency"), number("deferred_at_close"));
        assert_eq!(number("deferred_at_open"), opened.unwrap_or(0), "{line}");
        let moved = number("sold") - number("recognised") - number("breakage") - number("refunded");
        assert_eq!(number("deferred_at_open") + moved, number("deferred_at_close"), "{line}");
    }
}

/// All items of a report in pages, whose path has a query.
pub async fn all_pages(app: &TestApp, path: &str) -> Vec<Value> {
    let (mut items, mut next) = (Vec::new(), path.to_owned());
    loop {
        let page = app.get(&next).await;
        items.extend(page["items"].as_array().expect("items").iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { return items };
        next = format!("{path}&cursor={cursor}");
    }
}

#[tokio::test]
async fn pages_of_the_journal_are_of_the_moment_of_the_first() {
    let app = TestApp::start().await;
    trade(&app).await;
    let path = "/v1/reports/journal?limit=1";
    let page = app.get(path).await;
    let spend = json!({"feature": "report", "quantity": 1});
    assert_eq!(app.keyed("/v1/accounts/ada/spends", "meanwhile", &spend).await.status, 201);
    let mut positions = vec![page["items"][0]["position"].clone()];
    let mut cursor = page["next_cursor"].clone();
    while let Some(place) = cursor.as_str() {
        let next = app.get(&format!("{path}&cursor={place}")).await;
        assert_eq!(next["position"], page["position"]);
        positions
            .extend(next["items"].as_array().expect("items").iter().map(|entry| entry["position"].clone()));
        cursor = next["next_cursor"].clone();
    }
    assert_eq!(positions.len(), 3, "{positions:?}");
    assert_eq!(all_pages(&app, path).await.len(), 4);
}

#[tokio::test]
async fn a_report_is_one_answer_as_json_or_csv_or_is_refused_for_its_size() {
    let app = TestApp::start().await;
    trade(&app).await;
    let text = async |path: &str| app.send(Method::GET, path, None).await.text;
    let revenue = text("/v1/reports/revenue?format=csv&granularity=month").await;
    let line = revenue.lines().nth(1).expect("a line");
    assert!(line.starts_with("EUR,") && line.ends_with("-01,0.00,10.00,3.30,0.00,2.00,4.70"), "{revenue}");
    let usage = text("/v1/reports/usage?format=csv").await;
    assert!(usage.lines().nth(1).is_some_and(|line| line.ends_with(",report,credits,1,3,33")), "{usage}");
    let superuser = app.database.superuser().await;
    let made = "INSERT INTO projection_usage_1.usage
                SELECT h.ledger_id, date '1980-01-01' + n, 'old', 'credits', 1, 1, 1
                  FROM ledger_heads h, generate_series(1, 10000) n";
    superuser.execute(made, &[]).await.expect("days");
    let refused = app.send(Method::GET, "/v1/reports/usage", None).await;
    assert_eq!((refused.status, refused.field().as_str()), (400, "from"), "{refused:?}");
    assert_eq!(
        app.get("/v1/reports/usage?from=1981-01-01").await["items"].as_array().map(Vec::len),
        Some(9_636)
    );
}

#[tokio::test]
async fn a_report_never_lacks_what_was_recorded_before_it_was_asked_for() {
    let app = TestApp::start().await;
    app.account_with("ada", 50).await;
    for turn in 1..=20 {
        let spend = json!({"unit": "credits", "amount": 1});
        assert_eq!(app.keyed("/v1/accounts/ada/spends", &format!("{turn}"), &spend).await.status, 201);
        let report = app.get("/v1/reports/usage").await;
        assert_eq!(report["items"][0]["uses"], turn, "{report}");
    }
}

/// Whether `bean-check` finds a journal to be in order, and what it says.
pub fn bean_check(text: &str) -> (bool, String) {
    ask(Command::new(beancounts("bean-check")).arg("/dev/stdin"), text)
}

/// Where a program is that comes with Beancount.
pub fn beancounts(program: &str) -> PathBuf {
    let prepared = Command::new(repository().join("tests/books/prepare")).status().expect("a program");
    assert!(prepared.success());
    repository().join("target/books/python/bin").join(program)
}

/// Whether `hledger check` finds a journal to be in order, and what it says.
pub fn hledger_check(text: &str) -> (bool, String) {
    ask(Command::new("hledger").args(["-f", "-", "check"]), text)
}

/// Runs a tool on a text: whether it is content, and what it says.
pub fn ask(command: &mut Command, text: &str) -> (bool, String) {
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.expect("a program that starts");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("an end");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn bad_questions_are_refused_by_the_name_of_the_parameter() {
    let app = TestApp::start().await;
    for (query, field) in [
        ("revenue?from=2026-02-30", "from"),
        ("revenue?from=2026-02-02&to=2026-02-01", "to"),
        ("revenue?granularity=week", "granularity"),
        ("revenue?currency=euro", "currency"),
        ("journal?format=xlsx", "format"),
        ("journal?cursor=AAAA", "cursor"),
        ("usage?format=beancount", "format"),
        ("journal?format=csv&cursor=AAAA", "cursor"),
        ("outstanding?limit=0", "limit"),
        ("outstanding?as_of=yesterday", "as_of"),
    ] {
        let refused = app.send(Method::GET, &format!("/v1/reports/{query}"), None).await;
        assert_eq!((refused.status, refused.field().as_str()), (400, field), "{query}: {refused:?}");
    }
}
