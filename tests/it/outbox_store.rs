//! Leases, fences and watermarks: what a worker that wakes up late can do, which is nothing, and what claims cost.

use std::time::Duration;

use counterfoil::{
    domain::ids::{LedgerId, Position},
    store::heads::Incarnation,
    store::outbox::{
        StoredCause,
        claim::{Reading, Room, WaitingEffect, Witness, claim},
        entries::{self, OutboxFilter, find_obstacle},
        finish::{End, Finished, finish},
        lease::{Lease, acquire, find_work, renew},
        shard_of,
    },
};
use tokio_postgres::Client;

use crate::{
    outbox_support::{entries, order, refund, rows_of, states},
    support::{plan, wait},
    writer_support::Book,
};

const ROOM: Room = Room { fresh: 100, due: 100 };
const LONG: Duration = Duration::from_secs(600);

fn from_start(lease: &Lease) -> Reading {
    Reading { shard: lease.shard, after: (lease.done, i16::MAX) }
}

async fn claimed(client: &Client, book: &Book, lease: &Lease) -> Vec<WaitingEffect> {
    claim(client, book.ledger, &[from_start(lease)], ROOM).await.expect("effects").effects
}

fn finished(effect: &WaitingEffect, lease: &Lease, end: End) -> Finished {
    let (place, origin, key) = (effect.place, effect.origin, effect.key.clone());
    Finished { id: effect.id, place, fence: lease.fence, origin, key, end }
}

fn cause() -> StoredCause {
    StoredCause { destination: "there".into(), class: "unavailable".into(), code: "away".into() }
}

fn later() -> End {
    End::Later { attempts: 1, must_look: false, delay: Duration::ZERO, cause: cause() }
}

async fn lease_of(client: &Client, book: &Book, key: &str, lasting: Duration) -> Lease {
    wait::until("the lease", async || {
        acquire(client, book.ledger, &[shard_of(key)], lasting).await.expect("leases").pop()
    })
    .await
}

#[tokio::test]
async fn a_worker_that_wakes_up_late_completes_nothing() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1), refund(1, 2), refund(1, 3)]).await;
    let (early, late) = (book.database.runtime().await, book.database.runtime().await);
    let stale = lease_of(&late, &book, "refund:1", Duration::from_millis(50)).await;
    let effects = claimed(&late, &book, &stale).await;
    let lease = lease_of(&early, &book, "refund:1", LONG).await;
    assert_eq!(lease.fence, stale.fence + 1);
    for end in [End::Done, later(), End::Dead { attempts: 1, blocks: true, cause: cause() }, End::Behind] {
        let batch: Vec<_> = effects.iter().map(|effect| finished(effect, &stale, end.clone())).collect();
        let batch =
            finish(&late, book.ledger, &batch).await.expect("sent").commit().await.expect("committed");
        assert!(batch.held.is_empty() && !batch.released);
        assert_eq!(states(&book).await, [("waiting", 1), ("waiting", 2), ("waiting", 3)]);
    }
    let kept = renew(&late, book.ledger, &[Lease { done: Position(3), ..stale }], Some(LONG), None).await;
    assert_eq!(kept.expect("an answer"), Vec::<i16>::new());
    let batch = [finished(&effects[0], &lease, End::Done)];
    let batch = finish(&early, book.ledger, &batch).await.expect("sent").commit().await.expect("committed");
    assert_eq!(batch.held, [lease.shard]);
    assert_eq!(states(&book).await, [("waiting", 2), ("waiting", 3)]);
}

#[tokio::test]
async fn a_batch_touches_only_shards_that_are_still_held() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1), refund(2, 2)]).await;
    assert_ne!(shard_of("refund:1"), shard_of("refund:2"));
    let client = book.database.runtime().await;
    let lost = lease_of(&client, &book, "refund:1", Duration::from_millis(50)).await;
    let kept = lease_of(&client, &book, "refund:2", LONG).await;
    let mut batch = vec![finished(&claimed(&client, &book, &lost).await[0], &lost, End::Done)];
    batch.push(finished(&claimed(&client, &book, &kept).await[0], &kept, End::Done));
    lease_of(&client, &book, "refund:1", LONG).await;
    let batch = finish(&client, book.ledger, &batch).await.expect("sent").commit().await.expect("committed");
    assert_eq!(batch.held, [kept.shard]);
    assert_eq!(states(&book).await, [("waiting", 1)]);
}

