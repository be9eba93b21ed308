//! The journals of random histories, read and summed up by the tools of plain-text accounting.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    sync::Arc,
};

use counterfoil::{
    domain::{
        EventBody,
        amount::Currency,
        event::{Event, PurchaseClawed, PurchaseRestored, TargetCause},
        ids::LedgerId,
        payment::{DisputeStatus, PaymentFact, RefundStatus},
        settings::ClawbackPolicy,
    },
    writer::WriterSettings,
};
use futures_util::future::join_all;
use serde_json::Value;

use crate::{
    books_history::{History, Plot},
    reports::{ask, bean_check, beancounts, hledger_check},
    support::app::{Ledger, TestApp, create_ledger, prepared},
    writer_support::writers,
};

/// By account and currency, how much is on it, in the currency's smallest part; nothing where it is 0.
type Balances = BTreeMap<(String, String), i64>;

const PLOTS: [Plot; 5] = [
    Plot { seed: 1, steps: 300, policy: ClawbackPolicy::Debt, claw_on_pending: false },
    Plot { seed: 2, steps: 300, policy: ClawbackPolicy::LotOnly, claw_on_pending: false },
    Plot { seed: 3, steps: 300, policy: ClawbackPolicy::Debt, claw_on_pending: true },
    Plot { seed: 4, steps: 300, policy: ClawbackPolicy::LotOnly, claw_on_pending: true },
    Plot { seed: 5, steps: 300, policy: ClawbackPolicy::Debt, claw_on_pending: false },
];

/// What the histories together have to come to, so that their journals are worth reading.
const SITUATIONS: [&str; 44] = [
    "account.opened",
    "credits.purchased",
    "credits.granted",
    "credits.spent",
    "credits.held",
    "hold.captured",
    "hold.released",
    "credits.expired",
    "credits.adjusted",
    "credits.rolled_over",
    "purchase.clawed",
    "purchase.restored",
    "payment.noted",
    "debt.settled",
    "transfer.sent",
    "transfer.received",
    "subscription.started",
    "subscription.changed",
    "own_taken",
    "own_returned",
    "own_clawed",
    "own_unclawed",
    "absorbed",
    "unabsorbed",
    "other_taken",
    "other_returned",
    "debt_made",
    "debt_cancelled",
    "settlement_returned",
    "written_off",
    "write_off_undone",
    "dispute open",
    "dispute won",
    "dispute lost",
    "refund pending",
    "refund succeeded in part",
    "refund succeeded in whole",
    "refund failed",
    "credit note issued",
    "credit note voided",
    "sum of a charge",
    "EUR",
    "JPY",
    "KWD",
];

/// Counts what happened: events by type, moves of targets, what was reported of payments, currencies.
fn count(events: &[Event], situations: &mut BTreeMap<String, usize>) {
    let mut paid = BTreeMap::new();
    for event in events {
        let mut found = vec![event.body.type_name().to_owned()];
        let moved = match &event.body {
            EventBody::PurchaseClawed(PurchaseClawed(moved))
            | EventBody::PurchaseRestored(PurchaseRestored(moved)) => moved,
            EventBody::CreditsPurchased(body) => {
                paid.insert(body.purchase, body.money.gross);
                found.push(body.money.currency.to_string().to_ascii_uppercase());
                found.into_iter().for_each(|name| *situations.entry(name).or_default() += 1);
                continue;
            }
            _ => {
                *situations.entry(found.remove(0)).or_default() += 1;
                continue;
            }
        };
        for one in &moved.moves {
            let one = serde_json::to_value(one).expect("JSON");
            found.push(one["move"].as_str().expect("a name").to_owned());
        }
        if let TargetCause::Fact(fact) = &moved.cause {
            found.push(name_of(fact, paid[&moved.purchase]));
        }
        found.into_iter().for_each(|name| *situations.entry(name).or_default() += 1);
    }
}

fn name_of(fact: &PaymentFact, paid: i64) -> String {
    let name = match fact {
        PaymentFact::Refund { status: RefundStatus::Pending, .. } => "refund pending",
        PaymentFact::Refund { status: RefundStatus::Succeeded, amount, .. } if *amount < paid => {
            "refund succeeded in part"
        }
        PaymentFact::Refund { status: RefundStatus::Succeeded, .. } => "refund succeeded in whole",
        PaymentFact::Refund { status: RefundStatus::Failed, .. } => "refund failed",
        PaymentFact::Refund { status: RefundStatus::Cancelled, .. } => "refund cancelled",
        PaymentFact::Dispute { status: DisputeStatus::Open, .. } => "dispute open",
        PaymentFact::Dispute { status: DisputeStatus::Won, .. } => "dispute won",
        PaymentFact::Dispute { status: DisputeStatus::Lost, .. } => "dispute lost",
        PaymentFact::CreditNote { status: RefundStatus::Cancelled | RefundStatus::Failed, .. } => {
            "credit note voided"
        }
        PaymentFact::CreditNote { .. } => "credit note issued",
        PaymentFact::ChargeRefunded { .. } => "sum of a charge",
        PaymentFact::Dispute { status: DisputeStatus::Inquiry, .. } => "dispute inquiry",
        PaymentFact::FraudWarning { .. } => "fraud warning",
    };
    name.to_owned()
}

