//! Customers, checkouts, and refunds that are asked of us.

use super::Note;
use crate::domain::{
    amount::Amount,
    event::LinkCause,
    ids::{
        AccountId, AccountNumber, CheckoutLinkId, OrderId, PaymentReference, PriceId, RefundRequestId,
        StripeId,
    },
    order::{OrderDetails, OrderEnding},
    payment::RefundRefusal,
    time::Timestamp,
};

/// See [`Command::LinkCustomer`].
#[derive(Clone, PartialEq, Debug)]
pub struct LinkCustomer {
    /// Whose.
    pub account: AccountNumber,
    /// The customer.
    pub customer: StripeId,
    /// Whether we made it, or were told of it.
    pub cause: LinkCause,
}

/// See [`Command::UnlinkCustomer`].
#[derive(Clone, PartialEq, Debug)]
pub struct UnlinkCustomer {
    /// Whose.
    pub account: AccountNumber,
    /// The customer that is no longer there; none if only the order's session is to be made anew, with whatever customer
    /// the account has or gets.
    pub customer: Option<StripeId>,
    /// The order whose session could not be made for want of a customer.
    pub order: Option<OrderId>,
}

/// See [`Command::PlaceOrder`].
#[derive(Clone, PartialEq, Debug)]
pub struct PlaceOrder {
    /// Who orders.
    pub account: AccountId,
    /// What.
    pub price: PriceId,
    /// How many of it.
    pub quantity: Amount,
    /// For how many days nothing has to be paid, if it is paid again and again.
    pub trial_days: Option<u32>,
    /// Language and addresses of the checkout.
    pub details: OrderDetails,
    /// Metadata.
    pub note: Note,
}

/// See [`Command::CreateCheckoutLink`].
#[derive(Clone, PartialEq, Debug)]
pub struct CreateCheckoutLink {
    /// Who gets what is bought by it.
    pub account: AccountId,
    /// What can be bought.
    pub price: PriceId,
    /// How many of it at once.
    pub quantity: Amount,
    /// When it stops working; never if absent.
    pub expires_at: Option<Timestamp>,
    /// Language and addresses of the checkouts.
    pub details: OrderDetails,
    /// Metadata.
    pub note: Note,
}

/// See [`Command::RevokeCheckoutLink`].
#[derive(Clone, PartialEq, Debug)]
pub struct RevokeCheckoutLink {
    /// The link.
    pub link: CheckoutLinkId,
}

/// See [`Command::FollowCheckoutLink`].
#[derive(Clone, PartialEq, Debug)]
pub struct FollowCheckoutLink {
    /// The link.
    pub link: CheckoutLinkId,
    /// Language and addresses of the checkout.
    pub details: OrderDetails,
    /// How the addresses of the link's own pages begin: they may be led back to, whatever hosts the ledger allows.
    pub own_pages: String,
}

/// See [`Command::RecordSession`].
#[derive(Clone, PartialEq, Debug)]
pub struct RecordSession {
    /// Of which order.
    pub order: OrderId,
    /// The checkout session.
    pub session: StripeId,
    /// The address of its page.
    pub url: String,
    /// Until when it can be paid.
    pub expires_at: Timestamp,
}

/// See [`Command::CloseOrder`].
#[derive(Clone, PartialEq, Debug)]
pub struct CloseOrder {
    /// Which order.
    pub order: OrderId,
    /// The session that ended, if there was one.
    pub session: Option<StripeId>,
    /// How.
    pub ending: OrderEnding,
}

/// See [`Command::RequestRefund`].
#[derive(Clone, PartialEq, Debug)]
pub struct RequestRefund {
    /// Which order.
    pub order: OrderId,
    /// How much, in the smallest part of the currency that was paid in; all that is left of one payment if absent.
    pub amount: Option<Amount>,
    /// Reason and metadata.
    pub note: Note,
}

/// See [`Command::RefuseRefund`].
#[derive(Clone, PartialEq, Debug)]
pub struct RefuseRefund {
    /// Which refund.
    pub refund: RefundRequestId,
    /// The payment that it was asked of.
    pub payment: PaymentReference,
    /// Why.
    pub reason: RefundRefusal,
}