#[tokio::test]
async fn a_batch_can_be_repeated_by_whoever_does_not_know_whether_it_was_committed() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1), refund(1, 2), refund(1, 3), refund(1, 4)]).await;
    let client = book.database.runtime().await;
    let lease = lease_of(&client, &book, "refund:1", LONG).await;
    let effects = claimed(&client, &book, &lease).await;
    let ends = [End::Done, End::Dead { attempts: 1, blocks: false, cause: cause() }, later(), End::Behind];
    let batch: Vec<_> = effects.iter().zip(ends).map(|(effect, end)| finished(effect, &lease, end)).collect();
    for _ in 0..2 {
        finish(&client, book.ledger, &batch).await.expect("sent").commit().await.expect("committed");
        assert_eq!(states(&book).await, [("dead", 2), ("backing_off", 3), ("held", 4)]);
    }
    assert_eq!(rows_of(&book, "outbox").await, 0);
}

#[tokio::test]
async fn work_is_found_where_nobody_holds_the_lease() {
    let book = Book::open().await;
    let client = book.database.runtime().await;
    let shard = shard_of("refund:1");
    assert_eq!(find_work(&client, book.ledger).await.expect("shards"), Vec::<i16>::new());
    order(&book, 7, &[refund(1, 1)]).await;
    assert_eq!(find_work(&client, book.ledger).await.expect("shards"), [shard]);
    let lease = lease_of(&client, &book, "refund:1", LONG).await;
    assert_eq!(find_work(&client, book.ledger).await.expect("shards"), Vec::<i16>::new());
    assert!(acquire(&client, book.ledger, &[shard], LONG).await.expect("leases").is_empty());
    renew(&client, book.ledger, &[lease], None, None).await.expect("given back");
    assert_eq!(find_work(&client, book.ledger).await.expect("shards"), [shard]);
    // A watermark hides what is behind it.
    let lease = lease_of(&client, &book, "refund:1", LONG).await;
    renew(&client, book.ledger, &[Lease { done: Position(7), ..lease }], None, None)
        .await
        .expect("given back");
    assert_eq!(find_work(&client, book.ledger).await.expect("shards"), Vec::<i16>::new());
    // It never moves back.
    let lease = lease_of(&client, &book, "refund:1", LONG).await;
    renew(&client, book.ledger, &[Lease { done: Position(3), ..lease }], None, None)
        .await
        .expect("given back");
    assert_eq!(lease_of(&client, &book, "refund:1", LONG).await.done, Position(7));
}

#[tokio::test]
async fn what_is_not_the_same_effect_any_more_is_left_alone() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1)]).await;
    let client = book.database.runtime().await;
    let lease = lease_of(&client, &book, "refund:1", LONG).await;
    let effects = claimed(&client, &book, &lease).await;
    // History was lost, and another event took the place.
    book.database.superuser().await.batch_execute("DELETE FROM outbox").await.expect("lost");
    order(&book, 1, &[refund(1, 2)]).await;
    let batch = [finished(&effects[0], &lease, End::Done)];
    finish(&client, book.ledger, &batch).await.expect("sent").commit().await.expect("committed");
    assert_eq!(states(&book).await, [("waiting", 1)]);
}

#[tokio::test]
async fn leases_are_not_renewed_over_a_history_that_was_lost() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1)]).await;
    let client = book.database.runtime().await;
    let lease = lease_of(&client, &book, "refund:1", LONG).await;
    let witness = claim(&client, book.ledger, &[from_start(&lease)], ROOM).await.expect("effects").witness;
    let renewed = async |witness: &Witness| {
        renew(&client, book.ledger, &[lease], Some(LONG), Some(witness)).await.expect("an answer")
    };
    assert_eq!(renewed(&witness).await, [lease.shard]);
    let other = Witness { incarnation: Incarnation(uuid::Uuid::new_v4()), ..witness };
    assert_eq!(renewed(&other).await, Vec::<i16>::new());
    let further = Witness { head: witness.head.next(), ..witness };
    assert_eq!(renewed(&further).await, Vec::<i16>::new());
}

