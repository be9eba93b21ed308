//! Accounts, and the lots that have rows of their own: closed ones, and those that an account with many lots spills.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Changes, private::PrivateColumns};
use crate::{
    domain::{
        account::{ACCOUNT_STATE_VERSION, Account, Lot},
        ids::{LotId, PurchaseId, Unit},
    },
    store::session::{Pipeline, Session, Statement, Value},
};

pub(super) static STATEMENTS: &[&Statement] =
    &[&RENAME_ACCOUNTS, &INSERT_ACCOUNTS, &UPDATE_ACCOUNTS, &DELETE_LOTS, &WRITE_LOTS];

/// Before any insert: a name that is given up can be taken again in the same batch.
static RENAME_ACCOUNTS: Statement = Statement {
    name: "rename_accounts",
    sql: "UPDATE accounts a SET external_id = u.name
            FROM unnest($2::int8[], $3::text[]) u (account_number, name)
           WHERE a.ledger_id = $1 AND a.account_number = u.account_number",
    parameters: &[Type::INT8, Type::INT8_ARRAY, Type::TEXT_ARRAY],
};

static INSERT_ACCOUNTS: Statement = Statement {
    name: "insert_accounts",
    sql: "INSERT INTO accounts (ledger_id, account_number, external_id, status, opened_at, version, next_due_at, watched,
              state_version, state)
          SELECT h.ledger_id, u.account_number, u.name, u.status, u.opened_at, u.version, u.next_due_at,
                 u.watched::uuid[], $2, u.state::jsonb
            FROM ledger_heads h,
                 unnest($3::int8[], $4::text[], $5::text[], $6::timestamptz[], $7::int8[], $8::timestamptz[],
                        $9::text[], $10::text[])
                 AS u (account_number, name, status, opened_at, version, next_due_at, watched, state)
           WHERE h.ledger_id = $1",
    parameters: &[
        Type::INT8,
        Type::INT2,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::INT8_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// Fails unless every account has the version that was decided on.
static UPDATE_ACCOUNTS: Statement = Statement {
    name: "update_accounts",
    sql: "WITH updated AS (
              UPDATE accounts a
                 SET status = u.status, version = u.version, next_due_at = u.next_due_at, watched = u.watched::uuid[],
                     state_version = $2, state = u.state::jsonb
                FROM unnest($3::int8[], $4::int8[], $5::text[], $6::int8[], $7::timestamptz[], $8::text[], $9::text[])
                     AS u (account_number, expected, status, version, next_due_at, watched, state)
               WHERE a.ledger_id = $1 AND a.account_number = u.account_number AND a.version = u.expected
              RETURNING 1)
          SELECT 1 / (count(*) = cardinality($3))::int FROM updated",
    parameters: &[
        Type::INT8,
        Type::INT2,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// The columns of some accounts.
#[derive(Default)]
struct Rows<'a> {
    numbers: Vec<i64>,
    statuses: Vec<&'static str>,
    versions: Vec<i64>,
    next_due_at: Vec<Option<OffsetDateTime>>,
    watched: Vec<String>,
    states: Vec<String>,
    /// Of new accounts.
    names: Vec<&'a str>,
    /// Of new accounts.
    opened_at: Vec<OffsetDateTime>,
    /// Of known accounts.
    expected: Vec<i64>,
}

impl Rows<'_> {
    fn add(&mut self, account: &Account) -> serde_json::Result<()> {
        self.numbers.push(account.number.0);
        self.statuses.push(account.status.as_str());
        self.versions.push(account.version.0);
        self.next_due_at.push(account.next_due_at().map(|moment| moment.to_datetime()));
        self.watched.push(uuid_array(account.watched.iter().map(|purchase| purchase.to_bits())));
        self.states.push(inline_state(account)?);
        Ok(())
    }
}

/// Accounts that changed.
pub(super) struct AccountColumns<'a> {
    ledger: i64,
    renamed_numbers: Vec<i64>,
    renamed_names: Vec<&'a str>,
    new: Rows<'a>,
    known: Rows<'a>,
}

