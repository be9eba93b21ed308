//! Products: `product.created`, `product.updated` and `product.deleted`; also products that came with a price.
//!
//! Invariant: of a deleted product nothing may be left but its id.

use super::{
    fact::ProductReport,
    fields::Fields,
    no_fact::{Nonsense, Problem},
    terms,
};
use crate::domain::{listing::ProductListing, time::Timestamp};

/// What Stripe calls the object.
pub(super) const KIND: &str = "product";

/// Reads a product as it was at `as_of`.
pub(super) fn report(product: &Fields<'_>, as_of: Timestamp) -> Result<ProductReport, Nonsense> {
    product.expect_kind(KIND)?;
    let deleted = product.flag("deleted")?.unwrap_or(false);
    let active = match product.flag("active")? {
        Some(active) => active,
        None if deleted => false,
        None => return Err(product.nonsense("active", Problem::Missing)),
    };
    let listing = ProductListing {
        as_of,
        name: product.name("name")?.map(str::to_owned),
        active,
        deleted,
        terms: terms::read(product)?,
    };
    Ok(ProductReport { product: product.own_id()?, listing })
}
