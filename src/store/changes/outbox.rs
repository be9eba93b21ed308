//! Effects that the batch's events order: in the same commit, so that none is lost and none is invented.

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Changes;
use crate::{
    domain::effects::effects_of,
    store::{
        outbox::shard_of,
        session::{Pipeline, Session, Statement},
    },
};

pub(super) static STATEMENTS: &[&Statement] = &[&ORDER_EFFECTS];

/// When it was ordered is told by the server's clock and not by the ledger's, which may be moved on for a test: the time in
/// which an effect may be repeated is that of the world outside.
static ORDER_EFFECTS: Statement = Statement {
    name: "order_effects",
    sql: "INSERT INTO outbox (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at)
          SELECT h.ledger_id, u.shard, u.position, u.ordinal, u.effect_id, u.key, u.kind, u.effect::jsonb, now()
            FROM ledger_heads h,
                 unnest($2::int2[], $3::int8[], $4::int2[], $5::uuid[], $6::text[], $7::text[], $8::text[])
                 AS u (shard, position, ordinal, effect_id, key, kind, effect)
           WHERE h.ledger_id = $1",
    parameters: &[
        Type::INT8,
        Type::INT2_ARRAY,
        Type::INT8_ARRAY,
        Type::INT2_ARRAY,
        Type::UUID_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// Effects to be ordered.
#[derive(Default)]
pub(super) struct EffectColumns {
    ledger: i64,
    shards: Vec<i16>,
    positions: Vec<i64>,
    ordinals: Vec<i16>,
    ids: Vec<Uuid>,
    keys: Vec<String>,
    kinds: Vec<&'static str>,
    effects: Vec<String>,
}

impl EffectColumns {
    pub(super) fn new(changes: &Changes<'_>) -> serde_json::Result<Self> {
        let mut columns = Self { ledger: changes.ledger.0, ..Self::default() };
        for event in changes.events() {
            for (ordinal, effect) in (0_i16..).zip(effects_of(event)) {
                let key = effect.key();
                columns.shards.push(shard_of(&key));
                columns.positions.push(event.position.0);
                columns.ordinals.push(ordinal);
                columns.ids.push(Uuid::new_v4());
                columns.keys.push(key);
                columns.kinds.push(effect.kind());
                columns.effects.push(serde_json::to_string(&effect)?);
            }
        }
        Ok(columns)
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if self.ids.is_empty() {
            return;
        }
        pipeline.rows(
            session,
            &ORDER_EFFECTS,
            vec![
                &self.ledger,
                &self.shards,
                &self.positions,
                &self.ordinals,
                &self.ids,
                &self.keys,
                &self.kinds,
                &self.effects,
            ],
        );
    }
}
