//! What every account must have in the end, by plain arithmetic over what Stripe shows and what callers were told.
//!
//! Nothing here knows lots, draws or the order in which things happened. For what lasts, none of it matters: credits bought,
//! less those spent, less the share whose money went back; below nothing it is debt. Of what expires, nothing is left, and
//! only what was spent of it beyond the share that was paid for is owed.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    month_plan::{Act, Price, SHORT, SHORT_LIVES},
    month_stage::Life,
};

/// What is left, and what is owed, of credits and of licences.
pub type Balances = [(i64, i64); 2];

/// What Stripe has in the end.
pub struct Evidence {
    /// Completed sessions that were paid, or free, by account.
    sold: BTreeMap<String, Vec<Sold>>,
}

/// A session that was paid for.
struct Sold {
    price: &'static Price,
    quantity: i64,
    /// What was paid, in cents.
    paid: i64,
    /// What went back for good.
    back: i64,
}

impl Evidence {
    /// Reads sessions and refunds.
    pub fn read(sessions: &[Value], refunds: &[Value]) -> Self {
        let mut back: BTreeMap<&str, i64> = BTreeMap::new();
        for refund in refunds {
            if refund["status"] == "succeeded" {
                *back.entry(text(&refund["payment_intent"])).or_default() += number(&refund["amount"]);
            }
        }
        let mut sold: BTreeMap<String, Vec<Sold>> = BTreeMap::new();
        for session in sessions {
            let is_paid = session["payment_status"] == "paid"
                || (session["payment_status"] == "no_payment_required" && session["status"] == "complete");
            if !is_paid {
                continue;
            }
            let marks = &session["metadata"];
            let paid = number(&session["amount_total"]);
            sold.entry(text(&marks["account_id"]).to_owned()).or_default().push(Sold {
                price: Price::find(text(&marks["price_id"])),
                quantity: text(&marks["quantity"]).parse().expect("a quantity"),
                paid,
                back: session["payment_intent"]
                    .as_str()
                    .map_or(0, |payment| back.get(payment).copied().unwrap_or_default()),
            });
        }
        Self { sold }
    }

    /// How many sales there were.
    pub fn sales(&self) -> usize {
        self.sold.values().map(Vec::len).sum()
    }

    /// What an account must have.
    pub fn balances(&self, life: &Life) -> Balances {
        let nothing = Vec::new();
        let sold = self.sold.get(&life.script.account).unwrap_or(&nothing);
        let expiry =
            life.script.days.iter().position(|acts| acts.iter().any(is_short)).map(|day| day + SHORT_LIVES);
        let of_short: i64 = spent(life, |day| expiry.is_some_and(|expiry| day < expiry));
        let mut credits = of_short - spent(life, |_| true);
        let mut licences = 0;
        for sale in sold {
            let bought = sale.price.credits * sale.quantity;
            let kept = bought - sale.share_that_went_back(bought);
            credits += if sale.price.id == SHORT.id { (kept - of_short).min(0) } else { kept };
            let bought = sale.price.licences * sale.quantity;
            licences += bought - sale.share_that_went_back(bought);
        }
        [credits, licences].map(|left| (left.max(0), (-left).max(0)))
    }
}

impl Sold {
    /// Of so many credits, those whose money went back: no fraction of one.
    fn share_that_went_back(&self, bought: i64) -> i64 {
        if self.paid == 0 { 0 } else { bought * self.back.min(self.paid) / self.paid }
    }
}

fn is_short(act: &Act) -> bool {
    matches!(act, Act::Buy { price, .. } if price.id == SHORT.id)
}

fn spent(life: &Life, counts: impl Fn(usize) -> bool) -> i64 {
    life.spent.iter().filter(|(day, _)| counts(*day)).map(|(_, amount)| amount).sum()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}
