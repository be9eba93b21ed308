//! `counterfoil verify` on state that was changed behind the service.

use crate::verify_support::{Tampered, assert_found};

const STATE: Tampered = &[
    ("DELETE FROM accounts WHERE account_number = 2", "account 2: events speak of it, but it is not there"),
    (
        "UPDATE accounts SET version = version + 1 WHERE account_number = 3",
        "account 3: its state is as of position",
    ),
    (
        "UPDATE accounts SET status = 'closed' WHERE account_number = 3",
        "account 3: its columns and its state",
    ),
    (
        "UPDATE accounts SET state = jsonb_set(state::jsonb, '{books,credits,available}', '1000')::json
          WHERE account_number = 2",
        "account 2: its balance of credits is not what its events say",
    ),
    (
        "UPDATE accounts SET state = jsonb_set(state::jsonb, '{books,credits,lots}', '{}')::json
          WHERE account_number = 2",
        "account 2: what is available is not what is left in the lots of credits",
    ),
    ("UPDATE accounts SET state = '{}' WHERE account_number = 2", "account 2: its state cannot be read"),
    (
        "UPDATE accounts SET stripe_customer = 'cus_2' WHERE account_number = 2",
        "account 2: its customer is not what its events say",
    ),
    (
        "UPDATE accounts SET state = (state::jsonb - 'stripe_customer')::json WHERE account_number = 2",
        "account 2: its customer is not what its events say",
    ),
    ("UPDATE orders SET status = 'placed' WHERE status = 'paid'", "account 2: the order ord_"),
    ("UPDATE orders SET purchases = '{}'", "account 2: the order ord_"),
    ("UPDATE orders SET account_number = 3", "account 2: the order ord_"),
    ("UPDATE orders SET version = version + 1", "account 2: the order ord_"),
    (
        "UPDATE orders SET state = jsonb_set(state, '{status}', '\"failed\"') WHERE status = 'expired'",
        "account 2: the order ord_",
    ),
    ("DELETE FROM orders WHERE status = 'paid'", "account 2: the order ord_"),
    ("DELETE FROM refund_requests", "account 2: the refund rfd_"),
    ("UPDATE refund_requests SET order_id = NULL", "account 2: the refund rfd_"),
    ("UPDATE payments SET state = state - 'requested'", "account 2: the refund rfd_"),
    ("DELETE FROM purchases", "account 3: the purchase pur_"),
    ("UPDATE purchases SET account_number = 2", "account 3: the purchase pur_"),
    ("UPDATE purchases SET version = version + 1 WHERE account_number = 3", "account 3: the purchase pur_"),
    ("UPDATE purchases SET payment = 'pi_9' WHERE account_number = 3", "account 3: the purchase pur_"),
    ("UPDATE purchases SET other_lots = ARRAY[purchase_id] WHERE account_number = 3", "account 3: the purchase pur_"),
    (
        "UPDATE purchases SET state = jsonb_set(state, '{parts,credits,granted}', '5') WHERE account_number = 3",
        "account 3: the purchase pur_",
    ),
    (
        "UPDATE purchases SET state = jsonb_set(state, '{money,gross}', '1') WHERE account_number = 2",
        "account 2: the purchase pur_",
    ),
    ("UPDATE purchases SET state = '{}' WHERE account_number = 3", "account 3: the purchase pur_"),
    (
        "INSERT INTO purchases SELECT ledger_id, gen_random_uuid(), account_number, payment, version, other_lots,
                state_version, state FROM purchases WHERE account_number = 2",
        "is there, but no event speaks of it",
    ),
    ("DELETE FROM payments WHERE payment = 'pi_1'", "ledger shop: the payment pi_1 is missing"),
    (
        "UPDATE payments SET version = version + 1 WHERE payment = 'pi_1'",
        "the payment pi_1 is not what its events say",
    ),
    (
        "UPDATE payments SET state = jsonb_set(state, '{refunds}', '{}') WHERE payment = 'pi_1'",
        "the payment pi_1 is not what its events say",
    ),
    (
        "INSERT INTO payments SELECT ledger_id, 'pi_9', version, state_version, state FROM payments
          WHERE payment = 'pi_1'",
        "the payment pi_9 is there, but no event speaks of it",
    ),
    ("DELETE FROM lots", "account 3: the lot lot_"),
    ("UPDATE lots SET state = jsonb_set(state, '{priority}', '9')", "account 3: the lot lot_"),
    ("UPDATE lots SET unit = 'other'", "account 3: the lot lot_"),
    (
        "UPDATE accounts SET state = replace(state::text, '\"priority\":50', '\"priority\":51')::json
          WHERE account_number = 2",
        "account 2: the lot lot_",
    ),
    (
        "UPDATE accounts SET state = jsonb_set(state::jsonb, '{had_trial}', 'true')::json WHERE account_number = 3",
        "account 3: its state is not what its events say",
    ),
    ("UPDATE accounts SET next_due_at = NULL WHERE account_number = 3", "account 3: its columns and its state"),
    (
        "UPDATE accounts SET watched = ARRAY[gen_random_uuid()] WHERE account_number = 2",
        "account 2: its columns and its state",
    ),
    (
        "UPDATE orders SET state = jsonb_set(state, '{subtotal}', '1') WHERE status = 'paid'",
        "account 2: the order ord_",
    ),
    (
        "INSERT INTO subscriptions SELECT ledger_id, 'sub_9', 2, 'active', 1, 1, 1, '{}' FROM ledgers",
        "account 2: the subscription sub_9 is there, but no event speaks of it",
    ),
    ("UPDATE features SET state = jsonb_set(state, '{cost}', '1')", "feature essay: not what its events say"),
    ("UPDATE features SET version = version - 1", "feature essay: not what its events say"),
    ("DELETE FROM prices", "price price_pack: not what its events say"),
    ("UPDATE ledger_settings SET settings = settings || '{\"claw_on_pending\": true}'", "settings: not what its events say"),
    ("DELETE FROM ledger_settings", "settings: not what its events say"),
    ("UPDATE api_keys SET scopes = '{admin}'", "API key key_"),
    ("UPDATE api_keys SET expires_at = now()", "API key key_"),
    ("UPDATE checkout_links SET revoked_at = NULL", "account 2: the link lnk_"),
    ("UPDATE checkout_links SET quantity = 1 WHERE orders > 0", "account 2: the link lnk_"),
    ("UPDATE checkout_links SET orders = orders + 1 WHERE orders > 0", "account 2: the link lnk_"),
    ("DELETE FROM checkout_links WHERE orders = 0", "account 2: the link lnk_"),
    ("DELETE FROM purchase_holders", "account 2: who holds credits of pur_"),
    (
        "INSERT INTO purchase_holders SELECT ledger_id, purchase_id, 3 FROM purchase_holders",
        "account 3: who holds credits of pur_",
    ),
    (
        "UPDATE {balances}.balances SET held = held + 1 WHERE account_number = 3",
        "account 3: the projection's balance of credits is not what the events up to",
    ),
    (
        "DELETE FROM {balances}.balances WHERE account_number = 3",
        "account 3: the projection's balance of credits",
    ),
];

#[tokio::test]
async fn whatever_is_changed_of_state_behind_the_service_is_found_and_named() {
    assert_found(STATE).await;
}
