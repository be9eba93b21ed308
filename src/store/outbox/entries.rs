//! The outbox as an operator sees it: what waits and for what, what died of which cause, and what people decided of it.

use serde_json::Value;
use time::OffsetDateTime;
use tokio_postgres::{Client, Row, types::Type};
use uuid::Uuid;

use super::{Place, Step, StoredCause, finish::RELEASE_ONE, read, shard_of, write};
use crate::{
    domain::{
        ids::{Actor, EffectId, LedgerId, Position},
        time::{TimeRange, Timestamp},
    },
    store::{
        pages::{self, LookedAt},
        rows::{RowError, timestamp},
    },
};

/// How far an effect has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EffectState {
    /// Ordered; nobody has failed at it.
    Waiting,
    /// It failed and is tried again.
    BackingOff,
    /// An earlier one of its key stands in the way.
    Held,
    /// Somebody has to look at it.
    Dead,
}

impl EffectState {
    /// Every state there is.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::BackingOff, Self::Held, Self::Dead];

    /// The name as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::BackingOff => "backing_off",
            Self::Held => "held",
            Self::Dead => "dead",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// An effect that is not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboxEntry {
    /// Its id, which is the idempotency key of the calls that carry it out.
    pub id: EffectId,
    /// Where it stands.
    pub place: Place,
    /// Its kind.
    pub kind: String,
    /// Effects of one key are carried out one after the other.
    pub key: String,
    /// What is to be done.
    pub effect: Value,
    /// How far it has come.
    pub state: EffectState,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// How often it was tried in vain, since it was ordered or a person had it tried again.
    pub attempts: i32,
    /// When it is tried next, if that is known.
    pub next_attempt_at: Option<Timestamp>,
    /// When it died.
    pub died_at: Option<Timestamp>,
    /// What it failed at last.
    pub cause: Option<StoredCause>,
    /// Whether later ones of its key wait for it because it is dead.
    pub blocks: bool,
}

impl OutboxEntry {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let moment = |column: &'static str| -> Result<Option<Timestamp>, RowError> {
            let moment: Option<OffsetDateTime> = row.try_get(column)?;
            moment.map(|moment| timestamp(moment, column)).transpose()
        };
        let id: Uuid = row.try_get("effect_id")?;
        let state = EffectState::parse(row.try_get("state")?);
        Ok(Self {
            id: EffectId::from_bits(id.as_u128()),
            place: Place::from_row(row)?,
            kind: row.try_get("kind")?,
            key: row.try_get("key")?,
            effect: row.try_get("effect")?,
            state: state.ok_or(RowError::Value { column: "state" })?,
            created_at: timestamp(row.try_get("created_at")?, "created_at")?,
            attempts: row.try_get("attempts")?,
            next_attempt_at: moment("next_attempt_at")?,
            died_at: moment("died_at")?,
            cause: StoredCause::from_row(row)?,
            blocks: row.try_get("blocks")?,
        })
    }
}

/// The columns of an [`OutboxEntry`], from each of the three tables.
macro_rules! columns {
    (waiting) => {
        "w.effect_id, w.shard, w.position, w.ordinal, w.kind, w.key, w.effect, 'waiting' AS state, w.created_at,
         0 AS attempts, NULL::timestamptz AS next_attempt_at, NULL::timestamptz AS died_at,
         NULL::text AS destination, NULL::text AS class, NULL::text AS code, false AS blocks"
    };
    (retried) => {
        "w.effect_id, w.shard, w.position, w.ordinal, w.kind, w.key, w.effect,
         CASE WHEN w.next_attempt_at IS NULL THEN 'held' ELSE 'backing_off' END AS state, w.created_at,
         w.attempts, w.next_attempt_at, NULL::timestamptz AS died_at,
         w.destination, w.class, w.code, false AS blocks"
    };
    (dead) => {
        "w.effect_id, w.shard, w.position, w.ordinal, w.kind, w.key, w.effect, 'dead' AS state, w.created_at,
         w.attempts, NULL::timestamptz AS next_attempt_at, w.died_at,
         w.destination, w.class, w.code, w.blocks"
    };
}

/// Where a page of entries goes on: position and ordinal of the last one shown.
pub type OutboxPlace = (Position, i16);

/// Which entries a page holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OutboxFilter {
    /// Only those of this state.
    pub state: Option<EffectState>,
    /// Only those that failed with this code last.
    pub code: Option<String>,
    /// Only those of these kinds; all if there are none.
    pub kinds: Vec<&'static str>,
    /// Only those ordered then.
    pub created: TimeRange,
}

