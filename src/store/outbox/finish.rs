//! What became of effects, a batch at a time, under the fences that they were claimed with.
//!
//! The first statement locks the leases and says which are still held; each of those behind it joins them, so that nothing
//! of a shard that somebody has taken over is touched. Repeating a batch of which nobody knows whether it was committed
//! changes nothing.

use std::{collections::BTreeSet, time::Duration};

use tokio_postgres::{
    Client, Error,
    types::{ToSql, Type},
};
use uuid::Uuid;

use super::{Place, Step, StoredCause, claim::Origin, run};
use crate::{
    domain::ids::{EffectId, LedgerId},
    store::{
        rows::RowError,
        scope::{self, Parameter},
    },
};

/// What became of an effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Which effect.
    pub id: EffectId,
    /// Where it stands in its table.
    pub place: Place,
    /// The fence that it was claimed under.
    pub fence: i64,
    /// Its table.
    pub origin: Origin,
    /// Its key.
    pub key: String,
    /// What became of it.
    pub end: End,
}

/// The ways in which an effect leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// It has happened, and the ledger knows.
    Done,
    /// It is to be tried again.
    Later {
        /// How often it was tried in vain, this time included.
        attempts: i32,
        /// Whether it may have happened.
        must_look: bool,
        /// How long to wait.
        delay: Duration,
        /// What it failed at.
        cause: StoredCause,
    },
    /// A fresh one that has to wait for an earlier one of its key.
    Behind,
    /// Somebody has to look at it.
    Dead {
        /// How often it was tried in vain, this time included.
        attempts: i32,
        /// Whether later ones of its key wait for it.
        blocks: bool,
        /// What it failed at.
        cause: StoredCause,
    },
}

/// What a batch came to, as long as it is committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The shards whose leases are still held: what concerned others was left alone.
    pub held: Vec<i16>,
    /// Whether effects that waited for others of their key have become due.
    pub released: bool,
}

/// The rows of one statement, by column.
#[derive(Default)]
struct Columns {
    shards: Vec<i16>,
    fences: Vec<i64>,
    positions: Vec<i64>,
    ordinals: Vec<i16>,
    ids: Vec<Uuid>,
    keys: Vec<String>,
    attempts: Vec<i32>,
    flags: Vec<bool>,
    delays: Vec<Option<f64>>,
    destinations: Vec<Option<String>>,
    classes: Vec<Option<String>>,
    codes: Vec<Option<String>>,
}

impl Columns {
    fn of<'f>(finished: impl Iterator<Item = &'f Finished>) -> Self {
        let mut columns = Self::default();
        for Finished { id, place, fence, key, end, .. } in finished {
            let (attempts, flag, delay, cause) = match end {
                End::Done | End::Behind => (0, false, None, None),
                End::Later { attempts, must_look, delay, cause } => {
                    (*attempts, *must_look, Some(delay.as_secs_f64()), Some(cause))
                }
                End::Dead { attempts, blocks, cause } => (*attempts, *blocks, None, Some(cause)),
            };
            columns.shards.push(place.shard);
            columns.fences.push(*fence);
            columns.positions.push(place.position.0);
            columns.ordinals.push(place.ordinal);
            columns.ids.push(Uuid::from_u128(id.to_bits()));
            columns.keys.push(key.clone());
            columns.attempts.push(attempts);
            columns.flags.push(flag);
            columns.delays.push(delay);
            columns.destinations.push(cause.map(|cause| cause.destination.clone()));
            columns.classes.push(cause.map(|cause| cause.class.clone()));
            columns.codes.push(cause.map(|cause| cause.code.clone()));
        }
        columns
    }

    /// `$1` to `$6`: which effects. The id as well: if history was lost, another may stand in the same place.
    fn places<'a>(&'a self, ledger: &'a i64) -> Vec<Parameter<'a>> {
        vec![
            (ledger, Type::INT8),
            (&self.shards, Type::INT2_ARRAY),
            (&self.fences, Type::INT8_ARRAY),
            (&self.positions, Type::INT8_ARRAY),
            (&self.ordinals, Type::INT2_ARRAY),
            (&self.ids, Type::UUID_ARRAY),
        ]
    }

    /// `$7` to `$11`: what became of them.
    fn ends<'a>(&'a self, ledger: &'a i64) -> Vec<Parameter<'a>> {
        let mut parameters = self.places(ledger);
        let ends: [(&(dyn ToSql + Sync), Type); 5] = [
            (&self.attempts, Type::INT4_ARRAY),
            (&self.flags, Type::BOOL_ARRAY),
            (&self.destinations, Type::TEXT_ARRAY),
            (&self.classes, Type::TEXT_ARRAY),
            (&self.codes, Type::TEXT_ARRAY),
        ];
        parameters.extend(ends);
        parameters
    }

    /// `$12`: when they are tried again.
    fn delays<'a>(&'a self, ledger: &'a i64) -> Vec<Parameter<'a>> {
        let mut parameters = self.ends(ledger);
        parameters.push((&self.delays, Type::FLOAT8_ARRAY));
        parameters
    }

    /// `$4`: which keys.
    fn turns<'a>(&'a self, ledger: &'a i64) -> Vec<Parameter<'a>> {
        vec![
            (ledger, Type::INT8),
            (&self.shards, Type::INT2_ARRAY),
            (&self.fences, Type::INT8_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
        ]
    }
}

