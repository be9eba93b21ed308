//! Whose a subscription or a customer of Stripe's is, as the ledger knows it.

use super::mapping::Owner;
use crate::{
    domain::ids::{AccountId, AccountNumber, LedgerId, StripeId},
    store::{
        pool::Database,
        reads::{
            ReadError,
            orders::{CustomerRow, find_account_of_customer},
            subscriptions::find_subscription,
        },
    },
};

/// The account that a subscription or a customer belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Its number.
    pub number: AccountNumber,
    /// The client's name of it.
    pub account: AccountId,
    /// Whether the ledger knows the subscription itself, and not only the customer.
    pub subscription_is_known: bool,
}

/// Whose `subscription` is, else whose customer `customer` is; none if the ledger knows neither.
///
/// # Errors
/// [`ReadError`].
pub async fn find_holder(
    database: &Database,
    ledger: LedgerId,
    subscription: Option<&StripeId>,
    customer: Option<&StripeId>,
) -> Result<Option<Holder>, ReadError> {
    if let Some(subscription) = subscription {
        let (_, known) = find_subscription(database, ledger, subscription).await?;
        if let Some(known) = known {
            let (number, account) = (known.subscription.account, known.account);
            return Ok(Some(Holder { number, account, subscription_is_known: true }));
        }
    }
    let Some(customer) = customer else { return Ok(None) };
    let holder = find_account_of_customer(database, ledger, customer).await?;
    let of_customer =
        |row: CustomerRow| Holder { number: row.number, account: row.account, subscription_is_known: false };
    Ok(holder.map(of_customer))
}

impl From<Option<&Holder>> for Owner {
    fn from(holder: Option<&Holder>) -> Self {
        Self {
            account: holder.map(|holder| holder.number),
            subscription_is_known: holder.is_some_and(|holder| holder.subscription_is_known),
        }
    }
}
