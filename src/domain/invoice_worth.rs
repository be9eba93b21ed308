//! What a line of a subscription's invoice grants (rule 9): asked when it is paid, and before somebody decides to pay it.

use std::collections::BTreeMap;

use super::{
    amount::{Amount, proportion},
    catalogue::{Catalogue, Price},
    command::{ProratedLine, SoldLine},
    evolve::DEFAULT_PRIORITY,
    ids::{PriceId, Unit},
    rejection::Rejection,
    settings::SubscriptionRules,
    subscription::Subscription,
    time::Timestamp,
};

/// What a line grants of one unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineGrant {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: Amount,
    /// Their spending priority.
    pub priority: u8,
    /// Their share of the line's money, as a weight among the line's grants.
    pub share: i64,
}

/// What a line is worth.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Worth {
    /// What it grants.
    pub grants: Vec<LineGrant>,
    /// What changes within the period are worth, signed.
    pub changes: Option<BTreeMap<Unit, i64>>,
    /// The price and how many of it, if it is one.
    pub price: Option<(PriceId, i64)>,
    /// Whether it is of a trial.
    pub is_trial: bool,
}

/// What decides on the worth of a line.
#[derive(Clone, Copy, Debug)]
pub struct LineRules<'a> {
    /// What prices grant.
    pub catalogue: &'a Catalogue,
    /// What trials grant.
    pub subscriptions: &'a SubscriptionRules,
    /// Whether the account has had its trial.
    pub had_trial: bool,
}

impl LineRules<'_> {
    /// What a line is worth, of a subscription as far as it is known; `period_end` is that of the period that it is about.
    ///
    /// # Errors
    /// [`Rejection::UnknownPrice`], [`Rejection::AmountTooLarge`].
    pub fn worth(
        &self,
        known: Option<&Subscription>,
        sold: &SoldLine,
        period_end: Timestamp,
    ) -> Result<Worth, Rejection> {
        match sold {
            SoldLine::Period { price, quantity, is_free: true } => {
                let price = Some((price.clone(), quantity.get()));
                Ok(Worth { grants: self.trial(), price, is_trial: true, ..Worth::default() })
            }
            SoldLine::Period { price, quantity, is_free: false } => {
                let grants = whole_period(self.find_price(price)?, *quantity)?;
                Ok(Worth { grants, price: Some((price.clone(), quantity.get())), ..Worth::default() })
            }
            SoldLine::Changes { lines, replaced } => self.changes(known, lines, period_end, *replaced),
        }
    }

    fn find_price(&self, price: &PriceId) -> Result<&Price, Rejection> {
        let known = self.catalogue.prices.get(price);
        known.ok_or_else(|| Rejection::UnknownPrice { price: price.clone() })
    }

    /// What the ledger grants for a trial, if the account has not had it.
    fn trial(&self) -> Vec<LineGrant> {
        if self.had_trial {
            return Vec::new();
        }
        let grant = |(unit, amount): (&Unit, &Amount)| LineGrant {
            unit: unit.clone(),
            amount: *amount,
            priority: DEFAULT_PRIORITY,
            share: 1,
        };
        self.subscriptions.trial_credits.iter().map(grant).collect()
    }

    /// What changes are worth, and what is granted for them besides what was granted before. A line is worth as much of
    /// what its price grants as it costs of what the price costs, rounded down.
    fn changes(
        &self,
        known: Option<&Subscription>,
        lines: &[ProratedLine],
        period_end: Timestamp,
        replaced: Option<Timestamp>,
    ) -> Result<Worth, Rejection> {
        let mut credits: BTreeMap<Unit, i64> = BTreeMap::new();
        let mut ways: BTreeMap<Unit, (u8, i64)> = BTreeMap::new();
        for line in lines {
            let price = self.find_price(&line.price)?;
            for grant in price.grants.iter().filter(|_| price.money > 0) {
                let worth = proportion(grant.amount.get(), line.amount, price.money);
                let sum = credits.entry(grant.unit.clone()).or_default();
                *sum = sum.saturating_add(worth);
                if line.amount > 0 || !ways.contains_key(&grant.unit) {
                    ways.insert(grant.unit.clone(), (grant.priority, i64::from(grant.share)));
                }
            }
        }
        let mut grants = Vec::new();
        for (unit, change) in &credits {
            let (expected, granted) =
                known.map_or((0, 0), |known| known.changes_of(period_end, replaced, unit));
            let due = expected.saturating_add(*change).saturating_sub(granted);
            if due > 0 {
                let amount =
                    Amount::new(due).ok_or_else(|| Rejection::AmountTooLarge { unit: unit.clone() })?;
                let (priority, share) = ways[unit];
                grants.push(LineGrant { unit: unit.clone(), amount, priority, share });
            }
        }
        Ok(Worth { grants, changes: Some(credits), ..Worth::default() })
    }
}

fn whole_period(price: &Price, quantity: Amount) -> Result<Vec<LineGrant>, Rejection> {
    let grants = price.grants.iter().map(|grant| {
        let too_large = || Rejection::AmountTooLarge { unit: grant.unit.clone() };
        Ok(LineGrant {
            unit: grant.unit.clone(),
            amount: grant.amount.times(quantity).ok_or_else(too_large)?,
            priority: grant.priority,
            share: i64::from(grant.share),
        })
    });
    grants.collect()
}
