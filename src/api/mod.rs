//! (module documentation)

pub mod metrics;
