//! The month as it is planned: who buys, spends and gets money back on which day, and what goes wrong meanwhile. All of it
//! follows from one seed.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

use crate::stage::troubles;

/// The days on which the shop does business.
pub const DAYS: usize = 6;
/// From one of them to the next: no whole number of days, so that nothing expires just when there is business.
pub const SECONDS_BETWEEN: i64 = 98 * 60 * 60;

/// Something that the shop sells.
#[derive(Debug)]
pub struct Price {
    pub id: &'static str,
    pub cents: i64,
    pub credits: i64,
    pub licences: i64,
    /// How long its credits live.
    pub days: Option<i64>,
}

/// What the shop sells for good.
pub const LASTING: [Price; 3] = [
    Price { id: "price_pack", cents: 500, credits: 100, licences: 0, days: None },
    Price { id: "price_big", cents: 1_999, credits: 450, licences: 0, days: None },
    Price { id: "price_both", cents: 1_000, credits: 100, licences: 3, days: None },
];
/// What expires within the month: on the third day of business after the one on which it was bought.
pub const SHORT: Price = Price { id: "price_short", cents: 700, credits: 120, licences: 0, days: Some(10) };
/// After how many days of business that is.
pub const SHORT_LIVES: usize = 3;

impl Price {
    /// A price by its id.
    pub fn find(id: &str) -> &'static Self {
        let known = LASTING.iter().chain([&SHORT]).find(|price| price.id == id);
        known.unwrap_or_else(|| panic!("nobody sells {id}"))
    }

    /// What buying one grants, as the ledger is told.
    pub fn grants(&self) -> Value {
        let mut grants = vec![json!({"unit": "credits", "amount": self.credits, "share": 7})];
        if let Some(days) = self.days {
            grants[0]["expires_days"] = json!(days);
        }
        if self.licences > 0 {
            grants.push(json!({"unit": "licence_30d", "amount": self.licences, "share": 3}));
        }
        json!(grants)
    }
}

/// How a checkout goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    Card,
    DeclinedFirst,
    Challenged,
    WithCode,
    Free,
    /// The money arrives, or does not, by the next day.
    Debit {
        arrives: bool,
    },
    /// Refunds to this card are on their way until the next day.
    SlowCard {
        refunds_arrive: bool,
    },
    Never,
}

/// Something that somebody does.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Buy {
        price: &'static Price,
        quantity: i64,
        how: How,
    },
    Spend {
        reports: i64,
    },
    /// Asks us for so many cents of the `nth` sale back, or for all that is left.
    AskBack {
        nth: usize,
        cents: Option<i64>,
    },
    /// Sends so many cents of the `nth` sale back in Stripe's dashboard.
    SendBack {
        nth: usize,
        cents: i64,
    },
    /// The bank turns down the last refund that had arrived.
    TurnDown,
}

/// What an account does, by day: one thing after the other, without waiting for what Stripe says of it.
#[derive(Clone, Debug)]
pub struct Script {
    pub account: String,
    /// Whether the account comes with a customer of its own.
    pub has_customer: bool,
    pub days: [Vec<Act>; DAYS],
}

/// A month.
pub struct Plan {
    pub scripts: Vec<Script>,
    /// What goes wrong at Stripe, by day.
    pub troubles: [Vec<Value>; DAYS],
    /// For whatever else is left to chance.
    pub chance: StdRng,
}

impl Plan {
    /// Draws a month of so many accounts.
    pub fn draw(seed: u64, accounts: usize) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let scripts = (0..accounts)
            .map(|number| {
                let days =
                    if chance.random_bool(0.25) { short_lived(&mut chance) } else { lasting(&mut chance) };
                let has_customer = chance.random_bool(0.1);
                Script { account: format!("account-{number:04}"), has_customer, days }
            })
            .collect();
        let troubles = std::array::from_fn(|_| troubles(&mut chance));
        Self { scripts, troubles, chance }
    }
}

/// Buys what lasts. Whatever happens to it, in whatever order, comes to the same in the end: credits bought, less those spent,
/// less those whose money went back.
fn lasting(chance: &mut StdRng) -> [Vec<Act>; DAYS] {
    let first = chance.random_range(0..DAYS / 2);
    std::array::from_fn(|day| match day {
        _ if day < first => Vec::new(),
        _ if day == first => vec![buy(chance)],
        _ => (0..*[0, 1, 1, 2].choose(chance).expect("numbers")).map(|_| anything(chance)).collect(),
    })
}

fn anything(chance: &mut StdRng) -> Act {
    let nth = chance.random_range(0..8);
    match chance.random_range(0..20) {
        0..=5 => buy(chance),
        6..=11 => Act::Spend { reports: chance.random_range(1..12) },
        12 | 13 => Act::AskBack { nth, cents: None },
        14..=16 => Act::AskBack { nth, cents: Some(chance.random_range(1..700)) },
        17 | 18 => Act::SendBack { nth, cents: chance.random_range(1..400) },
        _ => Act::TurnDown,
    }
}

fn buy(chance: &mut StdRng) -> Act {
    let price = LASTING.choose(chance).expect("prices");
    let quantity = *[1, 1, 1, 2, 5].choose(chance).expect("quantities");
    let how = match chance.random_range(0..20) {
        0..=7 => How::Card,
        8 | 9 => How::DeclinedFirst,
        10 => How::Challenged,
        11 | 12 => How::WithCode,
        13 => How::Free,
        14..=16 => How::Debit { arrives: chance.random_bool(0.7) },
        17 | 18 => How::SlowCard { refunds_arrive: chance.random_bool(0.6) },
        _ => How::Never,
    };
    Act::Buy { price, quantity, how }
}

/// Buys something that expires and nothing else before that, so that all that is spent until then is spent of it. Its refunds
/// take what is left of it, before or after it has expired, and only what was spent is owed.
fn short_lived(chance: &mut StdRng) -> [Vec<Act>; DAYS] {
    let bought = chance.random_range(0..DAYS - SHORT_LIVES - 1);
    let lasting = Price::find("price_pack");
    std::array::from_fn(|day| {
        let card = |price| Act::Buy { price, quantity: 1, how: How::Card };
        if day < bought {
            return Vec::new();
        }
        let mut acts = Vec::new();
        match day - bought {
            0 => acts.push(card(&SHORT)),
            SHORT_LIVES => {
                if chance.random_bool(0.5) {
                    acts.push(card(lasting));
                }
            }
            _ => {
                if chance.random_bool(0.7) {
                    acts.push(Act::Spend { reports: chance.random_range(1..12) });
                }
            }
        }
        if day > bought && chance.random_bool(0.25) {
            acts.push(Act::AskBack { nth: 0, cents: Some(chance.random_range(1..500)) });
        }
        if day > bought && chance.random_bool(0.15) {
            acts.push(Act::SendBack { nth: 0, cents: chance.random_range(1..500) });
        }
        acts
    })
}
