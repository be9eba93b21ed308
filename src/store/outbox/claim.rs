//! Reads what is to be done next in shards whose leases are held. Reads only: the lease is the claim.

use std::time::Duration;

use tokio_postgres::{Client, Row, types::Type};
use uuid::Uuid;

use super::{Place, Step, read};
use crate::{
    domain::{
        effects::Effect,
        ids::{EffectId, LedgerId, Position},
        time::Timestamp,
    },
    store::{
        heads::Incarnation,
        reconciliation::gate::is_closed,
        rows::{RowError, timestamp},
    },
};

/// Which table an effect stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// `outbox`: nobody has failed at it.
    Fresh,
    /// `outbox_retry`.
    Retry,
}

/// An effect that is to be carried out.
#[derive(Clone, PartialEq, Debug)]
pub struct WaitingEffect {
    /// Where it stands.
    pub place: Place,
    /// In which table.
    pub origin: Origin,
    /// Its id.
    pub id: EffectId,
    /// Its key.
    pub key: String,
    /// What is to be done; absent if this version cannot read it.
    pub effect: Option<Effect>,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// How often it was tried in vain.
    pub attempts: i32,
    /// Whether it has to be looked for before it is tried.
    pub must_look: bool,
    /// How long ago the time began in which it may be repeated.
    pub age: Duration,
    /// Whether an earlier one of its key stands in the way.
    pub is_held: bool,
}

impl WaitingEffect {
    fn from_row(row: &Row, origin: Origin) -> Result<Self, RowError> {
        let id: Uuid = row.try_get("effect_id")?;
        let age: f64 = row.try_get("age")?;
        Ok(Self {
            place: Place::from_row(row)?,
            origin,
            id: EffectId::from_bits(id.as_u128()),
            key: row.try_get("key")?,
            effect: serde_json::from_str(row.try_get("effect")?).ok(),
            created_at: timestamp(row.try_get("created_at")?, "created_at")?,
            attempts: row.try_get("attempts")?,
            must_look: row.try_get::<_, Option<bool>>("must_look")?.unwrap_or(false),
            age: Duration::try_from_secs_f64(age.max(0.0)).unwrap_or_default(),
            is_held: row.try_get("is_held")?,
        })
    }
}

/// How far a shard has been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Which shard.
    pub shard: i16,
    /// The last effect that was read.
    pub after: (Position, i16),
}

/// What may be claimed at once, in each shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Fresh effects.
    pub fresh: i64,
    /// Effects whose next attempt is due, those included that are being worked on.
    pub due: i64,
}

/// Where the ledger ended when something was read of it. If it ends earlier afterwards, or in another history, then history
/// was lost, and with it whatever was concluded from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Witness {
    /// The ledger's last position.
    pub head: Position,
    /// Which history that is of.
    pub incarnation: Incarnation,
}

impl Witness {
    /// Whether `later` goes on from here.
    pub fn is_continued_by(&self, later: &Self) -> bool {
        self.incarnation == later.incarnation && self.head <= later.head
    }
}

/// What a claim has read, all as of one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Claim {
    /// In the order in which they were ordered; none while they are paused.
    pub effects: Vec<WaitingEffect>,
    /// Whether effects wait until the ledger has all that Stripe knows.
    pub is_paused: bool,
    /// Where the ledger ended.
    pub witness: Witness,
}

