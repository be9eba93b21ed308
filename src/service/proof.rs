//! What auditors read: the log of the ledger, its signed head, tiles, proofs, and the sealed bytes themselves.

use super::{Caller, EventQuery, NotFound, Service, ServiceError, StoredEvent, SubmitError};
use crate::{
    audit::{
        note::VerifierKey,
        proof::{Tiles, tiles_for_inclusion},
        tile::{EntryTooLong, TILE_WIDTH, TileId, bundle, tile_nodes},
        tlog_proof::TlogProof,
    },
    domain::{canonical::canonical_bytes, ids::Position, time::Timestamp},
    store::{
        logs::{
            Halt, Log, StoredCheckpoint, StoredPredecessor,
            keys::list_log_keys,
            read::{read_log, read_tiles},
        },
        reads::ReadError,
    },
};

/// The log of a ledger.
pub struct LogView {
    /// What it is called.
    pub origin: String,
    /// Since when.
    pub opened_at: Timestamp,
    /// What signs its checkpoints, or did, the oldest first.
    pub keys: Vec<LogKeyView>,
    /// The last event that is sealed.
    pub sealed: Position,
    /// The log that it took the place of.
    pub predecessor: Option<StoredPredecessor>,
    /// Why nothing more is sealed.
    pub halted: Option<Halt>,
}

/// A key of a log.
pub struct LogKeyView {
    /// What verifies its signatures.
    pub verifier: VerifierKey,
    /// Since when it signs.
    pub created_at: Timestamp,
    /// From when on it signs no more.
    pub retires_at: Option<Timestamp>,
}

impl Service {
    /// The ledger's log and its keys.
    ///
    /// # Errors
    /// [`NotFound::Log`], and whatever keeps a read from succeeding.
    pub async fn log(&self, caller: &Caller) -> Result<LogView, ServiceError> {
        let (log, _) = self.find_log(caller).await?;
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let keys = list_log_keys(&client, caller.ledger).await.map_err(ReadError::from)?;
        let keys = keys.into_iter().filter_map(|key| {
            let verifier = VerifierKey::new(&log.origin, key.public)?;
            Some(LogKeyView { verifier, created_at: key.created_at, retires_at: key.retires_at })
        });
        Ok(LogView {
            keys: keys.collect(),
            origin: log.origin,
            opened_at: log.opened_at,
            sealed: log.sealed,
            predecessor: log.predecessor,
            halted: log.halted,
        })
    }

    /// The last signed head.
    ///
    /// # Errors
    /// [`NotFound::Log`] if nothing is sealed, and whatever keeps a read from succeeding.
    pub async fn checkpoint(&self, caller: &Caller) -> Result<String, ServiceError> {
        Ok(self.find_checkpoint(caller).await?.note)
    }

    /// The bytes of a tile.
    ///
    /// # Errors
    /// [`NotFound::Tile`] if the sealed tree has not got there, and whatever keeps a read from succeeding.
    pub async fn tile(&self, caller: &Caller, id: TileId) -> Result<Vec<u8>, ServiceError> {
        self.check_sealed(caller, id).await?;
        let tiles = read_tiles(&self.database, caller.ledger, &[(id.level(), id.index())]).await?;
        let tile = tiles.into_iter().next().ok_or(ServiceError::NotFound(NotFound::Tile))?;
        let bytes = tile.nodes.get(..id.width() * 32);
        bytes.map(<[u8]>::to_vec).ok_or(ServiceError::NotFound(NotFound::Tile))
    }

    /// The bundle of the entries whose hashes a tile of level 0 holds.
    ///
    /// # Errors
    /// [`NotFound::Tile`] if the sealed tree has not got there, [`ServiceError::EntryTooLong`], and whatever keeps a read
    /// from succeeding.
    pub async fn entries(&self, caller: &Caller, id: TileId) -> Result<Vec<u8>, ServiceError> {
        self.check_sealed(caller, id).await?;
        let before = Position((id.index() * TILE_WIDTH) as i64);
        let query = EventQuery { after: before, until: None, types: Vec::new(), limit: id.width() as i64 };
        let page = self.events(caller, &query).await?;
        let entries: Result<Vec<_>, _> = page.events.iter().map(|event| leaf_bytes(caller, event)).collect();
        bundle(&entries?).map_err(|EntryTooLong { index, .. }| ServiceError::EntryTooLong {
            position: Position(before.0 + index as i64 + 1),
        })
    }

    /// The proof that an event is in the tree of the last signed head.
    ///
    /// # Errors
    /// [`NotFound::SealedEvent`] if it is not sealed, and whatever keeps a read from succeeding.
    pub async fn proof(&self, caller: &Caller, position: Position) -> Result<String, ServiceError> {
        let checkpoint = self.find_checkpoint(caller).await?;
        if position.0 < 1 || position > checkpoint.sealed {
            return Err(ServiceError::NotFound(NotFound::SealedEvent));
        }
        let (index, size) = (position.0.unsigned_abs() - 1, checkpoint.sealed.0.unsigned_abs());
        let places: Vec<_> = tiles_for_inclusion(index, size).into_iter().collect();
        let mut tiles = Tiles::default();
        for tile in read_tiles(&self.database, caller.ledger, &places).await? {
            if let Some(nodes) = tile_nodes(&tile.nodes) {
                tiles.insert(TileId::full(tile.level, tile.index.unsigned_abs()), nodes);
            }
        }
        let path = tiles.inclusion(index, size).map_err(|error| {
            tracing::error!(%error, "a proof cannot be made");
            ServiceError::Failed(SubmitError::Internal)
        })?;
        Ok(TlogProof { index, path, checkpoint: checkpoint.note }.text())
    }

    async fn find_log(&self, caller: &Caller) -> Result<(Log, Option<StoredCheckpoint>), ServiceError> {
        let log = read_log(&self.database, caller.ledger).await?;
        log.ok_or(ServiceError::NotFound(NotFound::Log))
    }

    async fn find_checkpoint(&self, caller: &Caller) -> Result<StoredCheckpoint, ServiceError> {
        self.find_log(caller).await?.1.ok_or(ServiceError::NotFound(NotFound::Log))
    }

    async fn check_sealed(&self, caller: &Caller, id: TileId) -> Result<(), ServiceError> {
        let sealed = self.find_checkpoint(caller).await?.sealed.0.unsigned_abs();
        match id.needs_size() {
            Some(needed) if needed <= sealed => Ok(()),
            _ => Err(ServiceError::NotFound(NotFound::Tile)),
        }
    }
}

/// The bytes of an event that are sealed.
///
/// # Errors
/// None that an event of ours can cause.
pub fn leaf_bytes(caller: &Caller, stored: &StoredEvent) -> Result<Vec<u8>, ServiceError> {
    canonical_bytes(&caller.slug, &stored.event).map_err(|error| {
        tracing::error!(%error, position = stored.event.position.0, "an event has no canonical bytes");
        ServiceError::Failed(SubmitError::Internal)
    })
}
