//! Reports over months, by currency, and of days that are long over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use counterfoil::{
    domain::{
        EventBody,
        day::Day,
        event::Event,
        ids::{AccountNumber, LedgerId},
        settings::ClawbackPolicy,
    },
    writer::WriterSettings,
};
use serde_json::Value;

use crate::{
    books_history::{History, Plot},
    reports::{all_pages, check_roll_forward, trade_in_steps},
    support::app::{TestApp, create_ledger, prepared},
    writer_support::writers,
};

/// Steps of trade, and the seconds between two: eleven days, so that two months at least end in between.
const STEPS: i64 = 8;
const STEP: i64 = 11 * 86_400;
const MOVEMENTS: [&str; 4] = ["sold", "recognised", "breakage", "refunded"];

/// What a month or a currency of the report comes to: opened with, moved, closed with.
type Line = (i64, [i64; 4], i64);

fn number(line: &Value, name: &str) -> i64 {
    line[name].as_i64().expect("an amount")
}

fn text<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().expect("a text")
}

async fn revenue(app: &TestApp, query: &str) -> Vec<Value> {
    app.get(&format!("/v1/reports/revenue?{query}")).await["items"].as_array().expect("lines").clone()
}

/// By currency and first day of the month.
fn by_month(lines: &[Value]) -> BTreeMap<(String, String), Line> {
    let mut months: BTreeMap<(String, String), Line> = BTreeMap::new();
    for line in lines {
        let month = format!("{}-01", &text(line, "period")[..7]);
        let key = (text(line, "currency").to_owned(), month);
        let opened = number(line, "deferred_at_open");
        let (_, moved, closed) = months.entry(key).or_insert((opened, [0; 4], 0));
        for (sum, name) in moved.iter_mut().zip(MOVEMENTS) {
            *sum += number(line, name);
        }
        *closed = number(line, "deferred_at_close");
    }
    months
}

#[tokio::test]
async fn a_month_is_the_sum_of_its_days_and_opens_with_what_was_carried_over_in_each_currency() {
    let app = TestApp::start().await;
    let first = trade_in_steps(&app, STEPS, STEP).await;
    let days = revenue(&app, "").await;
    let months = revenue(&app, "granularity=month").await;
    assert_eq!(by_month(&months).len(), months.len(), "a line for each month: {months:?}");
    assert_eq!(by_month(&months), by_month(&days));
    check_roll_forward(&months);
    let traded_in: BTreeSet<&str> = months.iter().map(|line| text(line, "period")).collect();
    assert!(traded_in.len() >= 3, "{traded_in:?}");
    let carried = months.iter().filter(|line| number(line, "deferred_at_open") != 0);
    assert!(carried.clone().count() >= 3, "{months:?}");
    assert!(carried.clone().any(|line| MOVEMENTS.iter().any(|name| number(line, name) != 0)));

    // From within a month on, at any time: its first part is what was deferred by then.
    for days_later in [17, 40, 45] {
        let from = first.plus_days(days_later);
        let (days, months) = (
            revenue(&app, &format!("from={from}")).await,
            revenue(&app, &format!("granularity=month&from={from}")).await,
        );
        assert_eq!(by_month(&months), by_month(&days), "from {from}");
        check_adds_up(&months);
        assert!(months.iter().any(|line| number(line, "deferred_at_open") != 0), "from {from}: {months:?}");
    }

    let currencies: BTreeSet<&str> = days.iter().map(|line| text(line, "currency")).collect();
    assert!(currencies.len() >= 2, "{currencies:?}");
    for (granularity, all) in [("day", &days), ("month", &months)] {
        for currency in &currencies {
            let alone = revenue(&app, &format!("granularity={granularity}&currency={currency}")).await;
            let expected: Vec<&Value> =
                all.iter().filter(|line| text(line, "currency") == *currency).collect();
            assert_eq!(alone.iter().collect::<Vec<_>>(), expected, "{currency} by {granularity}");
        }
    }
    assert_eq!(revenue(&app, "currency=usd").await, [] as [Value; 0], "nobody paid with it");
}

