//! Keys of clients whose commands were accepted and led to no event: no event has them.

use tokio_postgres::types::Type;

use super::Changes;
use crate::{
    domain::ids::Key,
    store::session::{Pipeline, Session, Statement, Value},
};

pub(super) static STATEMENTS: &[&Statement] = &[&INSERT_IDLE_KEYS];

static INSERT_IDLE_KEYS: Statement = Statement {
    name: "insert_idle_keys",
    sql: "INSERT INTO idle_keys (ledger_id, key_hash, key, fingerprint, position)
          SELECT h.ledger_id, u.key_hash, u.key, u.fingerprint, $2
            FROM ledger_heads h, unnest($3::bytea[], $4::text[], $5::bytea[]) AS u (key_hash, key, fingerprint)
           WHERE h.ledger_id = $1",
    parameters: &[Type::INT8, Type::INT8, Type::BYTEA_ARRAY, Type::TEXT_ARRAY, Type::BYTEA_ARRAY],
};

/// A key of the client's namespace.
#[derive(Clone, PartialEq, Debug)]
pub struct IdleKey {
    /// The key.
    pub key: Key,
    /// SHA-256 of the request that the key came with.
    pub fingerprint: Option<[u8; 32]>,
}

/// What the batch writes of them.
pub(super) struct IdleKeyColumns<'a> {
    ledger: i64,
    position: i64,
    hashes: Vec<Vec<u8>>,
    keys: Vec<&'a str>,
    fingerprints: Vec<Option<&'a [u8]>>,
}

impl<'a> IdleKeyColumns<'a> {
    pub(super) fn new(changes: &Changes<'a>) -> Self {
        let idle = changes.idle_keys;
        Self {
            ledger: changes.ledger.0,
            position: changes.before.position.0,
            hashes: idle.iter().map(|idle| idle.key.hash().to_vec()).collect(),
            keys: idle.iter().map(|idle| idle.key.text()).collect(),
            fingerprints: idle
                .iter()
                .map(|idle| idle.fingerprint.as_ref().map(<[u8; 32]>::as_slice))
                .collect(),
        }
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        if self.keys.is_empty() {
            return;
        }
        let values: Vec<Value<'_>> =
            vec![&self.ledger, &self.position, &self.hashes, &self.keys, &self.fingerprints];
        pipeline.rows(session, &INSERT_IDLE_KEYS, values);
    }
}
