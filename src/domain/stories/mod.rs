//! Tables that read like a ledger: what is done, and what the account has afterwards.
//!
//! One line is one command and what must hold after it:
//!
//! ```text
//! at 3d                      the clock stands at three days after the story began
//! grant 100 expires 10d      => 100
//! hold h 30 for 1h           => 70 held 30
//! spend 80                   => rejected InsufficientCredits
//! capture h 20               => 80 [hold.captured] lots 80
//! order o price_pack         => 80 [order.placed]
//! pay o pi_1 for 500         => 180 [credits.purchased order.paid]
//! transfer 20 to b           => 160 [transfer.sent transfer.received]
//! account b                  from here on, lines are about this account
//! ask r o 200                => 140 disputed 40
//! answer r pi_1 re_1 200 succeeded => 140
//! ```
//!
//! After `=>` stand all balances that are not zero (the first number is `available`), then, where it matters, the types of
//! the events that the command wrote, and what each lot has left. After every line the story replays all events from
//! nothing and compares, and checks every invariant.

mod accounts;
mod billing;
mod checkout;
mod checkout_links;
mod clawback;
mod clock;
mod configuration;
mod credit_notes;
mod customers;
mod debt;
mod disputes;
mod expiry;
mod holds;
mod invariants;
mod names;
mod orders;
mod prices;
mod purchases;
mod refunds;
mod spending;
mod state;
mod subscription_changes;
mod subscriptions;
mod transfers;

use std::collections::BTreeMap;

use super::{
    Command, Context, Rejection, WorkingSet,
    account::{Account, Book},
    amount::{Amount, Currency, PaidMoney},
    catalogue::{Feature, Price, PriceGrant},
    command::*,
    decide,
    event::{Event, EventBody, PurchaseSource},
    evolve,
    ids::*,
    invariants::check_event,
    payment::{DisputeStatus, PaymentFact, RefundStatus},
    settings::{CheckoutSettings, ClawbackPolicy, LedgerSettings, UnitSettings},
    time::{Span, Timestamp},
};

/// A ledger with the units `credits` and `bonus`, a small catalogue, and the account `a`.
pub(super) struct Story {
    pub(super) state: WorkingSet,
    pub(super) events: Vec<Event>,
    holds: BTreeMap<String, HoldId>,
    orders: BTreeMap<String, OrderId>,
    refunds: BTreeMap<String, RefundRequestId>,
    now: Timestamp,
    account: AccountId,
    unit: Unit,
    step: u8,
}

/// Tells the story and checks every line of it.
pub(super) fn story(text: &str) -> Story {
    let mut story = Story::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        story.tell(line);
    }
    story
}

pub(super) fn amount(value: i64) -> Amount {
    Amount::new(value).expect("an amount")
}

pub(super) fn unit(name: &str) -> Unit {
    Unit::parse(name).expect("a unit")
}

pub(super) fn stripe(id: &str) -> StripeId {
    StripeId::parse(id).expect("a Stripe id")
}

pub(super) fn eur() -> Currency {
    Currency::parse("eur").expect("a currency")
}

fn start() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000).expect("in range")
}

fn span(text: &str) -> Span {
    let (number, scale) = text.split_at(text.len() - 1);
    let number: i64 = number.parse().expect("a number before s, h or d");
    match scale {
        "s" => Span::seconds(number),
        "h" => Span::seconds(number * 3_600),
        "d" => Span::days(number),
        other => panic!("no scale `{other}`"),
    }
}

pub(super) fn settings() -> LedgerSettings {
    let units = ["credits", "bonus"].map(|name| (unit(name), UnitSettings { scale: 0 }));
    LedgerSettings { units: units.into(), checkout: checkout_settings(), ..LedgerSettings::default() }
}

/// Checkouts that lead back to `shop.example`.
pub(super) fn checkout_settings() -> CheckoutSettings {
    CheckoutSettings {
        success_url: Some("https://shop.example/thanks".to_owned()),
        redirect_hosts: ["shop.example".to_owned()].into(),
        ..CheckoutSettings::default()
    }
}

pub(super) fn feature(name: &str, cost: i64) -> Feature {
    let feature = FeatureKey::parse(name).expect("a feature");
    Feature { feature, unit: unit("credits"), cost: amount(cost), active: true }
}