#[tokio::test]
async fn what_stands_behind_others_is_told_so_and_gets_its_turn() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1), refund(1, 2)]).await;
    let client = book.database.runtime().await;
    let lease = lease_of(&client, &book, "refund:1", LONG).await;
    let effects = claimed(&client, &book, &lease).await;
    assert!(effects.iter().all(|effect| !effect.is_held));
    let send = async |batch: &[Finished]| {
        finish(&client, book.ledger, batch).await.expect("sent").commit().await.expect("committed")
    };
    send(&[finished(&effects[0], &lease, later())]).await;
    let again = claimed(&client, &book, &lease).await;
    let held: Vec<_> = again.iter().map(|effect| (effect.place.position.0, effect.is_held)).collect();
    assert_eq!(held, [(1, false), (2, true)]);
    // What it waits for is done in the very moment in which it is put behind it.
    let batch =
        send(&[finished(&again[0], &lease, End::Done), finished(&again[1], &lease, End::Behind)]).await;
    assert!(batch.released);
    let due = claimed(&client, &book, &lease).await;
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].place.position.0, due[0].attempts), (2, 0));
    send(&[finished(&due[0], &lease, End::Done)]).await;
    assert!(entries(&book).await.is_empty());
}

/// Pages of memory touched by the claim of a shard from `after` on.
async fn touched(client: &Client, ledger: LedgerId, shard: i16, after: i64) -> u64 {
    let statement = (include_str!("../../src/store/outbox/claim.rs"), "SELECT o.shard");
    let types = "int8, int2[], int8[], int2[], int8";
    let values =
        format!("{ledger}, ARRAY[{shard}]::int2[], ARRAY[{after}]::int8[], ARRAY[32767]::int2[], 50");
    let (touched, plan) = plan::touched(client, ledger, statement, types, &values).await;
    assert!(touched < 1_000 || after == 0, "{plan}");
    touched
}

#[tokio::test]
async fn a_claim_behind_the_watermark_costs_nothing_of_what_is_done_even_while_others_still_see_it() {
    const EFFECTS: i64 = 20_000;
    let book = Book::open().await;
    let superuser = book.database.superuser().await;
    let fill =
        "INSERT INTO outbox (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at)
                SELECT $1, 5, n, 0, gen_random_uuid(), 'refund:' || n % 500, 'create_refund', '{}', now()
                  FROM generate_series(1, $2::int8) n";
    superuser.execute(fill, &[&book.ledger.0, &EFFECTS]).await.expect("effects");
    let mut other = book.database.superuser().await;
    let watching = other.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let watching = watching.start().await.expect("a transaction");
    watching.query("SELECT count(*) FROM outbox", &[]).await.expect("a snapshot");
    let done = EFFECTS - 100;
    superuser.execute("DELETE FROM outbox WHERE position <= $1", &[&done]).await.expect("done");
    let client = book.database.runtime().await;
    for when in ["as the table has grown", "analysed"] {
        let from_start = touched(&client, book.ledger, 5, 0).await;
        let from_watermark = touched(&client, book.ledger, 5, done).await;
        assert!(from_watermark < 400, "{when}: {from_watermark}");
        assert!(from_start > 5 * from_watermark, "{when}: {from_start}, {from_watermark}");
        superuser.batch_execute("ANALYZE").await.expect("analysed");
    }
    watching.rollback().await.expect("an end");
}

/// The position of the event that ordered what keeps an order of `position` from being carried out.
async fn obstacle_at(client: &Client, book: &Book, position: i64) -> Option<i64> {
    let found = find_obstacle(client, book.ledger, "refund:1", Position(position)).await.expect("read")?;
    assert_eq!(found.code, "away");
    let dead = entries(book).await.into_iter().find(|entry| entry.id == found.effect);
    Some(dead.expect("the effect").place.position.0)
}

