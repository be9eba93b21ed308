//! What is to be done outside of the ledger: list, group the dead by cause, show, retry, discard.

use poem_openapi::{Enum, Object, OpenApi, types::Any};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    answers::Found,
    auth::{Authorised, Operate},
    error::{Failure, Reading, Writing},
    filters::{self, EffectKind, Several},
    params::{Parameter, Path, Query},
    payload::Json,
    tags::Tag,
    wire::{CauseCode, Cursor, Limit, Nullable, Reason, same_variants},
};
use crate::{
    domain::{
        ids::{EffectId, InvalidName, Position},
        time::Timestamp,
    },
    service::{
        DeadGroup, DeadQuery, Decided, DecidedGroup, Decision, EffectQuery, EffectState as State,
        FoundEffect, OutboxEntry, OutboxFilter, StoredCause,
    },
};

/// How far an effect has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum EffectState {
    /// Ordered; nothing has failed.
    Waiting,
    /// It failed and is tried again.
    BackingOff,
    /// An earlier one of its key stands in the way.
    Held,
    /// Somebody has to look at it.
    Dead,
}

same_variants!(EffectState, State { Waiting, BackingOff, Held, Dead });

impl Parameter for EffectState {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let expected = "must be waiting, backing_off, held or dead";
        State::parse(text).map(Into::into).ok_or(InvalidName { expected })
    }
}

/// What an effect failed at.
#[derive(Clone, PartialEq, Eq, Debug, Object)]
pub struct EffectCause {
    /// Who was asked.
    pub destination: String,
    /// What kind of failure: `refused`, `unavailable`, `limited`, `unclear`, `configuration`, `ledger`, `expired` or
    /// `defect`.
    pub class: String,
    /// Which failure.
    pub code: String,
}

impl From<StoredCause> for EffectCause {
    fn from(cause: StoredCause) -> Self {
        let StoredCause { destination, class, code } = cause;
        Self { destination, class, code }
    }
}

/// Something that is to be done outside of the ledger.
#[derive(Clone, Debug, Object)]
pub struct OutboxEffect {
    /// Its id: the idempotency key of the calls that carry it out, and the mark on what they make.
    pub effect_id: EffectId,
    /// Its kind.
    pub kind: String,
    /// How far it has come.
    pub state: EffectState,
    /// Effects of one key are carried out one after the other.
    pub key: String,
    /// What is to be done.
    pub effect: Any<Value>,
    /// The event that ordered it.
    pub position: i64,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// How often it was tried in vain, since it was ordered or last decided to be retried.
    pub attempts: i32,
    /// When it is tried next; `null` if that is not known.
    pub next_attempt_at: Nullable<Timestamp>,
    /// When it died; `null` if it did not.
    pub died_at: Nullable<Timestamp>,
    /// What it failed at last; `null` if nothing has failed.
    pub cause: Nullable<EffectCause>,
    /// Whether later ones of its key wait for it because it is dead.
    pub blocks_key: bool,
}

impl From<OutboxEntry> for OutboxEffect {
    fn from(entry: OutboxEntry) -> Self {
        Self {
            effect_id: entry.id,
            kind: entry.kind,
            state: entry.state.into(),
            key: entry.key,
            effect: Any(entry.effect),
            position: entry.place.position.0,
            created_at: entry.created_at,
            attempts: entry.attempts,
            next_attempt_at: Nullable(entry.next_attempt_at),
            died_at: Nullable(entry.died_at),
            cause: Nullable(entry.cause.map(Into::into)),
            blocks_key: entry.blocks,
        }
    }
}

/// A page of effects.
#[derive(Clone, Debug, Object)]
pub struct OutboxList {
    /// The effects, in the order in which they were ordered.
    pub items: Vec<OutboxEffect>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// Dead effects of one kind and one cause.
#[derive(Clone, Debug, Object)]
pub struct DeadEffects {
    /// What they failed at.
    pub cause: EffectCause,
    /// Their kind.
    pub kind: String,
    /// How many there are.
    pub effects: i64,
    /// When the first of them died.
    pub first_died_at: Timestamp,
    /// When the last of them died.
    pub last_died_at: Timestamp,
}

impl From<DeadGroup> for DeadEffects {
    fn from(group: DeadGroup) -> Self {
        let DeadGroup { cause, kind, effects, first_died_at, last_died_at } = group;
        Self { cause: cause.into(), kind, effects, first_died_at, last_died_at }
    }
}

/// Dead effects by cause.
#[derive(Clone, Debug, Object)]
pub struct DeadEffectsList {
    /// The groups, the largest first, 1,000 at most.
    pub items: Vec<DeadEffects>,
}

/// What can be decided of a dead effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum EffectVerdict {
    /// It is tried again.
    Retry,
    /// It never happens.
    Discard,
}