pub(super) fn price_grant(name: &str, credits: i64, share: u32) -> PriceGrant {
    PriceGrant { unit: unit(name), amount: amount(credits), expires_days: None, priority: 50, share }
}

pub(super) fn price(id: &str, money: i64, grants: Vec<PriceGrant>) -> Price {
    Price {
        price: PriceId::parse(id).expect("a price"),
        display_name: "A pack".to_owned(),
        display_order: 1,
        active: true,
        money,
        currency: eur(),
        grants,
        rollover: None,
        operator: None,
        stripe: None,
    }
}

fn refund_status(name: &str) -> RefundStatus {
    match name {
        "pending" => RefundStatus::Pending,
        "succeeded" => RefundStatus::Succeeded,
        "failed" => RefundStatus::Failed,
        "cancelled" => RefundStatus::Cancelled,
        other => panic!("no refund is {other}"),
    }
}

/// The words of a line, read from the left.
struct Words<'a>(std::iter::Peekable<std::str::SplitWhitespace<'a>>);

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        self.0.next().expect("one more word")
    }

    fn number(&mut self) -> i64 {
        let word = self.next();
        word.parse().unwrap_or_else(|_| panic!("`{word}` is no number"))
    }

    /// The word after `name`, if that is what comes next.
    fn after(&mut self, name: &str) -> Option<&'a str> {
        self.0.next_if_eq(&name).and_then(|_| self.0.next())
    }

    fn has(&mut self, name: &str) -> bool {
        self.0.next_if_eq(&name).is_some()
    }
}

impl Story {
    pub(super) fn new() -> Self {
        let mut story = Self {
            state: WorkingSet::default(),
            events: Vec::new(),
            holds: BTreeMap::new(),
            orders: BTreeMap::new(),
            refunds: BTreeMap::new(),
            now: start(),
            account: AccountId::parse("a").expect("an account"),
            unit: unit("credits"),
            step: 0,
        };
        let two_units = vec![price_grant("credits", 100, 3), price_grant("bonus", 10, 1)];
        let monthly = PriceGrant { expires_days: Some(30), priority: 20, ..price_grant("credits", 100, 1) };
        for command in [
            Command::ConfigureLedger(settings()),
            Command::SetFeature(feature("analysis", 10)),
            Command::SetFeature(Feature { active: false, ..feature("retired", 1) }),
            Command::SetPrice(price("price_pack", 500, vec![price_grant("credits", 100, 1)]).into()),
            Command::SetPrice(price("price_both", 400, two_units).into()),
            Command::SetPrice(price("price_monthly", 300, vec![monthly]).into()),
        ] {
            story.run(&command).expect("the setting of the story");
        }
        story.tell("open a => 0 [account.opened]");
        story
    }

    /// Decides the command and takes its events in.
    pub(super) fn run(&mut self, command: &Command) -> Result<Vec<Event>, Rejection> {
        self.step = self.step.wrapping_add(1);
        let context = Context {
            now: self.now,
            next_position: Position(self.events.len() as i64 + 1),
            actor: Actor::System,
            key: Key::new(Namespace::System, &format!("step {}", self.step)).ok(),
            seed: Seed([self.step; 16]),
        };
        self.state.accounts_of_events = self.accounts_of_holds();
        let decision = decide(&self.state, command, &context)?;
        for event in &decision.events {
            assert_eq!(check_event(event), Ok(()), "{event:?}");
        }
        self.state.absorb(&decision);
        self.events.extend(decision.events.iter().cloned());
        Ok(decision.events)
    }

    fn accounts_of_holds(&self) -> BTreeMap<Position, AccountNumber> {
        let held = self.events.iter().filter(|event| matches!(event.body, EventBody::CreditsHeld(_)));
        held.filter_map(|event| Some((event.position, event.account?))).collect()
    }

    pub(super) fn number(&self) -> AccountNumber {
        self.state.account_numbers[&self.account]
    }

    pub(super) fn account(&self) -> &Account {
        &self.state.accounts[&self.number()]
    }

    pub(super) fn book(&self) -> Book {
        self.account().books.get(&self.unit).cloned().unwrap_or_default()
    }

