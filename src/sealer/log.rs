//! One log: what it goes on from, what it is held against, and one step of sealing it.

use std::time::Duration;

use futures_util::future::join;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::{
    AT_ONCE, LOOK_INTERVAL, SealError,
    outside::{CALL_LIMIT, Outside, OutsideError, Standing},
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
                Distance, Seal, SealingLease, acquire_log, event_of, find_distance, halt_log, load_sealed,
                load_tiles, note_published, position_of, read_events, release_log, seal,
            },
        },
    },
};

/// For how long a process that died keeps a log to itself.
const LEASE: Duration = Duration::from_secs(15);
/// How much of a lease must be left for something to be begun.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
// What is sent under a lease is not waited for beyond its end.
const _: () = assert!(CALL_LIMIT.as_millis() < LEASE_MARGIN.as_millis());

/// What a process keeps of a log between two steps.
#[derive(Default)]
pub(super) struct Held {
    /// The last lease that it took and did not give back. It may have run out.
    lease: Option<SealingLease>,
    /// What it goes on from; nothing after a failure, because then it is not known how far the log has come.
    open: Option<OpenLog>,
}

/// A log that this process seals, with what it goes on from.
struct OpenLog {
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
    /// Until when the last checkpoint need not stand outside, because a later one is about to; at once if there is none.
    publish_by: Option<Instant>,
}

/// The next events of a log.
struct Page {
    leaves: Vec<Hash>,
    /// Whether there were no more than fit.
    is_level: bool,
}

/// What came of a step.
pub(super) enum Step {
    /// The log goes on.
    Sealed {
        /// How far it is sealed.
        sealed: Position,
        /// How many events were added.
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

/// Seals what there is, up to a page, and publishes what was sealed. After anything but [`Step::Sealed`] the lease is to
/// be given back.
pub(super) async fn step(
    vault: &Vault,
    outside: &Outside,
    ledger: LedgerId,
    held: &mut Held,
) -> Result<Step, SealError> {
    let client = vault.database().pool().get().await?;
    match held.step(vault, outside, &client, ledger).await {
        Ok(step) => Ok(step),
        Err(Stop::Lost) => Ok(Step::Passed),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Halt(halt)) => {
            // What was found under a lease that somebody else has by now may be his doing: he looks for himself.
            let is_halted = match held.lease {
                Some(lease) => halt_log(&client, ledger, lease, &halt).await?,
                None => false,
            };
            Ok(if is_halted { Step::Halted(halt) } else { Step::Passed })
        }
    }
}

impl Held {
    /// Whether there is a lease to be given back.
    pub(super) fn has_lease(&self) -> bool {
        self.lease.is_some()
    }

    async fn step(
        &mut self,
        vault: &Vault,
        outside: &Outside,
        client: &Client,
        ledger: LedgerId,
    ) -> Result<Step, Stop> {
        let Some(mut distance) = find_distance(client, ledger).await? else { return Err(Stop::Lost) };
        let number = distance.log.number;
        let open = self.open.take().filter(|open| open.lease.log == number && open.may_go_on());
        let mut open = match open {
            Some(open) => open,
            None => {
                let open = self.take_over(vault, client, ledger, number).await?;
                // Whoever had the log until now may have sealed what was written since it was looked at.
                let again = find_distance(client, ledger).await?;
                distance = again.filter(|again| again.log.number == number).ok_or(Stop::Lost)?;
                open
            }
        };
        open.compare_with_ledger(&distance)?;
        // An answer from far away is waited for while the events are read; either is read to its end, because a
        // transaction must not be left open.
        let (standing, page) = join(outside.last(&open.log.origin), open.read_page(client, ledger)).await;
        open.compare_with(standing?, client, ledger).await?;
        open.refresh_keys(vault, client, ledger).await?;
        if open.has_to_publish() {
            open.publish(outside, client, ledger).await?;
        }
        let before = open.log.sealed;
        let Page { leaves, is_level } = page?;
        open.seal_leaves(leaves, client, ledger).await?;
        if is_level || open.has_to_publish() {
            open.publish(outside, client, ledger).await?;
        }
        let sealed = open.log.sealed;
        self.open = Some(open);
        Ok(Step::Sealed { sealed, events: sealed.0 - before.0, is_level })
    }

