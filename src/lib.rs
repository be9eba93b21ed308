//! Counterfoil: a credit ledger on PostgreSQL.

// The simulated Stripe writes each object as one literal, and some have sixty keys.
#![recursion_limit = "512"]

pub mod api;
pub mod app;
pub mod audit;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod domain;
pub mod inbox;
pub mod outbox;
pub mod projector;
pub mod reconcile;
mod rounds;
pub mod sandbox;
pub mod sealer;
pub mod service;
pub mod store;
pub mod stripe;
pub mod sweeper;
pub mod telemetry;
pub mod web;
pub mod writer;
