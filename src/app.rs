//! The service as one process: its parts put together, started, and ended in order.
