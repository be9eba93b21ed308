//! The words of stories about subscriptions.
//!
//! ```text
//! rules grace 3 rollover 40 trial 25          what the ledger lets subscriptions do (`none`, `all` or a number)
//! price price_plan rollover 40                what a price says of it, whatever the ledger's rules are (`rules`: as they are)
//! begin sub_1 cs_1 of o                       a checkout began it
//! told sub_1 past_due as 2                    Stripe tells how it is, as of the second moment
//! invoice in_1 il_1 sub_1 price_plan x 2 for 2000 from 0d to 30d via pi_1
//!                                             a line of an invoice was paid; `of 2500` for the whole invoice
//! trial in_1 il_1 sub_1 price_plan from 0d to 14d
//! change in_2 il_2 sub_1 price_plan -500 price_plus 1500 for 1000 from 15d to 30d via pi_2
//!                                             signed prices of a change; `replacing 30d` if it began a new period
//! ```

use super::*;
use crate::domain::{
    settings::{Rollover, SubscriptionRules},
    subscription::{Period, SubscribedPrice, SubscriptionStatus, SubscriptionTerms},
};

/// A story of a ledger that also sells `price_plan` (100 credits for 1000), `price_plus` (300 credits for 3000), `price_soon`
/// (the same, to be used before others), `price_duo` (100 credits and 10 bonus for 1000), and gives `price_free` (20 credits)
/// away.
pub(super) fn subscriptions(text: &str) -> Story {
    let mut story = Story::new();
    let duo = vec![price_grant("credits", 100, 3), price_grant("bonus", 10, 1)];
    for price in [
        price("price_plan", 1_000, vec![price_grant("credits", 100, 1)]),
        price("price_plus", 3_000, vec![price_grant("credits", 300, 1)]),
        price("price_soon", 3_000, vec![PriceGrant { priority: 10, ..price_grant("credits", 300, 2) }]),
        price("price_duo", 1_000, duo),
        price("price_free", 0, vec![price_grant("credits", 20, 1)]),
    ] {
        story.run(&Command::SetPrice(price.into())).expect("a valid price");
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        story.tell(line);
    }
    story
}

fn rollover(word: &str) -> Rollover {
    match word {
        "none" => Rollover::None,
        "all" => Rollover::All,
        most => Rollover::Capped(amount(most.parse().expect("a number"))),
    }
}

fn moment(text: &str) -> Timestamp {
    start().plus(span(text))
}

impl Story {
    /// `rules`: what is no command of an account.
    pub(super) fn set_rules(&mut self, words: &[&str]) {
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1).copied()
        };
        let number = |text: &str| -> i64 { text.parse().expect("a number") };
        let subscriptions = SubscriptionRules {
            renewal_grace_days: after("grace").map_or(3, |text| text.parse().expect("days")),
            rollover: rollover(after("rollover").unwrap_or("none")),
            trial_credits: after("trial")
                .map(|text| (unit("credits"), amount(number(text))))
                .into_iter()
                .collect(),
        };
        let settings = LedgerSettings { subscriptions, ..self.state.settings.clone() };
        self.run(&Command::ConfigureLedger(settings)).expect("valid rules");
    }

    /// `price … rollover`: what the operator says of a price.
    pub(super) fn set_rollover(&mut self, price: &str, word: &str) {
        let price = self.state.catalogue.prices[&PriceId::parse(price).expect("a price")].clone();
        let rollover = (word != "rules").then(|| rollover(word));
        self.run(&Command::SetPrice(Price { rollover, ..price }.into())).expect("a valid price");
    }

    pub(super) fn billing_command(&mut self, verb: &str, words: &mut Words<'_>) -> Command {
        match verb {
            "begin" => Command::StartSubscription(StartSubscription {
                subscription: stripe(words.next()),
                subscriber: Some(Subscriber::Named(self.account.clone())),
                session: stripe(words.next()),
                order: words.after("of").map(|name| self.order(name)),
            }),
            "told" => {
                let (subscription, status) = (stripe(words.next()), words.next());
                let as_of = words.after("as").map_or(1, |text| text.parse().expect("a moment"));
                Command::RecordSubscription(RecordSubscription {
                    subscription,
                    subscriber: Subscriber::Named(self.account.clone()),
                    order: words.after("of").map(|name| self.order(name)),
                    terms: SubscriptionTerms {
                        as_of: Timestamp::from_unix_seconds(as_of).expect("in range"),
                        status: SubscriptionStatus::parse(status).expect("a status"),
                        items: vec![SubscribedPrice {
                            price: PriceId::parse("price_plan").expect("a price"),
                            quantity: 1,
                        }],
                        period_end: None,
                        cancel_at_period_end: false,
                        collection_paused: false,
                    },
                })
            }
            "invoice" | "trial" | "change" => self.invoice(verb, words),
            other => panic!("no command `{other}`"),
        }
    }

    fn invoice(&mut self, verb: &str, words: &mut Words<'_>) -> Command {
        let (invoice, line) = (stripe(words.next()), stripe(words.next()));
        let subscription = stripe(words.next());
        let price = |word: &str| PriceId::parse(word).expect("a price");
        let mut sold = if verb == "change" {
            let mut lines = Vec::new();
            while words.0.peek().is_some_and(|word| word.starts_with("price_")) {
                lines.push(ProratedLine { price: price(words.next()), amount: words.number() });
            }
            SoldLine::Changes { lines, replaced: None }
        } else {
            let price = price(words.next());
            let quantity = amount(words.after("x").map_or(1, |text| text.parse().expect("a quantity")));
            SoldLine::Period { price, quantity, is_free: verb == "trial" }
        };
        let gross = words.after("for").map_or(0, |text| text.parse().expect("money"));
        let tax = words.after("tax").map_or(0, |text| text.parse().expect("money"));
        let whole = words.after("of").map_or(gross, |text| text.parse().expect("money"));
        let period = Period {
            start: moment(words.after("from").expect("a first moment")),
            end: moment(words.after("to").expect("a last moment")),
        };
        let payment_intent = words.after("via").map(stripe);
        if let SoldLine::Changes { replaced, .. } = &mut sold {
            *replaced = words.after("replacing").map(moment);
        }
        Command::RecordInvoiceLine(RecordInvoiceLine {
            subscription,
            subscriber: Subscriber::Named(self.account.clone()),
            invoice,
            line,
            payment_intent,
            money: PaidMoney::new(gross, tax, eur()).expect("money"),
            paid_with: PaidMoney::new(whole, tax, eur()).expect("money"),
            period,
            sold,
        })
    }
}
