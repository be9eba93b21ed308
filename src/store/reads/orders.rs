//! Orders and refunds as they are, with what no event holds of them; and whose customers are.

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    Moment, READ_MOMENT, ReadError,
    accounts::{Profile, with_profile},
    read,
};
use crate::{
    domain::{
        amount::Currency,
        ids::{AccountId, AccountNumber, LedgerId, OrderId, PaymentReference, RefundRequestId, StripeId},
        order::{ORDER_STATE_VERSION, Order, OrderDetails, OrderStatus},
        payment::{DisputeStatus, PAYMENT_STATE_VERSION, Payment, RefundRequest, RequestStatus},
    },
    store::{
        pages::{self, LookedAt},
        pool::Database,
        rows::{RowError, state},
        session::{Statement, Value},
    },
};

/// An account as Stripe is to know it.
#[derive(Clone, PartialEq, Debug)]
pub struct CustomerRow {
    /// Its number.
    pub number: AccountNumber,
    /// The client's name of it.
    pub account: AccountId,
    /// Its customer, if it has one.
    pub customer: Option<StripeId>,
    /// What is known of its holder.
    pub profile: Profile,
}

impl CustomerRow {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let account = AccountId::parse(row.try_get("external_id")?);
        let customer: Option<&str> = row.try_get("stripe_customer")?;
        let customer = customer.map(StripeId::parse).transpose();
        Ok(Self {
            number: AccountNumber(row.try_get("account_number")?),
            account: account.map_err(|_| RowError::Value { column: "external_id" })?,
            customer: customer.map_err(|_| RowError::Value { column: "stripe_customer" })?,
            profile: Profile::from_row(row)?,
        })
    }
}

/// An order, with everything that its checkout needs to know.
#[derive(Clone, PartialEq, Debug)]
pub struct OrderRow {
    /// The order.
    pub order: Order,
    /// Who ordered.
    pub buyer: CustomerRow,
    /// Language and addresses of the checkout.
    pub details: OrderDetails,
    /// Where it can be paid.
    pub session_url: Option<String>,
}

impl OrderRow {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let order: Order =
            state("order", row.try_get("state_version")?, ORDER_STATE_VERSION, row.try_get("state")?)?;
        let details = OrderDetails {
            locale: row.try_get("order_locale")?,
            success_url: row.try_get("success_url")?,
            cancel_url: row.try_get("cancel_url")?,
        };
        let buyer = CustomerRow::from_row(row)?;
        // A page that had gone when it was found has none.
        let session_url: Option<String> = row.try_get("session_url")?;
        Ok(Self { order, buyer, details, session_url: session_url.filter(|url| !url.is_empty()) })
    }
}

/// Which orders a list holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OrderFilter {
    /// Only this account's.
    pub account: Option<AccountNumber>,
    /// Only those that have come so far.
    pub status: Option<OrderStatus>,
    /// Only this one and those placed after it.
    pub from: Option<OrderId>,
    /// Only those placed before this one.
    pub before: Option<OrderId>,
}

/// A refund that was asked of us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefundRow {
    /// Which refund.
    pub id: RefundRequestId,
    /// Who bought.
    pub account: AccountNumber,
    /// The payment that it is of.
    pub payment: PaymentReference,
    /// The currency that was paid in.
    pub currency: Option<Currency>,
    /// What was asked for, and what came of it.
    pub request: RefundRequest,
    /// How far it has come.
    pub status: RequestStatus,
}

impl RefundRow {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let id = RefundRequestId::from_bits(row.try_get::<_, Uuid>("refund_id")?.as_u128());
        let payment: Payment =
            state("payment", row.try_get("state_version")?, PAYMENT_STATE_VERSION, row.try_get("state")?)?;
        let request = payment.requested.get(&id).ok_or(RowError::Value { column: "refund_id" })?;
        Ok(Self {
            id,
            account: AccountNumber(row.try_get("account_number")?),
            payment: payment.reference.clone(),
            currency: payment.money.map(|money| money.currency),
            request: request.clone(),
            status: payment.status_of(request),
        })
    }
}

// As in `working_set`: `OFFSET 0` keeps each look-up as it is, so that the planner can do nothing but use its index.

