//! One batch of stored webhooks: claimed, worked on, finished.
//!
//! The claim is committed before the work begins and no transaction is open while the ledger or Stripe is waited for. If the
//! process dies in between, the claim runs out and the batch is done again, which changes nothing: the ledger knows the
//! facts by their keys, or by its state.
//!
//! What needs no answer of Stripe's is finished first. Each other webhook goes on alone, see [`Asking`], so that a slow
//! Stripe keeps nothing waiting but that.
//!
//! Invariant: the webhooks of a batch do not wait for each other's success. What cannot be done is put off or put aside,
//! alone, even if it is met by a defect of ours.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use deadpool_postgres::{Object, PoolError};
use futures_util::{FutureExt, future::join_all};
use metrics::counter;
use uuid::Uuid;

use crate::{
    credentials::StripeClients,
    domain::{
        self, Command, EventBody, Rejection,
        ids::{Actor, LedgerId},
        settings::LedgerMode,
    },
    store::{
        configuration::{Configuration, load_configuration},
        inbox::{self, Finish, InboxStatus},
        ledgers::{self, Ledger},
        pool::Database,
        reads::subscriptions::find_subscription,
        rows::RowError,
    },
    stripe::{self, Event, Fact, NoFact},
    telemetry::metrics::{INBOX_DONE, ORDERS_PAID_AGAIN},
    writer::{Accepted, Outcome, Submission, SubmitError, Writers},
};

use super::{
    agreement::same_money,
    holder::find_holder,
    mapping::{self, KeyedCommand, Owner},
    outcome::{Ignored, Later, NotDone, Quarantined, Undone},
    questions::{Place, Question, Questions},
    ties::{self, Known},
};

/// How long a claim holds: longer than any batch takes, and what Stripe is asked after it.
const LEASE: Duration = Duration::from_secs(60);
/// How many webhooks are claimed at once.
const BATCH: i64 = 32;
/// How long the ledger is waited for before a webhook is put off. Several commands of one webhook stay within the lease.
const SUBMIT_LIMIT: Duration = Duration::from_secs(10);
/// How long the first retry is put off; each further one twice as long, up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How long a retry is put off at most: an outage that ends is noticed within this time.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How often a webhook is taken up before it is put aside that the ledger does not refuse and yet fails over: for about two
/// minutes, in which a defect of the moment may pass.
const MOST_FAILURES: i32 = 8;

/// Works batches off, for any ledger.
pub struct Batches {
    database: Database,
    writers: Arc<Writers>,
    questions: Questions,
}

/// What a batch came to.
pub(super) struct Worked {
    /// Whether it was a whole one, so that there may be more.
    pub(super) is_whole: bool,
    /// What goes on by itself.
    pub(super) asking: Vec<Asking>,
}

/// A claimed webhook that cannot be worked off before Stripe has told something.
pub(super) struct Asking {
    ledger: Arc<Ledger>,
    claim: Claim,
    question: Question,
    place: Place,
}

/// What it takes to finish a claimed webhook.
struct Claim {
    fence: Uuid,
    event_id: String,
    attempts: i32,
}

/// Why stored webhooks could not be worked on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// No connection.
    #[error("no connection: {0}")]
    Connection(#[from] PoolError),
    /// The database refused, or a row cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Row(error.into())
    }
}

impl Batches {
    /// Takes webhooks from `database`, asks Stripe with `clients`, and hands commands to `writers`.
    pub fn new(database: Database, writers: Arc<Writers>, clients: Arc<StripeClients>) -> Self {
        Self { database, writers, questions: Questions::new(clients) }
    }

    /// The ledgers that there are.
    pub(super) async fn list_ledgers(&self) -> Result<Vec<Ledger>, StoreError> {
        Ok(ledgers::list_ledgers(&*self.connection().await?).await?)
    }

    /// Forgets old bodies, and counts what is not done by status.
    pub(super) async fn tidy(
        &self,
        ledger: LedgerId,
        retention: Duration,
        batch: i64,
    ) -> Result<Vec<(InboxStatus, i64)>, StoreError> {
        let client = self.connection().await?;
        inbox::prune_bodies(&client, ledger, retention, batch).await?;
        Ok(inbox::count_open(&client, ledger).await?)
    }

