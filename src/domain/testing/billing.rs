//! Steps about subscriptions and their invoices, and what they ask for on one ledger.

use proptest::{option, prelude::*, sample::select};

use super::{
    commands::{account_id, amount, price_id, stripe_id, unit},
    harness::Harness,
    steps::PAID,
};
use crate::domain::{
    amount::{Currency, PaidMoney},
    command::{
        Command, ProratedLine, RecordInvoiceLine, RecordSubscription, SoldLine, StartSubscription, Subscriber,
    },
    event::PurchaseSource,
    ids::{OrderId, PaymentReference, StripeId},
    settings::{LedgerSettings, Rollover, SubscriptionRules},
    subscription::{Period, SubscribedPrice, SubscriptionStatus, SubscriptionTerms},
    time::{Span, Timestamp},
};

/// One step. Subscriptions, periods and moments are named by small numbers; subscription 0 is of account 0 and so on.
#[derive(Clone, PartialEq, Debug)]
pub enum BillingStep {
    /// What the operator lets subscriptions do.
    Rules { grace: u32, rollover: Rollover, trial: Option<i64> },
    /// A checkout began a subscription, of the order of that place in time if there is one.
    Start { subscription: u8, order: Option<u8>, named: bool },
    /// Stripe tells how it is, as of one of a few moments.
    Told { subscription: u8, moment: u8, status: SubscriptionStatus, named: bool, order: Option<u8> },
    /// A line of an invoice was paid: of a new invoice, or a further one of the last.
    Paid { subscription: u8, period: u8, sold: Sold, free: bool, further: bool },
}

/// What a line is for.
#[derive(Clone, PartialEq, Debug)]
pub enum Sold {
    Period {
        price: u8,
        quantity: i64,
    },
    Trial {
        price: u8,
    },
    /// Prices with signed percentages of what they cost, and the period whose place it took.
    Changes {
        lines: Vec<(u8, i64)>,
        replaced: Option<u8>,
    },
}

const SUBSCRIPTIONS: u8 = 2;

fn subscription() -> impl Strategy<Value = u8> {
    prop_oneof![20 => Just(0), 3 => Just(1), 1 => Just(SUBSCRIPTIONS)]
}

fn price() -> impl Strategy<Value = u8> {
    prop_oneof![16 => 0_u8..=2, 1 => Just(3)]
}

fn sold() -> impl Strategy<Value = Sold> {
    let line = || (price(), prop_oneof![Just(50_i64), Just(-50), -100_i64..=100]);
    prop_oneof![
        4 => (price(), 1_i64..=2).prop_map(|(price, quantity)| Sold::Period { price, quantity }),
        1 => price().prop_map(|price| Sold::Trial { price }),
        4 => (prop::collection::vec(line(), 1..=3), option::weighted(0.2, 0_u8..=3))
            .prop_map(|(lines, replaced)| Sold::Changes { lines, replaced }),
    ]
}

/// What a renewal moves on.
pub fn rollover() -> impl Strategy<Value = Rollover> {
    prop_oneof![
        1 => Just(Rollover::None),
        3 => Just(Rollover::All),
        2 => (1_i64..=15).prop_map(|most| Rollover::Capped(amount(most))),
    ]
}

/// What may happen to a subscription.
pub fn billing_steps() -> BoxedStrategy<BillingStep> {
    use SubscriptionStatus::{Active, Canceled, IncompleteExpired, PastDue, Trialing};
    let status = select(vec![
        Active,
        Active,
        Active,
        PastDue,
        PastDue,
        Trialing,
        Trialing,
        Canceled,
        IncompleteExpired,
    ]);
    prop_oneof![
        2 => (0_u32..=2, rollover(), option::of(1_i64..=9))
            .prop_map(|(grace, rollover, trial)| BillingStep::Rules { grace, rollover, trial }),
        1 => (subscription(), option::of(0_u8..=1), any::<bool>())
            .prop_map(|(subscription, order, named)| BillingStep::Start { subscription, order, named }),
        2 => (subscription(), 0_u8..=4, status, any::<bool>(), option::weighted(0.2, 0_u8..=1)).prop_map(
            |(subscription, moment, status, named, order)| {
                BillingStep::Told { subscription, moment, status, named, order }
            }
        ),
        12 => (subscription(), 0_u8..=3, sold(), prop::bool::weighted(0.15), prop::bool::weighted(0.15)).prop_map(
            |(subscription, period, sold, free, further)| {
                BillingStep::Paid { subscription, period, sold, free, further }
            }
        ),
    ]
    .boxed()
}

/// A story that ends in a renewal, so that something is left to be moved on.
pub fn renewals() -> BoxedStrategy<Vec<BillingStep>> {
    (price(), 1_i64..=2, 0_u8..=2)
        .prop_map(|(price, quantity, period)| {
            let paid = |period| BillingStep::Paid {
                subscription: 0,
                period,
                sold: Sold::Period { price, quantity },
                free: false,
                further: false,
            };
            let rules = BillingStep::Rules { grace: 1, rollover: Rollover::All, trial: Some(3) };
            vec![rules, paid(period), paid(period + 1)]
        })
        .boxed()
}