macro_rules! buyer_columns {
    () => {
        "a.account_number, a.external_id, a.stripe_customer, p.email, p.name, p.locale, p.metadata::text AS metadata"
    };
}

/// Orders, newest first, with their accounts.
macro_rules! orders_of {
    ($($orders:expr),+) => {
        concat!(
            "SELECT ",
            buyer_columns!(),
            ", o.locale AS order_locale, o.success_url, o.cancel_url, o.session_url, o.state_version,
               o.state::text AS state, o.is_asked_for, o.is_last_looked_at
              FROM (",
            $($orders,)+
            ") o, LATERAL (
                   SELECT a.account_number, a.external_id, a.stripe_customer FROM accounts a
                    WHERE a.ledger_id = $1 AND a.account_number = o.account_number OFFSET 0) a",
            with_profile!(),
            " ORDER BY o.order_id DESC"
        )
    };
}

/// Those under a condition.
macro_rules! orders_where {
    ($($condition:literal),+) => {
        orders_of!(
            "SELECT o.*, true AS is_asked_for, false AS is_last_looked_at FROM orders o WHERE o.ledger_id = $1 AND ",
            $($condition,)+
            " OFFSET 0"
        )
    };
}

static READ_ORDER: Statement = Statement {
    name: "read_order",
    sql: orders_where!("o.order_id = $2"),
    parameters: &[Type::INT8, Type::UUID],
};

/// The order of that id, if there is one.
///
/// # Errors
/// [`ReadError`].
pub async fn find_order(
    database: &Database,
    ledger: LedgerId,
    order: OrderId,
) -> Result<(Moment, Option<OrderRow>), ReadError> {
    let id = Uuid::from_u128(order.to_bits());
    let answers =
        read(database, ledger, &[(&READ_MOMENT, &[&ledger.0]), (&READ_ORDER, &[&ledger.0, &id])]).await?;
    let order = answers[1].first().map(OrderRow::from_row).transpose()?;
    Ok((Moment::from_rows(&answers[0])?, order))
}

/// Of orders under a condition, those placed from `$2` on and before `$3`, up to `$4`.
macro_rules! list_of_orders {
    ($condition:literal) => {
        orders_where!(
            $condition,
            " AND o.order_id >= $2 AND o.order_id < $3 ORDER BY o.order_id DESC LIMIT $4"
        )
    };
}

static LIST_ORDERS: Statement = Statement {
    name: "list_orders",
    sql: list_of_orders!("true"),
    parameters: &[Type::INT8, Type::UUID, Type::UUID, Type::INT8],
};

static LIST_ORDERS_OF_ACCOUNT: Statement = Statement {
    name: "list_orders_of_account",
    sql: list_of_orders!("o.account_number = $5"),
    parameters: &[Type::INT8, Type::UUID, Type::UUID, Type::INT8, Type::INT8],
};

static LIST_ORDERS_OF_STATUS: Statement = Statement {
    name: "list_orders_of_status",
    sql: list_of_orders!("o.status = $5"),
    parameters: &[Type::INT8, Type::UUID, Type::UUID, Type::INT8, Type::TEXT],
};

/// The orders of an account are looked through, up to `$7`: an index by its account and its status the planner would not take for
/// sure.
static LIST_ORDERS_OF_ACCOUNT_AND_STATUS: Statement = Statement {
    name: "list_orders_of_account_and_status",
    sql: orders_of!(
        "SELECT o.* FROM (
             SELECT o.*, o.status = $6 AS is_asked_for,
                    row_number() OVER (ORDER BY o.order_id DESC) = $7 AS is_last_looked_at
               FROM orders o
              WHERE o.ledger_id = $1 AND o.account_number = $5 AND o.order_id >= $2 AND o.order_id < $3
              ORDER BY o.order_id DESC LIMIT $7) o
          WHERE o.is_asked_for OR o.is_last_looked_at
          ORDER BY o.order_id DESC LIMIT $4"
    ),
    parameters: &[Type::INT8, Type::UUID, Type::UUID, Type::INT8, Type::INT8, Type::TEXT, Type::INT8],
};

