//! The quarter as it is planned: who subscribes, changes, pays late, leaves, buys, spends and gets money back on which day of
//! business. All of it follows from one seed.

use rand::{
    RngExt, SeedableRng,
    rngs::StdRng,
    seq::{IndexedMutRandom, IndexedRandom, SliceRandom},
};
use serde_json::{Value, json};

use crate::{
    quarter_model::{DAY, Grants, Rollover, UNITS},
    stage::troubles,
};

/// The days on which something happens.
pub const DAYS: usize = 20;
/// All days of the quarter.
const LENGTH: i64 = 92;
/// What each pause between two days of business has beyond whole days: nothing that is due whole days after something else
/// is ever due while there is business.
const SHIFT: i64 = 37 * 60;
/// How long a trial is, in days.
pub const TRIAL: i64 = 14;
/// What a trial grants.
pub const TRIAL_CREDITS: i64 = 40;

/// Something that is sold.
#[derive(Debug)]
pub struct Price {
    pub id: &'static str,
    pub cents: i64,
    /// Credits and licences.
    pub grants: [i64; 2],
    /// How long its credits live, in days; those of a plan live by its periods.
    pub lives: Option<i64>,
}

pub const SMALL: Price = Price { id: "price_plan", cents: 1_000, grants: [100, 0], lives: None };
pub const BIG: Price = Price { id: "price_large", cents: 4_000, grants: [500, 0], lives: None };
pub const BOTH: Price = Price { id: "price_both", cents: 1_500, grants: [120, 2], lives: None };
pub const EXTRA: Price = Price { id: "price_extra", cents: 300, grants: [30, 0], lives: None };
/// What is paid for again every 30 days.
pub const PLANS: [Price; 4] = [SMALL, BIG, BOTH, EXTRA];
/// What is paid for once.
pub const PACKS: [Price; 2] = [
    Price { id: "price_pack", cents: 500, grants: [100, 0], lives: None },
    Price { id: "price_short", cents: 700, grants: [150, 0], lives: Some(40) },
];

impl Price {
    /// A price by its id.
    pub fn find(id: &str) -> &'static Self {
        let known = PLANS.iter().chain(&PACKS).find(|price| price.id == id);
        known.unwrap_or_else(|| panic!("nobody sells {id}"))
    }

    /// What so many of it grant.
    pub fn times(&self, quantity: i64) -> Grants {
        (0..UNITS.len())
            .filter(|unit| self.grants[*unit] > 0)
            .map(|unit| (unit, self.grants[unit] * quantity))
            .collect()
    }

    /// What buying one grants, as the ledger is told.
    pub fn told(&self) -> Value {
        let grant = |(unit, amount)| {
            let mut grant = json!({"unit": UNITS[unit], "amount": amount, "share": 1});
            if let Some(days) = self.lives {
                grant["expires_days"] = json!(days);
            }
            grant
        };
        self.times(1).into_iter().map(grant).collect()
    }
}

/// What was paid for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bought {
    Pack,
    Period,
}

/// Something that somebody does.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Subscribe {
        price: &'static str,
        quantity: i64,
        has_trial: bool,
    },
    /// Subscribes to one of the small plan and so many extras on a page that the shop made without us.
    SubscribeElsewhere {
        extras: i64,
    },
    /// Changes the first item, paid at once or with the next renewal.
    Change {
        price: &'static str,
        quantity: i64,
        now: bool,
    },
    BreakCard,
    MendCard,
    PayInvoice,
    CancelNow,
    CancelAtEnd,
    Buy {
        price: &'static str,
        quantity: i64,
    },
    /// Asks us for so many percent of what is left of the last pack's money.
    AskBack {
        percent: i64,
    },
    /// Sends so many percent of what is left of the last payment back in Stripe's dashboard.
    SendBack {
        what: Bought,
        percent: i64,
    },
    Dispute {
        what: Bought,
        percent: i64,
    },
    CloseDispute {
        is_won: bool,
    },
}

