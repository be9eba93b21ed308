//! What a step of a plan asks for on one ledger.

use std::collections::BTreeMap;

use super::{
    harness::Harness,
    model::Model,
    steps::{Bought, Fact, Flaw, NEXT_PAYMENT, PAID, Stated, StatedTerms, Step, WhichSession},
};
use crate::domain::{
    amount::{Amount, Currency, MAX_AMOUNT, PaidMoney},
    catalogue::{Feature, MoneyOfPrice, Price, PriceGrant, PriceSettings},
    command::{
        self, AdjustCredits, ApplyDue, CaptureHold, Charge, CloseAccount, CloseOrder, Command, Direction,
        FreezeAccount, GrantCredits, Heard, LinkCustomer, Note, OpenAccount, PaidOrder, PaidThrough,
        PlaceHold, PlaceOrder, ProfileChange, RecordPaymentFact, RecordPurchase, RecordSession,
        RefundPurchase, RefuseRefund, ReleaseHold, RequestRefund, SetOverdraftLimit, SetPrice, SpendCredits,
        SyncPrice, SyncProduct, TransferCredits, UnfreezeAccount, UnlinkCustomer,
    },
    event::LinkCause,
    ids::{
        AccountId, AccountNumber, FeatureKey, HoldId, OrderId, PaymentReference, Position, PriceId,
        PurchaseId, RefundRequestId, Seed, StripeId, Unit,
    },
    listing::{Listing, PriceMode, ProductListing, Terms},
    order::{Order, OrderDetails, OrderEnding},
    payment::{PaymentFact, RefundStatus},
    settings::{ClawbackPolicy, LedgerSettings, SignupGrant, UnitSettings},
    time::{Span, Timestamp},
};

pub fn account_id(account: u8) -> AccountId {
    AccountId::parse(&format!("account-{account}")).expect("a valid name")
}

pub fn unit(unit: u8) -> Unit {
    Unit::parse(["credits", "licence_30d", "unknown"][usize::from(unit)]).expect("a valid name")
}

pub fn amount(value: i64) -> Amount {
    Amount::new(value).expect("a positive amount")
}

fn share(whole: i64, percent: i64) -> Amount {
    amount((whole * percent / 100).max(1))
}

pub fn stripe_id(kind: &str, number: impl std::fmt::Display) -> StripeId {
    StripeId::parse(&format!("{kind}_{number}")).expect("a valid id")
}

fn payment_of(number: usize) -> PaymentReference {
    PaymentReference::Stripe(stripe_id("pi", number))
}

fn currency(code: &str) -> Currency {
    Currency::parse(code).expect("a code")
}

fn money(gross: i64, tax: i64) -> PaidMoney {
    PaidMoney::new(gross, tax, currency("eur")).expect("money in bounds")
}

fn feature_key(feature: u8) -> FeatureKey {
    FeatureKey::parse(&format!("feature_{feature}")).expect("a valid name")
}

pub fn price_id(price: u8) -> PriceId {
    PriceId::parse(&format!("price_{price}")).expect("a valid id")
}

pub fn settings(
    policy: ClawbackPolicy,
    claw_on_pending: bool,
    freeze_on_dispute: bool,
    signup: Option<i64>,
) -> LedgerSettings {
    let units = [0, 1].map(|number| (unit(number), UnitSettings { scale: 0 }));
    let (units, clawback_policy) = (BTreeMap::from(units), policy);
    let checkout = crate::domain::stories::checkout_settings();
    let welcome =
        |credits| SignupGrant { unit: unit(0), amount: amount(credits), expires_days: Some(1), priority: 20 };
    LedgerSettings {
        units,
        clawback_policy,
        claw_on_pending,
        freeze_on_dispute,
        checkout,
        signup_grants: signup.map(welcome).into_iter().collect(),
        ..LedgerSettings::default()
    }
}

/// One feature for a price, one that is not active, one that is too dear for two of it.
pub fn features() -> [Feature; 3] {
    [(0, 2, true), (1, 5, false), (2, MAX_AMOUNT, true)].map(|(key, cost, active)| Feature {
        feature: feature_key(key),
        unit: unit(0),
        cost: amount(cost),
        active,
    })
}

