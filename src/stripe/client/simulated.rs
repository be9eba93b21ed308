//! What only a simulated Stripe can do: have its clock moved, so that both ledgers of a sandbox live at the same time.

use serde_json::{Value, json};

use super::{CallError, StripeClient, garbled};
use crate::domain::time::Timestamp;

impl StripeClient {
    /// Whether its calls go to a simulated Stripe: to this machine, and not to Stripe or a proxy in front of it.
    pub fn is_simulated(&self) -> bool {
        self.base_url().is_local()
    }

    /// Moves the simulated Stripe's clock on to `now`, if it is behind by a second or more.
    ///
    /// # Errors
    /// [`CallError`]; it may have been moved then, and asking again does no harm.
    pub async fn advance_simulated_clock(&self, now: Timestamp) -> Result<(), CallError> {
        let clock = self.transport.control("/_control/clock", None).await?;
        let there = clock.get("now").and_then(moment);
        let there = there.ok_or_else(|| garbled("a clock without a time".to_owned(), false))?;
        let seconds = now.since(there).whole_seconds();
        if seconds > 0 {
            self.transport.control("/_control/clock/advance", Some(&json!({ "seconds": seconds }))).await?;
        }
        Ok(())
    }
}

/// Seconds since 1970, or RFC 3339.
fn moment(value: &Value) -> Option<Timestamp> {
    value.as_i64().and_then(Timestamp::from_unix_seconds).or_else(|| Timestamp::parse(value.as_str()?))
}
