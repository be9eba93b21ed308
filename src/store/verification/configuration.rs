//! What the events say of settings, features, prices and API keys, beside what is stored of them.

use tokio_postgres::{Client, Error, types::Type};

/// What is counted.
pub(super) const TABLES: &str = "
    CREATE TEMPORARY TABLE recounted_configuration
        (ledger_id bigint, kind text, name text, version bigint, body jsonb, PRIMARY KEY (ledger_id, kind, name));
    CREATE TEMPORARY TABLE recounted_keys
        (ledger_id bigint, key_id uuid, scopes text[], created_at timestamptz, expires_at timestamptz,
         revoked_at timestamptz, PRIMARY KEY (ledger_id, key_id))";

/// Counts the events in `($2, $3]` of the ledger `$1`.
pub(super) const COUNT: [&str; 3] = [
    "INSERT INTO pg_temp.recounted_configuration
     SELECT DISTINCT ON (e.type, e.name) e.ledger_id, e.type, e.name, e.position, e.body
       FROM (SELECT e.*, CASE e.type WHEN 'feature.set' THEN e.body ->> 'feature' WHEN 'price.set' THEN e.body ->> 'price'
                                     ELSE '' END AS name
               FROM events e
              WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3
                AND e.type IN ('ledger.configured', 'feature.set', 'price.set')) e
      WHERE e.name IS NOT NULL
      ORDER BY e.type, e.name, e.position DESC
         ON CONFLICT (ledger_id, kind, name) DO UPDATE SET version = excluded.version, body = excluded.body",
    "INSERT INTO pg_temp.recounted_keys
     SELECT e.ledger_id, substr(e.body ->> 'key', 5)::uuid,
            ARRAY(SELECT jsonb_array_elements_text(e.body -> 'scopes')), e.recorded_at,
            (e.body ->> 'expires_at')::timestamptz
       FROM events e
      WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'key.created'
         ON CONFLICT DO NOTHING",
    "UPDATE pg_temp.recounted_keys k SET revoked_at = e.recorded_at
       FROM events e
      WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'key.revoked'
        AND k.ledger_id = $1 AND k.key_id = substr(e.body ->> 'key', 5)::uuid",
];

/// Features and prices are kept as their last events have them, and so are settings, which begin without one.
const DIFFERING_CONFIGURATION: &str = "
    SELECT CASE kind WHEN 'ledger.configured' THEN 'settings' WHEN 'feature.set' THEN 'feature ' || name
                     ELSE 'price ' || name END AS what
      FROM (SELECT 'ledger.configured' AS kind, '' AS name, NULL::bigint AS version, settings AS state
              FROM ledger_settings WHERE ledger_id = $1
             UNION ALL
            SELECT 'feature.set', feature, version, state FROM features WHERE ledger_id = $1
             UNION ALL
            SELECT 'price.set', price, version, state FROM prices WHERE ledger_id = $1) s
      FULL JOIN (SELECT kind, name, version, body FROM pg_temp.recounted_configuration WHERE ledger_id = $1) r
           USING (kind, name)
     WHERE s.state IS DISTINCT FROM r.body OR (kind <> 'ledger.configured' AND s.version IS DISTINCT FROM r.version)
     ORDER BY kind, name";

/// What a key opens and until when. Its secret and its name stand in no event.
const DIFFERING_KEYS: &str = "
    SELECT 'API key key_' || replace(key_id::text, '-', '') AS what
      FROM (SELECT * FROM api_keys WHERE ledger_id = $1) s
      FULL JOIN (SELECT * FROM pg_temp.recounted_keys WHERE ledger_id = $1) r USING (key_id)
     WHERE (s.scopes, s.created_at, s.expires_at, s.revoked_at) IS DISTINCT FROM
           (r.scopes, r.created_at, r.expires_at, r.revoked_at)
     ORDER BY key_id";

/// Which of the settings, features, prices and API keys are not what their events say.
pub(super) async fn differing(client: &Client, ledger: i64) -> Result<Vec<String>, Error> {
    let mut differing = Vec::new();
    for statement in [DIFFERING_CONFIGURATION, DIFFERING_KEYS] {
        for row in client.query_typed(statement, &[(&ledger, Type::INT8)]).await? {
            differing.push(row.try_get("what")?);
        }
    }
    Ok(differing)
}
