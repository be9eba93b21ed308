//! Waiting for something that another process does: poll, with a deadline that fails loudly.

use std::future::Future;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; only a failing test waits for all of it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Polls until `attempt` yields a value, and panics naming `what` after [`LIMIT`].
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < deadline, "still waiting for {what} after {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
