//! One log: what it goes on from, what it is held against, and one step of sealing it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::{
    AT_ONCE, SealError,
    outside::{Outside, OutsideError, Standing},
};
use crate::{
    audit::{
        checkpoint::{Checkpoint, Predecessor},
        merkle::{GrowingTree, Hash, Tile},
        note::{Signer, VerifierKey},
        proof::{Tiles, tiles_for_consistency, verify_consistency},
        tile::{TileId, tile_bytes, tile_nodes},
    },
    credentials::{LogKeys, Vault},
    domain::{
        canonical::canonical_bytes,
        ids::{LedgerId, LedgerSlug, Position},
    },
    store::{
        ledgers::list_ledgers,
        logs::{
            Halt, Log, StoredCheckpoint, StoredTile,
            keys::LogKey,
            seal::{
                Seal, SealingLease, acquire_log, event_of, find_distance, halt_log, load_sealed, load_tiles,
                note_published, position_of, read_events, release_log, seal,
            },
        },
    },
};

/// For how long a process that died keeps a log to itself.
const LEASE: Duration = Duration::from_secs(15);
/// How much of a lease must be left for something to be begun.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// A log that this process seals, with what it goes on from.
pub(super) struct OpenLog {
    slug: LedgerSlug,
    lease: SealingLease,
    until: Instant,
    log: Log,
    tree: GrowingTree,
    last: Option<StoredCheckpoint>,
    keys: Vec<LogKey>,
    verifiers: Vec<VerifierKey>,
    signers: Vec<Signer>,
    /// The checkpoint outside that the log was held against last.
    held_against: Option<String>,
}

/// What came of a step.
pub(super) enum Step {
    /// The log goes on.
    Sealed {
        /// The log, with its lease.
        open: Box<OpenLog>,
        /// How many events were sealed.
        events: i64,
        /// Whether nothing was left.
        is_level: bool,
    },
    /// Another process has it, or it is gone.
    Passed,
    /// It does not go on any more.
    Halted(Halt),
}

/// Why a step ends early.
enum Stop {
    Error(SealError),
    Halt(Halt),
    Lost,
}

impl<E: Into<SealError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

fn halt<T>(code: &str, because: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Halt(Halt { code: code.to_owned(), because: because.into() }))
}

/// Seals what there is, up to a page, and publishes what was sealed.
pub(super) async fn step(
    vault: &Vault,
    outside: &Outside,
    ledger: LedgerId,
    open: Option<OpenLog>,
) -> Result<Step, SealError> {
    let client = vault.database().pool().get().await?;
    let Some(distance) = find_distance(&client, ledger).await? else { return Ok(Step::Passed) };
    let number = distance.log.number;
    let work = async {
        // A lease that is about to run out is taken anew: nobody else has it yet.
        let open = open.filter(|open| open.lease.log == number);
        let held = open.as_ref().map(|open| open.lease);
        let open = open.filter(OpenLog::may_go_on);
        let mut open = match open {
            Some(open) => open,
            None => match acquire_log(&client, ledger, number, LEASE, held).await? {
                Some(lease) => OpenLog::load(vault, &client, ledger, lease).await?,
                None => return Err(Stop::Lost),
            },
        };
        if distance.incarnation != open.log.incarnation {
            return halt("history_lost", "the ledger has lost events that may have been sealed");
        }
        if distance.head < open.log.sealed {
            let (head, sealed) = (distance.head, open.log.sealed);
            return halt(
                "behind",
                format!("the ledger ends at {head}, and events up to {sealed} are sealed"),
            );
        }
        open.compare_with(outside, &client, ledger).await?;
        open.refresh_keys(vault, &client, ledger).await?;
        open.publish(outside, &client, ledger).await?;
        let before = open.log.sealed;
        let is_level = open.seal_page(&client, ledger).await?;
        open.publish(outside, &client, ledger).await?;
        Ok(Step::Sealed { events: open.log.sealed.0 - before.0, open: Box::new(open), is_level })
    };
    match work.await {
        Ok(step) => Ok(step),
        Err(Stop::Lost) => Ok(Step::Passed),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Halt(halt)) => {
            halt_log(&client, ledger, number, &halt).await?;
            Ok(Step::Halted(halt))
        }
    }
}

