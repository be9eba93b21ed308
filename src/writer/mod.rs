//! The write path: every fact of every ledger goes through here, and through nothing else.
//!
//! Each ledger has one writer task in each process. Callers submit a command and wait for its outcome. The task takes
//! everything that waits while it was busy with the previous batch (so a lone command is not delayed, and many share the
//! cost of one commit), and tries it as one transaction:
//!
//! 1. `transaction`: lock the ledger's head, read the database's clock, load what the commands need and the `cache` does
//!    not have; find out what others wrote since (one more round trip if they did);
//! 2. `batch`: let those join who came in the meantime, and load what they need (one more round trip if there are any);
//! 3. `decisions`: decide them in order, in memory; the events of a large batch are sent as they come;
//! 4. `store::changes`: write the other events, state and the new head, and commit.
//!
//! Two round trips for a lone command, three for a batch of any size. Why each step stands where it stands:
//!
//! - **The head's lock** orders everything: positions have no gaps and follow commit order. It is taken in a statement
//!   of its own, because a statement that waited for a lock does not see what its holder committed; those behind it do.
//! - **The head's identity** is (position, batch, time). A number alone would not tell a forked history, as an
//!   asynchronous fail-over or a restored backup makes one; such a loss is recorded as `history.lost`.
//! - **Answers**, rejections and replays included, leave only after the end of a transaction that held the head's lock
//!   when the command was taken in: the cache alone never answers.
//! - **Fences in the server** (head, account versions) fail the transaction by an error, since COMMIT is already on its
//!   way when the client could notice.
//! - **A doubt** whether a batch was written (connection gone, no answer in time) is settled by a `barrier` on a new
//!   connection, and only there. `ledger_writer` keeps the callers waiting until it is.
//!
//! It must never call anyone but PostgreSQL inside of a transaction, and never know what a command means.

mod barrier;
mod batch;
mod cache;
mod clock;
mod decisions;
mod interface;
mod ledger_writer;
mod places;
mod queue;
mod transaction;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    task::JoinHandle,
};

pub use clock::{ProcessClock, system_clock};
pub use decisions::Decide;
pub use interface::{Accepted, Incarnation, Outcome, Submission, SubmitError};

use self::{ledger_writer::LedgerWriter, places::Places, queue::Pending};
use crate::{
    domain::{
        decide,
        ids::{LedgerId, Position},
    },
    store::pool::Database,
    telemetry::metrics as series,
};

/// How writers behave. The defaults suit production.
#[derive(Clone, Debug)]
pub struct WriterSettings {
    /// How many commands may wait for each ledger; more are refused as overloaded.
    pub queue_capacity: usize,
    /// How many commands one batch takes at most.
    pub batch_limit: usize,
    /// How many accounts of each ledger are remembered between batches.
    pub cached_accounts: usize,
    /// How long the database may take for one round trip before the connection is given up.
    pub step_limit: Duration,
    /// How long callers wait for the truth about a batch whose connection ended, before they are told that nobody knows.
    pub doubt_limit: Duration,
    /// How long to wait between attempts to connect while callers wait for the truth.
    pub reconnect_pause: Duration,
    /// How many connections the writers have at once; a ledger that gets none waits for that of another one.
    pub connections: usize,
    /// After how long without commands a ledger's connection is closed.
    pub idle_connection: Duration,
    /// The clock that the database's is compared with.
    pub process_clock: ProcessClock,
    /// How commands are decided.
    pub decide: Decide,
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self {
            queue_capacity: 4_096,
            batch_limit: 1_000,
            cached_accounts: 20_000,
            step_limit: Duration::from_secs(6),
            doubt_limit: Duration::from_secs(10),
            reconnect_pause: Duration::from_millis(100),
            connections: 16,
            idle_connection: Duration::from_secs(60),
            process_clock: system_clock,
            decide,
        }
    }
}

/// The writers of this process, one for each ledger that is written to.
pub struct Writers {
    shared: Arc<Shared>,
    /// Absent once the process is going down.
    ledgers: Mutex<Option<HashMap<LedgerId, Handle>>>,
}