/// One price that lasts, one of two units, one that expires soon.
pub fn prices() -> [Price; 3] {
    let grant = |number, credits, expires_days, priority, share| PriceGrant {
        unit: unit(number),
        amount: amount(credits),
        expires_days,
        priority,
        share,
    };
    let grants = [
        vec![grant(0, 20, None, 50, 1)],
        vec![grant(0, 30, Some(1), 50, 7_000), grant(1, 5, Some(2), 10, 3_000)],
        vec![grant(0, 10, Some(1), 20, 0)],
    ];
    let mut number = 0;
    grants.map(|grants| {
        let (price, display_name) = (price_id(number), format!("Price {number}"));
        number += 1;
        Price {
            price,
            display_name,
            display_order: 0,
            active: true,
            money: 100,
            currency: currency("eur"),
            grants,
            rollover: None,
            operator: None,
            stripe: None,
        }
    })
}

impl Harness {
    /// What the step asks for on this ledger; nothing if it only lets time pass.
    pub fn command(&self, step: &Step) -> Option<Command> {
        let note = Note::new;
        Some(match step {
            Step::Wait(_) => return None,
            Step::Sweep { account } => {
                let account = *self.set.account_numbers.get(&account_id(*account))?;
                Command::ApplyDue(ApplyDue { account })
            }
            Step::Open { account } => Command::OpenAccount(OpenAccount {
                account: account_id(*account),
                profile: ProfileChange::default(),
                stripe_customer: None,
            }),
            Step::Freeze { account } => {
                Command::FreezeAccount(FreezeAccount { account: account_id(*account), note: note() })
            }
            Step::Unfreeze { account } => {
                Command::UnfreezeAccount(UnfreezeAccount { account: account_id(*account), note: note() })
            }
            Step::Close { account } => {
                Command::CloseAccount(CloseAccount { account: account_id(*account), note: note() })
            }
            Step::Overdraft { account, unit: number, limit } => {
                Command::SetOverdraftLimit(SetOverdraftLimit {
                    account: account_id(*account),
                    unit: unit(*number),
                    limit: *limit,
                })
            }
            Step::Grant { account, unit: number, amount: credits, expires, priority } => {
                let expires_at = expires.map(|hours| self.now.plus(Span::seconds(hours * 3_600)));
                Command::GrantCredits(GrantCredits {
                    account: account_id(*account),
                    unit: unit(*number),
                    amount: amount(*credits),
                    expires_at,
                    priority: *priority,
                    note: note(),
                })
            }
            Step::Spend { account, unit: number, percent } => Command::SpendCredits(SpendCredits {
                account: account_id(*account),
                charge: self.charge(*account, *number, *percent),
                note: note(),
            }),
            Step::SpendOnFeature { account, feature, quantity } => Command::SpendCredits(SpendCredits {
                account: account_id(*account),
                charge: Charge::Feature { feature: feature_key(*feature), quantity: amount(*quantity) },
                note: note(),
            }),
            Step::Hold { account, unit: number, percent, lapses_after } => Command::PlaceHold(PlaceHold {
                account: account_id(*account),
                charge: self.charge(*account, *number, *percent),
                lapses_after: Span::seconds(*lapses_after),
                note: note(),
            }),
            Step::Capture { hold, percent, allow_excess } => {
                let (hold, held) = self.hold(*hold);
                Command::CaptureHold(CaptureHold {
                    hold,
                    amount: share(held, *percent),
                    allow_excess: *allow_excess,
                    note: note(),
                })
            }
            Step::Release { hold } => {
                Command::ReleaseHold(ReleaseHold { hold: self.hold(*hold).0, note: note() })
            }
            Step::Transfer { from, to, unit: number, percent } => Command::TransferCredits(TransferCredits {
                from: account_id(*from),
                to: account_id(*to),
                unit: unit(*number),
                amount: share(self.available(*from, *number), *percent),
                note: note(),
            }),
            Step::AdjustIn { account, unit: number, amount: credits } => {
                Command::AdjustCredits(AdjustCredits {
                    account: account_id(*account),
                    unit: unit(*number),
                    direction: Direction::In,
                    amount: amount(*credits),
                    note: note(),
                })
            }
            Step::AdjustOut { account, unit: number, percent } => Command::AdjustCredits(AdjustCredits {
                account: account_id(*account),
                unit: unit(*number),
                direction: Direction::Out,
                amount: share(self.available(*account, *number), *percent),
                note: note(),
            }),
            Step::Buy { account, bought, again } => {
                let number = self.payments().saturating_sub(usize::from(*again));
                let (gross, tax) = PAID[number % PAID.len()];
                self.session(*account, Some(number), bought, money(gross, tax))
            }
            Step::FreeSession { account, bought } => self.session(*account, None, bought, money(0, 0)),
            Step::BuyElsewhere { account, bought, gross } => Command::RecordPurchase(RecordPurchase {
                order: None,
                account: account_id(*account),
                paid_through: PaidThrough::External,
                bought: what_was_bought(&self.model, bought),
                money: money(*gross, 0),
                note: note(),
            }),
            Step::Refund { purchase, amount: cents } => Command::RefundPurchase(RefundPurchase {
                purchase: self.purchase(*purchase),
                amount: cents.map(amount),
                note: note(),
            }),
            Step::OpenWith { account, customer } => Command::OpenAccount(OpenAccount {
                account: account_id(*account),
                profile: ProfileChange::default(),
                stripe_customer: Some(stripe_id("cus", customer)),
            }),
            Step::Link { account, customer, adopted } => {
                let (account, customer) = (self.number(*account), stripe_id("cus", customer));
                let cause = if *adopted { LinkCause::Adopted } else { LinkCause::Created };
                Command::LinkCustomer(LinkCustomer { account, customer, cause })
            }
            Step::Unlink { account, customer, order } => {
                let (account, customer) =
                    (self.number(*account), customer.map(|number| stripe_id("cus", number)));
                let order = order.map(|place| self.order(place).0);
                Command::UnlinkCustomer(UnlinkCustomer { account, customer, order })
            }
            Step::Order { account, price, quantity } => Command::PlaceOrder(PlaceOrder {
                trial_days: None,
                account: account_id(*account),
                price: price_id(*price),
                quantity: amount(*quantity),
                details: OrderDetails::default(),
                note: note(),
            }),
            Step::Session { order } => {
                let (order, number) = self.order(*order);
                let (session, url) = (stripe_id("cs_of", number), format!("https://pay.example/{number}"));
                Command::RecordSession(RecordSession { order, session, url, expires_at: self.now })
            }
            Step::End { order, session, failure } => {
                let (order, number) = self.order(*order);
                let session = self.which(*session, number);
                let ending = failure.map_or(OrderEnding::Expired, OrderEnding::Failed);
                Command::CloseOrder(CloseOrder { order, session, ending })
            }
            Step::Pay { order, session, free, flaw } => self.pay(*order, *session, *free, *flaw),
            Step::Ask { order, amount: cents } => {
                let (order, amount) = (self.order(*order).0, cents.map(amount));
                Command::RequestRefund(RequestRefund { order, amount, note: note() })
            }
            Step::Refuse { request, reason } => {
                let known = self.model.request_ids.iter().rev().nth(usize::from(*request)).copied();
                let refund = known.unwrap_or_else(|| RefundRequestId::from_bits(99 << 64));
                let mut payments = self.set.payments.values();
                let payment = payments.find(|payment| payment.requested.contains_key(&refund));
                let payment = payment.map_or_else(|| payment_of(0), |payment| payment.reference.clone());
                Command::RefuseRefund(RefuseRefund { refund, payment, reason: *reason })
            }
            Step::Fact { payment: number, fact } => {
                let payments = self.payments();
                let is_next = *number == NEXT_PAYMENT || payments == 0;
                let number =
                    if is_next { payments } else { payments.saturating_sub(usize::from(*number) + 1) };
                Command::RecordPaymentFact(RecordPaymentFact {
                    payment: payment_of(number),
                    fact: self.what_was_reported(number, fact),
                })
            }
            Step::SetPrice { price, active, credits, rollover } => Command::SetPrice(SetPrice {
                price: price_id(*price),
                settings: PriceSettings { rollover: *rollover, ..said_of_price(*active, *credits) },
            }),
            Step::SyncPrice { price, moment, active, stated, looked } => {
                let mode = PriceMode::OneTime;
                let listing = Listing {
                    as_of: moment_at_stripe(*moment),
                    product: product_id(*price % 2),
                    nickname: None,
                    money: Some(MoneyOfPrice { amount: 100, currency: currency("eur") }),
                    active: *active,
                    deleted: false,
                    mode,
                    terms: terms(*stated),
                    product_listing: None,
                };
                let heard = if *looked { Heard::Looked { before: None } } else { Heard::Told };
                Command::SyncPrice(SyncPrice { price: price_id(*price), listing, heard })
            }
            Step::SyncProduct { product, moment, active, deleted, stated } => {
                Command::SyncProduct(SyncProduct {
                    product: product_id(*product),
                    listing: ProductListing {
                        as_of: moment_at_stripe(*moment),
                        name: Some(format!("Product as of {moment}")),
                        active: *active,
                        deleted: *deleted,
                        terms: terms(*stated),
                    },
                })
            }
            Step::Billing(step) => self.billing(step),
            Step::Configure { policy, claw_on_pending, freeze_on_dispute, signup } => {
                let settings = settings(*policy, *claw_on_pending, *freeze_on_dispute, *signup);
                Command::ConfigureLedger(settings)
            }
        })
    }

