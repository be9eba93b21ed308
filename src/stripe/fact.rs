//! What a webhook can tell the ledger, as far as Stripe alone knows it.
//!
//! Whether an account or a price is known is not known here.
//!
//! Invariants: money is in the currency that the payment was made in, never one that was only shown to the
//! buyer. E-mail addresses and names are not read.

use crate::domain::{
    amount::{Amount, PaidMoney},
    command::PaidOrder,
    ids::{OrderId, PriceId, StripeId, Unit},
    listing::{Listing, ProductListing},
    payment::PaymentFact,
    subscription::{Period, SubscriptionTerms},
};

/// One thing that happened at Stripe and concerns the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A checkout was completed and its money is there.
    SessionPaid(PaidSession),
    /// A checkout with an order of ours ended without payment.
    SessionClosed(ClosedSession),
    /// Money of a payment went back, is on its way back, or came back to us after all.
    PaymentReport(PaymentReport),
    /// A credit note gave money of a payment back that Stripe does not know.
    CreditedElsewhere(CreditedElsewhere),
    /// A price was made, changed or deleted.
    PriceTold(PriceReport),
    /// A product was made, changed or deleted.
    ProductTold(ProductReport),
    /// A customer was deleted, `cus_…`.
    CustomerDeleted(StripeId),
    /// A checkout began a subscription.
    SubscriptionBegun(BegunSubscription),
    /// A subscription was made, changed or ended.
    SubscriptionTold(SubscriptionReport),
    /// An invoice of a subscription was paid.
    InvoicePaid(PaidInvoice),
}

/// A paid checkout, or one whose price was zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaidSession {
    /// The session, `cs_…`.
    pub session: StripeId,
    /// Who bought, if the session says so.
    pub account: Option<AccountMarker>,
    /// The order of ours that the session was made for.
    pub order: Option<PaidOrder>,
    /// What was sold, if the metadata says it in credits.
    pub credits: Option<StatedCredits>,
    /// What was sold by price: from the metadata or, where that names none, from the line items.
    pub prices: Vec<SoldPrice>,
    /// All that was charged: tax and shipping included, discounts taken off.
    pub money: PaidMoney,
    /// The payment intent; none only if nothing had to be paid.
    pub payment_intent: Option<StripeId>,
}

/// The account that a session names, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountMarker {
    /// In the metadata's `account_id`: whoever made the session knew of us.
    Metadata(String),
    /// In `client_reference_id` alone, which other products use as well.
    Reference(String),
}

impl AccountMarker {
    /// The account's id, as the session gives it.
    #[must_use]
    pub fn account_id(&self) -> &str {
        match self {
            Self::Metadata(id) | Self::Reference(id) => id,
        }
    }

    /// The path of the field that it stands in.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Metadata(_) => "data.object.metadata.account_id",
            Self::Reference(_) => "data.object.client_reference_id",
        }
    }
}

/// Credits as a session's metadata states them: for the whole session, whatever the quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatedCredits {
    /// How many, in the unit's smallest part.
    pub amount: Amount,
    /// The unit; none if the metadata names none.
    pub unit: Option<Unit>,
}

/// How many of one price were sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoldPrice {
    /// The price, `price_…`.
    pub price: PriceId,
    /// How many of it.
    pub quantity: Amount,
}

/// A checkout that ended without payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedSession {
    /// The session, `cs_…`.
    pub session: StripeId,
    /// The order of ours that it was made for.
    pub order: OrderId,
    /// How it ended.
    pub ending: SessionEnding,
}

/// How a checkout ended without payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnding {
    /// Nobody completed it in time.
    Expired,
    /// It was completed, but the money never came.
    PaymentFailed,
}

/// What an event says about money of one payment that does not stay with us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentReport {
    /// The payment.
    pub payment_intent: StripeId,
    /// At least one; single refunds stand before the sum of them, so that the sum never tells more than they do.
    pub facts: Vec<PaymentFact>,
}

/// A credit note that gave something back of an invoice that no payment of Stripe's paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditedElsewhere {
    /// The note, `cn_…`.
    pub note: StripeId,
    /// What paid the invoice.
    pub paid_by: PaidElsewhere,
    /// The subscription that the invoice is of, if it is of one.
    pub subscription: Option<StripeId>,
    /// Whose it is at Stripe, `cus_…`.
    pub customer: Option<StripeId>,
}

/// What pays an invoice if no payment of Stripe's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaidElsewhere {
    /// Money that did not come through Stripe.
    OutsideOfStripe,
    /// The customer's balance at Stripe, all of it.
    Balance,
}

/// How a price is at Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceReport {
    /// The price, `price_…`.
    pub price: PriceId,
    /// How it is.
    pub listing: Listing,
}

/// A completed checkout of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BegunSubscription {
    /// The session, `cs_…`.
    pub session: StripeId,
    /// The subscription, `sub_…`.
    pub subscription: StripeId,
    /// Who subscribed, if the session says so.
    pub account: Option<AccountMarker>,
    /// The order of ours that the session was made for.
    pub order: Option<OrderId>,
}

/// How a subscription is at Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionReport {
    /// The subscription, `sub_…`.
    pub subscription: StripeId,
    /// Whose it is at Stripe, `cus_…`.
    pub customer: Option<StripeId>,
    /// Whose it is, if its metadata says so.
    pub account: Option<AccountMarker>,
    /// The order of ours that it began with.
    pub order: Option<OrderId>,
    /// How it is.
    pub terms: SubscriptionTerms,
}

/// A paid invoice of a subscription, or one of which nothing had to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaidInvoice {
    /// The invoice, `in_…`.
    pub invoice: StripeId,
    /// The subscription, `sub_…`.
    pub subscription: StripeId,
    /// Whose it is at Stripe, `cus_…`.
    pub customer: Option<StripeId>,
    /// Whose it is, if the subscription's metadata says so.
    pub account: Option<AccountMarker>,
    /// The order of ours that the subscription began with.
    pub order: Option<OrderId>,
    /// The payment intent; none if nothing had to be paid, or it was paid outside of Stripe.
    pub payment_intent: Option<StripeId>,
    /// All that was paid.
    pub money: PaidMoney,
    /// What it came to: that, and what the customer's balance paid.
    pub came_to: PaidMoney,
    /// Whether it was made for a change of the subscription.
    pub is_change: bool,
    /// All of its lines.
    pub lines: Vec<InvoicedLine>,
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvoicedLine {
    /// The line, `il_…`.
    pub line: StripeId,
    /// The price, if it is of the subscription and has one.
    pub price: Option<PriceId>,
    /// How many of it; none if it is for none at all.
    pub quantity: Option<Amount>,
    /// What it costs before discounts and added tax, signed.
    pub amount: i64,
    /// What it is paid for.
    pub period: Period,
    /// Whether it is for a part of a period, after a change.
    pub prorated: bool,
}

/// How a product is at Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductReport {
    /// The product, `prod_…`.
    pub product: StripeId,
    /// How it is.
    pub listing: ProductListing,
}
