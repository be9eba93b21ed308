//! Stripe's customer portal. It makes nothing that lasts, at Stripe or here, so that it is asked for directly and not
//! through the outbox: whoever gets no answer asks again.

use super::{Caller, NotFound, Service, ServiceError};
use crate::{
    domain::{Rejection, account::AccountStatus, ids::AccountId, redirect},
    store::reads::{catalogue::read_settings, orders::find_customer},
    stripe::client::NewPortalSession,
};

impl Service {
    /// The address of an account's portal at Stripe, good for minutes.
    ///
    /// # Errors
    /// In this order: [`NotFound::Account`]; [`ServiceError::Rejected`] for a closed account, and for a `return_url` that
    /// leads where the ledger does not allow; [`ServiceError::NoCustomer`]; [`ServiceError::Stripe`].
    pub async fn open_portal(
        &self,
        caller: &Caller,
        account: &AccountId,
        return_url: Option<String>,
        locale: Option<String>,
    ) -> Result<String, ServiceError> {
        let row = self.account(caller, account, None).await?.row;
        if row.status == AccountStatus::Closed {
            return Err(Rejection::AccountClosed.into());
        }
        if let Some(url) = &return_url {
            let hosts = read_settings(&self.database, caller.ledger).await?.checkout.redirect_hosts;
            redirect::check(url, &hosts)
                .map_err(|problem| Rejection::InvalidConfiguration { field: "return_url", problem })?;
        }
        let found = find_customer(&self.database, caller.ledger, row.number).await?;
        let found = found.ok_or(ServiceError::NotFound(NotFound::Account))?;
        let customer = found.customer.ok_or(ServiceError::NoCustomer)?;
        let locale = locale.or(found.profile.locale);
        let client = self.stripe.of(caller.ledger).await?.client;
        let new = NewPortalSession { customer, return_url, locale };
        client.create_portal_session(&new).await.map_err(|error| {
            // Deleted at Stripe, and its webhook is still to come: the next order gets the account another one.
            let is_gone = error.is_missing_object() && error.param() == Some("customer");
            if is_gone { ServiceError::NoCustomer } else { error.into() }
        })
    }
}