/// Four periods of a day, one after the other.
fn period(number: u8) -> Period {
    let begin = Timestamp::from_unix_seconds(1_763_692_800).expect("in range");
    let day = |number: u8| begin.plus(Span::days(i64::from(number)));
    Period { start: day(number), end: day(number + 1) }
}

fn subscription_id(subscription: u8) -> StripeId {
    stripe_id("sub", subscription)
}

impl Harness {
    /// What the step asks for.
    pub fn billing(&self, step: &BillingStep) -> Command {
        match step {
            BillingStep::Rules { grace, rollover, trial } => {
                let trial_credits = trial.map(|credits| (unit(0), amount(credits))).into_iter().collect();
                let subscriptions =
                    SubscriptionRules { renewal_grace_days: *grace, rollover: *rollover, trial_credits };
                Command::ConfigureLedger(LedgerSettings { subscriptions, ..self.set.settings.clone() })
            }
            BillingStep::Start { subscription, order, named } => {
                Command::StartSubscription(StartSubscription {
                    subscription: subscription_id(*subscription),
                    subscriber: Some(self.subscriber(*subscription, *named)),
                    order: order.map(|place| self.order_of(place)),
                    session: stripe_id("cs_sub", subscription),
                })
            }
            BillingStep::Told { subscription, moment, status, named, order } => {
                let as_of =
                    Timestamp::from_unix_seconds(1_763_000_000 + i64::from(*moment)).expect("in range");
                Command::RecordSubscription(RecordSubscription {
                    subscription: subscription_id(*subscription),
                    subscriber: self.subscriber(*subscription, *named),
                    order: order.map(|place| self.order_of(place)),
                    terms: SubscriptionTerms {
                        as_of,
                        status: *status,
                        items: vec![SubscribedPrice { price: price_id(0), quantity: 1 }],
                        period_end: Some(period(*moment).end),
                        cancel_at_period_end: false,
                        collection_paused: false,
                    },
                })
            }
            BillingStep::Paid { subscription, period: number, sold, free, further } => {
                self.paid(*subscription, *number, sold, *free, *further)
            }
        }
    }

    fn paid(&self, subscription: u8, number: u8, sold: &Sold, free: bool, further: bool) -> Command {
        let id = subscription_id(subscription);
        let last = further.then(|| self.last_invoice(&id)).flatten();
        let (gross, tax) = PAID[self.payments() % PAID.len()];
        let is_free = free || matches!(sold, Sold::Trial { .. });
        let eur = Currency::parse("eur").expect("a code");
        let money = |gross, tax| PaidMoney::new(gross, tax, eur).expect("money in bounds");
        let (invoice, payment, paid_with) = last.unwrap_or_else(|| {
            let payment = stripe_id("pi", self.payments());
            (stripe_id("in", self.steps), payment, money(2 * gross, 2 * tax))
        });
        Command::RecordInvoiceLine(RecordInvoiceLine {
            subscriber: self.subscriber(subscription, false),
            subscription: id,
            invoice,
            line: stripe_id("il", self.steps),
            payment_intent: Some(payment),
            money: if is_free { money(0, 0) } else { money(gross, tax) },
            paid_with,
            period: period(number),
            sold: match sold {
                Sold::Period { price, quantity } => {
                    SoldLine::Period { price: price_id(*price), quantity: amount(*quantity), is_free: false }
                }
                Sold::Trial { price } => {
                    SoldLine::Period { price: price_id(*price), quantity: amount(1), is_free: true }
                }
                Sold::Changes { lines, replaced } => SoldLine::Changes {
                    lines: lines
                        .iter()
                        .map(|(price, percent)| ProratedLine { price: price_id(*price), amount: *percent })
                        .collect(),
                    replaced: replaced.map(|number| period(number).end),
                },
            },
        })
    }

    /// The last invoice of the subscription that bought something, with its payment.
    fn last_invoice(&self, subscription: &StripeId) -> Option<(StripeId, StripeId, PaidMoney)> {
        self.set.purchases.values().rev().find_map(|purchase| {
            let PurchaseSource::InvoiceLine(line) = &purchase.source else { return None };
            let reference = purchase.payment.as_ref()?;
            let PaymentReference::Stripe(payment) = reference else { return None };
            let money = self.set.payments.get(reference)?.money?;
            (line.subscription == *subscription).then(|| (line.invoice.clone(), payment.clone(), money))
        })
    }

    fn subscriber(&self, subscription: u8, named: bool) -> Subscriber {
        if named {
            Subscriber::Named(account_id(subscription))
        } else {
            Subscriber::Owner(self.number(subscription))
        }
    }

    fn order_of(&self, place: u8) -> OrderId {
        self.order(place).0
    }
}
