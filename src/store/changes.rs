//! Writes what a batch of commands led to: everything in one round trip, COMMIT included. Events may be sent ahead.
//!
//! The fences raise an error in the server, because a COMMIT that is on its way already cannot be called back: the head
//! must be where the batch began, and each account must have the version that it was decided on. A commit counts only
//! if every answer is good and the server says of the transaction that it is committed.
//!
//! | file | writes |
//! | --- | --- |
//! | `accounts` | accounts and the lots that have rows of their own |
//! | `payments` | purchases, who was given credits of them, and payments |
//! | `orders` | orders and refunds that are asked of us |
//! | `checkout_links` | links by which orders are placed |
//! | `subscriptions` | subscriptions |
//! | `private` | notes, profiles and names: everything that can be erased |
//! | `configuration` | settings, features, prices, API keys |
//! | `idle_keys` | keys of commands that led to no event |
//! | `outbox` | what the events order outside |

mod accounts;
mod checkout_links;
mod configuration;
mod idle_keys;
mod orders;
mod outbox;
mod payments;
mod private;
mod subscriptions;

use std::collections::{BTreeMap, HashMap};

use tokio::task::yield_now;
use tokio_postgres::Error;
use uuid::Uuid;

pub use self::idle_keys::IdleKey;
use self::{
    accounts::{AccountColumns, LotColumns},
    checkout_links::LinkColumns,
    configuration::ConfigurationColumns,
    idle_keys::IdleKeyColumns,
    orders::OrderColumns,
    outbox::EffectColumns,
    payments::{HolderColumns, PaymentColumns, PurchaseColumns},
    private::PrivateColumns,
    subscriptions::SubscriptionColumns,
};
use super::{
    events::{CommandEvents, EventColumns, INSERT_EVENTS, Place},
    heads::{Head, MOVE_HEAD, TRANSACTION_STATUS},
    session::{Pipeline, Session, Statement},
};
use crate::domain::{
    Event, Private, WorkingSet,
    account::Lot,
    ids::{AccountId, AccountNumber, LedgerId, LotId, Position},
    time::{Span, Timestamp},
};

/// What a batch led to.
pub struct Changes<'a> {
    /// Of which ledger.
    pub ledger: LedgerId,
    /// The head under whose lock everything was decided.
    pub before: Head,
    /// The head to be; its fence stays as it is. The same one, if there are no events.
    pub after: Head,
    /// The events, by command, without gaps from `before` to `after`.
    pub commands: Vec<CommandEvents<'a>>,
    /// Keys of commands that led to no event.
    pub idle_keys: &'a [IdleKey],
    /// What is kept beside them, in order.
    pub private: Vec<&'a Private>,
    /// The state that they led to. Whatever has a version behind `before` has changed.
    pub set: &'a WorkingSet,
    /// The names of all accounts in `set`, as they are to be.
    pub names: &'a BTreeMap<AccountNumber, AccountId>,
    /// The versions of accounts before; those that are not in it are new.
    pub versions: &'a HashMap<AccountNumber, Position>,
    /// Lots that have rows of their own, as they are stored.
    pub lot_rows: &'a BTreeMap<LotId, Lot>,
}

impl<'a> Changes<'a> {
    fn events(&self) -> impl Iterator<Item = &'a Event> {
        self.commands.iter().flat_map(|command| command.events)
    }

    fn is_changed(&self, version: Position) -> bool {
        version > self.before.position
    }
}

/// How an attempt to commit ended.
#[derive(Debug)]
pub enum Saved {
    /// Everything is written.
    Committed,
    /// Nothing is written, and nothing of it ever will be.
    RolledBack(Error),
    /// The server did not tell, mostly because the connection ended.
    Unknown(Option<Error>),
}

/// Why changes cannot even be sent.
#[derive(Debug, thiserror::Error)]
#[error("state does not serialise: {0}")]
pub struct Unwritable(#[from] serde_json::Error);

/// A batch on its way into a transaction that holds the head's lock. The first of its events may go while those behind
/// them are being decided, so that the server and this process are busy at the same time. Dropped, it leaves a
/// transaction that must be rolled back.
pub struct Writing<'a> {
    session: &'a Session,
    ledger: LedgerId,
    before: Head,
    /// When everything in the batch is recorded.
    recorded_at: Timestamp,
    pipeline: Pipeline<'a>,
    /// Of how many commands the events were added.
    commands: usize,
    /// How many events that were.
    events: i64,
}

impl<'a> Writing<'a> {
    /// Nothing yet, behind `before`.
    pub fn new(session: &'a Session, ledger: LedgerId, before: Head, recorded_at: Timestamp) -> Self {
        let pipeline = Pipeline::default();
        Self { session, ledger, before, recorded_at, pipeline, commands: 0, events: 0 }
    }

