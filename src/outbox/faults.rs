//! Moments at which a test can have this process die.
//!
//! What must survive a crash between any two steps is shown by crashing there. Nothing in the environment sets this off:
//! only whoever builds the [`super::OutboxSettings`] can, and the service does not.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A moment between two steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Leases are held, nothing is read yet.
    AfterAcquire,
    /// Effects are read, none is begun.
    AfterClaim,
    /// An effect is about to be carried out.
    BeforePerform,
    /// It has been carried out, the ledger does not know.
    AfterPerform,
    /// It has been looked for, the ledger does not know.
    AfterLook,
    /// The ledger knows, the effect still stands in the outbox.
    AfterReport,
    /// A batch with finished effects has been sent, and is not committed.
    BeforeDone,
    /// A batch that moves an effect to be tried again has been sent, and is not committed.
    BeforeRetry,
    /// A batch that moves an effect to the dead has been sent, and is not committed.
    BeforeDead,
    /// A batch is committed, this process has not taken notice.
    AfterCommit,
    /// Leases are about to be renewed.
    BeforeRenewal,
    /// Leases have been renewed.
    AfterRenewal,
    /// Leases are about to be given back.
    BeforeRelease,
}

impl Fault {
    /// Every one there is.
    pub const ALL: [Self; 13] = [
        Self::AfterAcquire,
        Self::AfterClaim,
        Self::BeforePerform,
        Self::AfterPerform,
        Self::AfterLook,
        Self::AfterReport,
        Self::BeforeDone,
        Self::BeforeRetry,
        Self::BeforeDead,
        Self::AfterCommit,
        Self::BeforeRenewal,
        Self::AfterRenewal,
        Self::BeforeRelease,
    ];
}

/// Which faults happen: none, unless a test says so.
#[derive(Clone, Debug, Default)]
pub struct Faults(Option<Armed>);

#[derive(Clone, Debug)]
struct Armed {
    fault: Fault,
    left: Arc<AtomicU32>,
}

impl Faults {
    /// Has this process killed, as by SIGKILL, when it comes to `fault` for the `time`th time: 1, 2, 3 …
    pub fn kill_at(fault: Fault, time: u32) -> Self {
        Self(Some(Armed { fault, left: Arc::new(AtomicU32::new(time)) }))
    }

    /// Says that this moment has come.
    pub(super) fn reach(&self, fault: Fault) {
        let Some(armed) = self.0.as_ref().filter(|armed| armed.fault == fault) else { return };
        if armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nothing of this process runs any more: no destructor, no ROLLBACK.
            let _ = kill(Pid::this(), Signal::SIGKILL);
            process::abort();
        }
    }
}
