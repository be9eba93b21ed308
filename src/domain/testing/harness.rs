//! Runs plans on the code under test and on the model at once, and compares after every step.

use super::{
    commands::{features, prices, settings},
    invariants::{self, Tally},
    model::{Model, Shown},
    steps::{ACCOUNTS, Step},
    summary::{self, Summary},
};
use crate::domain::{
    account::Account,
    account_at,
    catalogue::Price,
    command::{ApplyDue, Command, Context},
    decide,
    event::{BalanceAfter, Event, EventBody},
    evolve,
    ids::{Actor, Key, Namespace, Position, Seed, Unit},
    rejection::Rejection,
    settings::ClawbackPolicy,
    time::{Span, Timestamp},
    working_set::{Decision, WorkingSet},
};

/// A ledger in the hands of the code under test, with a model beside it.
pub struct Harness {
    pub set: WorkingSet,
    pub model: Model,
    pub events: Vec<Event>,
    pub now: Timestamp,
    tally: Tally,
    /// How many commands have been decided.
    pub steps: u64,
    /// Makes the ids of two ledgers differ.
    salt: u8,
}

impl Harness {
    /// A configured ledger with a few open accounts.
    pub fn new(salt: u8) -> Self {
        let mut harness = Self {
            set: WorkingSet::default(),
            model: Model::default(),
            events: Vec::new(),
            now: Timestamp::from_unix_seconds(1_763_692_800).expect("in range"),
            tally: Tally::default(),
            steps: 0,
            salt,
        };
        let settings = settings(ClawbackPolicy::Debt, false, false, None);
        harness.accepted(&Command::ConfigureLedger(settings));
        for feature in features() {
            harness.accepted(&Command::SetFeature(feature));
        }
        for price in prices() {
            harness.accepted(&Command::SetPrice(price.into()));
        }
        for account in 0..ACCOUNTS {
            harness.step(&Step::Open { account });
        }
        harness
    }

    /// Runs all steps.
    pub fn run(&mut self, plan: &[Step]) {
        for step in plan {
            self.step(step);
        }
    }

    /// Runs one step; whether anything may have been written.
    pub fn step(&mut self, step: &Step) -> Option<Result<Decision, Rejection>> {
        if let Step::Wait(seconds) = step {
            self.now = self.now.plus(Span::seconds(*seconds));
            self.check_state();
            return None;
        }
        self.command(step).map(|command| self.execute(&command))
    }

    fn accepted(&mut self, command: &Command) -> Decision {
        self.execute(command).expect("the set-up breaks no rule")
    }

    /// Decides a command on both sides, takes in what follows, and compares.
    pub fn execute(&mut self, command: &Command) -> Result<Decision, Rejection> {
        let context = self.context();
        let outcome = decide(&self.set, command, &context);
        self.check_pruned(command, &context, &outcome);
        let model = self.model.handle(command, self.now);
        match (&outcome, model) {
            (Ok(decision), Ok(())) => self.take_in(decision, &context),
            (Err(rejection), Err(broken)) => {
                let is_broken = broken.iter().any(|rule| is_same_rule(rule, rejection));
                assert!(is_broken, "rejected for {rejection:?}, but broken are {broken:?}: {command:?}");
            }
            (outcome, model) => panic!("decided {outcome:?}, by the model {model:?}: {command:?}"),
        }
        self.check_state();
        outcome
    }

    fn context(&mut self) -> Context {
        self.steps += 1;
        let mut seed = [self.salt; 16];
        seed[..8].copy_from_slice(&self.steps.to_be_bytes());
        let head = self.events.last().map_or(Position::default(), |event| event.position);
        Context {
            now: self.now,
            next_position: head.next(),
            actor: Actor::Operator,
            key: Some(Key::new(Namespace::System, &format!("step-{}", self.steps)).expect("a valid key")),
            seed: Seed(seed),
        }
    }

    fn take_in(&mut self, decision: &Decision, context: &Context) {
        invariants::check_events(decision, context);
        for event in &decision.events {
            self.tally.take_in(event);
        }
        self.set.absorb(decision);
        let mut twice = self.set.clone();
        for event in &decision.events {
            evolve(&mut twice, event);
        }
        assert_eq!(twice, self.set, "events that were seen are skipped");
        for event in &decision.events {
            match &event.body {
                EventBody::AccountOpened(_) => {
                    self.model.account_numbers.push(event.account.expect("an account is its own"));
                }
                EventBody::OrderPlaced(placed) => self.model.order_ids.push(placed.order),
                EventBody::RefundRequested(asked) => self.model.request_ids.push(asked.refund),
                EventBody::CreditsHeld(held) => {
                    let account = event.account.expect("a hold is an account's");
                    self.set.accounts_of_events.insert(event.position, account);
                    self.model.hold_ids.push(held.hold);
                }
                EventBody::CreditsPurchased(bought)
                    if !self.model.purchase_ids.contains(&bought.purchase) =>
                {
                    self.model.purchase_ids.push(bought.purchase);
                }
                _ => {}
            }
        }
        self.events.extend(decision.events.iter().cloned());
    }

