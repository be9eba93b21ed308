//! How many connections the writers of a process have at once: as many as there are places. When none is free, the writer
//! that has had nothing to do for longest gives up his, and one that is always busy does after a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::store::session::Session;

/// How long a busy writer keeps its place while others wait for one.
const TURN: Duration = Duration::from_secs(1);

/// A connection, and its place.
pub(super) struct Connection {
    pub(super) session: Session,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(session: Session, place: OwnedSemaphorePermit) -> Self {
        Self { session, since: Instant::now(), _place: place }
    }
}

/// The places of a process.
pub(super) struct Places {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Wakes those who have a place and nothing to do, whoever began to wait first.
    wanted: Notify,
}

impl Places {
    pub(super) fn new(number: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(number)), waiting: AtomicUsize::new(0), wanted: Notify::new() }
    }

    /// Takes a place; those who wait for one get theirs in turn.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(place);
        }
        let _waiting = Waiting::new(&self.waiting);
        self.wanted.notify_one();
        // The places are never closed.
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Waits until somebody wants the place of one who has nothing to do.
    pub(super) async fn wanted(&self) {
        // What woke this one may have been got from another by now.
        while !self.are_wanted() {
            self.wanted.notified().await;
        }
    }

    /// Whether the turn of a busy writer is over.
    pub(super) fn is_turn_over(&self, connection: &Connection) -> bool {
        self.are_wanted() && connection.since.elapsed() >= TURN
    }

    fn are_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

/// Counts one who waits, until he has a place or gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