impl OpenLog {
    /// Reads what a log goes on from, and makes sure that it is what was signed.
    async fn load(
        vault: &Vault,
        client: &Client,
        ledger: LedgerId,
        lease: SealingLease,
    ) -> Result<Self, Stop> {
        let until = Instant::now() + LEASE;
        let ledgers = list_ledgers(client).await?;
        let slug = ledgers.into_iter().find(|found| found.ledger == ledger).map(|found| found.slug);
        let Some(slug) = slug else { return Err(Stop::Lost) };
        let state = load_sealed(client, ledger, lease.log).await?;
        let (log, last) = (state.log, state.checkpoint);
        let LogKeys { verifiers, .. } = vault.log_keys(client, ledger, &log.origin).await?;
        let size = size_of(log.sealed);
        let tree = load_edge(client, ledger, lease.log, size).await?;
        let sealed = last.as_ref().map_or(Position::default(), |last| last.sealed);
        if sealed != log.sealed {
            return halt("checkpoint_gone", format!("the checkpoint at {} is gone", log.sealed));
        }
        if let Some(last) = &last {
            match Checkpoint::open(&last.note, &verifiers) {
                Err(error) => {
                    return halt("checkpoint_changed", format!("the checkpoint at {sealed}: {error}"));
                }
                Ok(checkpoint) if checkpoint.head() != (size, tree.root()) => {
                    return halt(
                        "tiles_changed",
                        format!("the tiles do not have the root that was signed at {sealed}"),
                    );
                }
                Ok(_) => {}
            }
        }
        let (keys, signers, held_against) = (Vec::new(), Vec::new(), None);
        Ok(Self { slug, lease, until, log, tree, last, keys, verifiers, signers, held_against })
    }

    pub(super) fn sealed(&self) -> Position {
        self.log.sealed
    }

    /// Whether the lease holds for long enough to begin something.
    fn may_go_on(&self) -> bool {
        Instant::now() + LEASE_MARGIN < self.until
    }

    pub(super) async fn release(self, vault: &Vault, ledger: LedgerId) -> Result<(), SealError> {
        let client = vault.database().pool().get().await?;
        Ok(release_log(&client, ledger, self.lease).await?)
    }

    /// A key may have been added, or its time may have passed.
    async fn refresh_keys(&mut self, vault: &Vault, client: &Client, ledger: LedgerId) -> Result<(), Stop> {
        let LogKeys { kept, verifiers } = vault.log_keys(client, ledger, &self.log.origin).await?;
        if kept != self.keys {
            self.signers = vault.log_signers(ledger, &self.log.origin, &kept)?;
            (self.keys, self.verifiers) = (kept, verifiers);
        }
        Ok(())
    }

    /// Holds the log against the last checkpoints that stand outside.
    async fn compare_with(
        &mut self,
        outside: &Outside,
        client: &Client,
        ledger: LedgerId,
    ) -> Result<(), Stop> {
        for standing in outside.last(&self.log.origin).await? {
            if self.held_against.as_ref() != Some(&standing.note) {
                self.compare_with_one(standing, client, ledger).await?;
            }
        }
        Ok(())
    }

    async fn compare_with_one(
        &mut self,
        Standing { place, note }: Standing,
        client: &Client,
        ledger: LedgerId,
    ) -> Result<(), Stop> {
        let found = Checkpoint::open(&note, &self.verifiers)
            .map_err(|error| OutsideError::Foreign { place, reason: error.to_string() })?;
        let size = size_of(self.log.sealed);
        if found.size > size {
            let because = format!(
                "the checkpoint outside covers {} events, and the log {size}: signed history is missing here",
                found.size
            );
            return halt("behind", because);
        }
        let places: Vec<_> = tiles_for_consistency(found.size, size).into_iter().collect();
        let tiles = tiles(load_tiles(client, ledger, self.lease.log, &places).await?);
        let path = tiles.consistency(found.size, size);
        let is_consistent =
            path.is_ok_and(|path| verify_consistency(found.head(), (size, self.tree.root()), &path).is_ok());
        if !is_consistent {
            let because = format!(
                "the checkpoint outside has another root over the first {} events than the log",
                found.size
            );
            return halt("different", because);
        }
        self.held_against = Some(note);
        Ok(())
    }

