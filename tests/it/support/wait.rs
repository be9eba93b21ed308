//! Waiting for something that another process does: poll, with a deadline that fails loudly.

use std::future::Future;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; only a failing test waits for all of it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Polls until `attempt` yields a value, and panics naming `what` after [`LIMIT`]. What takes long is asked for less often, so that
/// those who wait leave the processor to those they wait for.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        let waited = begun.elapsed();
        assert!(waited < LIMIT, "still waiting for {what} after {LIMIT:?}");
        tokio::time::sleep((waited / 10).clamp(Duration::from_millis(10), Duration::from_millis(200))).await;
    }
}