/// How many entries of each shard and table are looked at for a page of certain ones, so that one who asks for what is rare
/// cannot have a long outbox read at once.
pub const LOOKED_AT: i64 = 200;

/// A page of entries.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct OutboxPage {
    /// The entries, in the order in which they were ordered.
    pub entries: Vec<OutboxEntry>,
    /// The place after which the next page begins, if there may be more.
    pub next: Option<OutboxPlace>,
}

/// Reads each shard in its own order, so far and no further; the page is what is first of them all, up to the first place behind
/// which nobody has looked in its shard.
macro_rules! page_of {
    ($table:literal, $columns:ident, $state:literal, $code:literal) => {
        concat!(
            "SELECT e.*
               FROM ledger_heads h
              CROSS JOIN generate_series(0, 63) AS s (asked_shard)
              CROSS JOIN LATERAL (
                    SELECT ",
            columns!($columns),
            ", (($4::text IS NULL OR ",
            $state,
            " = $4) AND ($5::text IS NULL OR ",
            $code,
            " = $5) AND (cardinality($8::text[]) = 0 OR w.kind = ANY ($8))
                AND w.created_at >= COALESCE($9, '-infinity'::timestamptz)
                AND w.created_at < COALESCE($10, 'infinity'::timestamptz)) IS TRUE AS is_asked_for,
               row_number() OVER (ORDER BY w.ledger_id, w.shard, w.position, w.ordinal) = $7 AS is_last_looked_at
                      FROM ",
            $table,
            " w
                     WHERE w.ledger_id = $1 AND w.shard = s.asked_shard
                       AND (w.position, w.ordinal) > ($2, $3)
                     ORDER BY w.ledger_id, w.shard, w.position, w.ordinal
                     LIMIT $7) e
              WHERE h.ledger_id = $1 AND (e.is_asked_for OR e.is_last_looked_at)
              ORDER BY e.position, e.ordinal
              LIMIT $6"
        )
    };
}

/// The statements that read a page, by table. Parameters: ledger, position and ordinal after which it begins, state, code, how
/// many are told at most, how many of each shard are looked at, kinds, and the time in which they were ordered.
pub const PAGES: [(&[EffectState], &str); 3] = [
    (&[EffectState::Waiting], page_of!("outbox", waiting, "'waiting'", "NULL::text")),
    (
        &[EffectState::BackingOff, EffectState::Held],
        page_of!(
            "outbox_retry",
            retried,
            "(CASE WHEN w.next_attempt_at IS NULL THEN 'held' ELSE 'backing_off' END)",
            "w.code"
        ),
    ),
    (&[EffectState::Dead], page_of!("outbox_dead", dead, "'dead'", "w.code")),
];

/// A page of up to `limit` entries after `after`, in the order in which they were ordered. It may be short, or empty, and not
/// be the last.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn list(
    client: &Client,
    ledger: LedgerId,
    filter: &OutboxFilter,
    after: Option<OutboxPlace>,
    limit: i64,
) -> Result<OutboxPage, RowError> {
    let (position, ordinal) = after.map_or((0, -1), |(position, ordinal)| (position.0, ordinal));
    let state = filter.state.map(EffectState::as_str);
    // One more than is told says whether there is another page.
    let told = limit.saturating_add(1);
    let looked_at = if *filter == OutboxFilter::default() { told } else { told.max(LOOKED_AT) };
    let [from, until] =
        [filter.created.from, filter.created.until].map(|moment| moment.map(Timestamp::to_datetime));
    let is_asked_for = |states: &[EffectState]| filter.state.is_none_or(|state| states.contains(&state));
    let tables = PAGES.iter().filter(|(states, _)| is_asked_for(states));
    let steps = tables.map(|(_, sql)| Step {
        sql,
        parameters: vec![
            (&ledger.0, Type::INT8),
            (&position, Type::INT8),
            (&ordinal, Type::INT2),
            (&state, Type::TEXT),
            (&filter.code, Type::TEXT),
            (&told, Type::INT8),
            (&looked_at, Type::INT8),
            (&filter.kinds, Type::TEXT_ARRAY),
            (&from, Type::TIMESTAMPTZ),
            (&until, Type::TIMESTAMPTZ),
        ],
    });
    let rows = read(client, ledger, &steps.collect::<Vec<_>>()).await?;
    let looked_at = rows.iter().flatten().map(|row| LookedAt::from_row(row, OutboxEntry::from_row(row)?));
    let mut looked_at = looked_at.collect::<Result<Vec<_>, RowError>>()?;
    let place = |entry: &OutboxEntry| (entry.place.position, entry.place.ordinal);
    looked_at.sort_by_key(|one| place(&one.item));
    let (entries, next) = pages::page(looked_at, limit, place);
    Ok(OutboxPage { entries, next })
}

