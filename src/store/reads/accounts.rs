//! Accounts as they are: the state that commands are decided on, with everything that is needed to see what is due.

use std::{collections::BTreeMap, ops::Range};

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{Moment, Query, READ_MOMENT, ReadError, read};
use crate::{
    domain::{
        WorkingSet,
        account::{ACCOUNT_STATE_VERSION, Account, AccountStatus, Lot},
        amount::PaidMoney,
        command::Note,
        ids::{AccountId, AccountNumber, LedgerId, LotId, Position, PurchaseId, Unit},
        purchase::{PURCHASE_STATE_VERSION, Purchase},
        settings::LedgerSettings,
        time::Timestamp,
    },
    store::{
        pool::Database,
        rows::{RowError, state, timestamp},
        session::{Statement, Value},
    },
};

/// What is known of an account's holder.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Profile {
    /// The e-mail address.
    pub email: Option<String>,
    /// The display name.
    pub name: Option<String>,
    /// The language.
    pub locale: Option<String>,
    /// The client's own key-value pairs.
    pub metadata: Note,
}

impl Profile {
    pub(super) fn from_row(row: &Row) -> Result<Self, RowError> {
        let metadata: Option<&str> = row.try_get("metadata")?;
        let metadata = metadata.map_or(Ok(Note::new()), serde_json::from_str);
        Ok(Self {
            email: row.try_get("email")?,
            name: row.try_get("name")?,
            locale: row.try_get("locale")?,
            metadata: metadata.map_err(|_| RowError::Value { column: "metadata" })?,
        })
    }
}

/// An account without its credits.
#[derive(Clone, PartialEq, Debug)]
pub struct AccountRow {
    /// Its number.
    pub number: AccountNumber,
    /// The client's name of it.
    pub account: AccountId,
    /// Whether it takes requests.
    pub status: AccountStatus,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What is known of its holder.
    pub profile: Profile,
}

impl AccountRow {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let account = AccountId::parse(row.try_get("external_id")?);
        let status = AccountStatus::parse(row.try_get("status")?);
        let status = status.ok_or(RowError::Value { column: "status" })?;
        Ok(Self {
            number: AccountNumber(row.try_get("account_number")?),
            account: account.map_err(|_| RowError::Value { column: "external_id" })?,
            status,
            opened_at: timestamp(row.try_get("opened_at")?, "opened_at")?,
            profile: Profile::from_row(row)?,
        })
    }
}

/// An account, and what is needed to see what has become due.
pub struct AccountSnapshot {
    /// When it was looked at.
    pub moment: Moment,
    /// Without its credits.
    pub row: AccountRow,
    /// It and the purchases that it watches, with their lots; the ledger's settings.
    pub working_set: WorkingSet,
}

// As in `working_set`: `OFFSET 0` keeps each look-up as it is, so that the planner can do nothing but use its index.

macro_rules! account_columns {
    () => {
        "a.account_number, a.external_id, a.status, a.opened_at, p.email, p.name, p.locale,
         p.metadata::text AS metadata"
    };
}

macro_rules! with_profile {
    () => {
        " LEFT JOIN LATERAL (
               SELECT p.email, p.name, p.locale, p.metadata FROM profiles p
                WHERE p.ledger_id = $1 AND p.account_number = a.account_number OFFSET 0) p ON true"
    };
}
pub(super) use with_profile;

macro_rules! named_account {
    () => {
        "(SELECT a.account_number, a.watched FROM accounts a
           WHERE a.ledger_id = $1 AND a.external_id = $2 OFFSET 0) a"
    };
}

macro_rules! watched_purchases {
    () => {
        "unnest(a.watched) w (purchase_id), LATERAL (
             SELECT p.other_lots, p.state_version, p.state::text AS state FROM purchases p
              WHERE p.ledger_id = $1 AND p.purchase_id = w.purchase_id OFFSET 0) p"
    };
}

macro_rules! lots_where {
    ($condition:literal) => {
        concat!(
            "LATERAL (SELECT l.unit, l.state_version, l.state::text AS state FROM lots l
                       WHERE l.ledger_id = $1 AND l.state IS NOT NULL AND ",
            $condition,
            " OFFSET 0) l"
        )
    };
}

static READ_ACCOUNT: Statement = Statement {
    name: "read_account",
    sql: concat!(
        "SELECT ",
        account_columns!(),
        ", a.state_version, a.state::text AS state FROM accounts a",
        with_profile!(),
        " WHERE a.ledger_id = $1 AND a.external_id = $2"
    ),
    parameters: &[Type::INT8, Type::TEXT],
};

