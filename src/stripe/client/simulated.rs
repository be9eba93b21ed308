//! What only a simulated Stripe can do: have its clock moved, so that both ledgers of a sandbox live at the same time.

use serde_json::json;

use super::{CallError, StripeClient};
use crate::domain::time::Timestamp;

impl StripeClient {
    /// Whether its calls go to a simulated Stripe: to this machine, and not to Stripe or a proxy in front of it.
    pub fn is_simulated(&self) -> bool {
        self.base_url().is_local()
    }

    /// Moves the simulated Stripe's clock on to `now`, if it is behind.
    ///
    /// # Errors
    /// [`CallError`]; it may have been moved then, and asking again does no harm.
    pub async fn advance_simulated_clock(&self, now: Timestamp) -> Result<(), CallError> {
        let order = json!({ "until": now.unix_seconds() });
        self.transport.control("/_control/clock/advance", &order).await?;
        Ok(())
    }
}