    /// Sends the last checkpoint to where it does not stand yet.
    async fn publish(&mut self, outside: &Outside, client: &Client, ledger: LedgerId) -> Result<(), Stop> {
        let Some(last) = self.last.as_ref().filter(|last| last.sealed > self.log.published) else {
            return Ok(());
        };
        if !outside.is_anywhere() {
            return Ok(());
        }
        // Whoever took over may have published more by now.
        if !self.may_go_on() {
            return Err(Stop::Lost);
        }
        match outside.publish(&self.log.origin, &last.note).await {
            Ok(()) => {}
            Err(OutsideError::Conflict) => {
                return halt(
                    "different",
                    format!("the checkpoint at {} contradicts one that was posted", last.sealed),
                );
            }
            Err(error) => return Err(error.into()),
        }
        self.log.published = last.sealed;
        self.held_against = Some(last.note.clone());
        Ok(note_published(client, ledger, self.lease, last.sealed).await?)
    }

    /// Adds the next events to the log. Returns whether there were no more than fit.
    async fn seal_page(&mut self, client: &Client, ledger: LedgerId) -> Result<bool, Stop> {
        let rows = read_events(client, ledger, self.log.sealed, AT_ONCE).await?;
        let Some(last_row) = rows.last() else { return Ok(true) };
        let (after, sealed) = (self.log.sealed, position_of(last_row)?);
        let is_level = (rows.len() as i64) < AT_ONCE;
        let slug = self.slug.clone();
        let hashed = tokio::task::spawn_blocking(move || leaves(&slug, after, &rows)).await;
        let leaves = hashed.map_err(|_| SealError::Event(sealed))??;
        let mut tree = self.tree.clone();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));

        let root = tree.root();
        let checkpoint = Checkpoint {
            origin: self.log.origin.clone(),
            size: tree.size(),
            root,
            succeeds: self.log.predecessor.as_ref().map(|before| Predecessor {
                origin: before.origin.clone(),
                size: before.size.unsigned_abs(),
                root: Hash(before.root),
            }),
        };
        let checkpoint = StoredCheckpoint { sealed, root: root.0, note: checkpoint.sign(&self.signers) };
        let grown: Vec<StoredTile> = tree.take_full().into_iter().chain(tree.edge()).map(stored).collect();
        if !self.may_go_on() {
            return Err(Stop::Lost);
        }
        let until = Instant::now() + LEASE;
        let added = Seal {
            lease: self.lease,
            lasting: LEASE,
            before: self.log.sealed,
            incarnation: self.log.incarnation,
            checkpoint: &checkpoint,
            tiles: &grown,
        };
        if !seal(client, ledger, &added).await? {
            return Err(Stop::Lost);
        }
        (self.tree, self.until, self.log.sealed, self.last) = (tree, until, sealed, Some(checkpoint));
        Ok(is_level)
    }
}

/// The leaves of events that follow one position without a gap.
fn leaves(slug: &LedgerSlug, after: Position, rows: &[tokio_postgres::Row]) -> Result<Vec<Hash>, Stop> {
    let mut expected = after;
    let mut leaves = Vec::with_capacity(rows.len());
    for row in rows {
        expected = expected.next();
        let position = position_of(row)?;
        if position != expected {
            return halt("gap", format!("there is no event at {expected}"));
        }
        let bytes = canonical_bytes(slug, &event_of(row)?).map_err(|_| SealError::Event(position))?;
        leaves.push(Hash::of_leaf(&bytes));
    }
    Ok(leaves)
}

async fn load_edge(client: &Client, ledger: LedgerId, number: i32, size: u64) -> Result<GrowingTree, Stop> {
    let places: Vec<_> = GrowingTree::edge_of(size).map(|id| (id.level(), id.index())).collect();
    let stored = load_tiles(client, ledger, number, &places).await?;
    let nodes = |id: TileId| {
        let tile = stored.iter().find(|tile| tile.level == id.level() && tile.index as u64 == id.index())?;
        tile_nodes(&tile.nodes)
    };
    match GrowingTree::resume(size, nodes) {
        Ok(tree) => Ok(tree),
        Err(error) => halt("tiles_changed", error.to_string()),
    }
}

fn tiles(stored: Vec<StoredTile>) -> Tiles {
    let mut tiles = Tiles::default();
    for tile in stored {
        if let Some(nodes) = tile_nodes(&tile.nodes) {
            tiles.insert(TileId::full(tile.level, tile.index.unsigned_abs()), nodes);
        }
    }
    tiles
}

fn stored(Tile { id, nodes }: Tile) -> StoredTile {
    // A tree of events is never larger than a position can be.
    StoredTile { level: id.level(), index: id.index() as i64, nodes: tile_bytes(&nodes) }
}

fn size_of(position: Position) -> u64 {
    position.0.unsigned_abs()
}