    /// Works off what is due in a ledger, at most a batch, as far as that goes without Stripe.
    pub(super) async fn work_off_one(&self, ledger: &Arc<Ledger>) -> Result<Worked, StoreError> {
        let fence = Uuid::new_v4();
        let client = self.connection().await?;
        let claimed = inbox::claim_webhooks(&client, ledger.ledger, fence, LEASE, BATCH).await?;
        let mut worked = Worked { is_whole: i64::try_from(claimed.len()) == Ok(BATCH), asking: Vec::new() };
        if claimed.is_empty() {
            return Ok(worked);
        }
        let configuration = load_configuration(&client, ledger.ledger).await?;
        // The ledger may be slow; others can use the connection meanwhile.
        drop(client);
        let work =
            claimed.iter().map(|webhook| unharmed(self.carry_out(ledger, &configuration, &webhook.body)));
        let mut finished = Vec::new();
        for (webhook, outcome) in claimed.iter().zip(join_all(work).await) {
            let (event_id, attempts) = (webhook.event_id.clone(), webhook.attempts);
            let done = match outcome {
                Ok(Some(question)) => match self.questions.take_place(ledger.ledger) {
                    Some(place) => {
                        let claim = Claim { fence, event_id, attempts };
                        worked.asking.push(Asking { ledger: Arc::clone(ledger), claim, question, place });
                        continue;
                    }
                    None => Err(Later::Busy.into()),
                },
                Ok(None) => Ok(()),
                Err(undone) => Err(undone),
            };
            finished.push((event_id, finish(done, attempts)));
        }
        self.finish(ledger, fence, &finished).await?;
        Ok(worked)
    }

    /// Works off a webhook of which Stripe has to tell something first.
    pub(super) async fn ask(&self, asking: Asking) -> Result<(), StoreError> {
        let Asking { ledger, claim, question, place } = asking;
        let done = unharmed(self.carry_out_answered(&ledger, question)).await;
        drop(place);
        self.finish(&ledger, claim.fence, &[(claim.event_id, finish(done, claim.attempts))]).await
    }

    async fn finish(
        &self,
        ledger: &Ledger,
        fence: Uuid,
        finished: &[(String, Finish)],
    ) -> Result<(), StoreError> {
        let client = self.connection().await?;
        inbox::finish_webhooks(&client, ledger.ledger, fence, finished).await?;
        for (event_id, finish) in finished {
            tell(ledger, event_id, finish);
        }
        Ok(())
    }

    async fn connection(&self) -> Result<Object, PoolError> {
        self.database.pool().get().await
    }

    /// Records what a body tells, or says what has to be asked first.
    async fn carry_out(
        &self,
        ledger: &Ledger,
        configuration: &Configuration,
        body: &[u8],
    ) -> Result<Option<Question>, Undone> {
        let event = event_for(ledger, body)?;
        match stripe::extract(&event) {
            Err(NoFact::NeedsStripe(needs)) => Ok(Some(Question { event, needs })),
            told => {
                let fact = told.map_err(NotDone::from)?;
                let known = self.known(ledger.ledger, configuration, &fact).await?;
                if let Some(needs) = ties::undecided(&fact, &known) {
                    return Ok(Some(Question { event, needs }));
                }
                self.record(ledger, configuration, fact).await?;
                Ok(None)
            }
        }
    }

    async fn carry_out_answered(&self, ledger: &Ledger, question: Question) -> Result<(), Undone> {
        // What is known before Stripe is asked cannot be newer than what it answers.
        let before = self.configuration(ledger.ledger).await.map_err(Later::from)?;
        let told = stripe::extract(&question.event).ok();
        let terms = match &told {
            Some(fact) => self.known(ledger.ledger, &before, fact).await?.terms,
            None => None,
        };
        let answered = match (self.questions.ask(ledger.ledger, question).await, told) {
            // It can be understood without Stripe.
            (Err(Undone::Not(NotDone::Quarantined(_))), Some(fact)) => {
                return self.record(ledger, &before, fact).await;
            }
            (answered, _) => answered?,
        };
        check_mark(ledger, &answered)?;
        let fact = stripe::extract(&answered).map_err(NotDone::from)?;
        let configuration = self.configuration(ledger.ledger).await.map_err(Later::from)?;
        self.record(ledger, &configuration, ties::decided(fact, &Known { ledger: &before, terms })).await
    }

