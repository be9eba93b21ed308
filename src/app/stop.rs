//! The wish that this process ends, known to all of its parts.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A wish that, once expressed, stays. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    wish: watch::Sender<bool>,
}

impl Stop {
    /// A wish that SIGTERM (service managers) and SIGINT (Ctrl-C) express.
    ///
    /// # Errors
    ///
    /// When signals cannot be listened to.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let wish = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            wish.request();
        });
        Ok(stop)
    }

    /// Expresses the wish.
    pub fn request(&self) {
        self.wish.send_replace(true);
    }

    /// Whether it has been expressed.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.wish.borrow()
    }

    /// Ends when the wish has been expressed.
    pub async fn requested(&self) {
        // The sender lives in `self`, so the channel cannot close before the wish.
        let _ = self.wish.subscribe().wait_for(|wish| *wish).await;
    }
}
