//! Purchases, who was given credits of them, and payments.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Changes, accounts::uuid_array};
use crate::{
    domain::{
        EventBody,
        ids::{AccountNumber, LotId, PaymentReference, PurchaseId},
        purchase::PURCHASE_STATE_VERSION,
    },
    store::session::{Pipeline, Session, Statement, Value},
};

pub(super) static STATEMENTS: &[&Statement] = &[&WRITE_PURCHASES, &WRITE_HOLDERS, &WRITE_PAYMENTS];

static WRITE_PURCHASES: Statement = Statement {
    name: "write_purchases",
    sql: "INSERT INTO purchases (ledger_id, purchase_id, account_number, payment, version, other_lots, state_version,
              state)
          SELECT h.ledger_id, u.purchase_id, u.account_number, u.payment, u.version, u.other_lots::uuid[], $2,
                 u.state::jsonb
            FROM ledger_heads h,
                 unnest($3::uuid[], $4::int8[], $5::text[], $6::int8[], $7::text[], $8::text[])
                 AS u (purchase_id, account_number, payment, version, other_lots, state)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, purchase_id) DO UPDATE
             SET version = excluded.version, other_lots = excluded.other_lots,
                 state_version = excluded.state_version, state = excluded.state",
    parameters: &[
        Type::INT8,
        Type::INT2,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// Purchases that changed.
#[derive(Default)]
pub(super) struct PurchaseColumns {
    ledger: i64,
    ids: Vec<Uuid>,
    accounts: Vec<i64>,
    payments: Vec<Option<String>>,
    versions: Vec<i64>,
    other_lots: Vec<String>,
    states: Vec<String>,
}

impl PurchaseColumns {
    pub(super) fn new(changes: &Changes<'_>) -> serde_json::Result<Self> {
        let mut columns = Self { ledger: changes.ledger.0, ..Self::default() };
        for purchase in changes.set.purchases.values().filter(|purchase| changes.is_changed(purchase.version))
        {
            let other_lots = purchase.parts.values().flat_map(|part| part.other_lots()).map(LotId::to_bits);
            columns.ids.push(Uuid::from_u128(purchase.id.to_bits()));
            columns.accounts.push(purchase.account.0);
            columns.payments.push(purchase.payment.as_ref().map(PaymentReference::to_string));
            columns.versions.push(purchase.version.0);
            columns.other_lots.push(uuid_array(other_lots));
            columns.states.push(serde_json::to_string(purchase)?);
        }
        Ok(columns)
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if self.ids.is_empty() {
            return;
        }
        pipeline.rows(
            session,
            &WRITE_PURCHASES,
            vec![
                &self.ledger,
                &PURCHASE_STATE_VERSION,
                &self.ids,
                &self.accounts,
                &self.payments,
                &self.versions,
                &self.other_lots,
                &self.states,
            ],
        );
    }
}

static WRITE_HOLDERS: Statement = Statement {
    name: "write_holders",
    sql: "INSERT INTO purchase_holders (ledger_id, purchase_id, account_number)
          SELECT h.ledger_id, u.purchase_id, u.account_number
            FROM ledger_heads h, unnest($2::uuid[], $3::int8[]) AS u (purchase_id, account_number)
           WHERE h.ledger_id = $1
          ON CONFLICT DO NOTHING",
    parameters: &[Type::INT8, Type::UUID_ARRAY, Type::INT8_ARRAY],
};

/// Accounts that were given credits of purchases, whether for the first time or not.
#[derive(Default)]
pub(super) struct HolderColumns {
    ledger: i64,
    purchases: Vec<Uuid>,
    accounts: Vec<i64>,
}

impl HolderColumns {
    pub(super) fn new(changes: &Changes<'_>) -> Self {
        let received = changes.events().filter_map(|event| match &event.body {
            EventBody::TransferReceived(body) => Some((event.account?, body)),
            _ => None,
        });
        let holders: BTreeSet<(PurchaseId, AccountNumber)> = received
            .flat_map(|(account, body)| {
                body.lots.iter().filter_map(move |lot| Some((lot.purchase?, account)))
            })
            .collect();
        Self {
            ledger: changes.ledger.0,
            purchases: holders.iter().map(|(purchase, _)| Uuid::from_u128(purchase.to_bits())).collect(),
            accounts: holders.iter().map(|(_, account)| account.0).collect(),
        }
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if !self.purchases.is_empty() {
            let values: Vec<Value<'_>> = vec![&self.ledger, &self.purchases, &self.accounts];
            pipeline.rows(session, &WRITE_HOLDERS, values);
        }
    }
}

static WRITE_PAYMENTS: Statement = Statement {
    name: "write_payments",
    sql: "INSERT INTO payments (ledger_id, payment, version, state_version, state)
          SELECT h.ledger_id, u.payment, u.version, u.state_version, u.state::jsonb
            FROM ledger_heads h,
                 unnest($2::text[], $3::int8[], $4::int2[], $5::text[]) AS u (payment, version, state_version, state)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, payment) DO UPDATE
             SET version = excluded.version, state_version = excluded.state_version, state = excluded.state",
    parameters: &[Type::INT8, Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::INT2_ARRAY, Type::TEXT_ARRAY],
};

/// Payments of which something new is known.
#[derive(Default)]
pub(super) struct PaymentColumns {
    ledger: i64,
    references: Vec<String>,
    versions: Vec<i64>,
    state_versions: Vec<i16>,
    states: Vec<String>,
}

impl PaymentColumns {
    pub(super) fn new(changes: &Changes<'_>) -> serde_json::Result<Self> {
        let mut columns = Self { ledger: changes.ledger.0, ..Self::default() };
        for payment in changes.set.payments.values().filter(|payment| changes.is_changed(payment.version)) {
            columns.references.push(payment.reference.to_string());
            columns.versions.push(payment.version.0);
            columns.state_versions.push(payment.state_version());
            columns.states.push(serde_json::to_string(payment)?);
        }
        Ok(columns)
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if self.references.is_empty() {
            return;
        }
        let values: Vec<Value<'_>> =
            vec![&self.ledger, &self.references, &self.versions, &self.state_versions, &self.states];
        pipeline.rows(session, &WRITE_PAYMENTS, values);
    }
}