#[tokio::test]
async fn an_effect_waits_for_a_person_if_it_is_dead_or_an_earlier_one_blocks_its_key() {
    let book = Book::open().await;
    order(&book, 1, &[refund(1, 1), refund(1, 2), refund(1, 3), refund(1, 4)]).await;
    let client = book.database.runtime().await;
    let lease = lease_of(&client, &book, "refund:1", LONG).await;
    let effects = claimed(&client, &book, &lease).await;
    assert_eq!(obstacle_at(&client, &book, 4).await, None, "nothing is dead");
    let dies = |number: usize, blocks| {
        finished(&effects[number], &lease, End::Dead { attempts: 1, blocks, cause: cause() })
    };
    let batch = [dies(0, false), dies(2, true)];
    finish(&client, book.ledger, &batch).await.expect("sent").commit().await.expect("committed");
    assert_eq!(obstacle_at(&client, &book, 1).await, Some(1), "it is dead itself");
    assert_eq!(obstacle_at(&client, &book, 2).await, None, "what is dead before it blocks nothing");
    assert_eq!(obstacle_at(&client, &book, 3).await, Some(3));
    assert_eq!(obstacle_at(&client, &book, 4).await, Some(3), "it has to wait for an earlier one");
    let other = find_obstacle(&client, book.ledger, "refund:2", Position(4)).await;
    assert_eq!(other.expect("read"), None, "another key");
}

#[tokio::test]
async fn what_is_rare_in_a_long_outbox_is_found_in_pages_that_may_be_empty_and_cost_the_same() {
    const EFFECTS: i64 = 20_000;
    let book = Book::open().await;
    let superuser = book.database.superuser().await;
    let fill = "INSERT INTO outbox_dead (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at,
                       attempts, died_at, blocks, destination, class, code)
                SELECT $1, n % 4, n, 0, gen_random_uuid(), 'refund:' || n,
                       CASE WHEN n IN (7000, 19000) THEN 'create_customer' ELSE 'create_refund' END, '{}', now(),
                       1, now(), false, 'there', 'refused', 'away'
                  FROM generate_series(1, $2::bigint) n";
    superuser.execute(fill, &[&book.ledger.0, &EFFECTS]).await.expect("dead effects");
    let client = book.database.runtime().await;
    let filter = OutboxFilter { kinds: vec!["create_customer"], ..OutboxFilter::default() };
    let (mut found, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = entries::list(&client, book.ledger, &filter, after, 50).await.expect("a page");
        pages += 1;
        found.extend(page.entries.iter().map(|entry| entry.place.position.0));
        assert!(page.next.is_none() || page.next > after, "{:?} after {after:?}", page.next);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // 200 of each shard at once, of which four have something; and one to find that nothing is left.
    assert_eq!((found, pages), (vec![7_000, 19_000], EFFECTS / 800 + 1));
    let (_, statement) = entries::PAGES[2];
    for when in ["as the table has grown", "analysed"] {
        for after in [0, 10_000] {
            let values = format!(
                "{}, {after}, 0, NULL, NULL, 51, 200, '{{create_customer}}', NULL, NULL",
                book.ledger
            );
            let types = "int8, int8, int2, text, text, int8, int8, text[], timestamptz, timestamptz";
            let (touched, plan) = plan::touched_by(&client, book.ledger, statement, types, &values).await;
            assert!(touched < 1_000, "{when}, after {after}: {touched} {plan}");
        }
        superuser.batch_execute("ANALYZE").await.expect("analysed");
    }
}

#[tokio::test]
async fn what_keeps_an_order_waiting_is_found_without_reading_all_that_died() {
    let book = Book::open().await;
    let superuser = book.database.superuser().await;
    let fill = "INSERT INTO outbox_dead (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at,
                       attempts, died_at, blocks, destination, class, code)
                SELECT $1, $2, n, 0, gen_random_uuid(), 'refund:' || n, 'create_refund', '{}', now(),
                       1, now(), n % 2 = 0, 'there', 'refused', 'away'
                  FROM generate_series(1, 20000) n";
    let shard = shard_of("refund:1");
    superuser.execute(fill, &[&book.ledger.0, &shard]).await.expect("dead effects");
    let client = book.database.runtime().await;
    let statement = (include_str!("../../src/store/outbox/entries.rs"), "SELECT d.effect_id");
    for when in ["as the table has grown", "analysed"] {
        for key in ["refund:1", "refund:400", "of nothing"] {
            let values = format!("{}, {shard}, '{key}', 30000", book.ledger);
            let types = "int8, int2, text, int8";
            let (touched, plan) = plan::touched(&client, book.ledger, statement, types, &values).await;
            assert!(touched < 50, "{when}, {key}: {touched} {plan}");
        }
        superuser.batch_execute("ANALYZE").await.expect("analysed");
    }
}
