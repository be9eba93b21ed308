//! What `dev` and the tests bring along instead of asking for it: a private PostgreSQL cluster, and a simulated Stripe.
//!
//! Nothing here is used in production, and nothing here knows what the database or the payments are for.

pub mod binaries;
pub mod lock;
pub mod postgres;
pub mod run_as;
pub mod stripe;
