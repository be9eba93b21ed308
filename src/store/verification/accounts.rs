//! Accounts: what is stored, what was recounted of their balances, and what the rules make of their events.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use super::{Compared, ComparedRequests, VerifyError, replay, requests, state};
use crate::{
    domain::{
        account::{ACCOUNT_STATE_VERSION, Account, Lot},
        ids::{AccountNumber, PurchaseId, Unit},
        order::Order,
        purchase::Purchase,
        subscription::Subscription,
    },
    store::rows::{self, RowError},
};

/// The last event of each.
pub(super) const TABLES: &str = "
    CREATE TEMPORARY TABLE recounted_accounts
        (ledger_id bigint, account_number bigint, version bigint, PRIMARY KEY (ledger_id, account_number))";

/// Counts the events in `($2, $3]` of the ledger `$1`.
pub(super) const COUNT: &str = "
    INSERT INTO pg_temp.recounted_accounts
    SELECT e.ledger_id, e.account_number, max(e.position) FROM events e
     WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.account_number IS NOT NULL
     GROUP BY e.ledger_id, e.account_number
        ON CONFLICT (ledger_id, account_number) DO UPDATE SET version = excluded.version";

/// A page of accounts, and what was recounted of them.
pub struct AccountPage {
    /// The accounts that there are, by number.
    pub accounts: Vec<StoredAccount>,
    /// What their events say, by number.
    pub recounted: Vec<RecountedAccount>,
    /// What their events lead to, with all open lots.
    pub replayed: BTreeMap<AccountNumber, Account>,
    /// Their purchases, compared.
    pub purchases: Compared,
    /// Their orders, compared.
    pub orders: Compared,
    /// Their subscriptions, compared.
    pub subscriptions: Compared,
    /// Their refunds, links and whose credits they hold, compared.
    pub requests: ComparedRequests,
    /// The last number of the page; none if it was the last page.
    pub until: Option<i64>,
}

/// An account as it is stored.
pub struct StoredAccount {
    /// Its number.
    pub number: AccountNumber,
    /// The position of its last event.
    pub version: i64,
    /// Whether it takes requests.
    pub status: String,
    /// When it was opened.
    pub opened_at: OffsetDateTime,
    /// When something of it happens by itself next.
    pub next_due_at: Option<OffsetDateTime>,
    /// The purchases that are loaded with it, in order.
    pub watched: Vec<PurchaseId>,
    /// Its customer at Stripe.
    pub stripe_customer: Option<String>,
    /// Its state with all open lots, if this version can read it.
    pub account: Result<Account, RowError>,
}

/// What the events say of an account.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecountedAccount {
    /// Its number.
    pub number: i64,
    /// The position of its last event.
    pub version: i64,
    /// Unit, available minus debt, held and disputed.
    pub balances: Vec<(String, i64, i64, i64)>,
}

/// Reads the next accounts and what belongs to them.
pub(super) async fn page(
    client: &Client,
    ledger: i64,
    after: i64,
    limit: i64,
) -> Result<AccountPage, VerifyError> {
    let until = last_number(client, ledger, after, limit).await?;
    let range = [after, until.unwrap_or(i64::MAX)];
    Ok(AccountPage {
        accounts: stored_accounts(client, ledger, range).await?,
        recounted: recounted_accounts(client, ledger, range).await?,
        replayed: replay::accounts(client, ledger, range).await?,
        purchases: state::of_accounts::<Purchase>(client, ledger, range).await?,
        orders: state::of_accounts::<Order>(client, ledger, range).await?,
        subscriptions: state::of_accounts::<Subscription>(client, ledger, range).await?,
        requests: requests::compare(client, ledger, range).await?,
        until,
    })
}

