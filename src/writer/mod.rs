//! The write path.

mod interface;

pub use interface::{Accepted, Incarnation, Outcome, Submission, SubmitError};