    async fn known<'a>(
        &self,
        ledger: LedgerId,
        configuration: &'a Configuration,
        fact: &Fact,
    ) -> Result<Known<'a>, Later> {
        let terms = match fact {
            Fact::SubscriptionTold(report) => {
                let (_, row) = find_subscription(&self.database, ledger, &report.subscription).await?;
                row.map(|row| row.subscription.terms)
            }
            _ => None,
        };
        Ok(Known { ledger: configuration, terms })
    }

    async fn configuration(&self, ledger: LedgerId) -> Result<Configuration, StoreError> {
        Ok(load_configuration(&*self.connection().await?, ledger).await?)
    }

    async fn record(&self, ledger: &Ledger, configuration: &Configuration, fact: Fact) -> Result<(), Undone> {
        let owner = self.owner(ledger.ledger, &fact).await?;
        for command in mapping::commands(fact, configuration, owner)? {
            self.hand_over(ledger.ledger, command).await?;
        }
        Ok(())
    }

    /// Whose customer or subscription a fact is about.
    async fn owner(&self, ledger: LedgerId, fact: &Fact) -> Result<Owner, Later> {
        let (subscription, customer) = match fact {
            Fact::CustomerDeleted(customer) => (None, Some(customer)),
            Fact::SubscriptionTold(report) => (Some(&report.subscription), report.customer.as_ref()),
            Fact::CreditedElsewhere(told) => (told.subscription.as_ref(), told.customer.as_ref()),
            Fact::InvoicePaid(invoice) => (Some(&invoice.subscription), invoice.customer.as_ref()),
            _ => (None, None),
        };
        let holder = find_holder(&self.database, ledger, subscription, customer).await?;
        Ok(holder.as_ref().into())
    }

    async fn hand_over(&self, ledger: LedgerId, keyed: KeyedCommand) -> Result<(), Undone> {
        let submission = Submission {
            command: keyed.command.clone(),
            key: keyed.key,
            fingerprint: None,
            actor: Actor::Stripe,
            request_id: None,
        };
        let outcome = tokio::time::timeout(SUBMIT_LIMIT, self.writers.submit(ledger, submission));
        match outcome.await.unwrap_or(Err(SubmitError::OutcomeUnknown)).map_err(Later::from)? {
            Outcome::Accepted(Accepted { events, replayed: true, .. })
                if !same_money(&keyed.command, &events) =>
            {
                Err(Quarantined::MoneyDiffers.into())
            }
            Outcome::Accepted(accepted) => {
                if !accepted.replayed {
                    tell_paid_again(ledger, &accepted.events);
                }
                Ok(())
            }
            // What made it ours has changed since the configuration was read.
            Outcome::Rejected(Rejection::PriceGrantsNothing { .. }) => {
                Err(Undone::Not(Ignored::NoFact(stripe::Ignored::NoCredits).into()))
            }
            // Another product's session, which uses the same field for names of its own.
            Outcome::Rejected(Rejection::AccountNotFound) if matches!(&keyed.command, Command::StartSubscription(start) if start.order.is_none()) => {
                Err(Undone::Not(Ignored::NoFact(stripe::Ignored::Subscription).into()))
            }
            // It became known, as another account's, since its owner was looked up.
            Outcome::Rejected(Rejection::SubscriptionOfAnotherAccount { .. }) => Err(Later::Overtaken.into()),
            Outcome::Rejected(rejection) => Err(Quarantined::Rejected(rejection).into()),
        }
    }
}

/// The event that a body holds, if it is this ledger's.
fn event_for(ledger: &Ledger, body: &[u8]) -> Result<Event, NotDone> {
    let event = Event::parse(body).map_err(NoFact::from)?;
    check(ledger, &event)?;
    Ok(event)
}