/// The number of the last account of a page, whether it is stored or only recounted.
async fn last_number(client: &Client, ledger: i64, after: i64, limit: i64) -> Result<Option<i64>, Error> {
    let statement = "
        SELECT n.account_number
          FROM (SELECT account_number FROM accounts WHERE ledger_id = $1 AND account_number > $2
                 UNION
                SELECT account_number FROM pg_temp.recounted_accounts
                 WHERE ledger_id = $1 AND account_number > $2) n
         ORDER BY n.account_number OFFSET $3 - 1 LIMIT 1";
    let rows = super::rows(client, statement, ledger, [after, limit]).await?;
    rows.first().map(|row| row.try_get(0)).transpose()
}

async fn stored_accounts(client: &Client, ledger: i64, range: [i64; 2]) -> Result<Vec<StoredAccount>, Error> {
    let accounts = "
        SELECT account_number, version, status, opened_at, next_due_at, watched, stripe_customer, state_version,
               state::text AS state
          FROM accounts
         WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3 ORDER BY account_number";
    let lots = "
        SELECT account_number, unit, state_version, state::text AS state FROM lots
         WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3 AND is_open";
    let accounts = super::rows(client, accounts, ledger, range).await?;
    let mut accounts: Vec<StoredAccount> = super::collect(accounts, StoredAccount::from_row)?;
    for row in super::rows(client, lots, ledger, range).await? {
        let number = AccountNumber(row.try_get("account_number")?);
        if let Some(account) = accounts.iter_mut().find(|account| account.number == number) {
            account.add_lot(&row)?;
        }
    }
    Ok(accounts)
}

async fn recounted_accounts(
    client: &Client,
    ledger: i64,
    range: [i64; 2],
) -> Result<Vec<RecountedAccount>, Error> {
    let statement = "
        SELECT a.account_number, a.version, b.unit, b.net, b.held, b.disputed
          FROM pg_temp.recounted_accounts a
          LEFT JOIN pg_temp.balances b ON b.ledger_id = a.ledger_id AND b.account_number = a.account_number
         WHERE a.ledger_id = $1 AND a.account_number > $2 AND a.account_number <= $3
         ORDER BY a.account_number, b.unit";
    let mut accounts: Vec<RecountedAccount> = Vec::new();
    for row in super::rows(client, statement, ledger, range).await? {
        let number = row.try_get("account_number")?;
        if accounts.last().is_none_or(|account| account.number != number) {
            let version = row.try_get("version")?;
            accounts.push(RecountedAccount { number, version, balances: Vec::new() });
        }
        if let (Some(unit), Some(account)) = (row.try_get("unit")?, accounts.last_mut()) {
            let numbers = (row.try_get("net")?, row.try_get("held")?, row.try_get("disputed")?);
            account.balances.push((unit, numbers.0, numbers.1, numbers.2));
        }
    }
    Ok(accounts)
}

impl StoredAccount {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let found = row.try_get("state_version")?;
        Ok(Self {
            number: AccountNumber(row.try_get("account_number")?),
            version: row.try_get("version")?,
            status: row.try_get("status")?,
            opened_at: row.try_get("opened_at")?,
            next_due_at: row.try_get("next_due_at")?,
            watched: row
                .try_get::<_, Vec<Uuid>>("watched")?
                .into_iter()
                .map(|purchase| PurchaseId::from_bits(purchase.as_u128()))
                .collect(),
            stripe_customer: row.try_get("stripe_customer")?,
            account: rows::state("account", found, ACCOUNT_STATE_VERSION, row.try_get("state")?),
        })
    }

    fn add_lot(&mut self, row: &Row) -> Result<(), Error> {
        let lot: Result<Lot, RowError> =
            rows::state("lot", row.try_get("state_version")?, ACCOUNT_STATE_VERSION, row.try_get("state")?);
        let unit = Unit::parse(row.try_get("unit")?).map_err(|_| RowError::Value { column: "unit" });
        match (lot, unit, &mut self.account) {
            (Ok(lot), Ok(unit), Ok(account)) => {
                account.books.entry(unit).or_default().lots.insert(lot.id, lot);
            }
            (Err(error), _, account @ Ok(_)) | (_, Err(error), account @ Ok(_)) => *account = Err(error),
            (_, _, Err(_)) => {}
        }
        Ok(())
    }
}
