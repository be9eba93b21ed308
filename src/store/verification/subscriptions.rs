//! What the events say of subscriptions, beside what is stored of them.

use tokio_postgres::{Client, Error};

/// What is counted.
pub(super) const TABLES: &str = "
    CREATE TEMPORARY TABLE recounted_subscriptions
        (ledger_id bigint, subscription_id text, account_number bigint, started bigint, version bigint, status text,
         PRIMARY KEY (ledger_id, subscription_id))";

/// Counts the events in `($2, $3]` of the ledger `$1`. A lot that an invoice granted is the subscription's as well.
pub(super) const COUNT: [&str; 1] = ["
    INSERT INTO pg_temp.recounted_subscriptions AS r
    SELECT e.ledger_id, e.subscription, max(e.account_number), min(e.position), max(e.position),
           (array_agg(e.status ORDER BY e.position DESC) FILTER (WHERE e.status IS NOT NULL))[1]
      FROM (SELECT e.ledger_id, e.account_number, e.position,
                   COALESCE(e.body ->> 'subscription', e.body #>> '{source,invoice_line,subscription}',
                            e.body #>> '{source,trial,subscription}') AS subscription,
                   COALESCE(e.body #>> '{terms,status}', e.body #>> '{change,terms,status}') AS status
              FROM events e
             WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3
               AND (starts_with(e.type, 'subscription.')
                    OR e.type IN ('credits.purchased', 'credits.granted', 'credits.rolled_over'))) e
     WHERE e.subscription IS NOT NULL
     GROUP BY 1, 2
        ON CONFLICT (ledger_id, subscription_id) DO UPDATE
           SET version = excluded.version, status = COALESCE(excluded.status, r.status)"];

// `$2` and `$3` are the numbers of the accounts, as in `stored_accounts`.

const COMPARED: &str = "
    SELECT subscription_id, COALESCE(r.account_number, s.account_number) AS account_number,
           (s.account_number, s.started, s.version, s.status) IS DISTINCT FROM
               (r.account_number, r.started, r.version, r.status)
           OR (s.state ->> 'id', s.state #>> '{terms,status}', s.state ->> 'version') IS DISTINCT FROM
               (subscription_id, r.status, r.version::text) AS differs
      FROM (SELECT * FROM subscriptions
             WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3) s
      FULL JOIN (SELECT * FROM pg_temp.recounted_subscriptions
                  WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3) r USING (subscription_id)
     ORDER BY subscription_id";

/// What was compared of the accounts of a page, and what of it differs, by account.
#[derive(Default)]
pub struct ComparedSubscriptions {
    /// How many there are.
    pub subscriptions: usize,
    /// Those that are not what their events say.
    pub differing: Vec<(i64, String)>,
}

/// Compares what is stored of the accounts numbered in the range with what was counted.
pub(super) async fn compare(
    client: &Client,
    ledger: i64,
    range: [i64; 2],
) -> Result<ComparedSubscriptions, Error> {
    let mut compared = ComparedSubscriptions::default();
    for row in super::rows(client, COMPARED, ledger, range).await? {
        compared.subscriptions += 1;
        if row.try_get("differs")? {
            compared.differing.push((row.try_get("account_number")?, row.try_get("subscription_id")?));
        }
    }
    Ok(compared)
}
