//! The parts of a running service, and their common fate: if one ends before its time, all end in order.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::{self, JoinError, JoinSet};

use super::stop::Stop;

/// How long parts may take to end when there is nothing left to wait for but themselves.
const END_LIMIT: Duration = Duration::from_secs(15);

/// Running parts. The front ends first, workers after it: a request under way may wait for what they do.
pub(super) struct Parts {
    tasks: JoinSet<anyhow::Result<()>>,
    running: HashMap<task::Id, Running>,
    stop: Stop,
    last_call: Stop,
}

struct Running {
    name: &'static str,
    is_front: bool,
}

impl Parts {
    /// None yet. `stop` is requested when one ends before its time.
    pub(super) fn new(stop: Stop) -> Self {
        Self { tasks: JoinSet::new(), running: HashMap::new(), stop, last_call: Stop::default() }
    }

    /// What tells workers to end.
    pub(super) fn last_call(&self) -> Stop {
        self.last_call.clone()
    }

    /// Starts a part that ends by itself some time after `stop` was requested.
    pub(super) fn spawn_front(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(part);
        self.running.insert(handle.id(), Running { name, is_front: true });
    }

    /// Starts a part that ends by itself soon after the last call.
    pub(super) fn spawn_worker(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(part);
        self.running.insert(handle.id(), Running { name, is_front: false });
    }

    /// Waits for all of them. Workers that are still there [`END_LIMIT`] after the last call are given up.
    ///
    /// # Errors
    ///
    /// The first failure of a part, an end before its time included.
    pub(super) async fn run_to_end(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        let last_call = self.last_call();
        let too_late = async {
            last_call.requested().await;
            tokio::time::sleep(END_LIMIT).await;
        };
        tokio::pin!(too_late);
        loop {
            let ended = tokio::select! {
                ended = self.tasks.join_next_with_id() => ended,
                () = &mut too_late => {
                    let names: Vec<_> = self.running.values().map(|running| running.name).collect();
                    tracing::warn!(?names, "parts of the service did not end in time and are given up");
                    break;
                }
            };
            let Some(ended) = ended else { break };
            outcome = outcome.and(self.judge(ended));
            self.stop.request();
            if !self.running.values().any(|running| running.is_front) {
                self.last_call.request();
            }
        }
        outcome
    }

    fn judge(&mut self, ended: Result<(task::Id, anyhow::Result<()>), JoinError>) -> anyhow::Result<()> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.running.remove(&id).map_or("a part of the service", |running| running.name);
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

    fn parts(stop: &Stop) -> Parts {
        let mut parts = Parts::new(stop.clone());
        let (asked, last_call) = (stop.clone(), parts.last_call());
        let is_called = last_call.clone();
        parts.spawn_front("front", async move {
            asked.requested().await;
            anyhow::ensure!(!is_called.is_requested(), "the last call came before the front had ended");
            Ok(())
        });
        parts.spawn_worker("worker", async move {
            last_call.requested().await;
            Ok(())
        });
        parts
    }

    #[tokio::test]
    async fn the_front_ends_first_and_workers_after_it() {
        let stop = Stop::default();
        let parts = parts(&stop);
        stop.request();
        parts.run_to_end().await.expect("a clean end");
    }

    #[tokio::test]
    async fn one_that_ends_early_or_panics_ends_all_and_is_named() {
        for (is_panic, expected) in [(false, "one ended before its time"), (true, "one: task")] {
            let mut parts = parts(&Stop::default());
            let part = async move { if is_panic { panic!("on purpose") } else { Ok(()) } };
            if is_panic {
                parts.spawn_front("one", part)
            } else {
                parts.spawn_worker("one", part)
            }
            let error = format!("{:#}", parts.run_to_end().await.expect_err("a failure"));
            assert!(error.contains(expected), "{error}");
        }
    }
}
