//! Decides commands: the entry to `commands/`, and the draft that they write their events on.

use std::collections::BTreeSet;

use super::{
    account::{Account, AccountStatus, Book},
    amount::{Amount, MAX_AMOUNT},
    canonical,
    command::{Command, Context, Note},
    commands, due,
    event::{BalanceAfter, Event, EventBody},
    evolve::evolve,
    ids::{AccountId, AccountNumber, Actor, PaymentReference, Position, PurchaseId, Unit},
    rejection::Rejection,
    time::Timestamp,
    working_set::{Decision, Private, WorkingSet},
};

/// Decides one command on the working set, which must hold everything that [`Command::needs`] names.
///
/// All checks come first, in the order that each command's file documents; after its point of no return it succeeds.
///
/// # Errors
/// The first rule that the command would break; nothing has happened then.
pub fn decide(working_set: &WorkingSet, command: &Command, context: &Context) -> Result<Decision, Rejection> {
    let mut draft = Draft::new(working_set, context);
    commands::decide(&mut draft, command)?;
    Ok(draft.finish())
}

/// The events of one command while it is being decided, and the state that they lead to.
pub(super) struct Draft<'a> {
    base: &'a WorkingSet,
    /// Copies of what the command touches, evolved by its own events.
    pub(super) state: WorkingSet,
    context: &'a Context,
    decision: Decision,
    /// The moment of what is being written down, where that is not now.
    effective_at: Option<Timestamp>,
}

impl<'a> Draft<'a> {
    fn new(base: &'a WorkingSet, context: &'a Context) -> Self {
        let state = WorkingSet { keys: base.keys.clone(), ..WorkingSet::default() };
        Self { base, state, context, decision: Decision::default(), effective_at: None }
    }

