//! Credits sold through Stripe: checkouts, the orders behind them, and refunds of orders.

use poem_openapi::{Enum, Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::{Begun, Created, Either, Found, Written},
    auth::{Authorised, Billing, Operate, Read},
    error::{ApiError, Failure, Reading, Selling, Writing},
    filters,
    idempotency::{IdempotencyKey, fingerprint},
    notes,
    params::{Parameter, Path, Query},
    payload::Json,
    tags::Tag,
    wire::{Address, Cursor, Limit, Locale, Metadata, Nullable, Reason, TrialDays, same_variants},
};
use crate::{
    domain::{
        Command, EventBody,
        amount::{Amount, Currency},
        command::{PlaceOrder, RequestRefund},
        ids::{AccountId, InvalidName, OrderId, PriceId, PurchaseId, RefundRequestId, StripeId, Unit},
        order::{self, OrderDetails},
        payment,
        time::Timestamp,
    },
    service::{self, DisputeRow, OrderQuery, OrderRow, OrderView, PositionToken, RefundRow},
};

/// What is to be sold to whom.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewCheckoutSession {
    /// Who buys.
    pub account_id: AccountId,
    /// What.
    pub price_id: PriceId,
    /// How many of it, 1 to 10,000; 1 if absent.
    pub quantity: Option<Amount>,
    /// For how many days nothing has to be paid, 1 to 730, if the price is paid again and again.
    pub trial_days: Option<TrialDays>,
    /// The language of the page; the account's if absent.
    pub locale: Option<Locale>,
    /// Where the buyer goes after payment; the ledger's own address if absent. Its host must be allowed. `{LOCALE}`,
    /// `{ORDER_ID}` and `{CHECKOUT_SESSION_ID}` are filled in.
    pub success_url: Option<Address>,
    /// Where the buyer goes who turns back; likewise.
    pub cancel_url: Option<Address>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

/// A page where an order can be paid.
#[derive(Clone, Debug, Object)]
pub struct CheckoutSession {
    /// The order behind it.
    pub order_id: OrderId,
    /// Stripe's id of it.
    pub checkout_session_id: StripeId,
    /// Where the buyer is to be sent.
    pub url: String,
    /// Until when it can be paid.
    pub expires_at: Timestamp,
    /// The position of the last event of the command that placed the order. The page was made after it.
    pub position: i64,
}

/// How far an order has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Not paid yet.
    Placed,
    /// Paid, or free and completed.
    Paid,
    /// Nobody completed the checkout in time.
    Expired,
    /// It came to nothing.
    Failed,
}

same_variants!(OrderStatus, order::OrderStatus { Placed, Paid, Expired, Failed });

impl Parameter for OrderStatus {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let expected = "must be placed, paid, expired or failed";
        order::OrderStatus::parse(text).map(Into::into).ok_or(InvalidName { expected })
    }
}

/// Credits of one unit as they were sold.
#[derive(Clone, Debug, Object)]
pub struct SoldCredits {
    /// The unit.
    pub unit: Unit,
    /// How many, for the whole order.
    pub amount: i64,
}

/// How far a refund has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum RefundStatus {
    /// Stripe has not answered yet; money and credits are set aside.
    Requested,
    /// Stripe has it; the money is on its way.
    Pending,
    /// The money went back.
    Succeeded,
    /// The money could not be sent back; the credits are the buyer's again.
    Failed,
    /// It was called off; the credits are the buyer's again.
    Cancelled,
    /// Stripe refused; the credits are the buyer's again.
    Refused,
}

same_variants!(
    RefundStatus,
    payment::RequestStatus { Requested, Pending, Succeeded, Failed, Cancelled, Refused }
);

/// A refund that was asked for, as far as it has come.
#[derive(Clone, Debug, Object)]
pub struct OrderRefund {
    /// Which refund.
    pub refund_id: RefundRequestId,
    /// Of which purchase.
    pub purchase_id: PurchaseId,
    /// How much money, in the smallest part of the order's currency.
    pub amount: i64,
    /// How far it has come.
    pub status: RefundStatus,
    /// Stripe's id of it, once it has one.
    pub stripe_refund_id: Nullable<StripeId>,
}

impl From<RefundRow> for OrderRefund {
    fn from(row: RefundRow) -> Self {
        Self {
            refund_id: row.id,
            purchase_id: row.request.purchase,
            amount: row.request.amount,
            status: row.status.into(),
            stripe_refund_id: Nullable(row.request.refund),
        }
    }
}

/// A dispute of a payment of the order.
#[derive(Clone, Debug, Object)]
pub struct OrderDispute {
    /// Stripe's id of it.
    pub stripe_dispute_id: StripeId,
    /// How far it has come: `inquiry` (nothing is set aside), `open` (the same share of the credits is), `won`, `lost`.
    pub status: String,
    /// How much money, in the smallest part of the currency.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
}

