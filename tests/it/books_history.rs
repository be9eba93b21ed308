//! Random histories of a ledger, through the real writer: buying and subscribing, using and holding, refunds and disputes,
//! transfers, debt, and time that passes.

use std::{collections::BTreeMap, sync::Arc};

use counterfoil::{
    domain::{
        Command, EventBody,
        amount::{Amount, Currency, PaidMoney},
        catalogue::{Price, PriceGrant},
        command::{
            AdjustCredits, AdvanceClock, ApplyDue, Bought, CaptureHold, Charge, Direction, GrantCredits,
            Note, PaidThrough, PlaceHold, ProratedLine, RecordInvoiceLine, RecordPaymentFact, RecordPurchase,
            ReleaseHold, SetOverdraftLimit, SoldLine, SpendCredits, Subscriber, TransferCredits,
        },
        event::{Event, PurchaseClawed, PurchaseRestored, TargetCause},
        ids::{AccountId, HoldId, LedgerId, PaymentReference, PriceId, StripeId, Unit},
        payment::{DisputeStatus, Payment, PaymentFact, RefundStatus},
        settings::{ClawbackPolicy, LedgerSettings, Rollover, SubscriptionRules, UnitSettings},
        subscription::Period,
        time::{Span, Timestamp},
    },
    writer::{Accepted, Outcome, Writers},
};

use crate::writer_support::{account, amount, open, plain};

/// Accounts of every history.
const NAMES: [&str; 3] = ["ada", "bob", "eve"];

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).expect("31 bits").rem_euclid(sides)
    }

    fn one_of<T: Clone>(&mut self, things: &[T]) -> Option<T> {
        let sides = i64::try_from(things.len()).expect("few");
        (sides > 0).then(|| things[usize::try_from(self.roll(sides)).expect("not negative")].clone())
    }
}

/// What a history is made by: the same plot makes the same history.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    pub seed: u64,
    pub steps: u32,
    pub policy: ClawbackPolicy,
    pub claw_on_pending: bool,
}

/// A history that is being made, and what has to be known of it to go on.
pub struct History {
    pub events: Vec<Event>,
    ledger: LedgerId,
    writers: Arc<Writers>,
    plot: Plot,
    dice: Dice,
    payments: Vec<(PaymentReference, PaidMoney)>,
    refunds: Vec<(PaymentReference, StripeId, i64, Currency)>,
    notes: Vec<(PaymentReference, StripeId, i64, Currency)>,
    disputes: Vec<(PaymentReference, StripeId, i64, Currency)>,
    holds: Vec<(HoldId, i64)>,
    /// Until when each account's subscription is paid.
    paid_until: BTreeMap<AccountId, Timestamp>,
    made: u32,
}

/// A pack of credits that expire, and licences; two plans.
const PACK: &str = "price_pack";
const PLAN: &str = "price_plan";
const PLUS: &str = "price_plus";

fn price_id(id: &str) -> PriceId {
    PriceId::parse(id).expect("a price")
}

/// A price with its grants: of which unit, how many, and after how many days they expire.
fn price(id: &str, money: i64, grants: &[(&str, i64, Option<u32>)]) -> Price {
    let grant = |(unit, granted, expires_days): &(&str, i64, Option<u32>)| PriceGrant {
        unit: Unit::parse(unit).expect("a unit"),
        amount: amount(*granted),
        expires_days: *expires_days,
        priority: 50,
        share: 1,
    };
    Price {
        price: price_id(id),
        display_name: "Credits".to_owned(),
        display_order: 1,
        active: true,
        money,
        currency: Currency::parse("eur").expect("a currency"),
        grants: grants.iter().map(grant).collect(),
        rollover: None,
        operator: None,
        stripe: None,
    }
}

fn units() -> [Unit; 2] {
    ["credits", "licence"].map(|unit| Unit::parse(unit).expect("a unit"))
}

