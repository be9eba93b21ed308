//! `counterfoil verify` and `counterfoil rebuild`: the real binary, on ledgers that the real writer has written.

use crate::{
    projector_support::Place,
    verify_support::{Tampered, Town, assert_found, assert_found_too, counterfoil, text},
};
use secrecy::ExposeSecret as _;

#[tokio::test]
async fn a_ledger_that_the_service_wrote_verifies() {
    let town = Town::open().await;
    let output = town.verify().await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for line in [
        "shop: 2 balances of the projection compared",
        "shop: 2 accounts compared with their events",
        "shop: 2 purchases compared with their events",
        "shop: 3 orders compared with their events",
        "shop: 2 payments compared with their events",
        "shop: 1 lots in rows of their own compared with their events",
        "shop: 1 subscriptions compared with their events",
        "28 keys, 2 notes (0 erased)",
        "rows of books compared",
        "rows of history compared",
        "verified 1 ledger: everything follows from the events",
    ] {
        assert!(said.contains(line), "{line:?} is missing in:\n{said}");
    }
}

#[tokio::test]
async fn an_empty_ledger_and_a_database_without_ledgers_verify() {
    let place = Place::new().await;
    let environment = [("DATABASE_URL", place.database.runtime_url())];
    let output = counterfoil(&["verify"], &environment).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    place.book("empty").await;
    let output = counterfoil(&["verify", "--ledger", "empty"], &environment).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = counterfoil(&["verify", "--ledger", "none"], &environment).await;
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("there is no ledger `none`"));
}

const EVENTS: Tampered = &[
    ("DELETE FROM events WHERE position = 7", "position 7: there is no event"),
    ("DELETE FROM events WHERE position IN (7, 8)", "position 7: there are no events up to 8"),
    ("UPDATE ledger_heads SET position = position + 1", "there is no event"),
    ("UPDATE ledger_heads SET position = position - 1", "the head is at"),
    ("UPDATE ledger_heads SET batch_id = gen_random_uuid()", "the head does not belong to the batch"),
    (
        "UPDATE events SET amount = amount - 1 WHERE position = 7",
        "position 7: the balance is not the one before",
    ),
    (
        "UPDATE events SET held_after = held_after + 1 WHERE position = (SELECT max(position) FROM events
           WHERE account_number = 3)",
        "account 3: the projection's balance of credits is not what the events up to",
    ),
    (
        "UPDATE events SET recorded_at = recorded_at + interval '1 hour' WHERE position = 4",
        "position 5: it was recorded before the event before it",
    ),
    ("UPDATE events SET body = '{}' WHERE type = 'credits.spent'", "the event cannot be read"),
    ("UPDATE events SET type = 'credits.lent' WHERE position = 7", "position 7: the event cannot be read"),
    (
        "UPDATE events SET body = jsonb_set(body, '{draws,0,amount}', '1000') WHERE type = 'credits.held'",
        "it cannot follow from the events before it",
    ),
    (
        "UPDATE events SET command_size = 2 WHERE position = 7",
        "position 7: the command lacks 1 of its events",
    ),
    (
        "UPDATE events SET command = 1, command_size = NULL, key_namespace = NULL, key = NULL, key_hash = NULL,
                fingerprint = NULL WHERE position = 7",
        "position 7: it does not follow command 1",
    ),
    (
        "UPDATE ledger_heads SET recorded_at = recorded_at + interval '1 second'",
        "the head's time is not that of the last event",
    ),
    ("UPDATE ledger_heads SET clock_ahead = 60", "the clock is 60 s ahead, by the events it is 0 s"),
    (
        "UPDATE events SET type = 'clock.advanced', version = 1, body = '{\"seconds\": 5, \"ahead\": 7}'
          WHERE type = 'feature.set'",
        "the clock is not as far ahead as it was moved",
    ),
    (
        "UPDATE events SET account_number = 99 WHERE position = 2",
        "position 2: an account's number must be the position that it was opened at",
    ),
];

/// What the database itself refuses: a copy of it may not.
const UNCONSTRAINED: Tampered = &[
    (
        "ALTER TABLE events DROP CONSTRAINT events_key_on_first;
         UPDATE events SET key_namespace = 'system', key = 'k', key_hash = substr(sha256('k'), 1, 16)
          WHERE type = 'transfer.received'",
        "a key stands on an event that is not its command's first",
    ),
    (
        "ALTER TABLE events DROP CONSTRAINT events_key_whole;
         UPDATE events SET key_namespace = NULL, key = NULL WHERE position = 4",
        "position 4: there is the hash of a key, but no key",
    ),
];

