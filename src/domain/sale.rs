//! What a price would be sold for now, so that whoever shows it and whoever sells it say the same.

use super::{
    amount::{Amount, Currency, MAX_AMOUNT},
    catalogue::Price,
    ids::Unit,
    listing::PriceMode,
    order::{MAX_QUANTITY, Order, SoldCredits},
    rejection::Rejection,
};

/// What is sold, and for how much.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sale {
    /// How many of the price.
    pub quantity: i64,
    /// What that costs before discounts, tax and shipping, in the currency's smallest part.
    pub subtotal: i64,
    /// The currency of it.
    pub currency: Currency,
    /// What it grants.
    pub sold: Vec<SoldCredits>,
}

impl Sale {
    /// The sale of `quantity` of a price.
    ///
    /// # Errors
    /// In this order: the price is not active, is not paid once; the quantity; the sums of money and of credits.
    pub fn of(price: &Price, quantity: Amount) -> Result<Self, Rejection> {
        if !price.active {
            return Err(Rejection::PriceInactive { price: price.price.clone() });
        }
        if price.mode() != PriceMode::OneTime {
            return Err(Rejection::PriceIsRecurring { price: price.price.clone() });
        }
        if quantity.get() > MAX_QUANTITY {
            let problem = "must be 1 to 10000";
            return Err(Rejection::InvalidConfiguration { field: "quantity", problem });
        }
        let subtotal = price.money.checked_mul(quantity.get()).filter(|subtotal| *subtotal <= MAX_AMOUNT);
        let Some(subtotal) = subtotal else {
            let problem = "is so much that the money would go beyond 2^53 - 1";
            return Err(Rejection::InvalidConfiguration { field: "quantity", problem });
        };
        let sold = sold(price, quantity)?;
        Ok(Self { quantity: quantity.get(), subtotal, currency: price.currency, sold })
    }

    /// Whether the order sells just this.
    pub fn is_of(&self, order: &Order) -> bool {
        (self.quantity, self.subtotal, self.currency) == (order.quantity, order.subtotal, order.currency)
            && self.sold == order.sold
    }
}

fn sold(price: &Price, quantity: Amount) -> Result<Vec<SoldCredits>, Rejection> {
    let too_large = |unit: &Unit| Rejection::AmountTooLarge { unit: unit.clone() };
    let grants = price.grants.iter().map(|grant| {
        Ok(SoldCredits {
            unit: grant.unit.clone(),
            amount: grant.amount.times(quantity).ok_or_else(|| too_large(&grant.unit))?,
            expires_days: grant.expires_days,
            priority: grant.priority,
            share: grant.share,
        })
    });
    grants.collect()
}
