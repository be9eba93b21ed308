//! The integration tests: the real binary, a real PostgreSQL, real HTTP.
