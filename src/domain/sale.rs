//! What a price is sold for at this moment, so that whoever shows it and whoever sells it say the same.

use super::{
    amount::{Amount, Currency, MAX_AMOUNT},
    catalogue::Price,
    ids::Unit,
    listing::PriceMode,
    order::{LONGEST_TRIAL_DAYS, MAX_QUANTITY, Order, OrderedSubscription, SoldCredits},
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
    /// What it grants: now, or for each period.
    pub sold: Vec<SoldCredits>,
    /// How it is paid.
    pub mode: PriceMode,
    /// For how many days nothing has to be paid, if it is paid again and again.
    pub trial_days: Option<u32>,
}

impl Sale {
    /// The sale of `quantity` of a price, which begins with a trial if it says so.
    ///
    /// # Errors
    /// In this order: the price is not active; the quantity; the sums of money and of credits; the trial.
    pub fn of(price: &Price, quantity: Amount, trial_days: Option<u32>) -> Result<Self, Rejection> {
        if !price.active {
            return Err(Rejection::PriceInactive { price: price.price.clone() });
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
        let mode = price.mode();
        check_trial(mode, trial_days)?;
        Ok(Self { quantity: quantity.get(), subtotal, currency: price.currency, sold, mode, trial_days })
    }

    /// How its subscription begins, if it is paid again and again.
    pub fn subscription(&self) -> Option<OrderedSubscription> {
        let begins = OrderedSubscription { trial_days: self.trial_days };
        matches!(self.mode, PriceMode::Recurring(_)).then_some(begins)
    }

    /// Whether the order sells just this.
    pub fn is_of(&self, order: &Order) -> bool {
        (self.quantity, self.subtotal, self.currency) == (order.quantity, order.subtotal, order.currency)
            && (&self.sold, self.subscription()) == (&order.sold, order.subscription)
    }
}

fn check_trial(mode: PriceMode, trial_days: Option<u32>) -> Result<(), Rejection> {
    let problem = match (mode, trial_days) {
        (_, None) | (PriceMode::Recurring(_), Some(1..=LONGEST_TRIAL_DAYS)) => return Ok(()),
        (PriceMode::OneTime, Some(_)) => "is for prices that are paid again and again",
        (PriceMode::Recurring(_), Some(_)) => "must be 1 to 730",
    };
    Err(Rejection::InvalidConfiguration { field: "trial_days", problem })
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
