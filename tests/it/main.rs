//! The integration tests: the real binary, a real PostgreSQL, real HTTP.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that is surprised fails")]

mod api_clients;
mod api_contract;
mod api_hostile;
mod api_idempotency;
mod api_keys;
mod api_reading;
mod api_specification;
mod api_support;
mod api_test_clock;
mod command_line;
mod connections;
mod dev;
mod projector;
mod projector_history;
mod projector_plans;
mod projector_support;
mod roles;
mod sandbox;
mod serve;
mod stripe_bodies;
mod stripe_captured;
mod stripe_client;
mod stripe_client_requests;
mod stripe_client_support;
mod stripe_http;
mod stripe_inbox;
mod stripe_inbox_store;
mod stripe_scenarios;
mod stripe_support;
mod support;
mod sweeper;
mod telemetry_dashboards;
mod telemetry_logs;
mod telemetry_metrics;
mod tidy;
mod verify;
mod writer_connections;
mod writer_failures;
mod writer_history;
mod writer_outcomes;
mod writer_processes;
mod writer_storage;
mod writer_support;
mod writer_timelines;
