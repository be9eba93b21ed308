//! The parts of a running service, and their common fate: if one ends before its time, all end in order.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::{self, JoinError, JoinSet};

use super::stop::Stop;

/// How long parts may take to end when there is nothing left to wait for but themselves.
const END_LIMIT: Duration = Duration::from_secs(15);

/// Running parts.
pub(super) struct Parts {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<task::Id, &'static str>,
    stop: Stop,
}

impl Parts {
    /// None yet. `stop` is requested when one ends before its time.
    pub(super) fn new(stop: Stop) -> Self {
        Self { tasks: JoinSet::new(), names: HashMap::new(), stop }
    }

    /// Starts one. It must end some time after `stop` was requested.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(part);
        self.names.insert(handle.id(), name);
    }

    /// Waits for all of them; those that are still there [`END_LIMIT`] after `last_call` are given up.
    ///
    /// # Errors
    ///
    /// The first failure of a part, an end before its time included.
    pub(super) async fn run_to_end(mut self, last_call: &Stop) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        let too_late = async {
            last_call.requested().await;
            tokio::time::sleep(END_LIMIT).await;
        };
        tokio::pin!(too_late);
        loop {
            let ended = tokio::select! {
                ended = self.tasks.join_next_with_id() => ended,
                () = &mut too_late => {
                    tracing::warn!("parts of the service did not end in time and are given up");
                    break;
                }
            };
            let Some(ended) = ended else { break };
            outcome = outcome.and(self.judge(ended));
            self.stop.request();
        }
        outcome
    }

    fn judge(&mut self, ended: Result<(task::Id, anyhow::Result<()>), JoinError>) -> anyhow::Result<()> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.names.remove(&id).unwrap_or("a part of the service");
        match ended {
            Ok((_, Ok(()))) if self.stop.is_requested() => Ok(()),
            Ok((_, Ok(()))) => Err(anyhow!("{name} ended before its time")),
            Ok((_, Err(error))) => Err(error).context(name),
            Err(panicked) => Err(panicked).context(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_that_end_when_they_are_asked_to_are_fine() {
        let stop = Stop::default();
        let mut parts = Parts::new(stop.clone());
        let asked = stop.clone();
        parts.spawn("one", async move {
            asked.requested().await;
            Ok(())
        });
        stop.request();
        parts.run_to_end(&stop).await.expect("a clean end");
    }

    #[tokio::test]
    async fn one_that_ends_early_or_panics_ends_all_and_is_named() {
        for (is_panic, expected) in [(false, "one ended before its time"), (true, "one: task")] {
            let stop = Stop::default();
            let mut parts = Parts::new(stop.clone());
            parts.spawn("one", async move { if is_panic { panic!("on purpose") } else { Ok(()) } });
            let asked = stop.clone();
            parts.spawn("other", async move {
                asked.requested().await;
                Ok(())
            });
            let error = format!("{:#}", parts.run_to_end(&stop).await.expect_err("a failure"));
            assert!(error.contains(expected), "{error}");
        }
    }
}
