//! A change of a subscription that was asked for: Stripe is asked to make it.
//!
//! What comes of it, a state and perhaps an invoice, Stripe tells as of any other change.

use super::{Failed, Make, StripeEffects, make, missing};
use crate::{
    domain::{
        Command,
        command::{SettleSubscriptionChange, Subscriber},
        event::SubscriptionChangeRequested,
        ids::{EffectId, StripeId, SubscriptionChangeId},
        subscription_change::{CancelAt, ChangeOutcome, ChangeRefusal, WantedChange},
    },
    outbox::{Looked, Ordered, Performed, Report},
    store::reads::subscriptions::{SubscriptionRow, find_requested_change, find_subscription},
    stripe::client::{CallClass, CallError, StripeClient, SwitchedItem, Update},
};

/// A change that is still to be made.
struct Open {
    id: StripeId,
    row: SubscriptionRow,
    request: SubscriptionChangeId,
    change: WantedChange,
}

impl StripeEffects {
    pub(super) async fn change_subscription(
        &self,
        ordered: &Ordered,
        request: SubscriptionChangeId,
    ) -> Result<Performed, Failed> {
        let Some(open) = self.open(ordered, request).await? else { return Ok(Performed::Done(Vec::new())) };
        let client = self.access(ordered.ledger).await?.client;
        let outcome = match open.make(&client, ordered).await {
            Ok(outcome) => outcome,
            Err(error) => ChangeOutcome::Refused(refusal(&error).ok_or(error)?),
        };
        Ok(Performed::Done(vec![open.report(outcome)]))
    }

    pub(super) async fn look_for_change(
        &self,
        ordered: &Ordered,
        request: SubscriptionChangeId,
    ) -> Result<Looked, Failed> {
        let Some(open) = self.open(ordered, request).await? else { return Ok(Looked::Found(Vec::new())) };
        let client = self.access(ordered.ledger).await?.client;
        Ok(match open.find(&client).await? {
            Some(()) => Looked::Found(vec![open.report(ChangeOutcome::Made)]),
            None => Looked::Absent,
        })
    }

    /// What was asked for, unless it is known what became of it.
    async fn open(&self, ordered: &Ordered, request: SubscriptionChangeId) -> Result<Option<Open>, Failed> {
        let asked = find_requested_change(&self.database, ordered.ledger, request).await?;
        let SubscriptionChangeRequested { subscription: id, change, .. } =
            asked.ok_or_else(|| missing("no_change"))?;
        let (_, row) = find_subscription(&self.database, ordered.ledger, &id).await?;
        let row = row.ok_or_else(|| missing("no_subscription"))?;
        let remembered = row.subscription.requests.iter().find(|known| known.id == request);
        let is_open = remembered.is_some_and(|known| known.outcome.is_none());
        Ok(is_open.then_some(Open { id, row, request, change }))
    }
}

impl Open {
    fn is_cancellation_at_once(&self) -> bool {
        matches!(self.change, WantedChange::Cancel { at: CancelAt::Now })
    }

    async fn make(&self, client: &StripeClient, ordered: &Ordered) -> Result<ChangeOutcome, CallError> {
        let subscription = client.find_subscription(&self.id).await?;
        if subscription.has_ended() {
            return Ok(if self.is_cancellation_at_once() {
                ChangeOutcome::Made
            } else {
                ChangeOutcome::Refused(ChangeRefusal::SubscriptionEnded)
            });
        }
        if subscription.has_seen(self.request) {
            return Ok(ChangeOutcome::Made);
        }
        let update = match &self.change {
            WantedChange::Cancel { at: CancelAt::Now } => None,
            WantedChange::Cancel { at: CancelAt::PeriodEnd } => Some(Update::EndWithPeriod(true)),
            WantedChange::Resume {} => Some(Update::EndWithPeriod(false)),
            WantedChange::Switch { .. } => match SwitchedItem::of(&self.change, &subscription) {
                Some(switched) => Some(Update::Switch(switched)),
                None => return Ok(ChangeOutcome::Refused(ChangeRefusal::ItemGone)),
            },
        };
        make(client, &Step { open: self, effect: ordered.id, update }).await?;
        Ok(ChangeOutcome::Made)
    }

    /// Whether it was made: nothing if it was not.
    async fn find(&self, client: &StripeClient) -> Result<Option<()>, CallError> {
        let subscription = client.find_subscription(&self.id).await?;
        let is_cancelled = self.is_cancellation_at_once() && subscription.has_ended();
        Ok((is_cancelled || subscription.has_seen(self.request)).then_some(()))
    }

    fn report(&self, outcome: ChangeOutcome) -> Report {
        Report::of(Command::SettleSubscriptionChange(SettleSubscriptionChange {
            subscription: self.id.clone(),
            subscriber: Subscriber::Owner(self.row.subscription.account),
            request: self.request,
            outcome,
        }))
    }
}

/// The call by which a change is made: an update, or the end.
struct Step<'a> {
    open: &'a Open,
    effect: EffectId,
    update: Option<Update>,
}

impl Make for Step<'_> {
    type Made = ();

    async fn create(&self, client: &StripeClient) -> Result<(), CallError> {
        match &self.update {
            Some(update) => {
                client.update_subscription(&self.open.id, update, self.open.request, self.effect).await
            }
            None => client.cancel_subscription(&self.open.id, self.effect).await,
        }
    }

    async fn find(&self, client: &StripeClient) -> Result<Option<()>, CallError> {
        self.open.find(client).await
    }
}

/// Why Stripe will never make this change, if that is what it says. A wrong API key is no such reason.
fn refusal(error: &CallError) -> Option<ChangeRefusal> {
    if error.class != CallClass::Permanent || error.is_unauthorised() {
        return None;
    }
    Some(match error.status() {
        Some(402) => ChangeRefusal::PaymentFailed,
        _ => ChangeRefusal::Refused,
    })
}