/// A dead effect that keeps something from being done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Obstacle {
    /// Its id.
    pub effect: EffectId,
    /// What it failed at: a code.
    pub code: String,
}

/// The first dead effect that keeps from being done what the event at `position` ordered under `key`: that itself, or an
/// earlier one that blocks the key.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn find_obstacle(
    client: &Client,
    ledger: LedgerId,
    key: &str,
    position: Position,
) -> Result<Option<Obstacle>, RowError> {
    // Each half has an index of its own. Somebody waits for this and asks many times a second.
    let sql = "SELECT d.effect_id, d.code
                 FROM (SELECT effect_id, code, position, ordinal
                         FROM outbox_dead
                        WHERE ledger_id = $1 AND shard = $2 AND position = $4 AND key = $3
                        UNION ALL
                       SELECT effect_id, code, position, ordinal
                         FROM outbox_dead
                        WHERE ledger_id = $1 AND shard = $2 AND key = $3 AND blocks AND position < $4) d
                ORDER BY d.position, d.ordinal
                LIMIT 1";
    let shard = shard_of(key);
    let parameters = vec![
        (&ledger.0 as _, Type::INT8),
        (&shard as _, Type::INT2),
        (&key as _, Type::TEXT),
        (&position.0 as _, Type::INT8),
    ];
    let rows = read(client, ledger, &[Step { sql, parameters }]).await?;
    let obstacle = |row: &Row| {
        let id: Uuid = row.try_get("effect_id")?;
        Ok(Obstacle { effect: EffectId::from_bits(id.as_u128()), code: row.try_get("code")? })
    };
    rows.iter().flatten().next().map(obstacle).transpose()
}

/// What a person decided of a dead effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It is to be tried again.
    Retry,
    /// It is never to happen.
    Discard,
}

impl Decision {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
        }
    }
}

/// A decision, as it is on record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided {
    /// What.
    pub decision: Decision,
    /// When.
    pub decided_at: Timestamp,
    /// By whom.
    pub actor: Actor,
    /// Why, in his words.
    pub reason: String,
    /// What the effect had failed at.
    pub cause: StoredCause,
}

impl Decided {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let decision: String = row.try_get("decision")?;
        let known = [Decision::Retry, Decision::Discard].into_iter();
        let decision = known.into_iter().find(|known| known.as_str() == decision);
        Ok(Self {
            decision: decision.ok_or(RowError::Value { column: "decision" })?,
            decided_at: timestamp(row.try_get("decided_at")?, "decided_at")?,
            actor: Actor::parse(row.try_get("actor")?).ok_or(RowError::Value { column: "actor" })?,
            reason: row.try_get("reason")?,
            cause: StoredCause::from_row(row)?.ok_or(RowError::Value { column: "code" })?,
        })
    }
}

/// What is known of an effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The effect; absent if it is done or was discarded.
    pub entry: Option<OutboxEntry>,
    /// What was decided of it, oldest first.
    pub decisions: Vec<Decided>,
}

/// One effect, with what people decided of it. Of one that is done and of which nothing was decided, nothing is known.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn find(client: &Client, ledger: LedgerId, effect: EffectId) -> Result<Found, RowError> {
    const WAITING: &str =
        concat!("SELECT ", columns!(waiting), " FROM outbox w WHERE w.ledger_id = $1 AND w.effect_id = $2");
    const RETRIED: &str = concat!(
        "SELECT ",
        columns!(retried),
        " FROM outbox_retry w WHERE w.ledger_id = $1 AND w.effect_id = $2"
    );
    const DEAD: &str =
        concat!("SELECT ", columns!(dead), " FROM outbox_dead w WHERE w.ledger_id = $1 AND w.effect_id = $2");
    const DECISIONS: &str = "SELECT decision, decided_at, actor, reason, destination, class, code
                               FROM outbox_decisions WHERE ledger_id = $1 AND effect_id = $2 ORDER BY decided_at";
    let id = Uuid::from_u128(effect.to_bits());
    let steps: Vec<Step<'_>> = [WAITING, RETRIED, DEAD, DECISIONS]
        .into_iter()
        .map(|sql| Step { sql, parameters: vec![(&ledger.0, Type::INT8), (&id, Type::UUID)] })
        .collect();
    let mut answers = read(client, ledger, &steps).await?;
    let decisions = answers.pop().unwrap_or_default();
    Ok(Found {
        entry: answers.iter().flatten().next().map(OutboxEntry::from_row).transpose()?,
        decisions: decisions.iter().map(Decided::from_row).collect::<Result<_, _>>()?,
    })
}