impl From<DisputeRow> for OrderDispute {
    fn from(row: DisputeRow) -> Self {
        Self {
            stripe_dispute_id: row.dispute,
            status: row.status.as_str().to_owned(),
            amount: row.amount,
            currency: row.currency,
        }
    }
}

/// One checkout.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Order {
    /// Which order.
    pub order_id: OrderId,
    /// Who ordered.
    pub account_id: AccountId,
    /// What.
    pub price_id: PriceId,
    /// How many of it.
    pub quantity: i64,
    /// What that costs before discounts and tax, in the smallest part of the currency.
    pub subtotal: i64,
    /// The currency.
    pub currency: Currency,
    /// What it grants when it is paid.
    pub credits: Vec<SoldCredits>,
    /// How far it has come.
    pub status: OrderStatus,
    /// Why it came to nothing, if it did: `payment_failed`, `refused` (Stripe would not make the page) or `given_up`.
    pub failure: Option<String>,
    /// Stripe's id of the page where it is paid; `null` until Stripe has made it.
    pub checkout_session_id: Nullable<StripeId>,
    /// Where the buyer is to be sent; `null` until Stripe has made the page.
    pub url: Nullable<String>,
    /// Until when it can be paid.
    pub expires_at: Nullable<Timestamp>,
    /// What was bought with it: one purchase for each payment. More than one means that it was paid twice.
    pub purchase_ids: Vec<PurchaseId>,
    /// Whether it was paid more than once: one payment is to be refunded.
    pub paid_twice: bool,
    /// Refunds that were asked for; in answers about one order.
    pub refunds: Option<Vec<OrderRefund>>,
    /// What is or was disputed of its payments; in answers about one order.
    pub disputes: Option<Vec<OrderDispute>>,
    /// When it was placed.
    pub created_at: Timestamp,
    /// In the answer to the checkout that placed it: the position of the command's last event; absent elsewhere.
    pub position: Option<i64>,
}

impl Order {
    /// As it stands in a list.
    fn listed(row: OrderRow) -> Self {
        let order = row.order;
        let sold = order.sold.into_iter();
        Self {
            order_id: order.id,
            account_id: row.buyer.account,
            price_id: order.price,
            quantity: order.quantity,
            subtotal: order.subtotal,
            currency: order.currency,
            credits: sold.map(|sold| SoldCredits { unit: sold.unit, amount: sold.amount.get() }).collect(),
            status: order.status.into(),
            failure: order.failure.map(|failure| failure.as_str().to_owned()),
            checkout_session_id: Nullable(order.session),
            url: Nullable(row.session_url),
            expires_at: Nullable(order.session_expires_at),
            paid_twice: order.paid_sessions.len() > 1,
            purchase_ids: order.purchases,
            refunds: None,
            disputes: None,
            created_at: order.placed_at,
            position: None,
        }
    }

    /// With everything that became of its money.
    fn whole(view: OrderView) -> Self {
        Self {
            refunds: Some(view.refunds.into_iter().map(Into::into).collect()),
            disputes: Some(view.disputes.into_iter().map(Into::into).collect()),
            ..Self::listed(view.row)
        }
    }
}

/// A page of orders.
#[derive(Clone, Debug, Object)]
pub struct OrderList {
    /// The orders, newest first.
    pub items: Vec<Order>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// What is to go back.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewOrderRefund {
    /// How much money, in the smallest part of the order's currency; all that is left if absent.
    pub amount: Option<Amount>,
    /// Why, for people.
    pub reason: Option<Reason>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

/// A refund that was asked for.
#[derive(Clone, Debug, Object)]
pub struct RequestedRefund {
    /// Which refund.
    pub refund_id: RefundRequestId,
    /// Of which order.
    pub order_id: OrderId,
    /// Of which purchase.
    pub purchase_id: PurchaseId,
    /// How much money, in the smallest part of the currency.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
    /// `requested`: Stripe has not answered yet. The order tells how it goes on.
    pub status: RefundStatus,
    /// The position of the command's last event.
    pub position: i64,
    /// When it was asked for.
    pub recorded_at: Timestamp,
}

/// The resource.
pub struct Orders;

#[OpenApi(tag = "Tag::Orders")]
impl Orders {
    /// Begin a checkout
    ///
    /// Places an order and answers with Stripe's page where the buyer pays it. If Stripe is slow the answer is 202 with the
    /// order, whose `url` is there when it is read again later; a repeat with the same key waits once more.
    #[oai(path = "/v1/checkout-sessions", method = "post", operation_id = "create_checkout_session")]
    async fn check_out(
        &self,
        caller: Authorised<Billing>,
        /// Marks repeats of this request: they lead to the same order.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<NewCheckoutSession>,
    ) -> Result<Either<Created<CheckoutSession>, Begun<Order>>, Failure<Selling>> {
        let print = fingerprint("POST /v1/checkout-sessions", &[], &body.sent);
        let new = body.content;
        let command = Command::PlaceOrder(PlaceOrder {
            account: new.account_id,
            price: new.price_id,
            quantity: new.quantity.unwrap_or(Amount::ONE),
            trial_days: new.trial_days.map(TrialDays::get),
            details: OrderDetails {
                locale: new.locale.map(|locale| locale.0),
                success_url: new.success_url.map(|address| address.0),
                cancel_url: new.cancel_url.map(|address| address.0),
            },
            note: notes::note(None, new.metadata),
        });
        let checked_out = caller.check_out(command, key.0, print, placed).await;
        let service::CheckedOut { accepted, order } =
            checked_out.map_err(|error| ApiError::from(error).about(Some("quantity")))?;
        let position = Written::of(&accepted).position().ok_or_else(ApiError::internal)?;
        let session = order.order.session.clone().zip(order.order.session_expires_at);
        Ok(match (session, order.session_url.clone()) {
            (Some((session, expires_at)), Some(url)) => {
                let order_id = order.order.id;
                let body =
                    CheckoutSession { order_id, checkout_session_id: session, url, expires_at, position };
                Either::One(Created::new(&accepted, body))
            }
            _ => {
                let body = Order { position: Some(position), ..Order::listed(order) };
                Either::Other(Begun::new(&accepted, body))
            }
        })
    }