    fn tell(&mut self, line: &str) {
        let (text, expected) = line.split_once("=>").unwrap_or((line, ""));
        let mut words = Words(text.split_whitespace().peekable());
        if self.set_scene(&mut words.0.clone().collect::<Vec<_>>()) {
            return;
        }
        let command = self.command(&mut words);
        assert_eq!(words.0.next(), None, "{line}: all words are understood");
        let before = self.state.clone();
        let outcome = self.run(&command);
        let events = match outcome {
            Ok(events) => events,
            Err(rejection) => {
                let name = format!("{rejection:?}");
                let wanted = expected.trim().strip_prefix("rejected ").unwrap_or("nothing");
                assert!(name.starts_with(wanted), "{line}: rejected as {name}");
                self.state.accounts_of_events.clone_from(&before.accounts_of_events);
                assert_eq!(self.state, before, "{line}: a rejection changes nothing");
                return;
            }
        };
        assert!(!expected.contains("rejected"), "{line}: must be rejected, but led to {events:?}");
        if !expected.trim().is_empty() {
            self.check(line, expected, &events);
        }
        self.remember(text, &events);
        self.check_replay(line);
    }

    /// `at`, `account`, `unit` and settings: what is no command of an account.
    fn set_scene(&mut self, words: &mut Vec<&str>) -> bool {
        match words.as_slice() {
            ["at", moment] => self.now = start().plus(span(moment)),
            ["account", account] => self.account = AccountId::parse(account).expect("an account"),
            ["unit", name] => self.unit = unit(name),
            ["rules", rules @ ..] => self.set_rules(rules),
            ["price", price, "rollover", rollover] => self.set_rollover(price, rollover),
            ["setting", setting] => {
                let mut settings = self.state.settings.clone();
                match *setting {
                    "lot_only" => settings.clawback_policy = ClawbackPolicy::LotOnly,
                    "claw_on_pending" => settings.claw_on_pending = true,
                    "freeze_on_dispute" => settings.freeze_on_dispute = true,
                    other => panic!("no setting `{other}`"),
                }
                self.run(&Command::ConfigureLedger(settings)).expect("valid settings");
            }
            _ => return false,
        }
        true
    }