/// Open lots that have rows of their own; and those of purchases that are watched, because credits may come back to
/// them.
static READ_LOTS: Statement = Statement {
    name: "read_lots",
    sql: concat!(
        "SELECT l.unit, l.state_version, l.state FROM ",
        named_account!(),
        ", ",
        lots_where!("l.account_number = a.account_number AND l.is_open"),
        " UNION ALL SELECT l.unit, l.state_version, l.state FROM ",
        named_account!(),
        ", unnest(a.watched) w (purchase_id), ",
        lots_where!("l.purchase_id = w.purchase_id AND l.account_number = a.account_number"),
        " UNION ALL SELECT l.unit, l.state_version, l.state FROM ",
        named_account!(),
        ", ",
        watched_purchases!(),
        ", unnest(p.other_lots) o (lot_id), ",
        lots_where!("l.lot_id = o.lot_id AND l.account_number = a.account_number"),
    ),
    parameters: &[Type::INT8, Type::TEXT],
};

static READ_WATCHED: Statement = Statement {
    name: "read_watched_purchases",
    sql: concat!("SELECT p.state_version, p.state FROM ", named_account!(), ", ", watched_purchases!()),
    parameters: &[Type::INT8, Type::TEXT],
};

static READ_SETTINGS: Statement = Statement {
    name: "read_settings",
    sql: "SELECT settings::text AS settings FROM ledger_settings WHERE ledger_id = $1",
    parameters: &[Type::INT8],
};

/// The account that the client calls so, if there is one.
///
/// # Errors
/// [`ReadError`].
pub async fn find_account(
    database: &Database,
    ledger: LedgerId,
    account: &AccountId,
) -> Result<(Moment, Option<AccountSnapshot>), ReadError> {
    let name = account.as_str();
    let answers = read(
        database,
        ledger,
        &[
            (&READ_MOMENT, &[&ledger.0]),
            (&READ_ACCOUNT, &[&ledger.0, &name]),
            (&READ_LOTS, &[&ledger.0, &name]),
            (&READ_WATCHED, &[&ledger.0, &name]),
            (&READ_SETTINGS, &[&ledger.0]),
        ],
    )
    .await?;
    let moment = Moment::from_rows(&answers[0])?;
    let Some(found) = answers[1].first() else { return Ok((moment, None)) };
    let row = AccountRow::from_row(found)?;
    let mut account = read_state(found)?;
    for lot in &answers[2] {
        let (unit, lot) = read_lot(lot)?;
        account.books.entry(unit).or_default().lots.insert(lot.id, lot);
    }
    let mut working_set = WorkingSet::default();
    for purchase in &answers[3] {
        let purchase = read_purchase(purchase)?;
        working_set.purchases.insert(purchase.id, purchase);
    }
    working_set.settings = read_settings(&answers[4])?;
    working_set.account_numbers.insert(row.account.clone(), row.number);
    working_set.accounts.insert(row.number, account);
    Ok((moment, Some(AccountSnapshot { moment, row, working_set })))
}

static READ_NUMBER: Statement = Statement {
    name: "read_account_number",
    sql: "SELECT account_number FROM accounts WHERE ledger_id = $1 AND external_id = $2",
    parameters: &[Type::INT8, Type::TEXT],
};

/// The number of the account that the client calls so, if there is one.
///
/// # Errors
/// [`ReadError`].
pub async fn find_number(
    database: &Database,
    ledger: LedgerId,
    account: &AccountId,
) -> Result<(Moment, Option<AccountNumber>), ReadError> {
    let queries: [Query<'_>; 2] =
        [(&READ_MOMENT, &[&ledger.0]), (&READ_NUMBER, &[&ledger.0, &account.as_str()])];
    let answers = read(database, ledger, &queries).await?;
    let number = answers[1].first().map(|row| row.try_get("account_number")).transpose();
    Ok((Moment::from_rows(&answers[0])?, number.map_err(RowError::from)?.map(AccountNumber)))
}

fn read_state(row: &Row) -> Result<Account, RowError> {
    state("account", row.try_get("state_version")?, ACCOUNT_STATE_VERSION, row.try_get("state")?)
}

fn read_lot(row: &Row) -> Result<(Unit, Lot), RowError> {
    let unit = Unit::parse(row.try_get("unit")?).map_err(|_| RowError::Value { column: "unit" })?;
    Ok((unit, state("lot", row.try_get("state_version")?, ACCOUNT_STATE_VERSION, row.try_get("state")?)?))
}

fn read_purchase(row: &Row) -> Result<Purchase, RowError> {
    state("purchase", row.try_get("state_version")?, PURCHASE_STATE_VERSION, row.try_get("state")?)
}

fn read_settings(rows: &[Row]) -> Result<LedgerSettings, RowError> {
    let Some(row) = rows.first() else { return Ok(LedgerSettings::default()) };
    serde_json::from_str(row.try_get("settings")?)
        .map_err(|error| RowError::State { what: "settings", reason: error.to_string() })
}

/// Which accounts a list holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountFilter {
    /// Only those of this status.
    pub status: Option<AccountStatus>,
    /// Only those opened at these positions, which are their numbers.
    pub opened: Range<Position>,
}