    fn session(&self, account: u8, payment: Option<usize>, bought: &Bought, money: PaidMoney) -> Command {
        Command::RecordPurchase(RecordPurchase {
            order: None,
            account: account_id(account),
            paid_through: PaidThrough::CheckoutSession {
                session: stripe_id("cs", self.steps),
                payment_intent: payment.map(|number| stripe_id("pi", number)),
            },
            bought: what_was_bought(&self.model, bought),
            money,
            note: Note::new(),
        })
    }

    /// A session that pays an order, with a payment intent of its own.
    fn pay(&self, order: u8, session: WhichSession, free: bool, flaw: Option<Flaw>) -> Command {
        let (id, place) = self.order(order);
        let known = self.set.orders.get(&id);
        let number = self.payments();
        let (gross, tax) = if free { (0, 0) } else { PAID[number % PAID.len()] };
        let is = |this| flaw == Some(this);
        let code = if is(Flaw::Currency) { "usd" } else { "eur" };
        let stated = known.filter(|_| is(Flaw::Price) || is(Flaw::Quantity)).map(|order| {
            let price = if is(Flaw::Price) { price_id(4) } else { order.price.clone() };
            (price, amount(order.quantity + i64::from(is(Flaw::Quantity))))
        });
        let subtotal = known.map_or(0, |order| order.subtotal) + i64::from(is(Flaw::Subtotal));
        let buyer = known.and_then(|order| self.name_of(order, is(Flaw::Account)));
        Command::RecordPurchase(RecordPurchase {
            account: buyer.unwrap_or_else(|| account_id(0)),
            paid_through: PaidThrough::CheckoutSession {
                session: self.which(session, place).unwrap_or_else(|| stripe_id("cs", self.paid_sessions())),
                payment_intent: (!free).then(|| stripe_id("pi", number)),
            },
            order: Some(PaidOrder { order: id, subtotal }),
            bought: command::Bought {
                price: stated,
                totals: is(Flaw::Credits).then(|| (unit(0), amount(6))).into_iter().collect(),
            },
            money: PaidMoney::new(gross, tax, currency(code)).expect("money in bounds"),
            note: Note::new(),
        })
    }

