//! Subscriptions that changed.

use tokio_postgres::types::Type;

use super::Changes;
use crate::{
    domain::subscription::SUBSCRIPTION_STATE_VERSION,
    store::{
        arrays::Array,
        session::{Pipeline, Session, Statement, Value},
    },
};

pub(super) static STATEMENTS: &[&Statement] = &[&WRITE_SUBSCRIPTIONS];

static WRITE_SUBSCRIPTIONS: Statement = Statement {
    name: "write_subscriptions",
    sql: "INSERT INTO subscriptions (ledger_id, subscription_id, account_number, status, started, version,
              state_version, state)
          SELECT h.ledger_id, u.subscription_id, u.account_number, u.status, u.started, u.version, $2, u.state::jsonb
            FROM ledger_heads h,
                 unnest($3::text[], $4::int8[], $5::text[], $6::int8[], $7::int8[], $8::text[])
                 AS u (subscription_id, account_number, status, started, version, state)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, subscription_id) DO UPDATE
             SET status = excluded.status, version = excluded.version, state_version = excluded.state_version,
                 state = excluded.state",
    parameters: &[
        Type::INT8,
        Type::INT2,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// What the batch writes of them.
pub(super) struct SubscriptionColumns {
    ledger: i64,
    ids: Array,
    accounts: Array,
    statuses: Array,
    started: Array,
    versions: Array,
    states: Array,
}

impl SubscriptionColumns {
    pub(super) fn new(changes: &Changes<'_>) -> serde_json::Result<Self> {
        let mut columns = Self {
            ledger: changes.ledger.0,
            ids: Array::of(Type::TEXT),
            accounts: Array::of(Type::INT8),
            statuses: Array::of(Type::TEXT),
            started: Array::of(Type::INT8),
            versions: Array::of(Type::INT8),
            states: Array::of(Type::TEXT),
        };
        let known = changes.set.subscriptions.values();
        for subscription in known.filter(|subscription| changes.is_changed(subscription.version)) {
            columns.ids.push(subscription.id.as_str());
            columns.accounts.push(subscription.account.0);
            columns.statuses.push(subscription.terms.status.as_str());
            columns.started.push(subscription.started.0);
            columns.versions.push(subscription.version.0);
            columns.states.push(serde_json::to_string(subscription)?);
        }
        Ok(columns)
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if self.ids.is_empty() {
            return;
        }
        let values: Vec<Value<'_>> = vec![
            &self.ledger,
            &SUBSCRIPTION_STATE_VERSION,
            &self.ids,
            &self.accounts,
            &self.statuses,
            &self.started,
            &self.versions,
            &self.states,
        ];
        pipeline.rows(session, &WRITE_SUBSCRIPTIONS, values);
    }
}
