//! Applies events to state.
use super::{event::Event, working_set::WorkingSet};
/// Applies one event.
pub fn evolve(_working_set: &mut WorkingSet, _event: &Event) {}