fn check_adds_up(lines: &[Value]) {
    for line in lines {
        let moved = number(line, "sold")
            - number(line, "recognised")
            - number(line, "breakage")
            - number(line, "refunded");
        assert_eq!(number(line, "deferred_at_open") + moved, number(line, "deferred_at_close"), "{line}");
    }
}

/// By account and unit: available, debt, held and disputed, where they are not all nothing.
type Holdings = BTreeMap<(String, String), [i64; 4]>;

/// What the last event of each account and unit on or before a day says.
fn by_the_events(events: &[Event], names: &BTreeMap<AccountNumber, String>, day: Day) -> Holdings {
    let mut last = Holdings::new();
    for event in events.iter().filter(|event| Day::of(event.recorded_at) <= day) {
        if let (Some(account), Some(unit), Some(after)) = (event.account, &event.unit, event.balance) {
            let amounts = [after.net.max(0), (-after.net).max(0), after.held, after.disputed];
            last.insert((names[&account].clone(), unit.to_string()), amounts);
        }
    }
    last.retain(|_, amounts| *amounts != [0; 4]);
    last
}

async fn by_the_report(app: &TestApp, day: Day) -> Holdings {
    let mut reported = Holdings::new();
    for account in all_pages(app, &format!("/v1/reports/outstanding?as_of={day}&limit=2")).await {
        for unit in account["units"].as_array().expect("units") {
            let amounts = ["available", "debt", "held", "disputed"].map(|name| number(unit, name));
            reported
                .insert((text(&account, "account_id").to_owned(), text(unit, "unit").to_owned()), amounts);
        }
    }
    reported
}

#[tokio::test]
async fn what_is_outstanding_at_any_past_day_is_what_the_last_events_until_then_say() {
    let (database, _) = prepared().await;
    let url = database.runtime_url();
    let ledger = create_ledger(&url, "history", &[]).await;
    let statement = "SELECT ledger_id FROM ledgers WHERE slug = $1";
    let id = database.superuser().await.query_one(statement, &[&ledger.slug]).await.expect("the ledger");
    let writers = writers(database.runtime_url(), WriterSettings::default());
    let plot = Plot { seed: 1, steps: 300, policy: ClawbackPolicy::Debt, claw_on_pending: false };
    let history = History::of(LedgerId(id.get(0)), Arc::clone(&writers), plot).await;
    let app = TestApp::start_on(database, ledger, &url, &[]).await;
    let accounts = app.get("/v1/accounts").await;
    let ids = accounts["items"].as_array().expect("accounts").iter().rev();
    let opened = history.events.iter().filter(|event| matches!(event.body, EventBody::AccountOpened(_)));
    let numbers = opened.map(|event| event.account.expect("an account"));
    let names: BTreeMap<AccountNumber, String> =
        numbers.zip(ids).map(|(number, account)| (number, text(account, "account_id").to_owned())).collect();

    let of = |event: Option<&Event>| Day::of(event.expect("an event").recorded_at);
    let (first, last) = (of(history.events.first()), of(history.events.last()));
    let (mut day, mut seen, mut different) = (first, [false; 4], 0);
    let mut before = None;
    while day < last {
        let expected = by_the_events(&history.events, &names, day);
        assert_eq!(by_the_report(&app, day).await, expected, "at {day}");
        for amounts in expected.values() {
            seen.iter_mut().zip(amounts).for_each(|(seen, amount)| *seen |= *amount != 0);
        }
        different += usize::from(before.replace(expected.clone()) != Some(expected));
        day = day.plus_days(1);
    }
    assert_eq!(seen, [true; 4], "available, debt, held and disputed");
    assert!(different >= 10, "{different} days on which something changed");
    assert_eq!(by_the_report(&app, last).await, by_the_events(&history.events, &names, last));
}
