//! Links by which orders are placed, as they are.

use time::OffsetDateTime;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{Moment, READ_MOMENT, ReadError, read};
use crate::{
    domain::{
        account::AccountStatus,
        checkout_link::CheckoutLink,
        ids::{AccountId, AccountNumber, CheckoutLinkId, LedgerId, OrderId},
        order::OrderDetails,
        time::Timestamp,
    },
    store::{
        pool::Database,
        rows::{RowError, timestamp},
        session::Statement,
        working_set::orders::link_from_row,
    },
};

/// A link, with everything that orders by it need to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkRow {
    /// The link.
    pub link: CheckoutLink,
    /// The client's name of its account.
    pub account: AccountId,
    /// Whether its account takes requests.
    pub status: AccountStatus,
    /// Language and addresses of the checkouts.
    pub details: OrderDetails,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// How many orders were placed by it.
    pub orders: i64,
    /// The last of them.
    pub last_order: Option<OrderId>,
}

impl LinkRow {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let account = AccountId::parse(row.try_get("external_id")?);
        let status = AccountStatus::parse(row.try_get("status")?);
        let revoked_at: Option<OffsetDateTime> = row.try_get("revoked_at")?;
        let last_order: Option<Uuid> = row.try_get("last_order")?;
        Ok(Self {
            link: link_from_row(row)?,
            account: account.map_err(|_| RowError::Value { column: "external_id" })?,
            status: status.ok_or(RowError::Value { column: "status" })?,
            details: OrderDetails {
                locale: row.try_get("locale")?,
                success_url: row.try_get("success_url")?,
                cancel_url: row.try_get("cancel_url")?,
            },
            created_at: timestamp(row.try_get("created_at")?, "created_at")?,
            revoked_at: revoked_at.map(|moment| timestamp(moment, "revoked_at")).transpose()?,
            orders: row.try_get("orders")?,
            last_order: last_order.map(|order| OrderId::from_bits(order.as_u128())),
        })
    }
}

/// Links under a condition, newest first, with their accounts. As in `working_set`: `OFFSET 0` keeps each look-up as it is.
macro_rules! links_where {
    ($condition:literal) => {
        concat!(
            "SELECT l.*, a.external_id, a.status
               FROM (SELECT * FROM checkout_links l WHERE l.ledger_id = $1 AND ",
            $condition,
            " OFFSET 0) l, LATERAL (
                    SELECT a.external_id, a.status FROM accounts a
                     WHERE a.ledger_id = $1 AND a.account_number = l.account_number OFFSET 0) a
              ORDER BY l.link_id DESC"
        )
    };
}

static READ_CHECKOUT_LINK: Statement = Statement {
    name: "read_checkout_link",
    sql: links_where!("l.link_id = $2"),
    parameters: &[Type::INT8, Type::UUID],
};

/// The link of that id, if there is one, revoked or not.
///
/// # Errors
/// [`ReadError`].
pub async fn find_link(
    database: &Database,
    ledger: LedgerId,
    link: CheckoutLinkId,
) -> Result<(Moment, Option<LinkRow>), ReadError> {
    let id = Uuid::from_u128(link.to_bits());
    let queries: [super::Query<'_>; 2] =
        [(&READ_MOMENT, &[&ledger.0]), (&READ_CHECKOUT_LINK, &[&ledger.0, &id])];
    let answers = read(database, ledger, &queries).await?;
    let link = answers[1].first().map(LinkRow::from_row).transpose()?;
    Ok((Moment::from_rows(&answers[0])?, link))
}

static LIST_CHECKOUT_LINKS: Statement = Statement {
    name: "list_checkout_links",
    sql: links_where!("l.link_id < $2 ORDER BY l.link_id DESC LIMIT $3"),
    parameters: &[Type::INT8, Type::UUID, Type::INT8],
};

static LIST_CHECKOUT_LINKS_OF_ACCOUNT: Statement = Statement {
    name: "list_checkout_links_of_account",
    sql: links_where!("l.account_number = $4 AND l.link_id < $2 ORDER BY l.link_id DESC LIMIT $3"),
    parameters: &[Type::INT8, Type::UUID, Type::INT8, Type::INT8],
};

/// Up to `limit` links, newest first, of those made before the link `before`, revoked ones included.
///
/// # Errors
/// [`ReadError`].
pub async fn list_links(
    database: &Database,
    ledger: LedgerId,
    account: Option<AccountNumber>,
    before: Option<CheckoutLinkId>,
    limit: i64,
) -> Result<Vec<LinkRow>, ReadError> {
    let before = before.map_or(Uuid::max(), |link| Uuid::from_u128(link.to_bits()));
    let answers = match account {
        None => read(database, ledger, &[(&LIST_CHECKOUT_LINKS, &[&ledger.0, &before, &limit])]).await?,
        Some(account) => {
            let values: super::Query<'_> =
                (&LIST_CHECKOUT_LINKS_OF_ACCOUNT, &[&ledger.0, &before, &limit, &account.0]);
            read(database, ledger, &[values]).await?
        }
    };
    Ok(answers[0].iter().map(LinkRow::from_row).collect::<Result<_, _>>()?)
}

pub(super) static STATEMENTS: &[&Statement] =
    &[&READ_CHECKOUT_LINK, &LIST_CHECKOUT_LINKS, &LIST_CHECKOUT_LINKS_OF_ACCOUNT];