    /// Takes the lease, also from itself: one that is about to run out is taken anew, as is one after a failure.
    async fn take_over(
        &mut self,
        vault: &Vault,
        client: &Client,
        ledger: LedgerId,
        number: i32,
    ) -> Result<OpenLog, Stop> {
        let before = self.lease.filter(|lease| lease.log == number);
        // Begun before the database begins it, so that it never ends later here than there.
        let until = Instant::now() + LEASE;
        self.lease = acquire_log(client, ledger, number, LEASE, before).await?;
        let Some(lease) = self.lease else { return Err(Stop::Lost) };
        OpenLog::load(vault, client, ledger, lease, until).await
    }

    /// Gives the lease back, so that whoever comes next need not wait for it to run out. One that cannot be given back is
    /// remembered, and taken anew by whoever has it.
    pub(super) async fn release(&mut self, vault: &Vault, ledger: LedgerId) -> Result<(), SealError> {
        self.open = None;
        let Some(lease) = self.lease else { return Ok(()) };
        let client = vault.database().pool().get().await?;
        release_log(&client, ledger, lease).await?;
        self.lease = None;
        Ok(())
    }
}

impl OpenLog {
    /// Reads what a log goes on from, and makes sure that it is what was signed.
    async fn load(
        vault: &Vault,
        client: &Client,
        ledger: LedgerId,
        lease: SealingLease,
        until: Instant,
    ) -> Result<Self, Stop> {
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
        let (keys, signers, held_against, publish_by) = (Vec::new(), Vec::new(), None, None);
        Ok(Self { slug, lease, until, log, tree, last, keys, verifiers, signers, held_against, publish_by })
    }

    /// Whether the lease holds for long enough to begin something.
    fn may_go_on(&self) -> bool {
        Instant::now() + LEASE_MARGIN < self.until
    }

    /// Holds the log against its ledger, as that was found when the log was known to be no further than this.
    fn compare_with_ledger(&self, distance: &Distance) -> Result<(), Stop> {
        if distance.incarnation != self.log.incarnation {
            return halt("history_lost", "the ledger has lost events that may have been sealed");
        }
        let (head, sealed) = (distance.head, self.log.sealed);
        if head < sealed {
            let because = format!("the ledger ends at {head}, and events up to {sealed} are sealed");
            return halt("behind", because);
        }
        Ok(())
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
        standing: Vec<Standing>,
        client: &Client,
        ledger: LedgerId,
    ) -> Result<(), Stop> {
        for standing in standing {
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

    /// Whether the last checkpoint is not to wait for a later one to be published in its place.
    fn has_to_publish(&self) -> bool {
        self.publish_by.is_none_or(|publish_by| publish_by <= Instant::now())
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
        self.publish_by = None;
        self.log.published = last.sealed;
        self.held_against = Some(last.note.clone());
        Ok(note_published(client, ledger, self.lease, last.sealed).await?)
    }

    /// Reads the next events.
    async fn read_page(&self, client: &Client, ledger: LedgerId) -> Result<Page, Stop> {
        let after = self.log.sealed;
        let rows = read_events(client, ledger, after, AT_ONCE).await?;
        let Some(last_row) = rows.last() else { return Ok(Page { leaves: Vec::new(), is_level: true }) };
        let last = position_of(last_row)?;
        let is_level = (rows.len() as i64) < AT_ONCE;
        let slug = self.slug.clone();
        let hashed = tokio::task::spawn_blocking(move || leaves(&slug, after, &rows)).await;
        Ok(Page { leaves: hashed.map_err(|_| SealError::Event(last))??, is_level })
    }

    /// Adds events to the log, those that follow on what is sealed.
    async fn seal_leaves(
        &mut self,
        leaves: Vec<Hash>,
        client: &Client,
        ledger: LedgerId,
    ) -> Result<(), Stop> {
        if leaves.is_empty() {
            return Ok(());
        }
        let sealed = Position(self.log.sealed.0 + leaves.len() as i64);
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
        self.publish_by.get_or_insert_with(|| Instant::now() + LOOK_INTERVAL);
        Ok(())
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
