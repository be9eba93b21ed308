//! The stored webhooks, on a real database, as the role that the service runs as.

use std::time::Duration;

use tokio_postgres::Client;
use uuid::Uuid;

use counterfoil::{
    domain::{
        ids::{LedgerId, LedgerSlug},
        settings::LedgerMode,
    },
    store::{
        inbox::{self, ClaimedWebhook, Finish, InboxFilter, InboxStatus, Replay},
        ledgers::create_ledger,
    },
};

use crate::support::{database::TestDatabase, plan};

const LEASE: Duration = Duration::from_secs(60);
const NO_TIME: Duration = Duration::ZERO;

async fn ledger(client: &Client, slug: &str) -> LedgerId {
    let slug = LedgerSlug::parse(slug).expect("a slug");
    create_ledger(client, &slug, LedgerMode::Test).await.expect("a new ledger").ledger
}

async fn insert(client: &Client, ledger: LedgerId, event_id: &str) -> bool {
    inbox::insert_webhook(client, ledger, event_id, "refund.created", b"{}\0\xff").await.expect("stored")
}

async fn claim(client: &Client, ledger: LedgerId, fence: Uuid, lease: Duration) -> Vec<ClaimedWebhook> {
    inbox::claim_webhooks(client, ledger, fence, lease, 10).await.expect("claimed")
}

async fn finish(client: &Client, ledger: LedgerId, fence: Uuid, event_id: &str, how: Finish) -> u64 {
    inbox::finish_webhooks(client, ledger, fence, &[(event_id.to_owned(), how)]).await.expect("finished")
}

async fn status(client: &Client, ledger: LedgerId, event_id: &str) -> InboxStatus {
    inbox::find_webhook(client, ledger, event_id).await.expect("read").expect("stored").0.status
}

