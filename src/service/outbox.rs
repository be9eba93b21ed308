//! The outbox as the operator sees it: what waits, what died of which cause, and what is to become of it.
//!
//! Whoever discards an effect decides for the ledger as well: it is told first that the effect will never happen, so that
//! no order and no refund waits for ever.

use super::{
    Caller, DeadGroup, Decided, Decision, EffectState, FoundEffect, NotFound, OutboxEntry, OutboxFilter,
    OutboxPage, OutboxPlace, Service, ServiceError, StoredCause,
};
use crate::{
    domain::{
        Command,
        command::{CloseOrder, RefuseRefund, SettleSubscriptionChange, Subscriber},
        effects::Effect,
        event::SubscriptionChangeRequested,
        ids::{Actor, EffectId, Key, Namespace},
        order::{OrderEnding, OrderFailure},
        payment::RefundRefusal,
        subscription_change::{ChangeOutcome, ChangeRefusal},
    },
    store::{
        outbox::entries,
        reads::{
            ReadError,
            orders::{self, RefundRow},
            subscriptions::find_requested_change,
        },
    },
    writer::{Outcome, Submission},
};

/// Which effects a page holds.
#[derive(Clone, Debug, Default)]
pub struct EffectQuery {
    /// Only these.
    pub filter: OutboxFilter,
    /// Only those after this place.
    pub after: Option<OutboxPlace>,
    /// How many at most.
    pub limit: i64,
}

/// Which dead effects are meant: those of one cause, and perhaps of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadQuery {
    /// What they failed at.
    pub cause: StoredCause,
    /// Only those of this kind.
    pub kind: Option<String>,
}

impl DeadQuery {
    fn is_of(&self, cause: Option<&StoredCause>, kind: &str) -> bool {
        cause == Some(&self.cause) && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
    }
}

/// What came of a decision of all dead effects of a cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecidedGroup {
    /// How many were decided.
    pub decided: i64,
    /// How many are dead of it now: those beyond [`MOST_DECIDED`], and those that have died of it since.
    pub left: i64,
}

/// How many dead effects one request decides at most.
const MOST_DECIDED: i64 = 500;