impl History {
    /// Makes one of an empty test ledger.
    pub async fn of(ledger: LedgerId, writers: Arc<Writers>, plot: Plot) -> Self {
        let mut history = Self {
            events: Vec::new(),
            ledger,
            writers,
            plot,
            dice: Dice(plot.seed),
            payments: Vec::new(),
            refunds: Vec::new(),
            notes: Vec::new(),
            disputes: Vec::new(),
            holds: Vec::new(),
            paid_until: BTreeMap::new(),
            made: 0,
        };
        history.configure().await;
        for name in NAMES {
            history.submit(open(name)).await;
        }
        for _ in 0..plot.steps {
            history.step().await;
        }
        history
    }

    async fn configure(&mut self) {
        let settings = LedgerSettings {
            units: units().map(|unit| (unit, UnitSettings { scale: 0 })).into(),
            clawback_policy: self.plot.policy,
            claw_on_pending: self.plot.claw_on_pending,
            subscriptions: SubscriptionRules {
                renewal_grace_days: 2,
                rollover: Rollover::Capped(amount(12)),
                ..SubscriptionRules::default()
            },
            ..LedgerSettings::default()
        };
        self.submit(Command::ConfigureLedger(settings)).await;
        let prices = [
            price(PACK, 1_500, &[("credits", 20, Some(4)), ("licence", 2, None)]),
            price(PLAN, 1_000, &[("credits", 30, None)]),
            price(PLUS, 3_000, &[("credits", 70, None), ("licence", 3, None)]),
        ];
        for price in prices {
            self.submit(Command::SetPrice(price.into())).await.expect("a price");
        }
    }

    fn now(&self) -> Timestamp {
        self.events.last().expect("events").recorded_at
    }

    async fn submit(&mut self, command: Command) -> Option<Accepted> {
        match self.writers.submit(self.ledger, plain(command)).await.expect("an outcome") {
            Outcome::Accepted(accepted) => {
                self.events.extend(accepted.events.iter().cloned());
                Some(accepted)
            }
            Outcome::Rejected(_) => None,
        }
    }

    fn someone(&mut self) -> AccountId {
        account(self.dice.one_of(&NAMES).expect("a name"))
    }

    fn some_unit(&mut self) -> Unit {
        self.dice.one_of(&units()).expect("a unit")
    }

    fn new_id(&mut self, prefix: &str) -> StripeId {
        self.made += 1;
        StripeId::parse(&format!("{prefix}_{}", self.made)).expect("an id")
    }

    async fn step(&mut self) {
        match self.dice.roll(26) {
            0..2 => self.buy().await,
            2..7 => self.spend().await,
            7..9 => self.hold().await,
            9..11 => self.resolve_hold().await,
            11 => self.grant().await,
            12 => self.adjust().await,
            13..16 => self.refund().await,
            16..19 => self.move_refund().await,
            19 | 20 => self.dispute().await,
            21 => self.pass_time().await,
            22 | 23 => self.transfer().await,
            24 => self.bill().await,
            _ => self.allow_overdraft().await,
        }
    }

    async fn buy(&mut self) {
        let session = self.new_id("cs");
        let intent = self.new_id("pi");
        let currency =
            self.dice.one_of(&["eur", "jpy", "kwd"]).and_then(Currency::parse).expect("a currency");
        let gross = 1 + self.dice.roll(5_000);
        let tax = self.dice.roll(gross);
        let money = PaidMoney::new(gross, tax, currency).expect("money");
        let bought = self.something();
        let payment = PaymentReference::Stripe(intent.clone());
        if self.dice.roll(6) == 0 {
            // Stripe tells of refunds before it tells of the sale.
            self.payments.push((payment.clone(), money));
            self.refund().await;
        } else {
            self.payments.push((payment, money));
        }
        let command = RecordPurchase {
            account: self.someone(),
            paid_through: PaidThrough::CheckoutSession { session, payment_intent: Some(intent) },
            order: None,
            bought,
            money,
            note: Note::new(),
        };
        assert!(
            self.submit(Command::RecordPurchase(command)).await.is_some(),
            "a purchase is always recorded"
        );
    }

