//! Accounts, and the lots that have rows of their own: closed ones, and those that an account with many lots spills.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Changes;
use crate::{
    domain::{
        account::{ACCOUNT_STATE_VERSION, Account, Lot},
        ids::{AccountId, LotId, PurchaseId, StripeId, Unit},
        time::Timestamp,
    },
    store::{
        arrays::Array,
        session::{Pipeline, Session, Statement},
    },
};

pub(super) static STATEMENTS: &[&Statement] = &[&WRITE_ACCOUNTS, &WRITE_LOTS];

/// Fails, by a division by zero, unless every account has the version that was decided on, or is new.
///
/// A conflict is looked up in the primary key, whatever the planner believes; it might scan the ledger for an UPDATE
/// that joins. Accounts come in the order of their numbers, so that a name is given up before it is taken again.
static WRITE_ACCOUNTS: Statement = Statement {
    name: "write_accounts",
    sql: "INSERT INTO accounts AS a (ledger_id, account_number, external_id, status, opened_at, version, decided_on,
              next_due_at, watched, stripe_customer, state_version, state)
          SELECT h.ledger_id, u.account_number, u.name, u.status, u.opened_at, u.version, u.decided_on, u.next_due_at,
                 COALESCE(u.watched::uuid[], '{}'), u.stripe_customer, $2, u.state::json
            FROM ledger_heads h,
                 unnest($3::int8[], $4::text[], $5::text[], $6::timestamptz[], $7::int8[], $8::int8[],
                        $9::timestamptz[], $10::text[], $11::text[], $12::text[])
                 AS u (account_number, name, status, opened_at, version, decided_on, next_due_at, watched,
                       stripe_customer, state)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, account_number) DO UPDATE
             SET external_id = excluded.external_id, status = excluded.status, version = excluded.version,
                 decided_on = excluded.decided_on / (a.version = excluded.decided_on)::int,
                 next_due_at = excluded.next_due_at, watched = excluded.watched,
                 stripe_customer = excluded.stripe_customer,
                 state_version = excluded.state_version, state = excluded.state",
    parameters: &[
        Type::INT8,
        Type::INT2,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// Accounts that changed.
pub(super) struct AccountColumns {
    ledger: i64,
    numbers: Array,
    names: Array,
    statuses: Array,
    opened_at: Array,
    versions: Array,
    decided_on: Array,
    next_due_at: Array,
    watched: Array,
    customers: Array,
    states: Array,
}

impl AccountColumns {
    pub(super) fn new(changes: &Changes<'_>) -> serde_json::Result<Self> {
        let mut columns = Self {
            ledger: changes.ledger.0,
            numbers: Array::of(Type::INT8),
            names: Array::of(Type::TEXT),
            statuses: Array::of(Type::TEXT),
            opened_at: Array::of(Type::TIMESTAMPTZ),
            versions: Array::of(Type::INT8),
            decided_on: Array::of(Type::INT8),
            next_due_at: Array::of(Type::TIMESTAMPTZ),
            watched: Array::of(Type::TEXT),
            customers: Array::of(Type::TEXT),
            states: Array::of(Type::TEXT),
        };
        for account in changes.set.accounts.values().filter(|account| changes.is_changed(account.version)) {
            let decided_on = changes.versions.get(&account.number).copied().unwrap_or_default();
            let name = changes.names.get(&account.number).map(AccountId::as_str);
            let watched = (!account.watched.is_empty())
                .then(|| uuid_array(account.watched.iter().map(|purchase| purchase.to_bits())));
            columns.numbers.push(account.number.0);
            columns.names.push(name.unwrap_or_default());
            columns.statuses.push(account.status.as_str());
            columns.opened_at.push(account.opened_at.to_datetime());
            columns.versions.push(account.version.0);
            columns.decided_on.push(decided_on.0);
            columns.next_due_at.push(account.next_due_at().map(Timestamp::to_datetime));
            columns.watched.push(watched);
            columns.customers.push(account.stripe_customer.as_ref().map(StripeId::as_str));
            columns.states.push(inline_state(account)?);
        }
        Ok(columns)
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if self.numbers.is_empty() {
            return;
        }
        pipeline.rows(
            session,
            &WRITE_ACCOUNTS,
            vec![
                &self.ledger,
                &ACCOUNT_STATE_VERSION,
                &self.numbers,
                &self.names,
                &self.statuses,
                &self.opened_at,
                &self.versions,
                &self.decided_on,
                &self.next_due_at,
                &self.watched,
                &self.customers,
                &self.states,
            ],
        );
    }
}

/// The state that stands in the account's row: without the lots that have rows of their own.
fn inline_state(account: &Account) -> serde_json::Result<String> {
    let lots = || account.books.values().flat_map(|book| book.lots.values());
    if !lots().any(Lot::has_row) {
        return serde_json::to_string(account);
    }
    let mut inline = account.clone();
    for book in inline.books.values_mut() {
        book.lots.retain(|_, lot| !lot.has_row());
    }
    serde_json::to_string(&inline)
}

/// The text of a PostgreSQL array of UUIDs: arrays of arrays of differing lengths do not travel otherwise.
pub(super) fn uuid_array(bits: impl Iterator<Item = u128>) -> String {
    let elements: Vec<String> = bits.map(|bits| Uuid::from_u128(bits).to_string()).collect();
    format!("{{{}}}", elements.join(","))
}

static WRITE_LOTS: Statement = Statement {
    name: "write_lots",
    sql: "INSERT INTO lots (ledger_id, lot_id, account_number, unit, purchase_id, is_open, state_version, state)
          SELECT h.ledger_id, u.lot_id, u.account_number, u.unit, u.purchase_id, u.is_open, $2, u.state::jsonb
            FROM ledger_heads h,
                 unnest($3::uuid[], $4::int8[], $5::text[], $6::uuid[], $7::bool[], $8::text[])
                 AS u (lot_id, account_number, unit, purchase_id, is_open, state)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, lot_id) DO UPDATE
             SET is_open = excluded.is_open, state_version = excluded.state_version, state = excluded.state",
    parameters: &[
        Type::INT8,
        Type::INT2,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::UUID_ARRAY,
        Type::BOOL_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// Lots whose rows changed.
#[derive(Default)]
pub(super) struct LotColumns<'a> {
    ledger: i64,
    ids: Vec<Uuid>,
    accounts: Vec<i64>,
    units: Vec<&'a str>,
    purchases: Vec<Option<Uuid>>,
    are_open: Vec<bool>,
    /// Absent for a lot that is open again and stands in its account's state.
    states: Vec<Option<String>>,
}

impl<'a> LotColumns<'a> {
    pub(super) fn new(changes: &Changes<'a>) -> serde_json::Result<Self> {
        let mut columns = Self { ledger: changes.ledger.0, ..Self::default() };
        for account in changes.set.accounts.values().filter(|account| changes.is_changed(account.version)) {
            for (unit, book) in &account.books {
                for lot in book.lots.values() {
                    columns.add(account, unit, lot, changes.lot_rows)?;
                }
            }
        }
        Ok(columns)
    }

    fn add(
        &mut self,
        account: &Account,
        unit: &'a Unit,
        lot: &Lot,
        rows: &BTreeMap<LotId, Lot>,
    ) -> serde_json::Result<()> {
        let stored = rows.get(&lot.id);
        if (lot.has_row() && stored != Some(lot)) || (!lot.has_row() && stored.is_some()) {
            self.ids.push(Uuid::from_u128(lot.id.to_bits()));
            self.accounts.push(account.number.0);
            self.units.push(unit.as_str());
            self.purchases.push(lot.purchase.map(PurchaseId::to_bits).map(Uuid::from_u128));
            self.are_open.push(lot.has_row() && lot.is_open());
            self.states.push(if lot.has_row() { Some(serde_json::to_string(lot)?) } else { None });
        }
        Ok(())
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if !self.ids.is_empty() {
            pipeline.rows(
                session,
                &WRITE_LOTS,
                vec![
                    &self.ledger,
                    &ACCOUNT_STATE_VERSION,
                    &self.ids,
                    &self.accounts,
                    &self.units,
                    &self.purchases,
                    &self.are_open,
                    &self.states,
                ],
            );
        }
    }
}