impl Service {
    /// A page of the outbox, in the order in which effects were ordered. It may be short, or empty, and not be the last.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn outbox(&self, caller: &Caller, query: EffectQuery) -> Result<OutboxPage, ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let EffectQuery { filter, after, limit } = query;
        let page = entries::list(&client, caller.ledger, &filter, after, limit).await;
        Ok(page.map_err(ReadError::from)?)
    }

    /// Dead effects by cause and kind, the most frequent first.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn dead_effects(&self, caller: &Caller) -> Result<Vec<DeadGroup>, ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        Ok(entries::group_dead(&client, caller.ledger).await.map_err(ReadError::from)?)
    }

    /// One effect, and what was decided of it.
    ///
    /// # Errors
    /// [`NotFound::Effect`] if there is nothing on record of it any more, and whatever keeps a read from succeeding.
    pub async fn effect(&self, caller: &Caller, effect: EffectId) -> Result<FoundEffect, ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let found = entries::find(&client, caller.ledger, effect).await.map_err(ReadError::from)?;
        if found.entry.is_none() && found.decisions.is_empty() {
            return Err(ServiceError::NotFound(NotFound::Effect));
        }
        Ok(found)
    }

    /// Has a dead effect tried again, or never. Who and why stays on record. Whoever repeats what he has decided last is
    /// told the same.
    ///
    /// # Errors
    /// [`NotFound::Effect`]; [`ServiceError::EffectNotDead`] if there is nothing to decide.
    pub async fn decide_effect(
        &self,
        caller: &Caller,
        effect: EffectId,
        decision: Decision,
        reason: &str,
    ) -> Result<FoundEffect, ServiceError> {
        let found = self.effect(caller, effect).await?;
        let actor = Actor::ApiKey(caller.key);
        let dead = found.entry.as_ref().filter(|entry| entry.state == EffectState::Dead);
        let Some(dead) = dead else {
            let is_repeat = |last: &Decided| {
                (last.decision, &last.actor, last.reason.as_str()) == (decision, &actor, reason)
            };
            let is_repeat = found.decisions.last().is_some_and(is_repeat);
            return if is_repeat { Ok(found) } else { Err(ServiceError::EffectNotDead) };
        };
        if !self.carry_out(caller, dead, decision, reason).await? {
            return Err(ServiceError::EffectNotDead);
        }
        self.effect(caller, effect).await
    }

    /// Has all dead effects of one cause tried again, or never, in the order in which they were ordered, up to
    /// [`MOST_DECIDED`]. Each is decided for itself, so that whoever is interrupted asks again for the rest.
    ///
    /// # Errors
    /// Whatever keeps the next decision from being made; those before it are made.
    pub async fn decide_dead(
        &self,
        caller: &Caller,
        query: &DeadQuery,
        decision: Decision,
        reason: &str,
    ) -> Result<DecidedGroup, ServiceError> {
        let code = Some(query.cause.code.clone());
        let filter = OutboxFilter { state: Some(EffectState::Dead), code, ..OutboxFilter::default() };
        let (mut decided, mut after) = (0, None);
        'pages: loop {
            let page = EffectQuery { filter: filter.clone(), after, limit: MOST_DECIDED };
            let OutboxPage { entries, next } = self.outbox(caller, page).await?;
            for dead in entries.iter().filter(|entry| query.is_of(entry.cause.as_ref(), &entry.kind)) {
                if decided == MOST_DECIDED {
                    break 'pages;
                }
                // Somebody else may have decided it meanwhile.
                decided += i64::from(self.carry_out(caller, dead, decision, reason).await?);
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        let groups = self.dead_effects(caller).await?;
        let left = groups.iter().filter(|group| query.is_of(Some(&group.cause), &group.kind));
        Ok(DecidedGroup { decided, left: left.map(|group| group.effects).sum() })
    }

    /// Carries out what was decided of a dead effect; false if it is not dead any more.
    async fn carry_out(
        &self,
        caller: &Caller,
        dead: &OutboxEntry,
        decision: Decision,
        reason: &str,
    ) -> Result<bool, ServiceError> {
        if decision == Decision::Discard {
            self.tell_given_up(caller, dead).await?;
        }
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let actor = Actor::ApiKey(caller.key);
        let decided = entries::decide(&client, caller.ledger, dead, decision, &actor, reason).await;
        Ok(decided.map_err(ReadError::from)?)
    }

    /// Tells the ledger that an effect will never happen.
    async fn tell_given_up(&self, caller: &Caller, dead: &OutboxEntry) -> Result<(), ServiceError> {
        // Of an effect of a newer version nobody here knows what it was for.
        let Ok(effect) = serde_json::from_value(dead.effect.clone()) else { return Ok(()) };
        let command = match effect {
            // The sessions behind it say for themselves what becomes of them.
            Effect::CreateCustomer { .. } | Effect::AdvanceStripeClock { .. } => return Ok(()),
            Effect::CreateCheckoutSession { order, .. } => {
                let ending = OrderEnding::Failed(OrderFailure::GivenUp);
                Command::CloseOrder(CloseOrder { order, session: None, ending })
            }
            Effect::CreateRefund { refund, .. } => {
                let found = orders::find_refund(&self.database, caller.ledger, refund).await?;
                let Some(RefundRow { payment, .. }) = found else { return Ok(()) };
                Command::RefuseRefund(RefuseRefund { refund, payment, reason: RefundRefusal::GivenUp })
            }
            Effect::ChangeSubscription { account, request } => {
                let found = find_requested_change(&self.database, caller.ledger, request).await?;
                let Some(SubscriptionChangeRequested { subscription, .. }) = found else { return Ok(()) };
                Command::SettleSubscriptionChange(SettleSubscriptionChange {
                    subscription,
                    subscriber: Subscriber::Owner(account),
                    request,
                    outcome: ChangeOutcome::Refused(ChangeRefusal::GivenUp),
                })
            }
        };
        let submission = Submission {
            command,
            key: Key::new(Namespace::System, &format!("effect:{}:discarded", dead.id)).ok(),
            fingerprint: None,
            actor: Actor::ApiKey(caller.key),
            request_id: None,
        };
        if let Outcome::Rejected(rejection) = self.writers.submit(caller.ledger, submission).await? {
            // What it was for is not on record any more; the effect can go all the same.
            tracing::warn!(effect = %dead.id, %rejection, "the ledger does not take that an effect was discarded");
        }
        Ok(())
    }
}
