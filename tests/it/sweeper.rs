//! What becomes due in accounts that nobody touches is written down, once, however many processes sweep.

use std::{sync::Arc, time::Duration};

use counterfoil::{
    domain::{Command, command::GrantCredits, time::Span},
    store::{database_url::DatabaseUrl, pool::Database},
    sweeper::Sweeper,
    writer::{WriterSettings, system_clock},
};
use tokio::sync::Notify;

use crate::{
    support::wait,
    writer_support::{Book, accepted, grant, open, plain, spend, writers},
};

/// A sweeper of another process than the one that the book is written by.
fn sweeper(book: &Book) -> Sweeper {
    let url = DatabaseUrl::parse(&book.database.runtime_url()).expect("a valid address");
    let database = Database::open(&url, 2).expect("a usable address");
    Sweeper::new(database, writers(book.database.runtime_url(), WriterSettings::default()))
}

fn expiring(name: &str, credits: i64, lifetime: Span) -> Command {
    let Command::GrantCredits(grant) = grant(name, credits) else { panic!("a grant") };
    Command::GrantCredits(GrantCredits { expires_at: Some(system_clock().plus(lifetime)), ..grant })
}

#[tokio::test]
async fn what_is_due_is_written_once_by_several_sweepers_and_more_pages_than_one() {
    let book = Book::open().await;
    let names: Vec<String> = (0..250).map(|number| format!("account-{number}")).collect();
    let submit_all = async |commands: Vec<Command>| {
        let outcomes = commands.into_iter().map(|command| book.submit(plain(command)));
        futures_util::future::join_all(outcomes)
            .await
            .into_iter()
            .for_each(|outcome| drop(accepted(outcome)));
    };
    submit_all(names.iter().map(|name| open(name)).collect()).await;
    submit_all(names.iter().map(|name| expiring(name, 5, Span::seconds(1))).collect()).await;
    submit_all(names.iter().map(|name| grant(name, 2)).collect()).await;
    let sweepers = [sweeper(&book), sweeper(&book)];
    wait::until("everything to be swept", async || {
        let (one, other) = futures_util::future::join(sweepers[0].sweep(), sweepers[1].sweep()).await;
        one.and(other).expect("a sweep");
        (book.count("credits.expired").await == 250).then_some(())
    })
    .await;
    for sweeper in &sweepers {
        sweeper.sweep().await.expect("a sweep");
    }
    assert_eq!(book.count("credits.expired").await, 250);
    assert_eq!(book.stored_balance("account-7").await, 2);
    book.check().await;
}

#[tokio::test]
async fn a_running_sweeper_wakes_at_the_next_due_moment_and_stops_when_told() {
    let book = Book::open().await;
    book.account_with("alice", 3).await;
    book.accept(expiring("alice", 5, Span::seconds(2))).await;
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let running = tokio::spawn(sweeper(&book).run(async move { stopped.notified().await }));
    wait::until("the expiry", async || (book.count("credits.expired").await == 1).then_some(())).await;
    stop.notify_one();
    tokio::time::timeout(Duration::from_secs(10), running).await.expect("an end").expect("no panic");
    accepted(book.submit(plain(spend("alice", 3))).await);
    book.check().await;
}

#[tokio::test]
async fn what_is_not_due_stays_and_the_pause_ends_with_the_next_moment() {
    let book = Book::open().await;
    book.account_with("alice", 3).await;
    book.accept(expiring("alice", 5, Span::seconds(3))).await;
    let pause = sweeper(&book).sweep().await.expect("a sweep");
    assert!(pause > Duration::ZERO && pause <= Duration::from_secs(3), "{pause:?}");
    book.accept(expiring("alice", 5, Span::days(30))).await;
    assert_eq!(book.count("credits.expired").await, 0);
}