    /// The name of an order's account, or of another one.
    fn name_of(&self, order: &Order, another: bool) -> Option<AccountId> {
        let mut names = self.set.account_numbers.iter();
        let found = names.find(|(_, number)| (**number != order.account) == another);
        found.map(|(name, _)| name.clone())
    }

    fn which(&self, session: WhichSession, order: usize) -> Option<StripeId> {
        match session {
            WhichSession::Own => Some(stripe_id("cs_of", order)),
            WhichSession::Another => Some(stripe_id("cs_another", self.paid_sessions())),
            WhichSession::None => None,
        }
    }

    /// How many sessions of orders were paid.
    fn paid_sessions(&self) -> usize {
        self.set.orders.values().map(|order| order.paid_sessions.len()).sum()
    }

    /// The number of an account; one that never was, if there is none.
    pub fn number(&self, account: u8) -> AccountNumber {
        let known = self.set.account_numbers.get(&account_id(account));
        known.copied().unwrap_or(AccountNumber(i64::MAX))
    }

    /// An order and its place in time, the newest being 0; beyond the oldest, one that never was.
    pub fn order(&self, place: u8) -> (OrderId, usize) {
        let mut known = self.model.order_ids.iter().enumerate().rev();
        let found = known.nth(usize::from(place)).map(|(number, id)| (*id, number));
        found.unwrap_or_else(|| (OrderId::from_bits(99 << 64), usize::MAX))
    }

    /// The payment's request of that number, the oldest being 0.
    fn request_of(&self, payment: usize, number: u8) -> Option<RefundRequestId> {
        let payment = self.set.payments.get(&payment_of(payment))?;
        payment.requested.keys().nth(usize::from(number)).copied()
    }

    fn what_was_reported(&self, payment: usize, fact: &Fact) -> PaymentFact {
        match fact {
            Fact::Refund { refund, status, amount, foreign, answers } => PaymentFact::Refund {
                refund: stripe_id("re", format!("{payment}_{refund}")),
                status: *status,
                amount: *amount,
                currency: currency(if *foreign { "usd" } else { "eur" }),
                request: self.request_of(payment, *refund).filter(|_| *answers),
            },
            Fact::ChargeRefunded { amount } => PaymentFact::ChargeRefunded {
                charge: stripe_id("ch", payment),
                amount_refunded: *amount,
                currency: currency("eur"),
            },
            Fact::Warning { warning } => {
                PaymentFact::FraudWarning { warning: stripe_id("issfr", format!("{payment}_{warning}")) }
            }
            Fact::CreditNote { note, issued, amount } => PaymentFact::CreditNote {
                note: stripe_id("cn", format!("{payment}_{note}")),
                status: if *issued { RefundStatus::Succeeded } else { RefundStatus::Cancelled },
                amount: *amount,
                currency: currency("eur"),
            },
            Fact::Dispute { dispute, status, amount } => PaymentFact::Dispute {
                dispute: stripe_id("dp", format!("{payment}_{dispute}")),
                status: *status,
                amount: *amount,
                currency: currency("eur"),
            },
        }
    }

