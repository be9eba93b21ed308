//! PostgreSQL: the only place with SQL besides `migrations/` and `projections/`.
//!
//! Statements live beside their row mapping. Nothing here decides anything: `domain` does, and `writer` says when.

mod arrays;
pub mod changes;
pub mod configuration;
pub mod database_url;
pub mod due;
pub mod errors;
pub mod events;
pub mod heads;
pub mod inbox;
pub mod ledgers;
pub mod logs;
pub mod migrate;
pub mod outbox;
mod pages;
pub mod pool;
pub mod projections;
pub mod provision;
pub mod reads;
pub mod reconciliation;
pub mod roles;
pub mod rows;
pub mod scope;
pub mod sealing;
pub mod session;
pub mod stripe_credentials;
mod tls;
pub mod verification;
pub mod webhook_secrets;
pub mod working_set;