impl<'a> AccountColumns<'a> {
    pub(super) fn new(changes: &Changes<'a>, private: &PrivateColumns<'a>) -> serde_json::Result<Self> {
        let (mut new, mut known) = (Rows::default(), Rows::default());
        let (mut renamed_numbers, mut renamed_names) = (Vec::new(), Vec::new());
        let changed = changes.set.accounts.values().filter(|account| changes.is_changed(account.version));
        for account in changed {
            let name = private.names().get(&account.number).map(|name| name.as_str());
            match (changes.versions.get(&account.number), name) {
                (Some(expected), name) => {
                    known.add(account)?;
                    known.expected.push(expected.0);
                    renamed_numbers.extend(name.map(|_| account.number.0));
                    renamed_names.extend(name);
                }
                (None, name) => {
                    new.add(account)?;
                    new.names.push(name.unwrap_or_default());
                    new.opened_at.push(account.opened_at.to_datetime());
                }
            }
        }
        Ok(Self { ledger: changes.ledger.0, renamed_numbers, renamed_names, new, known })
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        let (new, known) = (&self.new, &self.known);
        if !self.renamed_numbers.is_empty() {
            let values: Vec<Value<'_>> = vec![&self.ledger, &self.renamed_numbers, &self.renamed_names];
            pipeline.rows(session, &RENAME_ACCOUNTS, values);
        }
        if !new.numbers.is_empty() {
            pipeline.rows(
                session,
                &INSERT_ACCOUNTS,
                vec![
                    &self.ledger,
                    &ACCOUNT_STATE_VERSION,
                    &new.numbers,
                    &new.names,
                    &new.statuses,
                    &new.opened_at,
                    &new.versions,
                    &new.next_due_at,
                    &new.watched,
                    &new.states,
                ],
            );
        }
        if !known.numbers.is_empty() {
            pipeline.rows(
                session,
                &UPDATE_ACCOUNTS,
                vec![
                    &self.ledger,
                    &ACCOUNT_STATE_VERSION,
                    &known.numbers,
                    &known.expected,
                    &known.statuses,
                    &known.versions,
                    &known.next_due_at,
                    &known.watched,
                    &known.states,
                ],
            );
        }
    }
}

/// Whether a lot stands in a row of its own.
fn has_row(lot: &Lot) -> bool {
    lot.spilled || !lot.is_open()
}

/// The state that stands in the account's row: without the lots that have rows of their own.
fn inline_state(account: &Account) -> serde_json::Result<String> {
    let lots = || account.books.values().flat_map(|book| book.lots.values());
    if !lots().any(has_row) {
        return serde_json::to_string(account);
    }
    let mut inline = account.clone();
    for book in inline.books.values_mut() {
        book.lots.retain(|_, lot| !has_row(lot));
    }
    serde_json::to_string(&inline)
}

/// The text of a PostgreSQL array of UUIDs: arrays of arrays of differing lengths do not travel otherwise.
pub(super) fn uuid_array(bits: impl Iterator<Item = u128>) -> String {
    let elements: Vec<String> = bits.map(|bits| Uuid::from_u128(bits).to_string()).collect();
    format!("{{{}}}", elements.join(","))
}

/// Lots that are open again and stand in their account's state.
static DELETE_LOTS: Statement = Statement {
    name: "delete_lots",
    sql: "DELETE FROM lots WHERE ledger_id = $1 AND lot_id = ANY($2)",
    parameters: &[Type::INT8, Type::UUID_ARRAY],
};

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
    deleted: Vec<Uuid>,
    ids: Vec<Uuid>,
    accounts: Vec<i64>,
    units: Vec<&'a str>,
    purchases: Vec<Option<Uuid>>,
    are_open: Vec<bool>,
    states: Vec<String>,
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
        if has_row(lot) && stored != Some(lot) {
            self.ids.push(Uuid::from_u128(lot.id.to_bits()));
            self.accounts.push(account.number.0);
            self.units.push(unit.as_str());
            self.purchases.push(lot.purchase.map(PurchaseId::to_bits).map(Uuid::from_u128));
            self.are_open.push(lot.is_open());
            self.states.push(serde_json::to_string(lot)?);
        } else if !has_row(lot) && stored.is_some() {
            self.deleted.push(Uuid::from_u128(lot.id.to_bits()));
        }
        Ok(())
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if !self.deleted.is_empty() {
            pipeline.rows(session, &DELETE_LOTS, vec![&self.ledger, &self.deleted]);
        }
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