const ALSO: Tampered =
    &[("DELETE FROM events WHERE position = 4", "position 4: there is a note, but no event")];

const KEYS_AND_NOTES: Tampered = &[
    (
        "UPDATE events SET key = 'other' WHERE position = 4",
        "position 4: the hash of its key is not that of its key",
    ),
    (
        "UPDATE events SET fingerprint = NULL WHERE position = 4",
        "position 4: a client's key has no fingerprint",
    ),
    (
        "DROP INDEX events_key; UPDATE events e SET key = o.key, key_hash = o.key_hash FROM events o
          WHERE o.position = 4 AND e.position = 5",
        "position 4: another event has the same key",
    ),
    ("DROP INDEX events_key", "the unique index on keys is missing"),
    ("UPDATE event_notes SET content = '{\"reason\": \"bribe\"}'", "position 4: its note has been changed"),
    (
        "DELETE FROM event_notes WHERE position = 4",
        "position 4: its note is gone, and its account was not erased",
    ),
    ("UPDATE events SET note_hash = NULL", "position 4: there is a note that the event does not know"),
];

#[tokio::test]
async fn notes_are_gone_rightly_where_their_account_was_erased_after_them() {
    let town = Town::open().await;
    town.shop.erase("bob").await;
    let output = town.verify().await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("1 notes (1 erased)"), "{said}");
    // Bob has another name now, and a note that nobody erased.
    town.shop.grant("erased:3", 1).await;
    let last = "DELETE FROM event_notes WHERE position = (SELECT max(position) FROM event_notes)";
    town.tamper(last).await;
    let output = town.verify().await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("its note is gone, and its account was not erased after it"), "{said}");
}

#[tokio::test]
async fn whatever_is_changed_of_events_behind_the_service_is_found_and_named() {
    assert_found(EVENTS).await;
    assert_found(UNCONSTRAINED).await;
    assert_found_too(ALSO).await;
}

#[tokio::test]
async fn whatever_is_changed_of_keys_and_notes_behind_the_service_is_found_and_named() {
    assert_found(KEYS_AND_NOTES).await;
}

#[tokio::test]
async fn a_ledger_is_verified_while_it_is_written_to() {
    let town = Town::open().await;
    town.shop.grant("ada", 1_000_000).await;
    let url = town.place.database.runtime_url();
    let verified = tokio::spawn(async move {
        for _ in 0..3 {
            let output = counterfoil(&["verify"], &[("DATABASE_URL", url.clone())]).await;
            assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        }
    });
    let mut spends = 0;
    while !verified.is_finished() {
        town.shop.spend("ada", 1).await;
        spends += 1;
        if spends % 50 == 0 {
            town.fold().await;
        }
    }
    verified.await.expect("verified");
    assert!(spends > 10, "there was no load: {spends} spends");
}

#[tokio::test]
async fn rebuild_fills_new_tables_and_drops_the_old_ones() {
    let town = Town::open().await;
    let old = town.place.build("balances").await.schema.clone();
    town.tamper(&format!("UPDATE {old}.balances SET held = held + 1")).await;
    assert!(!town.verify().await.status.success());
    let environment = [
        ("DATABASE_URL", town.place.database.runtime_url()),
        ("DATABASE_DIRECT_URL", town.place.database.owner_url()),
    ];
    let output = counterfoil(&["rebuild", "balances"], &environment).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("balances of shop: "), "{said}");
    assert!(said.contains(&format!("dropped {old}")), "{said}");
    let output = town.verify().await;
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[tokio::test]
async fn rebuild_says_which_projections_there_are() {
    let place = Place::new().await;
    let environment = [("DATABASE_URL", place.database.owner_url())];
    let output = counterfoil(&["rebuild", "balance"], &environment).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains(
            "there is no projection `balance`; there are: accounts_overview, balances, books, history, usage"
        ),
        "{said}"
    );
}

#[tokio::test]
async fn verifying_through_a_pooler_asks_for_a_direct_connection() {
    let place = Place::new().await;
    let url = format!("{}&pgbouncer=true", place.database.runtime_url().expose_secret());
    let output = counterfoil(&["verify"], &[("DATABASE_URL", url.into())]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("DATABASE_DIRECT_URL"), "{said}");
}