fn ids(claimed: &[ClaimedWebhook]) -> Vec<&str> {
    let mut ids: Vec<&str> = claimed.iter().map(|webhook| webhook.event_id.as_str()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_webhook_is_stored_once_per_ledger_and_as_it_arrived() {
    let database = TestDatabase::migrated().await;
    let client = database.runtime().await;
    let (one, other) = (ledger(&client, "one").await, ledger(&client, "other").await);
    assert!(insert(&client, one, "evt_1").await);
    assert!(!insert(&client, one, "evt_1").await);
    assert!(insert(&client, other, "evt_1").await);
    let (entry, body) = inbox::find_webhook(&client, one, "evt_1").await.expect("read").expect("stored");
    assert_eq!(
        (entry.status, entry.kind.as_str(), entry.attempts),
        (InboxStatus::Received, "refund.created", 0)
    );
    assert_eq!(body.as_deref(), Some(b"{}\0\xff".as_slice()));
}

#[tokio::test]
async fn a_claimed_webhook_is_nobody_elses_until_the_claim_runs_out() {
    let database = TestDatabase::migrated().await;
    let client = database.runtime().await;
    let (one, other) = (ledger(&client, "one").await, ledger(&client, "other").await);
    insert(&client, one, "evt_1").await;
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(claim(&client, other, first, LEASE).await, []);
    let claimed = claim(&client, one, first, NO_TIME).await;
    assert_eq!((ids(&claimed), claimed[0].attempts), (vec!["evt_1"], 1));
    // The first claim has run out at once, so the second succeeds and is then respected.
    assert_eq!(claim(&client, one, second, LEASE).await[0].attempts, 2);
    assert_eq!(claim(&client, one, first, LEASE).await, []);
    assert_eq!(
        finish(&client, one, first, "evt_1", Finish::Processed).await,
        0,
        "a stale claim finishes nothing"
    );
    assert_eq!(finish(&client, one, second, "evt_1", Finish::Processed).await, 1);
    assert_eq!(status(&client, one, "evt_1").await, InboxStatus::Processed);
    assert_eq!(claim(&client, one, first, LEASE).await, []);
}

#[tokio::test]
async fn workers_that_claim_at_the_same_time_share_the_work() {
    let database = TestDatabase::migrated().await;
    let (first, second) = (database.runtime().await, database.runtime().await);
    let one = ledger(&first, "one").await;
    for number in 0..20 {
        insert(&first, one, &format!("evt_{number}")).await;
    }
    let (of_first, of_second) =
        tokio::join!(claim(&first, one, Uuid::new_v4(), LEASE), claim(&second, one, Uuid::new_v4(), LEASE));
    let mut all = [of_first, of_second].concat();
    all.extend(claim(&first, one, Uuid::new_v4(), LEASE).await);
    all.extend(claim(&first, one, Uuid::new_v4(), LEASE).await);
    let mut found = ids(&all);
    found.dedup();
    assert_eq!((found.len(), all.len()), (20, 20), "each exactly once");
}

#[tokio::test]
async fn every_ending_leaves_its_status_and_reason() {
    let database = TestDatabase::migrated().await;
    let client = database.runtime().await;
    let one = ledger(&client, "one").await;
    let fence = Uuid::new_v4();
    let endings = [
        ("evt_a", Finish::Processed, None),
        ("evt_b", Finish::Ignored("no_marker: x".to_owned()), Some("no_marker: x")),
        ("evt_c", Finish::Quarantined("needs_stripe: y".to_owned()), Some("needs_stripe: y")),
        ("evt_d", Finish::Failed { reason: "busy".to_owned(), retry_after: LEASE }, Some("busy")),
    ];
    for (event_id, ..) in &endings {
        insert(&client, one, event_id).await;
    }
    assert_eq!(claim(&client, one, fence, LEASE).await.len(), 4);
    let finished: Vec<(String, Finish)> =
        endings.iter().map(|(event_id, finish, _)| ((*event_id).to_owned(), finish.clone())).collect();
    assert_eq!(inbox::finish_webhooks(&client, one, fence, &finished).await.expect("finished"), 4);
    for (event_id, finish, reason) in &endings {
        let (entry, _) = inbox::find_webhook(&client, one, event_id).await.expect("read").expect("stored");
        assert_eq!((entry.status, entry.reason.as_deref()), (finish.status(), *reason));
        let done = matches!(finish, Finish::Processed | Finish::Ignored(_));
        assert_eq!(entry.finished_at.is_some(), done);
        assert_eq!(entry.next_attempt_at.is_some(), matches!(finish, Finish::Failed { .. }));
    }
    assert_eq!(claim(&client, one, fence, LEASE).await, [], "what failed waits for its time");
    insert(&client, one, "evt_e").await;
    let mut counts = inbox::count_open(&client, one).await.expect("counted");
    counts.sort_by_key(|(status, _)| status.as_str());
    let expected = ["failed", "quarantined", "received"];
    assert_eq!(
        counts.iter().map(|(status, count)| (status.as_str(), *count)).collect::<Vec<_>>(),
        expected.map(|status| (status, 1)),
        "what is done is not counted"
    );
}

#[tokio::test]
async fn what_failed_is_due_again_after_its_delay() {
    let database = TestDatabase::migrated().await;
    let client = database.runtime().await;
    let one = ledger(&client, "one").await;
    let fence = Uuid::new_v4();
    insert(&client, one, "evt_1").await;
    claim(&client, one, fence, LEASE).await;
    let at_once = Finish::Failed { reason: "busy".to_owned(), retry_after: NO_TIME };
    assert_eq!(finish(&client, one, fence, "evt_1", at_once).await, 1);
    assert_eq!(claim(&client, one, fence, LEASE).await[0].attempts, 2);
}

#[tokio::test]
async fn a_replay_starts_from_the_beginning_and_unseats_whoever_works_on_it() {
    let database = TestDatabase::migrated().await;
    let client = database.runtime().await;
    let one = ledger(&client, "one").await;
    let (fence, next) = (Uuid::new_v4(), Uuid::new_v4());
    insert(&client, one, "evt_1").await;
    claim(&client, one, fence, LEASE).await;
    finish(&client, one, fence, "evt_1", Finish::Quarantined("unknown_price: x".to_owned())).await;
    let replay = async |event_id: &str| inbox::replay_webhook(&client, one, event_id).await.expect("asked");
    assert_eq!(replay("evt_1").await, Replay::Accepted);
    let (entry, _) = inbox::find_webhook(&client, one, "evt_1").await.expect("read").expect("stored");
    assert_eq!((entry.status, entry.reason, entry.attempts), (InboxStatus::Received, None, 0));
    assert_eq!(claim(&client, one, fence, LEASE).await.len(), 1);
    assert_eq!(replay("evt_1").await, Replay::Accepted);
    assert_eq!(finish(&client, one, fence, "evt_1", Finish::Processed).await, 0);
    assert_eq!(claim(&client, one, next, LEASE).await.len(), 1);
    assert_eq!(replay("evt_2").await, Replay::NotFound);
}

#[tokio::test]
async fn lists_go_from_new_to_old_and_can_be_continued() {
    let database = TestDatabase::migrated().await;
    let client = database.runtime().await;
    let one = ledger(&client, "one").await;
    for number in 0..5 {
        insert(&client, one, &format!("evt_{number}")).await;
    }
    let fence = Uuid::new_v4();
    claim(&client, one, fence, LEASE).await;
    finish(&client, one, fence, "evt_3", Finish::Processed).await;
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = inbox::list_inbox(&client, one, &InboxFilter::default(), cursor.as_ref(), 2)
            .await
            .expect("listed");
        seen.extend(page.entries.into_iter().map(|entry| entry.event_id.to_string()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["evt_4", "evt_3", "evt_2", "evt_1", "evt_0"]);
    let processed = InboxFilter { status: Some(InboxStatus::Processed), ..InboxFilter::default() };
    let processed = inbox::list_inbox(&client, one, &processed, None, 50).await.expect("listed");
    assert_eq!(processed.entries.iter().map(|entry| entry.event_id.as_str()).collect::<Vec<_>>(), ["evt_3"]);
}

#[tokio::test]
async fn only_bodies_that_are_done_and_old_are_forgotten() {
    let database = TestDatabase::migrated().await;
    let client = database.runtime().await;
    let one = ledger(&client, "one").await;
    let fence = Uuid::new_v4();
    for event_id in ["evt_done", "evt_waits", "evt_odd"] {
        insert(&client, one, event_id).await;
    }
    claim(&client, one, fence, LEASE).await;
    finish(&client, one, fence, "evt_done", Finish::Processed).await;
    finish(&client, one, fence, "evt_odd", Finish::Quarantined("nonsense: x".to_owned())).await;
    let prune = async |retention| inbox::prune_bodies(&client, one, retention, 10).await.expect("pruned");
    assert_eq!(prune(LEASE).await, 0, "not old yet");
    assert_eq!(prune(NO_TIME).await, 1);
    assert_eq!(prune(NO_TIME).await, 0);
    let replay = async |event_id: &str| inbox::replay_webhook(&client, one, event_id).await.expect("asked");
    assert_eq!(replay("evt_done").await, Replay::BodyGone);
    assert_eq!(replay("evt_odd").await, Replay::Accepted);
}

#[tokio::test]
async fn what_is_not_done_is_counted_without_reading_what_is_and_only_so_far() {
    let database = TestDatabase::migrated().await;
    let (client, superuser) = (database.runtime().await, database.superuser().await);
    let one = ledger(&client, "one").await;
    let done = "INSERT INTO stripe_inbox (ledger_id, event_id, type, received_at, body, status, finished_at)
                SELECT $1, 'evt_done_' || n, 'refund.created', now(), '', 'processed', now()
                  FROM generate_series(1, 20000) n";
    superuser.execute(done, &[&one.0]).await.expect("stored");
    let aside = "INSERT INTO stripe_inbox (ledger_id, event_id, type, received_at, body, status, reason)
                 SELECT $1, 'evt_' || n, 'refund.created', now() - interval '1 day', '', 'quarantined', 'nonsense: x'
                   FROM generate_series($2::int8, $3) n";
    superuser.execute(aside, &[&one.0, &1_i64, &3_i64]).await.expect("stored");
    let statement = (include_str!("../../src/store/inbox.rs"), "SELECT s.status");
    let values = format!("{one}, '{{received,failed,quarantined}}', {}", inbox::COUNTED_OF_STATUS);
    for when in ["as the table has grown", "analysed"] {
        let (touched, plan) = plan::touched(&client, one, statement, "int8, text[], int8", &values).await;
        assert!(touched < 100, "{when}: {touched} {plan}");
        superuser.batch_execute("ANALYZE").await.expect("analysed");
    }
    let count = async || inbox::count_open(&client, one).await.expect("counted");
    assert_eq!(count().await, [(InboxStatus::Quarantined, 3)]);
    superuser.execute(aside, &[&one.0, &4_i64, &(inbox::COUNTED_OF_STATUS + 1)]).await.expect("stored");
    assert_eq!(count().await, [(InboxStatus::Quarantined, inbox::COUNTED_OF_STATUS)]);
}
