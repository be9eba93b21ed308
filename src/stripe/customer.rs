//! Customers: `customer.deleted`.
//!
//! Invariant: nothing of a customer is read but its id. What buyers type into Stripe's pages is not what our clients say of
//! them.

use super::{fact::Fact, fields::Fields, no_fact::NoFact};

/// What Stripe calls the object.
pub(super) const KIND: &str = "customer";
/// The type of the event that says that one is gone.
pub(super) const DELETED: &str = "customer.deleted";

/// Reads a customer that was deleted: as it was before, or what is left of it.
pub(super) fn deleted(customer: &Fields<'_>) -> Result<Fact, NoFact> {
    customer.expect_kind(KIND)?;
    Ok(Fact::CustomerDeleted(customer.own_id()?))
}