/// Locks what a batch is fenced by. In order, so that two who want the same never wait for each other.
const HOLD: &str = "SELECT l.shard
                      FROM outbox_leases l
                      JOIN unnest($2::int2[], $3::int8[]) AS held (shard, fence)
                        ON held.shard = l.shard AND held.fence = l.fence
                     WHERE l.ledger_id = $1
                     ORDER BY l.shard
                       FOR NO KEY UPDATE OF l";

/// The leases that statements behind [`HOLD`] join; `d` is the batch.
macro_rules! fenced {
    ($table:literal, $columns:literal, $names:literal) => {
        concat!(
            " FROM ",
            $table,
            " w, outbox_leases l, unnest($2::int2[], $3::int8[], $4::int8[], $5::int2[], $6::uuid[]",
            $columns,
            ") AS d (shard, fence, position, ordinal, effect_id",
            $names,
            ")
               WHERE w.ledger_id = $1 AND l.ledger_id = $1 AND l.shard = d.shard AND l.fence = d.fence
                 AND w.shard = d.shard AND w.position = d.position AND w.ordinal = d.ordinal AND w.effect_id = d.effect_id"
        )
    };
}

macro_rules! ended {
    ($table:literal, $columns:literal, $names:literal) => {
        fenced!(
            $table,
            ", $7::int4[], $8::bool[], $9::text[], $10::text[], $11::text[]",
            ", attempts, flag, destination, class, code"
        )
    };
}

const MOVE_TO_RETRY: &str = concat!(
    "INSERT INTO outbox_retry (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at,
         repeat_from, attempts, next_attempt_at, must_look, destination, class, code)
     SELECT w.ledger_id, w.shard, w.position, w.ordinal, w.effect_id, w.key, w.kind, w.effect, w.created_at,
            w.created_at, d.attempts, now() + make_interval(secs => d.delay), d.flag, d.destination, d.class, d.code",
    fenced!(
        "outbox",
        ", $7::int4[], $8::bool[], $9::text[], $10::text[], $11::text[], $12::float8[]",
        ", attempts, flag, destination, class, code, delay"
    )
);

const PUT_OFF: &str = "UPDATE outbox_retry w
        SET attempts = d.attempts, must_look = d.flag, next_attempt_at = now() + make_interval(secs => d.delay),
            destination = d.destination, class = d.class, code = d.code
       FROM outbox_leases l,
            unnest($2::int2[], $3::int8[], $4::int8[], $5::int2[], $6::uuid[], $7::int4[], $8::bool[], $9::text[],
                   $10::text[], $11::text[], $12::float8[])
            AS d (shard, fence, position, ordinal, effect_id, attempts, flag, destination, class, code, delay)
      WHERE w.ledger_id = $1 AND l.ledger_id = $1 AND l.shard = d.shard AND l.fence = d.fence
        AND w.shard = d.shard AND w.position = d.position AND w.ordinal = d.ordinal AND w.effect_id = d.effect_id";

macro_rules! bury {
    ($table:literal) => {
        concat!(
            "INSERT INTO outbox_dead (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at,
                 attempts, died_at, blocks, destination, class, code)
             SELECT w.ledger_id, w.shard, w.position, w.ordinal, w.effect_id, w.key, w.kind, w.effect, w.created_at,
                    d.attempts, now(), d.flag, d.destination, d.class, d.code",
            ended!($table, "", "")
        )
    };
}

const BURY_FRESH: &str = bury!("outbox");
const BURY_RETRIED: &str = bury!("outbox_retry");

macro_rules! remove {
    ($table:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " w
              USING outbox_leases l, unnest($2::int2[], $3::int8[], $4::int8[], $5::int2[], $6::uuid[])
                    AS d (shard, fence, position, ordinal, effect_id)
              WHERE w.ledger_id = $1 AND l.ledger_id = $1 AND l.shard = d.shard AND l.fence = d.fence
                AND w.shard = d.shard AND w.position = d.position AND w.ordinal = d.ordinal AND w.effect_id = d.effect_id"
        )
    };
}

const REMOVE_FRESH: &str = remove!("outbox");
const REMOVE_RETRIED: &str = remove!("outbox_retry");

