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
    ("UPDATE checkout_links SET price = 'price_other' WHERE orders > 0", "account 2: the link lnk_"),
    ("UPDATE checkout_links SET created_at = now() WHERE orders > 0", "account 2: the link lnk_"),
    ("UPDATE checkout_links SET expires_at = now() WHERE orders > 0", "account 2: the link lnk_"),
    ("UPDATE checkout_links SET last_order = link_id WHERE orders > 0", "account 2: the link lnk_"),
    ("UPDATE checkout_links SET account_number = 3 WHERE orders > 0", "account 2: the link lnk_"),
    ("UPDATE refund_requests SET payment = 'pi_1'", "account 2: the refund rfd_"),
    ("UPDATE refund_requests SET account_number = 3", "account 2: the refund rfd_"),
    ("UPDATE api_keys SET created_at = created_at - interval '1 day'", "API key key_"),
    ("UPDATE api_keys SET revoked_at = now()", "API key key_"),
    ("DELETE FROM api_keys", "API key key_"),
    ("UPDATE prices SET state = jsonb_set(state, '{money}', '1')", "price price_pack: not what its events say"),
    ("UPDATE subscriptions SET status = 'canceled'", "account 2: the subscription sub_1 is not what its events say"),
    ("UPDATE subscriptions SET started = 1", "account 2: the subscription sub_1 is not what its events say"),
    ("UPDATE subscriptions SET version = version + 1", "account 2: the subscription sub_1 is not what its events say"),
    ("UPDATE subscriptions SET account_number = 3", "account 2: the subscription sub_1 is"),
    (
        "UPDATE subscriptions SET state = jsonb_set(state, '{terms,status}', '\"canceled\"')",
        "account 2: the subscription sub_1 is not what its events say",
    ),
    ("DELETE FROM subscriptions", "account 2: the subscription sub_1 is missing"),
    ("UPDATE lots SET account_number = 2", "account 3: the lot lot_"),
    ("UPDATE lots SET purchase_id = gen_random_uuid()", "account 3: the lot lot_"),
    (
        "INSERT INTO accounts SELECT ledger_id, 99, 'eve', status, opened_at, 99, 0, NULL, '{}', state_version, state
           FROM accounts WHERE account_number = 2",
        "account 99: no event speaks of it",
    ),
    (
        "UPDATE accounts SET opened_at = opened_at + interval '1 day' WHERE account_number = 2",
        "account 2: its columns and its state",
    ),
    (
        "UPDATE accounts SET state = jsonb_set(state::jsonb, '{version}', '1')::json WHERE account_number = 2",
        "account 2: its state is as of position 1,",
    ),
    (
        "UPDATE {balances}.balances SET position = position - 1 WHERE account_number = 3",
        "account 3: the projection's balance of credits",
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

/// Changes every lot in the state of an account.
macro_rules! lots_of {
    ($account:literal, $change:literal) => {
        concat!(
            "UPDATE accounts SET state = jsonb_set(state::jsonb, '{books,credits,lots}', (
                 SELECT jsonb_object_agg(key, value || '",
            $change,
            "') FROM jsonb_each(state::jsonb #> '{books,credits,lots}')))::json WHERE account_number = ",
            $account
        )
    };
}

/// State that contradicts itself, where its totals are as they should be.
const CONTRADICTIONS: Tampered = &[
    (lots_of!("3", "{\"held\": 4}"), "account 3: what is held is not what is held in the lots of credits"),
    (
        "UPDATE accounts SET state = jsonb_set(state::jsonb, '{holds}', '{}')::json, next_due_at = NULL
          WHERE account_number = 3",
        "account 3: what is held is not what the open holds hold of credits",
    ),
    (
        lots_of!("2", "{\"disputed\": 50}"),
        "account 2: what is disputed is not what is disputed in the lots of credits",
    ),
    (lots_of!("2", "{\"expired\": 77}"), "account 2: a lot does not add up of credits"),
    (
        "UPDATE accounts SET state = jsonb_set(state::jsonb, '{books,credits,debts}',
                '{\"dbt_00000000000000010000000000000001\": {\"cause\": {\"overdraft\": \"spd_00000000000000010000000000000001\"}, \"open\": 5}}')::json
          WHERE account_number = 2",
        "account 2: the debt is not the sum of its items of credits",
    ),
    (
        "UPDATE accounts SET state = jsonb_set(state::jsonb, '{books,credits,debts}',
                '{\"dbt_00000000000000010000000000000001\": {\"cause\": {\"overdraft\": \"spd_00000000000000010000000000000001\"}, \"open\": 0}}')::json
          WHERE account_number = 2",
        "account 2: what it owes of credits is not what its events say",
    ),
    (
        "UPDATE accounts a SET state = (
             SELECT jsonb_set(jsonb_set(jsonb_set(jsonb_set(j.s,
                        l.lot || 'remaining'::text, to_jsonb((j.s #>> (l.lot || 'remaining'::text))::int + 5)),
                        '{books,credits,available}', to_jsonb((j.s #>> '{books,credits,available}')::int + 5)),
                        '{books,credits,debt}', '5'), '{books,credits,debts}',
                        '{\"dbt_00000000000000010000000000000001\": {\"cause\": {\"overdraft\": \"spd_00000000000000010000000000000001\"}, \"open\": 5}}')
               FROM (SELECT a.state::jsonb AS s) j,
                    LATERAL (SELECT ARRAY['books', 'credits', 'lots', k.key] AS lot
                               FROM jsonb_each(j.s #> '{books,credits,lots}') k
                              WHERE k.value ? 'remaining' ORDER BY k.key LIMIT 1) l)::json
          WHERE account_number = 2",
        "account 2: there are credits and debt at once of credits",
    ),
    (
        "UPDATE accounts SET state = jsonb_set(state::jsonb, '{holds}', (
                 SELECT jsonb_object_agg(key, jsonb_set(value, '{draws,0,lot}', '\"lot_00000000000000010000000000000001\"'))
                   FROM jsonb_each(state::jsonb -> 'holds')))::json WHERE account_number = 3",
        "account 3: what it holds is not what its events say",
    ),
];

#[tokio::test]
async fn state_that_contradicts_itself_is_found_and_named() {
    assert_found(CONTRADICTIONS).await;
}
