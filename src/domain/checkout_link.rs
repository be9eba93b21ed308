//! A link by which a price can be bought for an account, by whoever has it.
//!
//! Invariant: a link is for one account, one price and one quantity; what that costs and grants is settled each time that
//! an order is placed by it, as for any other order.

use super::{
    amount::Amount,
    ids::{AccountNumber, CheckoutLinkId, PriceId},
    time::Timestamp,
};

/// A link that was not revoked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckoutLink {
    /// Which link.
    pub id: CheckoutLinkId,
    /// Who gets what is bought by it.
    pub account: AccountNumber,
    /// What can be bought.
    pub price: PriceId,
    /// How many of it at once.
    pub quantity: Amount,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

impl CheckoutLink {
    /// Whether it has stopped working by itself.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}