    fn something(&mut self) -> Bought {
        if self.dice.roll(3) == 0 {
            let quantity = amount(1 + self.dice.roll(2));
            return Bought { price: Some((price_id(PACK), quantity)), totals: BTreeMap::new() };
        }
        let mut totals = BTreeMap::from([(self.some_unit(), amount(1 + self.dice.roll(40)))]);
        if self.dice.roll(3) == 0 {
            totals.insert(self.some_unit(), amount(1 + self.dice.roll(7)));
        }
        Bought { price: None, totals }
    }

    /// An invoice of an account's subscription is paid: of its next period, or of a change within one.
    async fn bill(&mut self) {
        let account = self.someone();
        let paid_until = self.paid_until.get(&account).copied();
        let (period, sold) = match paid_until.filter(|end| *end > self.now()) {
            Some(end) if self.dice.roll(2) == 0 => {
                let line = |price, amount| ProratedLine { price: price_id(price), amount };
                let lines = vec![line(PLUS, self.dice.roll(2_000)), line(PLAN, -self.dice.roll(900))];
                (Period { start: self.now(), end }, SoldLine::Changes { lines, replaced: None })
            }
            running => {
                if let Some(end) = running {
                    self.wait_for(end.since(self.now()).whole_seconds() + 1).await;
                }
                let start = running.unwrap_or(self.now());
                let price = price_id(self.dice.one_of(&[PLAN, PLUS]).expect("a plan"));
                let sold = SoldLine::Period { price, quantity: amount(1), is_free: false };
                (Period { start, end: start.plus(Span::days(4)) }, sold)
            }
        };
        let gross = 1 + self.dice.roll(3_000);
        let currency = Currency::parse("eur").expect("a currency");
        let money = PaidMoney::new(gross, self.dice.roll(gross), currency).expect("money");
        let payment = self.new_id("pi");
        let command = RecordInvoiceLine {
            subscription: StripeId::parse(&format!("sub_{account}")).expect("an id"),
            subscriber: Subscriber::Named(account.clone()),
            invoice: self.new_id("in"),
            line: self.new_id("il"),
            payment_intent: Some(payment.clone()),
            money,
            paid_with: money,
            period,
            sold,
        };
        if self.submit(Command::RecordInvoiceLine(command)).await.is_some() {
            self.paid_until.insert(account, period.end);
            self.payments.push((PaymentReference::Stripe(payment), money));
        }
    }

    fn charge(&mut self, most: i64) -> Charge {
        Charge::Credits { unit: self.some_unit(), amount: amount(1 + self.dice.roll(most)) }
    }

    /// Uses a few credits, or all that there are, so that what is taken back later makes debt.
    async fn spend(&mut self) {
        let mut charge = self.charge(12);
        let account = self.someone();
        if let Charge::Credits { unit, amount } = &mut charge
            && self.dice.roll(3) == 0
            && let Some(all) = Amount::new(self.net(&account, unit))
        {
            *amount = all;
        }
        let command = SpendCredits { account, charge, note: Note::new() };
        self.submit(Command::SpendCredits(command)).await;
    }

    async fn hold(&mut self) {
        let charge = self.charge(9);
        let account = self.someone();
        let lapses_after = Span::seconds(60 + self.dice.roll(100_000));
        let command = PlaceHold { account, charge, lapses_after, note: Note::new() };
        if let Some(accepted) = self.submit(Command::PlaceHold(command)).await {
            let held = accepted.events.iter().find_map(|event| match &event.body {
                EventBody::CreditsHeld(body) => Some((body.hold, body.held)),
                _ => None,
            });
            self.holds.extend(held);
        }
    }

