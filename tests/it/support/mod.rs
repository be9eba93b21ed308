//! What every integration test stands on.
//!
//! - [`app`]: the real service on a free port, with a database and a ledger of its own.
//! - [`cluster`]: one PostgreSQL for the whole run, shared by all test processes and gone afterwards.
//! - [`database`]: a database of one's own for each test, migrated, cloned from a template in milliseconds.
//! - [`pgbouncer`]: a pooler in transaction mode that punishes whoever relies on a session.
//! - [`plan`]: what a statement of the service costs.
//! - [`private`]: a cluster of one's own, for what cannot be tried on the shared one.
//! - [`proxy`]: a TCP proxy before PostgreSQL that counts round trips and cuts connections where it hurts.
//! - [`process`]: the real binary as a child process.
//! - [`shop`]: the service and the simulated Stripe that it sells through.
//! - [`simulator`]: the simulated Stripe in a process of its own, and a receiver for its webhooks.
//! - [`slow_client`]: a client that reads an answer when it is told to.
//! - [`stripe_spec`]: what Stripe says its answers look like, to hold ours against.
//! - [`wait`]: polling with a deadline, instead of sleeping and hoping.

pub mod app;
pub mod browser;
pub mod certificates;
pub mod cluster;
pub mod database;
pub mod pgbouncer;
pub mod plan;
pub mod private;
pub mod process;
pub mod proxy;
pub mod reaper;
pub mod shop;
pub mod simulator;
pub mod slow_client;
pub mod stripe_spec;
pub mod wait;
