//! Several operating-system processes write to one ledger under load, and one of them is killed.
//!
//! The other processes are this test binary once more, running the ignored test below. Each spends under keys of its own
//! and tells at the end what was acknowledged; the request id of its events says which process wrote them.

use std::{
    process::{Child, Command as Process, Stdio},
    time::{Duration, Instant},
};

use counterfoil::{
    domain::ids::{LedgerId, RequestId},
    writer::{Outcome, Submission, WriterSettings},
};
use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    support::wait,
    writer_support::{Book, keyed, spend, writers},
};

const ADDRESS: &str = "COUNTERFOIL_TEST_SPENDER_URL";
const LEDGER: &str = "COUNTERFOIL_TEST_SPENDER_LEDGER";
const NAME: &str = "COUNTERFOIL_TEST_SPENDER_NAME";

const ACCOUNTS: usize = 20;
const CREDITS: i64 = 2_000;
const CALLERS: usize = 32;
const LASTING: Duration = Duration::from_secs(3);

/// Starts another process that spends from all accounts.
fn spender(book: &Book, name: &str) -> Child {
    let this = std::env::current_exe().expect("the path of this program");
    let mut process = Process::new(this);
    process.args(["--ignored", "--exact", "writer_processes::spends_in_a_process_of_its_own", "--nocapture"]);
    process.env(ADDRESS, book.database.runtime_url().expose_secret());
    process.env(LEDGER, book.ledger.to_string()).env(NAME, name);
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    process.spawn().expect("another process")
}

/// How many spends the process says were acknowledged.
async fn acknowledged(spender: Child) -> i64 {
    let ended = tokio::task::spawn_blocking(move || spender.wait_with_output());
    let output = ended.await.expect("no panic").expect("an end");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let number = text.lines().find_map(|line| line.split_once("acknowledged: ")).expect("a number").1;
    number.trim().parse().expect("a number")
}

#[tokio::test]
async fn processes_that_write_to_one_ledger_under_load_lose_nothing_and_write_nothing_twice() {
    let book = Book::open().await;
    for number in 0..ACCOUNTS {
        book.account_with(&format!("account-{number}"), CREDITS).await;
    }
    let (one, two) = (spender(&book, "one"), spender(&book, "two"));
    let mut doomed = spender(&book, "doomed");
    let superuser = book.database.superuser().await;
    let written_by = async |name: &str| -> i64 {
        let statement = "SELECT count(*) FROM events WHERE request_id = $1";
        superuser.query_one(statement, &[&name]).await.expect("a count").get(0)
    };
    wait::until("all three to write", async || {
        let counts = join_all(["one", "two", "doomed"].map(&written_by)).await;
        counts.iter().all(|count| *count > 50).then_some(())
    })
    .await;
    doomed.kill().expect("a process that runs");
    doomed.wait().expect("a process that has ended");

    let (one, two) = futures_util::future::join(acknowledged(one), acknowledged(two)).await;
    assert_eq!((written_by("one").await, written_by("two").await), (one, two));
    let turns = "SELECT count(*) FROM (
                     SELECT request_id <> lag(request_id) OVER (ORDER BY position) AS turn FROM events) t WHERE turn";
    let turns: i64 = superuser.query_one(turns, &[]).await.expect("a count").get(0);
    assert!(turns > 10, "the processes took turns only {turns} times");

    let sums = "SELECT (SELECT COALESCE(sum(-amount), 0)::int8 FROM events WHERE type = 'credits.spent'),
                       (SELECT sum((state->'books'->'credits'->>'available')::int8)::int8 FROM accounts)";
    let sums = superuser.query_one(sums, &[]).await.expect("sums");
    let (spent, left): (i64, i64) = (sums.get(0), sums.get(1));
    assert_eq!(spent + left, ACCOUNTS as i64 * CREDITS);
    assert!(spent >= one + two);
    book.check().await;
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the process that started this one tells it what to do")]
#[ignore = "not a test: a process that spends, for the test above"]
async fn spends_in_a_process_of_its_own() {
    let (Ok(url), Ok(ledger), Ok(name)) =
        (std::env::var(ADDRESS), std::env::var(LEDGER), std::env::var(NAME))
    else {
        return;
    };
    let ledger = LedgerId(ledger.parse().expect("a number"));
    let writers = writers(SecretString::from(url), WriterSettings::default());
    let end = Instant::now() + LASTING;
    let caller = async |caller: usize| -> i64 {
        let mut acknowledged = 0;
        for turn in 0.. {
            if Instant::now() > end {
                break;
            }
            let account = format!("account-{}", (caller * 7 + turn) % ACCOUNTS);
            let submission = Submission {
                request_id: Some(RequestId::parse(&name).expect("a request id")),
                ..keyed(spend(&account, 1), &format!("{name}-{caller}-{turn}"), 1)
            };
            let outcome = writers.submit(ledger, submission.clone()).await;
            if matches!(outcome, Ok(Outcome::Accepted(_))) {
                acknowledged += 1;
                // Retries of what was acknowledged, now and then.
                if turn % 50 == 0 {
                    let again = writers.submit(ledger, submission).await;
                    assert!(matches!(again, Ok(Outcome::Accepted(again)) if again.replayed));
                }
            } else {
                assert!(matches!(outcome, Ok(Outcome::Rejected(_))), "{outcome:?}");
            }
        }
        acknowledged
    };
    let acknowledged: i64 = join_all((0..CALLERS).map(caller)).await.into_iter().sum();
    println!("acknowledged: {acknowledged}");
}