/// How many orders of an account are looked at for a page of one status, so that one who asks for what is rare cannot have all of
/// them read at once.
const LOOKED_AT: i64 = 1_000;

/// A page of up to `limit` orders, newest first, and the order after which the next one begins, if there may be more. Of an account
/// and a status it may be short, or empty, and not be the last.
///
/// # Errors
/// [`ReadError`].
pub async fn list_orders(
    database: &Database,
    ledger: LedgerId,
    filter: &OrderFilter,
    limit: i64,
) -> Result<(Vec<OrderRow>, Option<OrderId>), ReadError> {
    let from = Uuid::from_u128(filter.from.map_or(0, OrderId::to_bits));
    let before = Uuid::from_u128(filter.before.map_or(u128::MAX, OrderId::to_bits));
    let account = filter.account.map_or(0, |number| number.0);
    let status = filter.status.map_or("", OrderStatus::as_str);
    // One more than is told says whether there is another page.
    let told = limit.saturating_add(1);
    let looked_at = told.max(LOOKED_AT);
    let mut values: Vec<Value<'_>> = vec![&ledger.0, &from, &before, &told];
    let statement = match (filter.account, filter.status) {
        (None, None) => &LIST_ORDERS,
        (Some(_), None) => {
            values.push(&account);
            &LIST_ORDERS_OF_ACCOUNT
        }
        (None, Some(_)) => {
            values.push(&status);
            &LIST_ORDERS_OF_STATUS
        }
        (Some(_), Some(_)) => {
            values.extend([&account as Value<'_>, &status, &looked_at]);
            &LIST_ORDERS_OF_ACCOUNT_AND_STATUS
        }
    };
    let answers = read(database, ledger, &[(statement, &values)]).await?;
    let orders = answers[0].iter().map(|row| LookedAt::from_row(row, OrderRow::from_row(row)?));
    let orders = orders.collect::<Result<Vec<_>, RowError>>()?;
    Ok(pages::page(orders, limit, |row| row.order.id))
}

macro_rules! refunds_where {
    ($condition:literal) => {
        concat!(
            "SELECT r.refund_id, r.account_number, m.state_version, m.state
               FROM refund_requests r, LATERAL (
                    SELECT m.state_version, m.state::text AS state FROM payments m
                     WHERE m.ledger_id = $1 AND m.payment = r.payment OFFSET 0) m
              WHERE r.ledger_id = $1 AND ",
            $condition,
            " ORDER BY r.refund_id"
        )
    };
}

static READ_REFUND: Statement = Statement {
    name: "read_refund",
    sql: refunds_where!("r.refund_id = $2"),
    parameters: &[Type::INT8, Type::UUID],
};

static READ_REFUNDS_OF_ORDER: Statement = Statement {
    name: "read_refunds_of_order",
    sql: refunds_where!("r.order_id = $2"),
    parameters: &[Type::INT8, Type::UUID],
};

/// The refund of that id, if it was asked of us.
///
/// # Errors
/// [`ReadError`].
pub async fn find_refund(
    database: &Database,
    ledger: LedgerId,
    refund: RefundRequestId,
) -> Result<Option<RefundRow>, ReadError> {
    let id = Uuid::from_u128(refund.to_bits());
    let answers = read(database, ledger, &[(&READ_REFUND, &[&ledger.0, &id])]).await?;
    Ok(answers[0].first().map(RefundRow::from_row).transpose()?)
}

/// All refunds that were asked for of an order, in order.
///
/// # Errors
/// [`ReadError`].
pub async fn refunds_of_order(
    database: &Database,
    ledger: LedgerId,
    order: OrderId,
) -> Result<Vec<RefundRow>, ReadError> {
    let id = Uuid::from_u128(order.to_bits());
    let answers = read(database, ledger, &[(&READ_REFUNDS_OF_ORDER, &[&ledger.0, &id])]).await?;
    Ok(answers[0].iter().map(RefundRow::from_row).collect::<Result<_, _>>()?)
}

/// A dispute of a payment of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DisputeRow {
    /// Stripe's id of it.
    pub dispute: StripeId,
    /// How far it has come.
    pub status: DisputeStatus,
    /// How much is disputed, in the smallest part of the currency.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
}

static READ_PAYMENTS_OF_ORDER: Statement = Statement {
    name: "read_payments_of_order",
    sql: "SELECT m.state_version, m.state
            FROM (SELECT o.purchases FROM orders o WHERE o.ledger_id = $1 AND o.order_id = $2 OFFSET 0) o,
                 unnest(o.purchases) WITH ORDINALITY b (purchase_id, place),
                 LATERAL (SELECT p.payment FROM purchases p
                           WHERE p.ledger_id = $1 AND p.purchase_id = b.purchase_id OFFSET 0) p,
                 LATERAL (SELECT m.state_version, m.state::text AS state FROM payments m
                           WHERE m.ledger_id = $1 AND m.payment = p.payment OFFSET 0) m
           ORDER BY b.place",
    parameters: &[Type::INT8, Type::UUID],
};

/// All disputes of an order's payments, payment by payment, each as it is known.
///
/// # Errors
/// [`ReadError`].
pub async fn disputes_of_order(
    database: &Database,
    ledger: LedgerId,
    order: OrderId,
) -> Result<Vec<DisputeRow>, ReadError> {
    let id = Uuid::from_u128(order.to_bits());
    let answers = read(database, ledger, &[(&READ_PAYMENTS_OF_ORDER, &[&ledger.0, &id])]).await?;
    let mut disputes = Vec::new();
    for row in &answers[0] {
        let version = row.try_get("state_version").map_err(RowError::from)?;
        let text = row.try_get("state").map_err(RowError::from)?;
        let payment: Payment = state("payment", version, PAYMENT_STATE_VERSION, text)?;
        disputes.extend(
            payment.disputes.into_iter().map(|(dispute, (status, amount, currency))| DisputeRow {
                dispute,
                status,
                amount,
                currency,
            }),
        );
    }
    Ok(disputes)
}

macro_rules! buyers_where {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            buyer_columns!(),
            " FROM accounts a",
            with_profile!(),
            " WHERE a.ledger_id = $1 AND ",
            $condition
        )
    };
}