    async fn resolve_hold(&mut self) {
        let Some((hold, held)) = self.dice.one_of(&self.holds) else { return };
        self.holds.retain(|(other, _)| *other != hold);
        let note = Note::new();
        if self.dice.roll(3) == 0 {
            self.submit(Command::ReleaseHold(ReleaseHold { hold, note })).await;
        } else {
            let amount = amount(1 + self.dice.roll(held + 2));
            self.submit(Command::CaptureHold(CaptureHold { hold, amount, allow_excess: true, note })).await;
        }
    }

    async fn grant(&mut self) {
        let in_days = self.dice.roll(20);
        let now = self.now();
        let command = GrantCredits {
            account: self.someone(),
            unit: self.some_unit(),
            amount: amount(1 + self.dice.roll(15)),
            expires_at: (in_days > 0).then(|| now.plus(Span::seconds(in_days * 86_400))),
            priority: 50,
            note: Note::new(),
        };
        self.submit(Command::GrantCredits(command)).await;
    }

    async fn transfer(&mut self) {
        let command = TransferCredits {
            from: self.someone(),
            to: self.someone(),
            unit: self.some_unit(),
            amount: amount(1 + self.dice.roll(20)),
            note: Note::new(),
        };
        self.submit(Command::TransferCredits(command)).await;
    }

    async fn adjust(&mut self) {
        let direction = if self.dice.roll(3) == 0 { Direction::In } else { Direction::Out };
        let command = AdjustCredits {
            account: self.someone(),
            unit: self.some_unit(),
            direction,
            amount: amount(1 + self.dice.roll(5)),
            note: Note::from_iter([("reason".to_owned(), "a mistake".into())]),
        };
        self.submit(Command::AdjustCredits(command)).await;
    }

    async fn tell(&mut self, payment: PaymentReference, fact: PaymentFact) {
        self.submit(Command::RecordPaymentFact(RecordPaymentFact { payment, fact })).await;
    }

    async fn refund(&mut self) {
        let Some((payment, money)) = self.dice.one_of(&self.payments) else { return };
        let currency = money.currency;
        let part = match self.dice.roll(3) {
            0 => money.gross,
            _ => 1 + self.dice.roll(money.gross),
        };
        if self.dice.roll(4) == 0 {
            let charge = StripeId::parse(&format!("ch_{payment}").replace("pi_", "")).expect("an id");
            return self
                .tell(payment, PaymentFact::ChargeRefunded { charge, amount_refunded: part, currency })
                .await;
        }
        if self.dice.roll(4) == 0 {
            let (note, status) = (self.new_id("cn"), RefundStatus::Succeeded);
            self.notes.push((payment.clone(), note.clone(), part, currency));
            return self
                .tell(payment, PaymentFact::CreditNote { note, status, amount: part, currency })
                .await;
        }
        let refund = self.new_id("re");
        let status = self.dice.one_of(&[RefundStatus::Pending, RefundStatus::Succeeded]).expect("a status");
        self.refunds.push((payment.clone(), refund.clone(), part, currency));
        self.tell(payment, PaymentFact::Refund { refund, status, amount: part, currency, request: None })
            .await;
    }

    async fn move_refund(&mut self) {
        if self.dice.roll(4) == 0
            && let Some((payment, note, amount, currency)) = self.dice.one_of(&self.notes)
        {
            let status = RefundStatus::Cancelled;
            return self.tell(payment, PaymentFact::CreditNote { note, status, amount, currency }).await;
        }
        let Some((payment, refund, amount, currency)) = self.dice.one_of(&self.refunds) else { return };
        let statuses = [RefundStatus::Succeeded, RefundStatus::Failed, RefundStatus::Cancelled];
        let status = self.dice.one_of(&statuses).expect("a status");
        self.tell(payment, PaymentFact::Refund { refund, status, amount, currency, request: None }).await;
    }