    /// Of how many commands the events have been sent.
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// Sends the events of the next commands. They must not be the batch's last, which stand for the batch.
    ///
    /// # Errors
    /// [`Unwritable`]: the transaction must be rolled back.
    pub async fn send(&mut self, commands: &[CommandEvents<'_>]) -> Result<(), Unwritable> {
        self.add_events(commands, None)?;
        self.pipeline.send().await;
        // The connection is a task of its own, which may wait for this very thread.
        yield_now().await;
        Ok(())
    }

    fn add_events(&mut self, commands: &[CommandEvents<'_>], ends: Option<Uuid>) -> Result<(), Unwritable> {
        let place = Place {
            ledger: self.ledger,
            base: self.before.position,
            before: self.events,
            ends,
            recorded_at: self.recorded_at,
        };
        let columns = EventColumns::new(place, commands)?;
        self.commands += commands.len();
        self.events += columns.count();
        let session = self.session;
        self.pipeline.push(async move { session.rows(&INSERT_EVENTS, &columns.values()).await });
        Ok(())
    }

    /// Writes what is left of the changes and commits `transaction`.
    ///
    /// # Errors
    /// [`Unwritable`]: nothing is committed, and the transaction must be rolled back.
    pub async fn save(mut self, changes: &Changes<'_>, transaction: &str) -> Result<Saved, Unwritable> {
        let (before, after) = (&changes.before, &changes.after);
        let recorded_at = after.recorded_at.to_datetime();
        let lost_at = after.lost_at.map(Timestamp::to_datetime);
        let clock_ahead = after.clock_ahead.map(Span::whole_seconds);
        let is_long = self.commands > 0;
        if !changes.commands.is_empty() {
            self.add_events(&changes.commands[self.commands..], Some(after.batch_id))?;
        }
        if is_long {
            self.pipeline.send().await;
            yield_now().await;
        }
        let private = PrivateColumns::new(changes)?;
        let accounts = AccountColumns::new(changes)?;
        let lots = LotColumns::new(changes)?;
        let purchases = PurchaseColumns::new(changes)?;
        let holders = HolderColumns::new(changes);
        let payments = PaymentColumns::new(changes)?;
        let orders = OrderColumns::new(changes)?;
        let links = LinkColumns::new(changes);
        let subscriptions = SubscriptionColumns::new(changes)?;
        let configuration = ConfigurationColumns::new(changes)?;
        let idle_keys = IdleKeyColumns::new(changes);
        let effects = EffectColumns::new(changes)?;

        let (session, mut pipeline): (_, Pipeline<'_>) = (self.session, self.pipeline);
        accounts.push(session, &mut pipeline);
        private.push(session, &mut pipeline);
        lots.push(session, &mut pipeline);
        purchases.push(session, &mut pipeline);
        holders.push(session, &mut pipeline);
        payments.push(session, &mut pipeline);
        orders.push(session, &mut pipeline);
        links.push(session, &mut pipeline);
        subscriptions.push(session, &mut pipeline);
        configuration.push(session, &mut pipeline);
        idle_keys.push(session, &mut pipeline);
        effects.push(session, &mut pipeline);
        pipeline.rows(
            session,
            &MOVE_HEAD,
            vec![
                &changes.ledger.0,
                &before.position.0,
                &before.batch_id,
                &before.fence,
                &after.position.0,
                &after.batch_id,
                &recorded_at,
                &after.incarnation.0,
                &lost_at,
                &clock_ahead,
            ],
        );
        Ok(commit(session, pipeline, transaction).await)
    }
}

/// Sends a pipeline with COMMIT behind it, and asks the server what became of the transaction.
pub async fn commit<'a>(session: &'a Session, pipeline: Pipeline<'a>, transaction: &'a str) -> Saved {
    let (answers, status) = pipeline.commit(session, &TRANSACTION_STATUS, vec![&transaction]).await;
    let status = status.and_then(|rows| match rows.first() {
        Some(row) => row.try_get::<_, Option<String>>("status"),
        None => Ok(None),
    });
    match (answers, status) {
        (Ok(()), Ok(Some(status))) if status == "committed" => Saved::Committed,
        (Err(error), Ok(Some(status))) if status == "aborted" => Saved::RolledBack(error),
        (answers, status) => Saved::Unknown(answers.err().or(status.err())),
    }
}

/// Every statement that a save may need, to be prepared.
pub(super) fn statements() -> impl Iterator<Item = &'static Statement> {
    std::iter::once(&INSERT_EVENTS)
        .chain(accounts::STATEMENTS.iter().copied())
        .chain(payments::STATEMENTS.iter().copied())
        .chain(orders::STATEMENTS.iter().copied())
        .chain(checkout_links::STATEMENTS.iter().copied())
        .chain(subscriptions::STATEMENTS.iter().copied())
        .chain(private::STATEMENTS.iter().copied())
        .chain(configuration::STATEMENTS.iter().copied())
        .chain(idle_keys::STATEMENTS.iter().copied())
        .chain(outbox::STATEMENTS.iter().copied())
}