    fn check_state(&self) {
        invariants::check_state(&self.set);
        self.tally.check(&self.set);
        let (code, model) = (self.summary(), summary::of_model(&self.model_now()));
        assert!(code == model, "the code and the model disagree:\n{}", summary::difference(&code, &model));
        assert_eq!(self.shown_prices(), self.model.shown(), "the shop shows what the model shows");
    }

    fn shown_prices(&self) -> Vec<Shown> {
        let prices = self.set.catalogue.prices.values().cloned();
        let shown = prices.map(|price| {
            let Price { price, display_name, display_order, active, money, grants, rollover, .. } = price;
            (price, display_name, display_order, active, money, grants, rollover)
        });
        shown.collect()
    }

    /// What the code tells now: everything that is due has happened, written down or not.
    pub fn summary(&self) -> Summary {
        summary::of_code(&self.caught_up())
    }

    fn caught_up(&self) -> WorkingSet {
        let mut set = self.set.clone();
        let mut next_position = self.events.last().map_or(Position::default(), |event| event.position).next();
        for account in self.set.accounts.keys() {
            let command = Command::ApplyDue(ApplyDue { account: *account });
            let (now, actor, seed) = (self.now, Actor::System, Seed([0; 16]));
            let context = Context { now, next_position, actor, key: None, seed };
            let decision = decide(&set, &command, &context).expect("what is due always happens");
            next_position = decision.events.last().map_or(next_position, |event| event.position.next());
            set.absorb(&decision);
        }
        invariants::check_state(&set);
        for (number, account) in &set.accounts {
            let read = account_at(&self.set, *number, self.now).expect("a known account");
            let balances = |account: &Account| -> Vec<(Unit, BalanceAfter, i64)> {
                let books = account.books.iter();
                books.map(|(unit, book)| (unit.clone(), book.balance(), book.spendable())).collect()
            };
            assert_eq!(balances(&read), balances(account), "what is read is what is written");
            assert_eq!(read.next_due_at(), account.next_due_at(), "{read:?}");
        }
        set
    }

    /// A command is decided the same way if only what it says that it needs is loaded, and leads to the same state.
    fn check_pruned(&self, command: &Command, context: &Context, outcome: &Result<Decision, Rejection>) {
        let mut pruned = self.pruned(command);
        assert_eq!(decide(&pruned, command, context), *outcome, "with only what is needed: {command:?}");
        let Ok(decision) = outcome else { return };
        let mut whole = self.set.clone();
        whole.absorb(decision);
        pruned.absorb(decision);
        for (number, account) in &mut pruned.accounts {
            let whole = whole.accounts.get_mut(number).expect("an account of the whole ledger");
            account.drop_closed_lots();
            whole.drop_closed_lots();
            assert_eq!(account, whole, "with only what is needed: {command:?}");
        }
        for (id, purchase) in &pruned.purchases {
            assert_eq!(Some(purchase), whole.purchases.get(id));
        }
        for (reference, payment) in &pruned.payments {
            assert_eq!(Some(payment), whole.payments.get(reference));
        }
        for (id, order) in &pruned.orders {
            assert_eq!(Some(order), whole.orders.get(id));
        }
        for (id, subscription) in &pruned.subscriptions {
            assert_eq!(Some(subscription), whole.subscriptions.get(id));
        }
    }

    /// The model, with everything that is due having happened.
    pub fn model_now(&self) -> Model {
        let mut model = self.model.clone();
        model.pass_time(self.now);
        model
    }
}

/// Whether two rejections name the same rule with the same numbers. What exactly is wrong is said for people only.
fn is_same_rule(one: &Rejection, other: &Rejection) -> bool {
    use Rejection::{InvalidConfiguration, OrderContradicts, PaymentContradicts};
    match (one, other) {
        (PaymentContradicts { .. }, PaymentContradicts { .. }) => true,
        (OrderContradicts { order: one, .. }, OrderContradicts { order: other, .. }) => one == other,
        (InvalidConfiguration { field: one, .. }, InvalidConfiguration { field: other, .. }) => one == other,
        _ => one == other,
    }
}
