//! Decides commands.
use super::{
    command::{Command, Context},
    rejection::Rejection,
    working_set::{Decision, WorkingSet},
};
/// Decides one command.
///
/// # Errors
/// The broken rule.
pub fn decide(
    _working_set: &WorkingSet,
    _command: &Command,
    _context: &Context,
) -> Result<Decision, Rejection> {
    Ok(Decision::default())
}