    fn command(&mut self, words: &mut Words<'_>) -> Command {
        let (account, note) = (self.account.clone(), Note::new());
        match words.next() {
            "open" => {
                self.account = AccountId::parse(words.next()).expect("an account");
                Command::OpenAccount(OpenAccount {
                    account: self.account.clone(),
                    profile: ProfileChange::default(),
                    stripe_customer: words.after("with").map(stripe),
                })
            }
            "freeze" => Command::FreezeAccount(FreezeAccount { account, note }),
            "unfreeze" => Command::UnfreezeAccount(UnfreezeAccount { account, note }),
            "close" => Command::CloseAccount(CloseAccount { account, note }),
            "erase" => Command::EraseProfile(EraseProfile { account }),
            "sweep" => Command::ApplyDue(ApplyDue { account: self.number() }),
            "limit" => {
                let (unit, limit) = (self.unit.clone(), words.number());
                Command::SetOverdraftLimit(SetOverdraftLimit { account, unit, limit })
            }
            "grant" => {
                let amount = amount(words.number());
                let expires_at = words.after("expires").map(|text| start().plus(span(text)));
                let priority = words.after("priority").map_or(50, |text| text.parse().expect("a priority"));
                let unit = self.unit.clone();
                Command::GrantCredits(GrantCredits { account, unit, amount, expires_at, priority, note })
            }
            "spend" => Command::SpendCredits(SpendCredits { account, charge: self.charge(words), note }),
            "transfer" => {
                let (amount, unit) = (amount(words.number()), self.unit.clone());
                let to = words.after("to").map(|text| AccountId::parse(text).expect("an account"));
                let to = to.expect("`to` and an account");
                Command::TransferCredits(TransferCredits { from: account, to, unit, amount, note })
            }
            "adjust" => {
                let change = words.number();
                let direction = if change > 0 { Direction::In } else { Direction::Out };
                let (unit, amount) = (self.unit.clone(), amount(change.abs()));
                Command::AdjustCredits(AdjustCredits { account, unit, direction, amount, note })
            }
            "hold" => {
                words.next();
                let charge = self.charge(words);
                let lapses_after = words.after("for").map_or(Span::seconds(900), span);
                Command::PlaceHold(PlaceHold { account, charge, lapses_after, note })
            }
            "capture" => {
                let (hold, amount) = (self.hold(words), amount(words.number()));
                Command::CaptureHold(CaptureHold { hold, amount, allow_excess: words.has("excess"), note })
            }
            "release" => Command::ReleaseHold(ReleaseHold { hold: self.hold(words), note }),
            "buy" => self.buy(words),
            "refund" => {
                let payment = PaymentReference::Stripe(stripe(words.next()));
                let (refund, amount) = (stripe(words.next()), words.number());
                let status = refund_status(words.next());
                let currency =
                    words.after("in").map_or(eur(), |code| Currency::parse(code).expect("a currency"));
                let fact = PaymentFact::Refund { refund, status, amount, currency, request: None };
                Command::RecordPaymentFact(RecordPaymentFact { payment, fact })
            }
            "note" => {
                let payment = PaymentReference::Stripe(stripe(words.next()));
                let (note, amount) = (stripe(words.next()), words.number());
                let status = refund_status(words.next());
                let currency =
                    words.after("in").map_or(eur(), |code| Currency::parse(code).expect("a currency"));
                let fact = PaymentFact::CreditNote { note, status, amount, currency };
                Command::RecordPaymentFact(RecordPaymentFact { payment, fact })
            }
            "charge" => {
                let payment = PaymentReference::Stripe(stripe(words.next()));
                let fact = PaymentFact::ChargeRefunded {
                    charge: stripe("ch_1"),
                    amount_refunded: words.number(),
                    currency: eur(),
                };
                Command::RecordPaymentFact(RecordPaymentFact { payment, fact })
            }
            "dispute" => {
                let payment = PaymentReference::Stripe(stripe(words.next()));
                let (dispute, amount) = (stripe(words.next()), words.number());
                let status = match words.next() {
                    "inquiry" => DisputeStatus::Inquiry,
                    "open" => DisputeStatus::Open,
                    "won" => DisputeStatus::Won,
                    "lost" => DisputeStatus::Lost,
                    other => panic!("no dispute is {other}"),
                };
                let fact = PaymentFact::Dispute { dispute, status, amount, currency: eur() };
                Command::RecordPaymentFact(RecordPaymentFact { payment, fact })
            }
            "warn" => {
                let payment = PaymentReference::Stripe(stripe(words.next()));
                let fact = PaymentFact::FraudWarning { warning: stripe(words.next()) };
                Command::RecordPaymentFact(RecordPaymentFact { payment, fact })
            }
            "return" => {
                let purchase = self.last_external_purchase();
                let amount = words.0.next().map(|word| amount(word.parse().expect("a number")));
                Command::RefundPurchase(RefundPurchase { purchase, amount, note })
            }
            other => self.checkout_command(other, words),
        }
    }

    fn last_external_purchase(&self) -> PurchaseId {
        let mut purchases = self.events.iter().rev().filter_map(|event| match &event.body {
            EventBody::CreditsPurchased(body) => Some(body),
            _ => None,
        });
        let external = purchases.find(|body| body.source == PurchaseSource::External);
        external.map_or_else(|| PurchaseId::from_bits(1), |body| body.purchase)
    }

    /// `100`, or `analysis x 2`.
    fn charge(&self, words: &mut Words<'_>) -> Charge {
        let word = words.next();
        match word.parse() {
            Ok(number) => Charge::Credits { unit: self.unit.clone(), amount: amount(number) },
            Err(_) => {
                let quantity = words.after("x").map_or(1, |text| text.parse().expect("a quantity"));
                Charge::Feature {
                    feature: FeatureKey::parse(word).expect("a feature"),
                    quantity: amount(quantity),
                }
            }
        }
    }

    fn hold(&self, words: &mut Words<'_>) -> HoldId {
        let name = words.next();
        self.holds.get(name).copied().unwrap_or_else(|| HoldId::from_bits(99 << 64))
    }