/// Lets the first of each key that waits for nobody any more have its turn.
macro_rules! release {
    ($keys:literal) => {
        concat!(
            "UPDATE outbox_retry w
                SET next_attempt_at = now()
               FROM ", $keys, "
              CROSS JOIN LATERAL (
                    SELECT f.position, f.ordinal
                      FROM outbox_retry f
                     WHERE f.ledger_id = $1 AND f.shard = k.shard AND f.key = k.key
                     ORDER BY f.ledger_id, f.shard, f.key, f.position, f.ordinal
                     LIMIT 1) first
              WHERE w.ledger_id = $1 AND w.shard = k.shard
                AND w.position = first.position AND w.ordinal = first.ordinal
                AND w.next_attempt_at IS NULL
                AND NOT EXISTS (SELECT FROM outbox_dead b
                                 WHERE b.ledger_id = $1 AND b.shard = k.shard AND b.key = k.key AND b.blocks)
          RETURNING w.shard"
        )
    };
}

const RELEASE: &str = release!(
    "(SELECT DISTINCT d.shard, d.key
        FROM outbox_leases l, unnest($2::int2[], $3::int8[], $4::text[]) AS d (shard, fence, key)
       WHERE l.ledger_id = $1 AND l.shard = d.shard AND l.fence = d.fence) k"
);

/// The same for one key, for whoever holds the lock of its shard's lease.
pub(super) const RELEASE_ONE: &str = release!("(SELECT $2::int2 AS shard, $3::text AS key) k");

/// A batch that has been sent and is not committed yet.
pub struct Unfinished<'c> {
    client: &'c Client,
    batch: Batch,
}

impl Unfinished<'_> {
    /// Commits it.
    ///
    /// # Errors
    /// Those of the database; it is not known whether the batch is committed then, and the same again is harmless.
    pub async fn commit(self) -> Result<Batch, Error> {
        self.client.batch_execute("COMMIT").await?;
        Ok(self.batch)
    }
}

/// Sends what became of a batch of effects: one round trip. To be committed by the caller.
///
/// # Errors
/// Those of the database; nothing is changed then.
pub async fn finish<'c>(
    client: &'c Client,
    ledger: LedgerId,
    finished: &[Finished],
) -> Result<Unfinished<'c>, RowError> {
    let columns =
        |pick: fn(&Finished) -> bool| Columns::of(finished.iter().filter(|finished| pick(finished)));
    let fences: BTreeSet<(i16, i64)> =
        finished.iter().map(|finished| (finished.place.shard, finished.fence)).collect();
    let (shards, fences): (Vec<i16>, Vec<i64>) = fences.into_iter().unzip();
    let moved = columns(|finished| {
        finished.origin == Origin::Fresh && matches!(finished.end, End::Later { .. } | End::Behind)
    });
    let put_off =
        columns(|finished| finished.origin == Origin::Retry && matches!(finished.end, End::Later { .. }));
    let buried_fresh =
        columns(|finished| finished.origin == Origin::Fresh && matches!(finished.end, End::Dead { .. }));
    let buried_retried =
        columns(|finished| finished.origin == Origin::Retry && matches!(finished.end, End::Dead { .. }));
    let gone_fresh = columns(|finished| finished.origin == Origin::Fresh);
    let gone_retried = columns(|finished| {
        finished.origin == Origin::Retry && matches!(finished.end, End::Done | End::Dead { .. })
    });
    let turns = columns(|finished| {
        finished.end == End::Behind
            || finished.origin == Origin::Retry && matches!(finished.end, End::Done | End::Dead { .. })
    });

    let ledger_id = &ledger.0;
    let hold: Vec<Parameter<'_>> =
        vec![(ledger_id, Type::INT8), (&shards, Type::INT2_ARRAY), (&fences, Type::INT8_ARRAY)];
    let mut steps = vec![Step { sql: HOLD, parameters: hold }];
    for (sql, columns, parameters) in [
        (MOVE_TO_RETRY, &moved, moved.delays(ledger_id)),
        (PUT_OFF, &put_off, put_off.delays(ledger_id)),
        (BURY_FRESH, &buried_fresh, buried_fresh.ends(ledger_id)),
        (BURY_RETRIED, &buried_retried, buried_retried.ends(ledger_id)),
        (REMOVE_FRESH, &gone_fresh, gone_fresh.places(ledger_id)),
        (REMOVE_RETRIED, &gone_retried, gone_retried.places(ledger_id)),
        (RELEASE, &turns, turns.turns(ledger_id)),
    ] {
        if !columns.shards.is_empty() {
            steps.push(Step { sql, parameters });
        }
    }
    let begin = scope::begin_writing(ledger);
    let answers = match run(client, &begin, &steps).await {
        Ok(answers) => answers,
        Err(error) => {
            // The connection goes back to the pool; one that is gone cannot be rolled back and need not be.
            drop(client.batch_execute("ROLLBACK").await);
            return Err(error.into());
        }
    };
    let held: Result<Vec<i16>, Error> =
        answers.first().into_iter().flatten().map(|row| row.try_get("shard")).collect();
    let released = !turns.shards.is_empty() && answers.last().is_some_and(|rows| !rows.is_empty());
    Ok(Unfinished { client, batch: Batch { held: held?, released } })
}