/// What somebody decided of a dead effect.
#[derive(Clone, Debug, Object)]
pub struct EffectDecision {
    /// What.
    pub decision: EffectVerdict,
    /// When.
    pub decided_at: Timestamp,
    /// By whom: `api_key:` and the id of the key.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What the effect had failed at.
    pub cause: EffectCause,
}

impl From<Decided> for EffectDecision {
    fn from(decided: Decided) -> Self {
        let decision = match decided.decision {
            Decision::Retry => EffectVerdict::Retry,
            Decision::Discard => EffectVerdict::Discard,
        };
        Self {
            decision,
            decided_at: decided.decided_at,
            actor: decided.actor.to_string(),
            reason: decided.reason,
            cause: decided.cause.into(),
        }
    }
}

/// What is known of an effect.
#[derive(Clone, Debug, Object)]
pub struct EffectRecord {
    /// The effect; `null` if it is done or was discarded.
    pub effect: Nullable<OutboxEffect>,
    /// What was decided of it, oldest first.
    pub decisions: Vec<EffectDecision>,
}

impl From<FoundEffect> for EffectRecord {
    fn from(found: FoundEffect) -> Self {
        Self {
            effect: Nullable(found.entry.map(Into::into)),
            decisions: found.decisions.into_iter().map(Into::into).collect(),
        }
    }
}

/// A decision to be made.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewDecision {
    /// Why, for whoever asks later. It stays on record.
    pub reason: Reason,
}

/// A decision to be made of all dead effects of one cause.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewGroupDecision {
    /// What they failed at, as the groups name it.
    pub cause: NamedCause,
    /// Only those of this kind; of every kind if absent.
    pub kind: Option<CauseCode>,
    /// Why, for whoever asks later. It stays on record, with each of them.
    pub reason: Reason,
}

/// A cause that effects died of.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NamedCause {
    /// Who was asked.
    pub destination: CauseCode,
    /// What kind of failure.
    pub class: CauseCode,
    /// Which failure.
    pub code: CauseCode,
}

impl NewGroupDecision {
    fn query(&self) -> DeadQuery {
        let NamedCause { destination, class, code } = &self.cause;
        let cause =
            StoredCause { destination: destination.0.clone(), class: class.0.clone(), code: code.0.clone() };
        DeadQuery { cause, kind: self.kind.as_ref().map(|kind| kind.0.clone()) }
    }
}

/// What came of it.
#[derive(Clone, Debug, Object)]
pub struct GroupDecision {
    /// How many effects were decided: 500 at most at once.
    pub decided: i64,
    /// How many are dead of that cause now. If some were left over, send the request again.
    pub left: i64,
}

impl From<DecidedGroup> for GroupDecision {
    fn from(group: DecidedGroup) -> Self {
        let DecidedGroup { decided, left } = group;
        Self { decided, left }
    }
}

/// A place in the list.
#[derive(Serialize, Deserialize)]
struct Place {
    position: i64,
    ordinal: i16,
}

/// The resource.
pub struct Outbox;

