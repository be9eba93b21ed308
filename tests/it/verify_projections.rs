//! `counterfoil verify` on projections: what was changed behind the service is found, and what cannot be compared is not
//! claimed.

use crate::verify_support::{Tampered, Town, assert_found, text};

/// `{history}` is where the tables of that projection are.
const PROJECTIONS: Tampered = &[
    (
        "UPDATE {history}.history_entries SET account_number = 2 WHERE position = 5",
        "history_entries of the projection history is not what the events up to",
    ),
    ("DELETE FROM {history}.history_entries WHERE position = 5", "say: account_number 3, position 5"),
    ("INSERT INTO {usage}.usage VALUES (1, '2020-01-01', '', 'credits', 1, 1, 1)", "say: day 2020-01-01"),
    (
        "UPDATE {accounts_overview}.accounts_overview SET status = 'frozen' WHERE account_number = 3",
        "accounts_overview of the projection accounts_overview is not",
    ),
    (
        "UPDATE {books}.journal SET recognised = recognised + 1, deferred = deferred - 1 WHERE recognised > 0",
        "journal of the projection books is not",
    ),
    ("UPDATE {books}.lots SET payment = 'pi_9' WHERE payment = 'pi_1'", "lots of the projection books is not"),
    ("UPDATE {books}.revenue SET sold = sold + 1", "revenue of the projection books is not"),
    ("TRUNCATE {books}.lot_changes", "lot_changes of the projection books is not"),
    (
        "UPDATE projection_cursors SET halted_position = position + 1, halted_category = '23514', halted_reason = 'odd',
                halted_at = now() WHERE projection = 'books'",
        "books has stopped here: odd",
    ),
    (
        "UPDATE projection_cursors SET halted_position = position + 1, halted_category = '23514', halted_reason = 'odd',
                halted_at = now() WHERE projection = 'balances'",
        "balances has stopped here: odd",
    ),
    ("UPDATE projection_cursors SET position = 1000 WHERE projection = 'books'", "books is at 1000, the last event at"),
    (
        "UPDATE ledgers SET created_at = now() - interval '1 hour';
         UPDATE projection_versions SET made_at = now() - interval '1 hour';
         DELETE FROM projection_cursors WHERE projection = 'books'",
        "nothing serves books, although it is installed",
    ),
    (
        "UPDATE ledgers SET created_at = now() - interval '1 hour';
         UPDATE projection_versions SET made_at = now() - interval '1 hour';
         UPDATE projection_cursors SET is_serving = false WHERE projection = 'balances'",
        "nothing serves balances, although it is installed",
    ),
    (
        "INSERT INTO projection_versions (projection, build, version, schema_name, apply, for_all)
         VALUES ('dyn', 1, '000000000000', 'projection_dyn_1', '{SELECT}', true);
         INSERT INTO projection_cursors SELECT ledger_id, 'dyn', 1, 6, true, 7, '23514', 'odd', now() FROM ledgers",
        "position 7: dyn has stopped here: odd",
    ),
];

#[tokio::test]
async fn whatever_is_changed_of_projections_behind_the_service_is_found_and_named() {
    assert_found(PROJECTIONS).await;
}

/// What is done to a ledger, and what the verdict leaves out then.
const LEFT_OUT: Tampered = &[
    (
        "UPDATE projection_versions SET version = '000000000000' WHERE projection = 'books'",
        "verified 1 ledger, except: books of shop (version 000000000000 serves, this program has ",
    ),
    (
        "UPDATE projection_versions SET version = '000000000000' WHERE projection = 'balances'",
        "verified 1 ledger, except: balances of shop (version 000000000000 serves, this program has ",
    ),
    (
        "DELETE FROM projection_cursors WHERE projection = 'books'",
        "verified 1 ledger, except: books of shop (nothing is folded yet); the rest follows",
    ),
    (
        "DELETE FROM projection_cursors WHERE projection = 'books';
         DELETE FROM projection_versions WHERE projection = 'books'",
        "verified 1 ledger, except: books of shop (not installed); the rest follows",
    ),
    (
        "INSERT INTO projection_versions (projection, build, version, schema_name, apply, for_all)
         VALUES ('dyn', 1, '000000000000', 'projection_dyn_1', '{SELECT}', true)",
        "verified 1 ledger, except: dyn of shop (its SQL is not at hand); the rest follows",
    ),
];

#[tokio::test]
async fn what_is_not_compared_is_not_claimed() {
    for (statement, expected) in LEFT_OUT {
        let town = Town::open().await;
        town.tamper(statement).await;
        assert_claimed(&town, expected).await;
    }
}

#[tokio::test]
async fn what_should_have_been_folded_long_ago_is_not_claimed() {
    let town = Town::configured().await;
    town.fold().await;
    town.shop.configure().await;
    let long_ago = "UPDATE events SET recorded_at = recorded_at - interval '1 hour';
                    UPDATE ledger_heads SET recorded_at = recorded_at - interval '1 hour';
                    UPDATE api_keys SET created_at = created_at - interval '1 hour'";
    town.tamper(long_ago).await;
    assert_claimed(&town, "books of shop (beyond position 1 of 3: not folded)").await;
}

async fn assert_claimed(town: &Town, expected: &str) {
    let output = town.verify().await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains(expected) && !said.contains("everything"), "{said}");
}