    /// Read an order
    #[oai(path = "/v1/orders/:order", method = "get", operation_id = "read_order")]
    async fn read(
        &self,
        caller: Authorised<Read>,
        /// The order.
        order: Path<OrderId>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
    ) -> Result<Found<Order>, Failure<Reading>> {
        let view = caller.service.order(&caller.caller, order.0, min_position.0).await?;
        Ok(Found(Order::whole(view)))
    }

    /// List orders
    ///
    /// Newest first. Of an account and a status a page may be short, or empty, and not be the last: `next_cursor` says.
    #[oai(path = "/v1/orders", method = "get", operation_id = "list_orders")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the interface")]
    async fn list(
        &self,
        caller: Authorised<Read>,
        /// Only orders of this account.
        account_id: Query<AccountId>,
        /// Only orders of this status.
        status: Query<OrderStatus>,
        /// Only orders placed then or later.
        created_from: Query<Timestamp>,
        /// Only orders placed before.
        created_until: Query<Timestamp>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<OrderList>, Failure<Reading>> {
        let query = OrderQuery {
            account: account_id.0,
            status: status.0.map(Into::into),
            created: filters::time_range("created", created_from, created_until)?,
            after: cursor.0.map(|cursor| cursor.place()).transpose()?,
            limit: limit.0.unwrap_or_default().into(),
        };
        let page = caller.service.orders(&caller.caller, query).await?;
        Ok(Found(OrderList {
            items: page.orders.into_iter().map(Order::listed).collect(),
            next_cursor: Nullable(page.next.map(|order| Cursor::of(&order))),
        }))
    }

    /// Refund an order
    ///
    /// In part or whole. The same share of its credits is set aside at once, is taken when Stripe has sent the money, and
    /// is given back if Stripe refuses or the refund fails.
    #[oai(path = "/v1/orders/:order/refunds", method = "post", operation_id = "refund_order")]
    async fn refund(
        &self,
        caller: Authorised<Operate>,
        /// Marks repeats of this request: they are answered as it was, and nothing is refunded twice.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The order.
        order: Path<OrderId>,
        body: Json<NewOrderRefund>,
    ) -> Result<Created<RequestedRefund>, Failure<Writing>> {
        let name = order.0.to_string();
        let print = fingerprint("POST /v1/orders/{order}/refunds", &[&name], &body.sent);
        let NewOrderRefund { amount, reason, metadata } = body.content;
        let note = notes::note(reason, metadata);
        let command = Command::RequestRefund(RequestRefund { order: order.0, amount, note });
        let accepted = caller.submit(command, Some(key.0), print).await;
        let accepted = accepted.map_err(|error| ApiError::from(error).about(amount.map(|_| "amount")))?;
        let written = Written::of(&accepted);
        let (_, requested) = written.find(|body| match body {
            EventBody::RefundRequested(requested) => Some(requested),
            _ => None,
        })?;
        let (position, recorded_at) = written.end().ok_or_else(ApiError::internal)?;
        let answer = RequestedRefund {
            refund_id: requested.refund,
            order_id: order.0,
            purchase_id: requested.purchase,
            amount: requested.amount,
            currency: requested.currency,
            status: RefundStatus::Requested,
            position,
            recorded_at,
        };
        Ok(Created::new(&accepted, answer))
    }
}

/// The order that a command has placed.
fn placed(accepted: &service::Accepted) -> Option<OrderId> {
    accepted.events.iter().find_map(|event| match &event.body {
        EventBody::OrderPlaced(placed) => Some(placed.order),
        _ => None,
    })
}