/// What all writers of this process share.
struct Shared {
    database: Database,
    places: Places,
    settings: WriterSettings,
    heads: watch::Sender<HashMap<LedgerId, Position>>,
    orders: watch::Sender<HashMap<LedgerId, Position>>,
    /// The newest timeline of the server's history that any writer has seen.
    newest_timeline: AtomicU32,
    newer_version: AtomicBool,
}

impl Shared {
    fn note_newer_version(&self) {
        self.newer_version.store(true, Ordering::Relaxed);
    }
}

struct Handle {
    queue: mpsc::Sender<Pending>,
    task: JoinHandle<()>,
}

impl Writers {
    /// Writers that begin as commands arrive. Connects to nothing yet.
    pub fn new(database: Database, settings: WriterSettings) -> Arc<Self> {
        let shared = Shared {
            database,
            places: Places::new(settings.connections),
            settings,
            heads: watch::Sender::new(HashMap::new()),
            orders: watch::Sender::new(HashMap::new()),
            newest_timeline: AtomicU32::new(0),
            newer_version: AtomicBool::new(false),
        };
        Arc::new(Self { shared: Arc::new(shared), ledgers: Mutex::new(Some(HashMap::new())) })
    }

    /// Submits a command and waits for its outcome. Dropping the future takes the command back if it has not been
    /// decided yet.
    ///
    /// # Errors
    /// [`SubmitError`]; all but [`SubmitError::OutcomeUnknown`] mean that nothing was written.
    pub async fn submit(&self, ledger: LedgerId, submission: Submission) -> Result<Outcome, SubmitError> {
        let (pending, answer) = Pending::new(submission);
        self.enqueue(ledger, pending)?;
        // A writer that panics drops its callers, and may have sent what they asked for.
        answer.await.unwrap_or(Err(SubmitError::OutcomeUnknown))
    }

    /// The heads that this process's writers have moved, by ledger: wakes workers that follow the events.
    pub fn commits(&self) -> watch::Receiver<HashMap<LedgerId, Position>> {
        self.shared.heads.subscribe()
    }

    /// The last heads, by ledger, whose batches ordered effects: wakes whoever carries them out. Most batches order none.
    pub fn orders(&self) -> watch::Receiver<HashMap<LedgerId, Position>> {
        self.shared.orders.subscribe()
    }

    /// Whether a newer version of the service has written to a ledger, so that this process should get no more requests.
    pub fn met_newer_version(&self) -> bool {
        self.shared.newer_version.load(Ordering::Relaxed)
    }

    /// Refuses new commands, and returns when all that were accepted before are answered.
    pub async fn drain(&self) {
        let ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner).take();
        for (_, Handle { queue, task }) in ledgers.into_iter().flatten() {
            drop(queue);
            if let Err(error) = task.await {
                tracing::error!(%error, "a writer ended before its time");
            }
        }
    }

    fn enqueue(&self, ledger: LedgerId, pending: Pending) -> Result<(), SubmitError> {
        let mut ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        let ledgers = ledgers.as_mut().ok_or(SubmitError::ShuttingDown)?;
        let handle = ledgers.entry(ledger).or_insert_with(|| self.start(ledger));
        let sent = match handle.queue.try_send(pending) {
            // The task has panicked: whoever waited for it knows, and the next one starts afresh.
            Err(TrySendError::Closed(pending)) => {
                *handle = self.start(ledger);
                handle.queue.try_send(pending)
            }
            sent => sent,
        };
        sent.map_err(|_| SubmitError::Overloaded)?;
        metrics::gauge!(series::WRITER_QUEUE_DEPTH).increment(1.0);
        Ok(())
    }

    fn start(&self, ledger: LedgerId) -> Handle {
        let (queue, commands) = mpsc::channel(self.shared.settings.queue_capacity);
        let writer = LedgerWriter::new(ledger, Arc::clone(&self.shared), commands);
        Handle { queue, task: tokio::spawn(writer.run()) }
    }
}