/// Whether an event is this ledger's.
pub(super) fn check(ledger: &Ledger, event: &Event) -> Result<(), NotDone> {
    if event.livemode != (ledger.mode == LedgerMode::Live) {
        return Err(Ignored::WrongMode.into());
    }
    if event.account.is_some() {
        return Err(Ignored::ForeignAccount.into());
    }
    check_mark(ledger, event)
}

/// Ledgers may share a Stripe account. What one of them had made is none of the others' business.
fn check_mark(ledger: &Ledger, event: &Event) -> Result<(), NotDone> {
    match event.ledger() {
        Some(other) if other != ledger.slug.as_str() => Err(Ignored::OtherLedger.into()),
        _ => Ok(()),
    }
}

/// The outcome of the work, which a defect of ours does not keep from ending.
async fn unharmed<T>(work: impl Future<Output = Result<T, Undone>>) -> Result<T, Undone> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| Err(Quarantined::Defect.into()))
}

/// How the work on a webhook ends that was taken up for the `attempts`th time.
fn finish(done: Result<(), Undone>, attempts: i32) -> Finish {
    match done {
        Ok(()) => Finish::Processed,
        Err(Undone::Not(NotDone::Ignored(reason))) => Finish::Ignored(reason.to_string()),
        Err(Undone::Not(NotDone::Quarantined(reason))) => Finish::Quarantined(reason.to_string()),
        Err(Undone::Later(Later::Ledger(SubmitError::Internal))) if attempts >= MOST_FAILURES => {
            Finish::Quarantined(Quarantined::CannotBeRecorded.to_string())
        }
        Err(Undone::Later(later)) => {
            // Whoever finds no place was in nobody's way.
            let attempts = if matches!(later, Later::Busy) { 1 } else { attempts };
            Finish::Failed { retry_after: backoff(attempts).max(later.at_least()), reason: later.to_string() }
        }
    }
}

/// How long to wait after the `attempts`th attempt. Spread, so that what failed together does not come back together.
fn backoff(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(16);
    let longest = FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

/// Two paid sessions of one order are two sales, and somebody is likely to want one of them back.
fn tell_paid_again(ledger: LedgerId, events: &[domain::Event]) {
    for event in events {
        if let EventBody::OrderPaid(paid) = &event.body
            && paid.again
        {
            counter!(ORDERS_PAID_AGAIN).increment(1);
            let (order, session) = (paid.order, &paid.session);
            tracing::warn!(%ledger, %order, %session, "an order was paid that had been paid before");
        }
    }
}

fn tell(ledger: &Ledger, event_id: &str, finish: &Finish) {
    let (ledger, status, reason) = (ledger.ledger, finish.status().as_str(), finish.reason());
    match finish {
        Finish::Processed | Finish::Ignored(_) => {
            counter!(INBOX_DONE, "status" => status).increment(1);
            tracing::debug!(%ledger, event_id, status, reason, "a webhook is done");
        }
        Finish::Failed { .. } => tracing::warn!(%ledger, event_id, status, reason, "a webhook is put off"),
        Finish::Quarantined(_) => {
            tracing::warn!(%ledger, event_id, status, reason, "a webhook needs somebody to look at it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_ledger_fails_over_again_and_again_is_put_aside_and_an_outage_is_waited_for() {
        let after = |error: SubmitError, attempts| finish(Err(Later::from(error).into()), attempts).status();
        assert_eq!(after(SubmitError::Internal, MOST_FAILURES - 1), InboxStatus::Failed);
        assert_eq!(after(SubmitError::Internal, MOST_FAILURES), InboxStatus::Quarantined);
        for outage in [SubmitError::Unavailable, SubmitError::OutcomeUnknown, SubmitError::ClockSkew] {
            assert_eq!(after(outage, i32::MAX), InboxStatus::Failed);
        }
    }

    #[test]
    fn retries_come_ever_later_but_never_stop() {
        for (attempts, longest) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1_000, 60), (i32::MAX, 60)] {
            let longest = Duration::from_secs(longest);
            for _ in 0..100 {
                let wait = backoff(attempts);
                assert!((longest / 2..=longest).contains(&wait), "{attempts}: {wait:?}");
            }
        }
    }
}
