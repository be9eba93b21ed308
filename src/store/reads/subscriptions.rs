//! Subscriptions as they are.

use tokio_postgres::{Row, types::Type};

use super::{Moment, ReadError, events::list_events, read};
use crate::{
    domain::{
        EventBody,
        event::SubscriptionChangeRequested,
        ids::{AccountId, AccountNumber, LedgerId, Position, StripeId, SubscriptionChangeId},
        subscription::{SUBSCRIPTION_STATE_VERSION, Subscription, SubscriptionStatus},
    },
    store::{
        pages::{self, LookedAt},
        pool::Database,
        reads::READ_MOMENT,
        rows::{RowError, state},
        session::{Statement, Value},
    },
};

/// A subscription, and what the client calls its account.
#[derive(Clone, PartialEq, Debug)]
pub struct SubscriptionRow {
    /// The subscription.
    pub subscription: Subscription,
    /// Whose it is.
    pub account: AccountId,
    /// The account's customer at Stripe.
    pub customer: Option<StripeId>,
}

impl SubscriptionRow {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let (version, known) = (row.try_get("state_version")?, SUBSCRIPTION_STATE_VERSION);
        let customer: Option<&str> = row.try_get("stripe_customer")?;
        let customer = customer.map(StripeId::parse).transpose();
        let account = AccountId::parse(row.try_get("external_id")?);
        Ok(Self {
            subscription: state("subscription", version, known, row.try_get("state")?)?,
            account: account.map_err(|_| RowError::Value { column: "external_id" })?,
            customer: customer.map_err(|_| RowError::Value { column: "stripe_customer" })?,
        })
    }
}

// As in `working_set`: `OFFSET 0` keeps each look-up as it is, so that the planner can do nothing but use its index.

macro_rules! subscriptions_of {
    ($rows:literal) => {
        concat!(
            "SELECT a.external_id, a.stripe_customer, s.state_version, s.state::text AS state, s.is_asked_for, s.is_last_looked_at
               FROM (",
            $rows,
            " OFFSET 0) s, LATERAL (
                    SELECT a.external_id, a.stripe_customer FROM accounts a
                     WHERE a.ledger_id = $1 AND a.account_number = s.account_number OFFSET 0) a
              ORDER BY s.started DESC"
        )
    };
}

static READ_SUBSCRIPTION: Statement = Statement {
    name: "read_subscription",
    sql: subscriptions_of!(
        "SELECT s.*, true AS is_asked_for, false AS is_last_looked_at FROM subscriptions s
          WHERE s.ledger_id = $1 AND s.subscription_id = $2"
    ),
    parameters: &[Type::INT8, Type::TEXT],
};

/// Subscriptions of an account that became known before `$3`: they are looked through, up to `$6`, for those of a status.
static LIST_SUBSCRIPTIONS: Statement = Statement {
    name: "list_subscriptions",
    sql: subscriptions_of!(
        "SELECT s.* FROM (
             SELECT s.*, ($5 = '' OR s.status = $5) AS is_asked_for,
                    row_number() OVER (ORDER BY s.started DESC) = $6 AS is_last_looked_at
               FROM subscriptions s
              WHERE s.ledger_id = $1 AND s.account_number = $2 AND s.started < $3
              ORDER BY s.started DESC LIMIT $6) s
          WHERE s.is_asked_for OR s.is_last_looked_at
          ORDER BY s.started DESC LIMIT $4"
    ),
    parameters: &[Type::INT8, Type::INT8, Type::INT8, Type::INT8, Type::TEXT, Type::INT8],
};

/// How many subscriptions of an account are looked at for a page of one status, so that one who asks for what is rare cannot have
/// all of them read at once.
const LOOKED_AT: i64 = 1_000;

/// The subscription of that id, if the ledger knows it, as of the moment that is told.
///
/// # Errors
/// [`ReadError`].
pub async fn find_subscription(
    database: &Database,
    ledger: LedgerId,
    subscription: &StripeId,
) -> Result<(Moment, Option<SubscriptionRow>), ReadError> {
    let id = subscription.as_str();
    let statements: [(&Statement, &[Value<'_>]); 2] =
        [(&READ_MOMENT, &[&ledger.0]), (&READ_SUBSCRIPTION, &[&ledger.0, &id])];
    let answers = read(database, ledger, &statements).await?;
    let moment = Moment::from_rows(&answers[0])?;
    Ok((moment, answers[1].first().map(SubscriptionRow::from_row).transpose()?))
}

/// A page of up to `limit` subscriptions of an account, of one status if any is named, newest first, of those that became known
/// before the position `before`; and that before which those of the next page did, if there may be more. Of a status it may be
/// short, or empty, and not be the last.
///
/// # Errors
/// [`ReadError`].
pub async fn list_subscriptions(
    database: &Database,
    ledger: LedgerId,
    account: AccountNumber,
    status: Option<SubscriptionStatus>,
    before: Option<Position>,
    limit: i64,
) -> Result<(Vec<SubscriptionRow>, Option<Position>), ReadError> {
    let before = before.map_or(i64::MAX, |position| position.0);
    // One more than is told says whether there is another page.
    let told = limit.saturating_add(1);
    let looked_at = if status.is_none() { told } else { told.max(LOOKED_AT) };
    let status = status.map_or("", SubscriptionStatus::as_str);
    let values: [Value<'_>; 6] = [&ledger.0, &account.0, &before, &told, &status, &looked_at];
    let answers = read(database, ledger, &[(&LIST_SUBSCRIPTIONS, &values)]).await?;
    let rows = answers[0].iter().map(|row| LookedAt::from_row(row, SubscriptionRow::from_row(row)?));
    let rows = rows.collect::<Result<Vec<_>, RowError>>()?;
    Ok(pages::page(rows, limit, |row| row.subscription.started))
}

/// What a change was asked for, found by the position in its id.
///
/// # Errors
/// [`ReadError`].
pub async fn find_requested_change(
    database: &Database,
    ledger: LedgerId,
    request: SubscriptionChangeId,
) -> Result<Option<SubscriptionChangeRequested>, ReadError> {
    let before = Position(request.position().0.saturating_sub(1));
    let (_, events) = list_events(database, ledger, before, 1).await?;
    Ok(events.into_iter().find_map(|stored| match stored.event.body {
        EventBody::SubscriptionChangeRequested(body) if body.request == request => Some(body),
        _ => None,
    }))
}

pub(super) static STATEMENTS: &[&Statement] = &[&READ_SUBSCRIPTION, &LIST_SUBSCRIPTIONS];
