-- Which ledger a transaction may see is looked up once for each statement, not once for each row that it writes or finds.
--
-- Locks: each of these tables against everything, for the moment that it takes; none is read or rewritten.

ALTER POLICY one_ledger ON ledger_heads
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON ledger_settings
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON events
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON event_notes
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON accounts
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON lots
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON purchases
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON payments
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON profiles
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON features
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON prices
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON api_keys
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON webhook_secrets
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON stripe_inbox
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON projection_cursors
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON outbox
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON outbox_leases
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON outbox_retry
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON outbox_dead
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON outbox_decisions
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON orders
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON refund_requests
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON stripe_credentials
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON purchase_holders
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
ALTER POLICY one_ledger ON checkout_links
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