    /// `buy pi_1 100 for 500 tax 80`, `buy external price_pack x 2 for 900`, `buy free 100 for 0`.
    fn buy(&mut self, words: &mut Words<'_>) -> Command {
        let session = stripe(&format!("cs_{}", self.step));
        let paid_through = match words.next() {
            "external" => PaidThrough::External,
            "free" => PaidThrough::CheckoutSession { session, payment_intent: None },
            intent => PaidThrough::CheckoutSession { session, payment_intent: Some(stripe(intent)) },
        };
        let mut bought = Bought { price: None, totals: BTreeMap::new() };
        while words.0.peek().is_some_and(|word| *word != "for") {
            let word = words.next();
            match word.parse() {
                Ok(number) => {
                    let unit = words.after("of").map_or(self.unit.clone(), unit);
                    bought.totals.insert(unit, amount(number));
                }
                Err(_) => {
                    let quantity = words.after("x").map_or(1, |text| text.parse().expect("a quantity"));
                    bought.price = Some((PriceId::parse(word).expect("a price"), amount(quantity)));
                }
            }
        }
        let gross = words.after("for").map_or(0, |text| text.parse().expect("money"));
        let tax = words.after("tax").map_or(0, |text| text.parse().expect("money"));
        let money = PaidMoney::new(gross, tax, eur()).expect("money");
        Command::RecordPurchase(RecordPurchase {
            order: None,
            account: self.account.clone(),
            paid_through,
            bought,
            money,
            note: Note::new(),
        })
    }

    fn remember(&mut self, text: &str, events: &[Event]) {
        let name = || text.split_whitespace().nth(1).expect("what is made has a name").to_owned();
        for event in events {
            match &event.body {
                EventBody::CreditsHeld(body) => drop(self.holds.insert(name(), body.hold)),
                EventBody::OrderPlaced(body) => drop(self.orders.insert(name(), body.order)),
                EventBody::RefundRequested(body) => drop(self.refunds.insert(name(), body.refund)),
                _ => {}
            }
        }
    }

    fn check(&self, line: &str, expected: &str, events: &[Event]) {
        let (balances, types) = match expected.split_once('[') {
            Some((balances, rest)) => {
                let (types, rest) = rest.split_once(']').expect("a closing bracket");
                (format!("{balances} {rest}"), Some(types))
            }
            None => (expected.to_owned(), None),
        };
        let book = self.book();
        let mut words = Words(balances.split_whitespace().peekable());
        assert_eq!(book.available, words.number(), "{line}: available");
        for (name, actual) in [("held", book.held), ("disputed", book.disputed), ("debt", book.debt)] {
            let wanted = words.after(name).map_or(0, |text| text.parse().expect("a number"));
            assert_eq!(actual, wanted, "{line}: {name}");
        }
        if words.has("lots") {
            let remaining: Vec<i64> = book.lots.values().map(|lot| lot.remaining).collect();
            let wanted: Vec<i64> =
                std::iter::from_fn(|| words.0.next()).map(|text| text.parse().expect("a number")).collect();
            assert_eq!(remaining, wanted, "{line}: lots");
        }
        assert_eq!(words.0.next(), None, "{line}: everything expected is understood");
        if let Some(types) = types {
            let written: Vec<&str> = events.iter().map(|event| event.body.type_name()).collect();
            assert_eq!(written, types.split_whitespace().collect::<Vec<_>>(), "{line}: events");
        }
    }

    /// Everything that was written leads to the same state again, and says of itself what it did.
    fn check_replay(&self, line: &str) {
        let mut replayed = WorkingSet {
            account_numbers: self.state.account_numbers.clone(),
            accounts_of_events: self.state.accounts_of_events.clone(),
            ..WorkingSet::default()
        };
        let mut sums: BTreeMap<(AccountNumber, Unit), i64> = BTreeMap::new();
        for (index, event) in self.events.iter().enumerate() {
            assert_eq!(event.position, Position(index as i64 + 1), "{line}: positions have no gaps");
            assert_eq!(
                event.key.is_some(),
                event.command == event.position,
                "{line}: the first event has the key"
            );
            evolve(&mut replayed, event);
            let seen = replayed.clone();
            evolve(&mut replayed, event);
            assert_eq!(replayed, seen, "{line}: an event that has been seen changes nothing");
            if let (Some(account), Some(unit), Some(balance)) = (event.account, &event.unit, event.balance) {
                let sum = sums.entry((account, unit.clone())).or_default();
                *sum += event.amount;
                assert_eq!(*sum, balance.net, "{line}: amounts add up to the balance");
                assert_eq!(
                    replayed.accounts[&account].books[unit].balance(),
                    balance,
                    "{line}: the balance after"
                );
            }
        }
        assert_eq!(replayed, self.state, "{line}: replay leads to the live state");
    }
}