#[OpenApi(tag = "Tag::Outbox")]
impl Outbox {
    /// List effects
    ///
    /// Everything that is not done yet, in the order in which it was ordered. With filters a page may be short, or empty, and
    /// not be the last: `next_cursor` says.
    #[oai(path = "/v1/outbox", method = "get", operation_id = "list_effects")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the interface")]
    async fn list(
        &self,
        caller: Authorised<Operate>,
        /// Only effects in this state.
        state: Query<EffectState>,
        /// Only effects that failed with this code last.
        code: Query<CauseCode>,
        /// Only effects of this kind, or of several with commas between.
        #[oai(name = "kind", explode = false)]
        kinds: Several<EffectKind>,
        /// Only effects ordered then or later.
        created_from: Query<Timestamp>,
        /// Only effects ordered before.
        created_until: Query<Timestamp>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<OutboxList>, Failure<Reading>> {
        let after: Option<Place> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let query = EffectQuery {
            filter: OutboxFilter {
                state: state.0.map(Into::into),
                code: code.0.map(|code| code.0),
                kinds: kinds.0.into_iter().map(|kind| kind.0).collect(),
                created: filters::time_range("created", created_from, created_until)?,
            },
            after: after.map(|Place { position, ordinal }| (Position(position), ordinal)),
            limit: limit.0.unwrap_or_default().into(),
        };
        let page = caller.service.outbox(&caller.caller, query).await?;
        let next = page.next.map(|(position, ordinal)| Place { position: position.0, ordinal });
        Ok(Found(OutboxList {
            items: page.entries.into_iter().map(Into::into).collect(),
            next_cursor: Nullable(next.map(|place| Cursor::of(&place))),
        }))
    }

    /// Group dead effects by cause
    #[oai(path = "/v1/outbox/dead", method = "get", operation_id = "group_dead_effects")]
    async fn dead(&self, caller: Authorised<Operate>) -> Result<Found<DeadEffectsList>, Failure<Reading>> {
        let groups = caller.service.dead_effects(&caller.caller).await?;
        Ok(Found(DeadEffectsList { items: groups.into_iter().map(Into::into).collect() }))
    }

    /// Retry all dead effects of a cause
    ///
    /// For when the cause is put right. Each is decided as by itself, in the order in which they were ordered.
    #[oai(path = "/v1/outbox/dead/retry", method = "post", operation_id = "retry_dead_effects")]
    async fn retry_dead(
        &self,
        caller: Authorised<Operate>,
        decision: Json<NewGroupDecision>,
    ) -> Result<Found<GroupDecision>, Failure<Writing>> {
        let (query, reason) = (decision.content.query(), &decision.content.reason.0);
        let group = caller.service.decide_dead(&caller.caller, &query, Decision::Retry, reason).await?;
        Ok(Found(group.into()))
    }

    /// Discard all dead effects of a cause
    ///
    /// None of them ever happens: orders whose page was to be made fail, and refunds are refused.
    #[oai(path = "/v1/outbox/dead/discard", method = "post", operation_id = "discard_dead_effects")]
    async fn discard_dead(
        &self,
        caller: Authorised<Operate>,
        decision: Json<NewGroupDecision>,
    ) -> Result<Found<GroupDecision>, Failure<Writing>> {
        let (query, reason) = (decision.content.query(), &decision.content.reason.0);
        let group = caller.service.decide_dead(&caller.caller, &query, Decision::Discard, reason).await?;
        Ok(Found(group.into()))
    }

    /// Read an effect
    ///
    /// One that is done is found only if something was decided of it.
    #[oai(path = "/v1/outbox/:effect", method = "get", operation_id = "read_effect")]
    async fn read(
        &self,
        caller: Authorised<Operate>,
        /// The id of the effect.
        effect: Path<EffectId>,
    ) -> Result<Found<EffectRecord>, Failure<Reading>> {
        Ok(Found(caller.service.effect(&caller.caller, effect.0).await?.into()))
    }

    /// Retry a dead effect
    ///
    /// It is looked for first, because it may have happened, and carried out if it is not found. The same request again is
    /// answered like the first. Nothing is written to the ledger, so there is no `position`.
    #[oai(path = "/v1/outbox/:effect/retry", method = "post", operation_id = "retry_effect")]
    async fn retry(
        &self,
        caller: Authorised<Operate>,
        /// The id of the effect.
        effect: Path<EffectId>,
        decision: Json<NewDecision>,
    ) -> Result<Found<EffectRecord>, Failure<Writing>> {
        let reason = decision.content.reason.0;
        let decided =
            caller.service.decide_effect(&caller.caller, effect.0, Decision::Retry, &reason).await?;
        Ok(Found(decided.into()))
    }

    /// Discard a dead effect
    ///
    /// It never happens. Effects of its key that wait for it go on. The same request again is answered like the first. What the
    /// ledger is told of it is an event of its own, with an order or a refund; the answer is about the effect and has no
    /// `position`.
    #[oai(path = "/v1/outbox/:effect/discard", method = "post", operation_id = "discard_effect")]
    async fn discard(
        &self,
        caller: Authorised<Operate>,
        /// The id of the effect.
        effect: Path<EffectId>,
        decision: Json<NewDecision>,
    ) -> Result<Found<EffectRecord>, Failure<Writing>> {
        let reason = decision.content.reason.0;
        let decided =
            caller.service.decide_effect(&caller.caller, effect.0, Decision::Discard, &reason).await?;
        Ok(Found(decided.into()))
    }
}