/// A day of business of an account: it spends, then it does one thing more.
#[derive(Clone, Debug, Default)]
pub struct Day {
    /// Of which unit, and how many thousandths of what there is.
    pub spends: Vec<(usize, i64)>,
    pub act: Option<Act>,
}

/// A quarter.
pub struct Plan {
    /// Each account's days.
    pub scripts: Vec<(String, Vec<Day>)>,
    /// How many seconds pass after each day of business.
    pub pauses: Vec<i64>,
    /// What moves on at a renewal, one month after the other.
    pub rollovers: [Rollover; 3],
    /// What goes wrong at Stripe, by day and by night.
    pub troubles: Vec<[Vec<Value>; 2]>,
    /// For whatever else is left to chance.
    pub chance: StdRng,
}

impl Plan {
    /// Draws a quarter.
    pub fn draw(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let scripts =
            careers(&mut chance).into_iter().map(|(name, acts)| (name.to_owned(), days(&acts, &mut chance)));
        let scripts = scripts.collect();
        let mut pauses = vec![4; DAYS];
        let mut left = LENGTH - 4 * pauses.len() as i64;
        while left > 0 {
            let pause = pauses.choose_mut(&mut chance).expect("pauses");
            if *pause < 6 {
                *pause += 1;
                left -= 1;
            }
        }
        // Some nights are short.
        for _ in 0..4 {
            let (one, other) = (chance.random_range(0..DAYS), chance.random_range(0..DAYS));
            if pauses[one] > 2 && pauses[other] < 6 {
                pauses[one] -= 1;
                pauses[other] += 1;
            }
        }
        let pauses = pauses.into_iter().map(|days| days * DAY + SHIFT).collect();
        let some = Rollover::Capped(chance.random_range(10..60));
        let mut rollovers = [Rollover::None, Rollover::All, some];
        rollovers.shuffle(&mut chance);
        let troubles = (0..DAYS).map(|_| [troubles(&mut chance), troubles(&mut chance)]).collect();
        Self { scripts, pauses, rollovers, troubles, chance }
    }
}