    /// How many payments of checkout sessions are known; they are numbered in order.
    pub fn payments(&self) -> usize {
        let is_stripe = |reference: &PaymentReference| matches!(reference, PaymentReference::Stripe(_));
        let known = self.set.payments.values().filter(|payment| payment.money.is_some());
        known.filter(|payment| is_stripe(&payment.reference)).count()
    }

    /// A hold and what it holds: the newest open one being 0, resolved ones after the open ones; beyond, one that never
    /// was.
    fn hold(&self, place: u8) -> (HoldId, i64) {
        let model = self.model_now();
        let holds = model.holds.iter().zip(&model.hold_ids).rev();
        let (open, resolved): (Vec<_>, Vec<_>) = holds.partition(|(hold, _)| hold.open);
        match open.into_iter().chain(resolved).nth(usize::from(place)) {
            Some((hold, id)) => (*id, hold.draws.iter().map(|(_, amount)| amount).sum()),
            None => (HoldId::new(Position(i64::MAX), 0, &Seed([0; 16])), 1),
        }
    }

    fn charge(&self, account: u8, number: u8, percent: i64) -> Charge {
        let amount = share(self.available(account, number), percent);
        Charge::Credits { unit: unit(number), amount }
    }

    fn available(&self, account: u8, number: u8) -> i64 {
        self.model_now().available(usize::from(account), &unit(number))
    }

    /// A purchase, the newest being 0; beyond the oldest, one that never was.
    fn purchase(&self, place: u8) -> PurchaseId {
        let known = self.model.purchase_ids.iter().rev().nth(usize::from(place));
        known.copied().unwrap_or_else(|| PurchaseId::new(Position(i64::MAX), 0, &Seed([0; 16])))
    }
}

fn said_of_price(active: Option<bool>, credits: Option<i64>) -> PriceSettings {
    let grant = |credits| PriceGrant {
        unit: unit(0),
        amount: amount(credits),
        expires_days: None,
        priority: 50,
        share: 1,
    };
    PriceSettings { active, grants: credits.map(|credits| vec![grant(credits)]), ..PriceSettings::default() }
}

fn terms(stated: StatedTerms) -> Terms {
    let nothing = Terms::default();
    match stated {
        StatedTerms::Nothing => nothing,
        StatedTerms::Credits(credits) => Terms { credits: Some(amount(credits)), ..nothing },
        StatedTerms::CreditsOfUnit(credits) => {
            Terms { credits: Some(amount(credits)), unit: Some(unit(0)), ..nothing }
        }
        StatedTerms::Expiry => Terms { expires_days: Some(2), priority: Some(10), ..nothing },
        StatedTerms::Rollover(rollover) => Terms { rollover: Some(rollover), ..nothing },
    }
}

fn product_id(product: u8) -> StripeId {
    stripe_id("prod", product)
}

fn moment_at_stripe(moment: u8) -> Timestamp {
    Timestamp::from_unix_seconds(1_763_000_000 + i64::from(moment)).expect("in range")
}

fn what_was_bought(model: &Model, bought: &Bought) -> command::Bought {
    match bought {
        Bought::Price { price, quantity, stated } => {
            let known = model.find_price(&price_id(*price));
            let grants = known.map(|price| model.granted_by(price)).unwrap_or_default();
            let rightly =
                grants.iter().map(|grant| (grant.unit.clone(), grant.amount.get() * quantity)).collect();
            let totals: BTreeMap<Unit, i64> = match stated {
                None => BTreeMap::new(),
                Some(Stated::Rightly) => rightly,
                Some(Stated::Wrongly) => BTreeMap::from([(unit(0), 7)]),
            };
            command::Bought {
                price: Some((price_id(*price), amount(*quantity))),
                totals: totals.into_iter().map(|(unit, credits)| (unit, amount(credits))).collect(),
            }
        }
        Bought::Totals { first, second } => {
            let second = second.map(|credits| (unit(1), amount(credits)));
            let totals = [(unit(0), amount(*first))].into_iter().chain(second).collect();
            command::Bought { price: None, totals }
        }
    }
}