/// An amount as it is written, in its currency's smallest part.
fn smallest_part(written: &str, currency: &str) -> i64 {
    let decimals = usize::from(Currency::parse(currency).expect("a currency").decimals());
    let (whole, part) = written.split_once('.').unwrap_or((written, ""));
    assert!(part.len() <= decimals, "{written} {currency}");
    format!("{whole}{part:0<decimals$}").parse().expect("a number")
}

fn balances(lines: &str) -> Balances {
    let fields = lines.lines().map(|line| line.split(',').map(|field| field.trim_matches('"')));
    let read = fields.map(|mut fields| {
        let mut field = || fields.next().expect("three fields").to_owned();
        let (account, currency, amount) = (field(), field(), field());
        let amount = smallest_part(&amount, &currency);
        ((account, currency), amount)
    });
    read.filter(|(_, amount)| *amount != 0).collect()
}

/// What Beancount makes of a journal.
fn by_beancount(journal: &str) -> Balances {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/books/balances.py");
    let (is_good, said) = ask(Command::new(beancounts("python")).arg(script), journal);
    assert!(is_good, "{said}");
    balances(&said)
}

/// What hledger makes of a journal.
fn by_hledger(journal: &str) -> Balances {
    let arguments = ["-f", "-", "balance", "--flat", "--no-total", "--layout=bare", "-O", "csv"];
    let (is_good, said) = ask(Command::new("hledger").args(arguments), journal);
    assert!(is_good, "{said}");
    balances(said.split_once('\n').expect("a line of names").1)
}

/// What has to be on each account, by the report of revenue.
fn by_report(report: &Value) -> Balances {
    let mut sums = Balances::new();
    for line in report["items"].as_array().expect("lines") {
        let number = |name: &str| line[name].as_i64().expect("an amount");
        let currency = line["currency"].as_str().expect("a currency").to_ascii_uppercase();
        let mut add = |account: &str, amount: i64| {
            *sums.entry((account.to_owned(), currency.clone())).or_default() += amount;
        };
        add("Assets:Payments", number("sold") - number("refunded"));
        add("Income:Recognised", -number("recognised"));
        add("Income:Breakage", -number("breakage"));
        // Lines go by currency and day: each day's is the last one's and what came since.
        sums.insert(("Liabilities:Credits".to_owned(), currency), -number("deferred_at_close"));
    }
    sums.retain(|_, amount| *amount != 0);
    sums
}

/// A report of a ledger, as text.
async fn report(app: &TestApp, ledger: &Ledger, path: &str) -> String {
    let request = app.client.get(format!("{}/v1/reports/{path}", app.url)).bearer_auth(&ledger.api_key);
    let answer = request.send().await.expect("an answer");
    let (status, text) = (answer.status(), answer.text().await.expect("a text"));
    assert!(status.is_success(), "{path}: {status} {text}");
    text
}

#[tokio::test]
async fn journals_of_random_histories_balance_for_beancount_and_hledger_and_sum_up_to_what_is_reported() {
    let (database, first) = prepared().await;
    let url = database.runtime_url();
    let slugs = PLOTS.map(|plot| format!("history-{}", plot.seed));
    let ledgers = join_all(slugs.iter().map(|slug| create_ledger(&url, slug, &[]))).await;
    let superuser = database.superuser().await;
    let writers = writers(database.runtime_url(), WriterSettings::default());
    let mut made = Vec::new();
    for (plot, ledger) in PLOTS.iter().zip(&ledgers) {
        let statement = "SELECT ledger_id FROM ledgers WHERE slug = $1";
        let id = superuser.query_one(statement, &[&ledger.slug]).await.expect("the ledger").get(0);
        made.push(History::of(LedgerId(id), Arc::clone(&writers), *plot));
    }
    let histories = join_all(made).await;
    let mut situations = BTreeMap::new();
    histories.iter().for_each(|history| count(&history.events, &mut situations));
    let missing: Vec<_> = SITUATIONS.iter().filter(|name| !situations.contains_key(**name)).collect();
    assert!(missing.is_empty(), "none of {missing:?} in {situations:?}");

    let app = TestApp::start_on(database, first, &url, &[]).await;
    for (plot, ledger) in PLOTS.iter().zip(&ledgers) {
        let beancount = report(&app, ledger, "journal?format=beancount").await;
        assert_eq!(bean_check(&beancount), (true, String::new()), "{plot:?}");
        let hledger = report(&app, ledger, "journal?format=hledger").await;
        assert_eq!(hledger_check(&hledger), (true, String::new()), "{plot:?}");
        let revenue = report(&app, ledger, "revenue").await;
        let reported = by_report(&serde_json::from_str(&revenue).expect("JSON"));
        assert_eq!(by_beancount(&beancount), reported, "{plot:?}");
        assert_eq!(by_hledger(&hledger), reported, "{plot:?}");
        let accounts: BTreeSet<&str> = reported.keys().map(|(account, _)| account.as_str()).collect();
        let all = ["Assets:Payments", "Income:Breakage", "Income:Recognised", "Liabilities:Credits"];
        assert_eq!(accounts, BTreeSet::from(all), "{plot:?}");
    }
}