/// What each account is here for, by day of business. A period has six or seven of them.
fn careers(chance: &mut StdRng) -> Vec<(&'static str, Vec<(usize, Act)>)> {
    use Bought::{Pack, Period};
    let mut percent = || chance.random_range(5..95);
    let subscribe = |price: &Price, quantity| Act::Subscribe { price: price.id, quantity, has_trial: false };
    let change = |price: &Price, quantity, now| Act::Change { price: price.id, quantity, now };
    let back = |what, percent| Act::SendBack { what, percent };
    let dispute = |what, percent| Act::Dispute { what, percent };
    let close = |is_won| Act::CloseDispute { is_won };
    let trial = Act::Subscribe { price: SMALL.id, quantity: 1, has_trial: true };
    let buy = |pack: usize, quantity| Act::Buy { price: PACKS[pack].id, quantity };
    let mut careers = vec![
        (
            "refunded",
            vec![
                (0, subscribe(&SMALL, 1)),
                (3, back(Period, percent())),
                (8, back(Period, 100)),
                (11, back(Period, percent())),
                (15, back(Period, percent())),
                (16, back(Period, 100)),
            ],
        ),
        (
            "more-and-less",
            vec![
                (0, subscribe(&SMALL, 2)),
                (2, change(&SMALL, 3, true)),
                (4, change(&SMALL, 1, true)),
                (9, change(&SMALL, 4, false)),
                (12, change(&SMALL, 2, true)),
                (16, change(&SMALL, 5, true)),
                (17, back(Period, percent())),
            ],
        ),
        (
            "two-prices",
            vec![
                (0, Act::SubscribeElsewhere { extras: 2 }),
                (3, back(Period, percent())),
                (4, change(&BIG, 1, true)),
                (9, dispute(Period, 100)),
                (11, close(false)),
                (15, back(Period, 100)),
            ],
        ),
        (
            "two-units",
            vec![
                (0, subscribe(&BOTH, 2)),
                (2, dispute(Period, 100)),
                (4, close(true)),
                (8, back(Period, percent())),
                (9, dispute(Period, 100)),
                (12, close(true)),
                (15, dispute(Period, percent())),
                (17, close(false)),
            ],
        ),
        ("tries", vec![(0, trial), (8, Act::CancelAtEnd), (12, trial), (17, back(Period, percent()))]),
        (
            "up-and-down",
            vec![
                (0, subscribe(&SMALL, 1)),
                (2, change(&BIG, 1, true)),
                (3, change(&SMALL, 1, true)),
                (4, change(&BIG, 1, true)),
                (8, back(Period, percent())),
                (10, change(&SMALL, 1, false)),
                (15, change(&BIG, 1, true)),
                (16, dispute(Period, 100)),
                (18, close(false)),
            ],
        ),
        (
            "mends",
            vec![
                (0, subscribe(&SMALL, 1)),
                (4, Act::BreakCard),
                (7, Act::MendCard),
                (11, Act::BreakCard),
                (14, Act::MendCard),
            ],
        ),
        (
            "pays-late",
            vec![
                (0, subscribe(&BIG, 1)),
                (4, Act::BreakCard),
                (8, Act::PayInvoice),
                (9, Act::MendCard),
                (12, back(Period, percent())),
            ],
        ),
        (
            "never-pays",
            vec![(0, subscribe(&SMALL, 1)), (3, Act::BreakCard), (12, buy(0, 1)), (14, subscribe(&SMALL, 2))],
        ),
        (
            "leaves",
            vec![
                (0, subscribe(&SMALL, 2)),
                (3, Act::CancelNow),
                (5, subscribe(&BIG, 1)),
                (9, Act::CancelAtEnd),
                (14, back(Period, percent())),
            ],
        ),
        (
            "packs",
            vec![
                (0, buy(0, 2)),
                (2, Act::AskBack { percent: percent() }),
                (4, Act::AskBack { percent: 100 }),
                (5, buy(1, 1)),
                (6, dispute(Pack, 100)),
                (8, close(true)),
                (10, buy(1, 2)),
                (12, dispute(Pack, percent())),
                (13, close(false)),
                (15, back(Pack, 50)),
            ],
        ),
        (
            "owes",
            vec![
                (0, subscribe(&SMALL, 1)),
                (2, back(Period, 100)),
                (4, buy(0, 1)),
                (6, dispute(Pack, 100)),
                (7, close(false)),
                (9, back(Period, percent())),
                (12, buy(1, 1)),
                (13, back(Pack, 100)),
                (16, dispute(Period, 100)),
                (18, close(true)),
            ],
        ),
    ];
    // Nobody begins at the same moment, and not always in the same week.
    for (_, acts) in &mut careers {
        let late = chance.random_range(0..2);
        acts.iter_mut().for_each(|(day, _)| *day += late);
    }
    careers
}

/// Days with the acts that matter, and with whatever else comes to mind.
fn days(acts: &[(usize, Act)], chance: &mut StdRng) -> Vec<Day> {
    let mut days = vec![Day::default(); DAYS];
    for (number, day) in days.iter_mut().enumerate() {
        day.act = acts.iter().find(|(of, _)| *of == number).map(|(_, act)| *act);
        if day.act.is_none() && chance.random_bool(0.2) {
            day.act = Some(whatever(chance));
        }
        for _ in 0..*[0, 0, 1, 1, 2].choose(chance).expect("numbers") {
            let unit = usize::from(chance.random_bool(0.1));
            let most = *[300, 600, 1_000, 1_000, 1_300].choose(chance).expect("numbers");
            day.spends.push((unit, chance.random_range(most / 2..=most)));
        }
    }
    days
}

fn whatever(chance: &mut StdRng) -> Act {
    match chance.random_range(0..4) {
        0 | 1 => Act::Buy { price: PACKS[chance.random_range(0..2)].id, quantity: chance.random_range(1..3) },
        2 => Act::AskBack { percent: chance.random_range(5..100) },
        _ => Act::SendBack { what: Bought::Pack, percent: chance.random_range(5..100) },
    }
}
