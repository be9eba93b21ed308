//! (module documentation)

pub mod webhooks;
