//! What `dev` and the tests bring along instead of asking for it: a private PostgreSQL cluster.
//!
//! Nothing here is used in production, and nothing here knows what the database is for.

pub mod binaries;
pub mod lock;
pub mod postgres;
pub mod run_as;