    async fn dispute(&mut self) {
        if self.dice.roll(2) == 0
            && let Some((payment, dispute, amount, currency)) = self.dice.one_of(&self.disputes)
        {
            let status = self.dice.one_of(&[DisputeStatus::Won, DisputeStatus::Lost]).expect("a status");
            return self.tell(payment, PaymentFact::Dispute { dispute, status, amount, currency }).await;
        }
        let Some((payment, money)) = self.dice.one_of(&self.payments) else { return };
        let (dispute, currency) = (self.new_id("dp"), money.currency);
        let amount = 1 + self.dice.roll(money.gross);
        self.disputes.push((payment.clone(), dispute.clone(), amount, currency));
        let status = DisputeStatus::Open;
        self.tell(payment, PaymentFact::Dispute { dispute, status, amount, currency }).await;
    }

    /// What an account has of a unit, less what it owes.
    fn net(&self, account: &AccountId, unit: &Unit) -> i64 {
        let opened = self.events.iter().filter(|event| matches!(event.body, EventBody::AccountOpened(_)));
        let named = NAMES.iter().zip(opened).find(|(name, _)| **name == account.as_str());
        let number = named.expect("an account").1.account;
        let last =
            self.events.iter().rfind(|event| event.account == number && event.unit.as_ref() == Some(unit));
        last.and_then(|event| event.balance).map_or(0, |balance| balance.net)
    }

    async fn pass_time(&mut self) {
        let seconds = 3_600 + self.dice.roll(400_000);
        self.wait_for(seconds).await;
    }

    async fn wait_for(&mut self, seconds: i64) {
        self.submit(Command::AdvanceClock(AdvanceClock { seconds: amount(seconds) })).await;
        let opened = |event: &&Event| matches!(event.body, EventBody::AccountOpened(_));
        let accounts: Vec<_> = self.events.iter().filter(opened).filter_map(|event| event.account).collect();
        for account in accounts {
            self.submit(Command::ApplyDue(ApplyDue { account })).await;
        }
    }

    async fn allow_overdraft(&mut self) {
        let limit = self.dice.roll(10);
        let (account, unit) = (self.someone(), self.some_unit());
        self.submit(Command::SetOverdraftLimit(SetOverdraftLimit { account, unit, limit })).await;
    }

    /// Whether the event at a position is the last one of its command.
    pub fn ends_command(&self, position: i64) -> bool {
        let next = self.events.iter().find(|event| event.position.0 == position + 1);
        next.is_none_or(|next| next.command == next.position)
    }

    /// By currency, what was sold less what went back, without tax, after the events up to a position: from the facts about
    /// the payments alone.
    pub fn net_cash(&self, until: i64) -> BTreeMap<String, i64> {
        let mut sold: BTreeMap<PaymentReference, (PaidMoney, Payment)> = BTreeMap::new();
        let mut known: BTreeMap<PaymentReference, Payment> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.position.0 <= until) {
            let (payment, fact) = match &event.body {
                EventBody::CreditsPurchased(body) => {
                    let reference = body.payment.clone().expect("a payment");
                    let entry = known.entry(reference.clone());
                    let payment = entry.or_insert_with(|| Payment::unknown(reference.clone()));
                    payment.money = Some(body.money);
                    sold.insert(reference, (body.money, payment.clone()));
                    continue;
                }
                EventBody::PaymentNoted(body) => (body.payment.clone(), body.fact.clone()),
                EventBody::PurchaseClawed(PurchaseClawed(body))
                | EventBody::PurchaseRestored(PurchaseRestored(body)) => {
                    let TargetCause::Fact(fact) = &body.cause else { continue };
                    (body.payment.clone().expect("a payment"), fact.clone())
                }
                _ => continue,
            };
            let entry = known.entry(payment.clone());
            entry.or_insert_with(|| Payment::unknown(payment)).learn(&fact);
        }
        let mut cash = BTreeMap::new();
        for (reference, (money, _)) in sold {
            let back = known[&reference].money_back(self.plot.claw_on_pending).taken.min(money.gross);
            let net = i128::from(money.net());
            let returned = i64::try_from(net * i128::from(back) / i128::from(money.gross)).expect("fits");
            *cash.entry(money.currency.to_string()).or_default() += money.net() - returned;
        }
        cash
    }
}