/// The next effects of the shards, fresh ones and those that are due again. Those of a test ledger whose clock was moved on
/// since they were ordered, and a simulated Stripe's with it, have to be looked for: keys are forgotten there by that clock.
/// While the ledger may lack what Stripe knows, there are none: see `reconciliation::gate`.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn claim(
    client: &Client,
    ledger: LedgerId,
    readings: &[Reading],
    room: Room,
) -> Result<Claim, RowError> {
    let fresh = "SELECT o.shard, o.position, o.ordinal, o.effect_id, o.key, o.effect::text AS effect, o.created_at,
                        0 AS attempts,
                        h.clock_ahead > 0 AND now() + h.clock_ahead * interval '1 second' - interval '23 hours' >=
                            (SELECT e.recorded_at FROM events e WHERE e.ledger_id = $1 AND e.position = o.position)
                        AS must_look,
                        EXTRACT(epoch FROM now() - o.created_at)::float8 AS age,
                        EXISTS (SELECT FROM outbox_retry r
                                 WHERE r.ledger_id = $1 AND r.shard = o.shard AND r.key = o.key)
                        OR EXISTS (SELECT FROM outbox_dead d
                                    WHERE d.ledger_id = $1 AND d.shard = o.shard AND d.key = o.key AND d.blocks)
                        AS is_held
                   FROM ledger_heads h
                  CROSS JOIN unnest($2::int2[], $3::int8[], $4::int2[]) AS s (shard, position, ordinal)
                  CROSS JOIN LATERAL (
                        SELECT w.shard, w.position, w.ordinal, w.effect_id, w.key, w.effect, w.created_at
                          FROM outbox w
                         WHERE w.ledger_id = $1 AND w.shard = s.shard
                           AND (w.position, w.ordinal) > (s.position, s.ordinal)
                         ORDER BY w.ledger_id, w.shard, w.position, w.ordinal
                         LIMIT $5) o
                  WHERE h.ledger_id = $1";
    let due =
        "SELECT r.shard, r.position, r.ordinal, r.effect_id, r.key, r.effect::text AS effect, r.created_at,
                      r.attempts,
                      r.must_look
                      OR h.clock_ahead > 0 AND now() + h.clock_ahead * interval '1 second' - interval '23 hours' >=
                          (SELECT e.recorded_at FROM events e WHERE e.ledger_id = $1 AND e.position = r.position)
                      AS must_look, EXTRACT(epoch FROM now() - r.repeat_from)::float8 AS age,
                      false AS is_held
                 FROM ledger_heads h
                CROSS JOIN unnest($2::int2[]) AS s (shard)
                CROSS JOIN LATERAL (
                      SELECT w.*
                        FROM outbox_retry w
                       WHERE w.ledger_id = $1 AND w.shard = s.shard AND w.next_attempt_at <= now()
                       ORDER BY w.next_attempt_at
                       LIMIT $3) r
                WHERE h.ledger_id = $1";
    let head = concat!(
        "SELECT h.position, h.incarnation, ",
        is_closed!(),
        " AS is_paused
           FROM ledger_heads h
           LEFT JOIN reconciliation r ON r.ledger_id = h.ledger_id AND r.ledger_id = $1
          WHERE h.ledger_id = $1"
    );
    let shards: Vec<i16> = readings.iter().map(|reading| reading.shard).collect();
    let positions: Vec<i64> = readings.iter().map(|reading| reading.after.0.0).collect();
    let ordinals: Vec<i16> = readings.iter().map(|reading| reading.after.1).collect();
    let steps = [
        Step {
            sql: fresh,
            parameters: vec![
                (&ledger.0, Type::INT8),
                (&shards, Type::INT2_ARRAY),
                (&positions, Type::INT8_ARRAY),
                (&ordinals, Type::INT2_ARRAY),
                (&room.fresh, Type::INT8),
            ],
        },
        Step {
            sql: due,
            parameters: vec![(&ledger.0, Type::INT8), (&shards, Type::INT2_ARRAY), (&room.due, Type::INT8)],
        },
        Step { sql: head, parameters: vec![(&ledger.0, Type::INT8)] },
    ];
    let answers = read(client, ledger, &steps).await?;
    let head = answers.get(2).and_then(|rows| rows.first()).ok_or(RowError::Value { column: "position" })?;
    let witness = Witness {
        head: Position(head.try_get("position")?),
        incarnation: Incarnation(head.try_get("incarnation")?),
    };
    let is_paused = head.try_get("is_paused")?;
    if is_paused {
        return Ok(Claim { effects: Vec::new(), is_paused, witness });
    }
    let origins = [Origin::Fresh, Origin::Retry];
    let rows =
        answers.iter().zip(origins).flat_map(|(rows, origin)| rows.iter().map(move |row| (row, origin)));
    let effects: Result<Vec<_>, _> = rows.map(|(row, origin)| WaitingEffect::from_row(row, origin)).collect();
    let mut effects = effects?;
    effects.sort_by_key(|effect| (effect.place.position, effect.place.ordinal));
    Ok(Claim { effects, is_paused, witness })
}