/// Dead effects of one cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadGroup {
    /// What they failed at.
    pub cause: StoredCause,
    /// Their kind.
    pub kind: String,
    /// How many there are.
    pub effects: i64,
    /// When the first of them died.
    pub first_died_at: Timestamp,
    /// When the last of them died.
    pub last_died_at: Timestamp,
}

/// Dead effects by cause and kind, the most frequent first.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn group_dead(client: &Client, ledger: LedgerId) -> Result<Vec<DeadGroup>, RowError> {
    let sql = "SELECT destination, class, code, kind, count(*) AS effects,
                      min(died_at) AS first_died_at, max(died_at) AS last_died_at
                 FROM outbox_dead
                WHERE ledger_id = $1
                GROUP BY destination, class, code, kind
                ORDER BY count(*) DESC, destination, class, code, kind
                LIMIT 1000";
    let rows = read(client, ledger, &[Step { sql, parameters: vec![(&ledger.0, Type::INT8)] }]).await?;
    let group = |row: &Row| {
        Ok(DeadGroup {
            cause: StoredCause::from_row(row)?.ok_or(RowError::Value { column: "code" })?,
            kind: row.try_get("kind")?,
            effects: row.try_get("effects")?,
            first_died_at: timestamp(row.try_get("first_died_at")?, "first_died_at")?,
            last_died_at: timestamp(row.try_get("last_died_at")?, "last_died_at")?,
        })
    };
    rows.iter().flatten().map(group).collect()
}

/// Puts a person's decision of a dead effect on record and carries it out. False if the effect is not dead any more.
///
/// Whoever works on the shard is kept out meanwhile by the lock of its lease: he decides there whose turn it is.
///
/// # Errors
/// Those of the database.
pub async fn decide(
    client: &Client,
    ledger: LedgerId,
    dead: &OutboxEntry,
    decision: Decision,
    actor: &Actor,
    reason: &str,
) -> Result<bool, RowError> {
    const LOCK: &str =
        "SELECT fence FROM outbox_leases WHERE ledger_id = $1 AND shard = $2 FOR NO KEY UPDATE";
    const RECORD: &str =
        "INSERT INTO outbox_decisions (ledger_id, effect_id, decided_at, decision, actor, reason, position, ordinal,
             key, kind, effect, created_at, attempts, died_at, destination, class, code)
         SELECT w.ledger_id, w.effect_id, now(), $3, $4, $5, w.position, w.ordinal,
                w.key, w.kind, w.effect, w.created_at, w.attempts, w.died_at, w.destination, w.class, w.code
           FROM outbox_dead w
          WHERE w.ledger_id = $1 AND w.effect_id = $2
      RETURNING effect_id";
    // It may have happened, and longer ago than its key is remembered: it is looked for before every attempt from now on.
    const REVIVE: &str =
        "INSERT INTO outbox_retry (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at,
             repeat_from, attempts, next_attempt_at, must_look, destination, class, code)
         SELECT w.ledger_id, w.shard, w.position, w.ordinal, w.effect_id, w.key, w.kind, w.effect, w.created_at,
                now(), 0, NULL, true, w.destination, w.class, w.code
           FROM outbox_dead w
          WHERE w.ledger_id = $1 AND w.effect_id = $2";
    const REMOVE: &str = "DELETE FROM outbox_dead WHERE ledger_id = $1 AND effect_id = $2";
    let id = Uuid::from_u128(dead.id.to_bits());
    let (verb, actor) = (decision.as_str(), actor.to_string());
    let of_effect = || vec![(&ledger.0 as _, Type::INT8), (&id as _, Type::UUID)];
    let mut steps = vec![
        Step { sql: LOCK, parameters: vec![(&ledger.0, Type::INT8), (&dead.place.shard, Type::INT2)] },
        Step {
            sql: RECORD,
            parameters: vec![
                (&ledger.0, Type::INT8),
                (&id, Type::UUID),
                (&verb, Type::TEXT),
                (&actor, Type::TEXT),
                (&reason, Type::TEXT),
            ],
        },
    ];
    if decision == Decision::Retry {
        steps.push(Step { sql: REVIVE, parameters: of_effect() });
    }
    steps.push(Step { sql: REMOVE, parameters: of_effect() });
    steps.push(Step {
        sql: RELEASE_ONE,
        parameters: vec![(&ledger.0, Type::INT8), (&dead.place.shard, Type::INT2), (&dead.key, Type::TEXT)],
    });
    let answers = write(client, ledger, &steps).await?;
    Ok(answers.get(1).is_some_and(|rows| !rows.is_empty()))
}