    /// The state before the command: settings, catalogue, and whatever is only read.
    pub(super) fn base(&self) -> &'a WorkingSet {
        self.base
    }

    /// What surrounds the command.
    pub(super) fn context(&self) -> &'a Context {
        self.context
    }

    /// The position of the next event.
    pub(super) fn next_position(&self) -> Position {
        Position(self.context.next_position.0 + self.decision.events.len() as i64)
    }

    /// When what is being written down takes effect.
    pub(super) fn moment(&self) -> Timestamp {
        self.effective_at.unwrap_or(self.context.now)
    }

    /// Writes down what `write` does as having happened at `moment`, by the ledger itself.
    pub(super) fn at(&mut self, moment: Timestamp, write: impl FnOnce(&mut Self)) {
        let outer = self.effective_at.replace(moment);
        write(self);
        self.effective_at = outer;
    }

    /// The number of the account that the client calls so.
    pub(super) fn find_account(&self, account: &AccountId) -> Result<AccountNumber, Rejection> {
        self.base.account_numbers.get(account).copied().ok_or(Rejection::AccountNotFound)
    }

    /// Makes the account, and what must be at hand with it, part of the draft; applies everything that is due.
    pub(super) fn touch(&mut self, number: AccountNumber) -> Result<(), Rejection> {
        if self.state.accounts.contains_key(&number) {
            return Ok(());
        }
        let account = self.base.accounts.get(&number).ok_or(Rejection::AccountNotFound)?;
        for purchase in &account.watched {
            self.touch_purchase(*purchase);
        }
        self.state.accounts.insert(number, account.clone());
        due::apply_due(self, number);
        Ok(())
    }

    /// Makes a purchase part of the draft.
    pub(super) fn touch_purchase(&mut self, purchase: PurchaseId) {
        if let Some(state) = self.base.purchases.get(&purchase) {
            self.state.purchases.entry(purchase).or_insert_with(|| state.clone());
        }
    }

    /// Makes a payment, its purchases and all accounts that hold credits of them part of the draft.
    pub(super) fn touch_payment(&mut self, reference: &PaymentReference) -> Result<(), Rejection> {
        let Some(payment) = self.base.payments.get(reference) else { return Ok(()) };
        self.state.payments.entry(reference.clone()).or_insert_with(|| payment.clone());
        for purchase in &payment.purchases {
            self.touch_purchase(*purchase);
            let state = self.state.purchases.get(purchase).ok_or(Rejection::PurchaseNotFound)?;
            state.accounts().into_iter().try_for_each(|account| self.touch(account))?;
        }
        Ok(())
    }

    /// All accounts that hold credits of what a payment bought, each once. The payment must be part of the draft.
    pub(super) fn accounts_of_payment(&self, reference: &PaymentReference) -> BTreeSet<AccountNumber> {
        let purchases = self.state.payments[reference].purchases.iter();
        purchases.flat_map(|purchase| self.state.purchases[purchase].accounts()).collect()
    }

    /// An account that is part of the draft.
    pub(super) fn account(&self, number: AccountNumber) -> &Account {
        &self.state.accounts[&number]
    }

    /// What an account of the draft has of a unit.
    pub(super) fn book(&self, number: AccountNumber, unit: &Unit) -> Book {
        self.account(number).books.get(unit).cloned().unwrap_or_default()
    }

    /// Makes the account part of the draft, if it takes requests at all.
    pub(super) fn touch_unless_closed(&mut self, account: &AccountId) -> Result<AccountNumber, Rejection> {
        let number = self.find_account(account)?;
        if self.base.accounts.get(&number).is_some_and(|account| account.status == AccountStatus::Closed) {
            return Err(Rejection::AccountClosed);
        }
        self.touch(number)?;
        Ok(number)
    }

    /// Makes the account part of the draft, if it takes requests that move credits.
    pub(super) fn touch_if_open(&mut self, account: &AccountId) -> Result<AccountNumber, Rejection> {
        let number = self.touch_unless_closed(account)?;
        match self.account(number).status {
            AccountStatus::Frozen => Err(Rejection::AccountFrozen),
            AccountStatus::Open | AccountStatus::Closed => Ok(number),
        }
    }

    /// Checks that the ledger counts the unit.
    pub(super) fn check_unit(&self, unit: &Unit) -> Result<(), Rejection> {
        if self.base.settings.units.contains_key(unit) {
            Ok(())
        } else {
            Err(Rejection::UnknownUnit { unit: unit.clone() })
        }
    }

    /// Checks that `amount` more of the unit stays within what any sum may be.
    pub(super) fn check_room(
        &self,
        number: AccountNumber,
        unit: &Unit,
        amount: Amount,
    ) -> Result<(), Rejection> {
        let book = self.book(number, unit);
        let sum = [book.held, book.disputed, amount.get()]
            .into_iter()
            .try_fold(book.available, |sum: i64, more| sum.checked_add(more));
        match sum {
            Some(sum) if sum <= MAX_AMOUNT => Ok(()),
            _ => Err(Rejection::AmountTooLarge { unit: unit.clone() }),
        }
    }

    /// Checks that the account may have so many more open lots of the unit.
    pub(super) fn check_lots(
        &self,
        number: AccountNumber,
        unit: &Unit,
        more: usize,
    ) -> Result<(), Rejection> {
        if self.book(number, unit).open_lots() + more <= super::account::MAX_OPEN_LOTS {
            Ok(())
        } else {
            Err(Rejection::TooManyLots { unit: unit.clone() })
        }
    }

    /// Writes an event: the draft's state moves on by it, and its amount and balance are what that did.
    pub(super) fn emit(
        &mut self,
        account: Option<AccountNumber>,
        unit: Option<&Unit>,
        body: impl Into<EventBody>,
    ) {
        let position = self.next_position();
        let is_due = self.effective_at.is_some();
        let mut event = Event {
            position,
            command: self.context.next_position,
            account,
            unit: unit.cloned(),
            amount: 0,
            balance: None,
            recorded_at: self.context.now,
            effective_at: self.effective_at.filter(|moment| *moment != self.context.now),
            actor: if is_due { Actor::System } else { self.context.actor.clone() },
            key: None,
            note_hash: None,
            body: body.into(),
        };
        let before = self.balance(account, unit);
        evolve(&mut self.state, &event);
        if unit.is_some() {
            let after = self.balance(account, unit);
            event.amount = after.net - before.net;
            event.balance = Some(after);
        }
        self.decision.events.push(event);
    }

    /// Writes an event with the erasable text and metadata that came with the command.
    pub(super) fn emit_noted(
        &mut self,
        account: Option<AccountNumber>,
        unit: Option<&Unit>,
        body: impl Into<EventBody>,
        note: &Note,
    ) {
        let position = self.next_position();
        self.emit(account, unit, body);
        self.note(position, note);
    }

    /// Keeps erasable text and metadata beside an event of this command.
    pub(super) fn note(&mut self, position: Position, note: &Note) {
        let events = &mut self.decision.events;
        let Some(event) = events.iter_mut().find(|event| event.position == position) else { return };
        if note.is_empty() {
            return;
        }
        let salt = self.context.seed.bytes(b"salt", event.position, 0);
        event.note_hash = Some(canonical::note_hash(&salt, note));
        let private = Private::Note { position, account: event.account, salt, content: note.clone() };
        self.decision.private.push(private);
    }

    /// Keeps data that is committed with the events but is not part of them.
    pub(super) fn keep(&mut self, private: Private) {
        self.decision.private.push(private);
    }

    fn balance(&self, account: Option<AccountNumber>, unit: Option<&Unit>) -> BalanceAfter {
        let account = account.and_then(|number| self.state.accounts.get(&number));
        let book = account.zip(unit).and_then(|(account, unit)| account.books.get(unit));
        book.map(Book::balance).unwrap_or_default()
    }

    /// The decision; its first event carries the command's key.
    fn finish(mut self) -> Decision {
        if let Some(first) = self.decision.events.first_mut() {
            first.key = self.context.key.clone();
        }
        self.decision
    }

    /// Gives up everything that has been written: the command changes nothing.
    pub(super) fn discard(&mut self) {
        self.decision = Decision::default();
    }
}

/// The account as it is at `now`: everything that has become due is applied, nothing is written.
///
/// The working set must hold the account and the purchases that it watches.
pub fn account_at(working_set: &WorkingSet, number: AccountNumber, now: Timestamp) -> Option<Account> {
    let account = working_set.accounts.get(&number)?;
    if account.next_due_at().is_none_or(|due_at| due_at > now) {
        return Some(account.clone());
    }
    let context = Context {
        now,
        next_position: account.version.next(),
        actor: Actor::System,
        key: None,
        seed: super::ids::Seed([0; 16]),
    };
    let mut draft = Draft::new(working_set, &context);
    draft.touch(number).ok()?;
    draft.state.accounts.remove(&number)
}