static READ_CUSTOMER: Statement = Statement {
    name: "read_customer",
    sql: buyers_where!("a.account_number = $2"),
    parameters: &[Type::INT8, Type::INT8],
};

static READ_ACCOUNT_OF_CUSTOMER: Statement = Statement {
    name: "read_account_of_customer",
    sql: buyers_where!("a.stripe_customer = $2"),
    parameters: &[Type::INT8, Type::TEXT],
};

/// An account as Stripe is to know it, if there is one of that number.
///
/// # Errors
/// [`ReadError`].
pub async fn find_customer(
    database: &Database,
    ledger: LedgerId,
    account: AccountNumber,
) -> Result<Option<CustomerRow>, ReadError> {
    let answers = read(database, ledger, &[(&READ_CUSTOMER, &[&ledger.0, &account.0])]).await?;
    Ok(answers[0].first().map(CustomerRow::from_row).transpose()?)
}

/// The account whose customer that is, if it is any account's.
///
/// # Errors
/// [`ReadError`].
pub async fn find_account_of_customer(
    database: &Database,
    ledger: LedgerId,
    customer: &StripeId,
) -> Result<Option<CustomerRow>, ReadError> {
    let customer = customer.as_str();
    let answers = read(database, ledger, &[(&READ_ACCOUNT_OF_CUSTOMER, &[&ledger.0, &customer])]).await?;
    Ok(answers[0].first().map(CustomerRow::from_row).transpose()?)
}

pub(super) static STATEMENTS: &[&Statement] = &[
    &READ_ORDER,
    &LIST_ORDERS,
    &LIST_ORDERS_OF_ACCOUNT,
    &LIST_ORDERS_OF_STATUS,
    &LIST_ORDERS_OF_ACCOUNT_AND_STATUS,
    &READ_REFUND,
    &READ_REFUNDS_OF_ORDER,
    &READ_PAYMENTS_OF_ORDER,
    &READ_CUSTOMER,
    &READ_ACCOUNT_OF_CUSTOMER,
];