/// The accounts are found before anything is joined to them, so that nothing is left to be done but to look into an index.
macro_rules! list_of_accounts {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            account_columns!(),
            " FROM (SELECT a.account_number, a.external_id, a.status, a.opened_at FROM accounts a
                   WHERE a.ledger_id = $1 AND a.account_number >= $2 AND a.account_number < $3 AND ",
            $condition,
            " ORDER BY a.account_number DESC LIMIT $5) a",
            with_profile!(),
            " ORDER BY a.account_number DESC"
        )
    };
}

const LIST_PARAMETERS: &[Type] = &[Type::INT8, Type::INT8, Type::INT8, Type::TEXT, Type::INT8];

static LIST_ACCOUNTS: Statement =
    Statement { name: "list_accounts", sql: list_of_accounts!("$4 IS NULL"), parameters: LIST_PARAMETERS };

static LIST_ACCOUNTS_OF_STATUS: Statement = Statement {
    name: "list_accounts_of_status",
    sql: list_of_accounts!("a.status = $4"),
    parameters: LIST_PARAMETERS,
};

/// Up to `limit` accounts, newest first, of those opened before the account `before`.
///
/// # Errors
/// [`ReadError`].
pub async fn list_accounts(
    database: &Database,
    ledger: LedgerId,
    filter: &AccountFilter,
    before: Option<AccountNumber>,
    limit: i64,
) -> Result<Vec<AccountRow>, ReadError> {
    let Range { start: from, end: until } = filter.opened;
    let before = before.map_or(until.0, |number| number.0.min(until.0));
    let status = filter.status.map(AccountStatus::as_str);
    let statement = if status.is_some() { &LIST_ACCOUNTS_OF_STATUS } else { &LIST_ACCOUNTS };
    let values: [Value<'_>; 5] = [&ledger.0, &from.0, &before, &status, &limit];
    let answers = read(database, ledger, &[(statement, &values)]).await?;
    Ok(answers[0].iter().map(AccountRow::from_row).collect::<Result<_, _>>()?)
}

/// What made a lot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LotOrigin {
    /// The type of the event, e.g. `credits.granted`.
    pub event_type: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

static READ_ORIGINS: Statement = Statement {
    name: "read_lot_origins",
    sql: "SELECT e.position, e.type, e.recorded_at
            FROM unnest($2::int8[]) w (position), LATERAL (
                SELECT e.position, e.type, e.recorded_at FROM events e
                 WHERE e.ledger_id = $1 AND e.position = w.position OFFSET 0) e",
    parameters: &[Type::INT8, Type::INT8_ARRAY],
};

static READ_MONEY: Statement = Statement {
    name: "read_money_of_purchases",
    sql: "SELECT p.state_version, p.state
            FROM unnest($2::uuid[]) w (purchase_id), LATERAL (
                SELECT p.state_version, p.state::text AS state FROM purchases p
                 WHERE p.ledger_id = $1 AND p.purchase_id = w.purchase_id OFFSET 0) p",
    parameters: &[Type::INT8, Type::UUID_ARRAY],
};

/// Where lots came from, by the position of the event, and what was paid for purchases.
pub struct Origins {
    /// The events that made the lots.
    pub lots: BTreeMap<Position, LotOrigin>,
    /// What was paid.
    pub money: BTreeMap<PurchaseId, PaidMoney>,
}

/// Finds out where lots came from. None of it ever changes, so it need not be of the lots' own snapshot.
///
/// # Errors
/// [`ReadError`].
pub async fn read_origins(
    database: &Database,
    ledger: LedgerId,
    lots: &[LotId],
    purchases: &[PurchaseId],
) -> Result<Origins, ReadError> {
    let positions: Vec<i64> = lots.iter().map(|lot| lot.position().0).collect();
    let ids: Vec<Uuid> = purchases.iter().map(|purchase| Uuid::from_u128(purchase.to_bits())).collect();
    let answers = read(
        database,
        ledger,
        &[(&READ_ORIGINS, &[&ledger.0, &positions]), (&READ_MONEY, &[&ledger.0, &ids])],
    )
    .await?;
    let origin = |row: &Row| -> Result<_, RowError> {
        let recorded_at = timestamp(row.try_get("recorded_at")?, "recorded_at")?;
        let origin = LotOrigin { event_type: row.try_get("type")?, recorded_at };
        Ok((Position(row.try_get("position")?), origin))
    };
    let money = |row: &Row| read_purchase(row).map(|purchase| (purchase.id, purchase.money));
    Ok(Origins {
        lots: answers[0].iter().map(origin).collect::<Result<_, _>>()?,
        money: answers[1].iter().map(money).collect::<Result<_, _>>()?,
    })
}

pub(super) static STATEMENTS: &[&Statement] = &[
    &READ_ACCOUNT,
    &READ_NUMBER,
    &READ_LOTS,
    &READ_WATCHED,
    &READ_SETTINGS,
    &LIST_ACCOUNTS,
    &LIST_ACCOUNTS_OF_STATUS,
    &READ_ORIGINS,
    &READ_MONEY,
];
