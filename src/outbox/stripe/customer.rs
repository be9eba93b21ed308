//! An account's customer: made once, for the first checkout.

use super::{Failed, Make, StripeEffects, make, missing, origin};
use crate::{
    domain::{
        Command,
        command::LinkCustomer,
        event::LinkCause,
        ids::{AccountNumber, EffectId, OrderId, StripeId},
        time::Timestamp,
    },
    outbox::{Looked, Ordered, Performed, Report},
    store::reads::orders::{CustomerRow, find_customer},
    stripe::{
        Customer,
        client::{CallClass, CallError, NewCustomer, StripeClient},
    },
};

impl StripeEffects {
    pub(super) async fn create_customer(
        &self,
        ordered: &Ordered,
        account: AccountNumber,
        order: Option<OrderId>,
    ) -> Result<Performed, Failed> {
        let buyer = self.buyer(ordered, account).await?;
        if buyer.customer.is_some() {
            return Ok(Performed::Done(Vec::new()));
        }
        let access = self.access(ordered.ledger).await?;
        let new = NewCustomer {
            origin: origin(ordered, &access, buyer.account, order, None),
            email: buyer.profile.email,
            name: buyer.profile.name,
            locale: buyer.profile.locale,
        };
        let made = make(&access.client, &Buyer { new, since: ordered.created_at }).await?;
        Ok(Performed::Done(link(account, made.id)))
    }

    pub(super) async fn look_for_customer(
        &self,
        ordered: &Ordered,
        account: AccountNumber,
    ) -> Result<Looked, Failed> {
        if self.buyer(ordered, account).await?.customer.is_some() {
            return Ok(Looked::Found(Vec::new()));
        }
        let access = self.access(ordered.ledger).await?;
        let found = find(&access.client, ordered.id, ordered.created_at).await?;
        Ok(found.map_or(Looked::Absent, |customer| Looked::Found(link(account, customer.id))))
    }

    async fn buyer(&self, ordered: &Ordered, account: AccountNumber) -> Result<CustomerRow, Failed> {
        find_customer(&self.database, ordered.ledger, account).await?.ok_or_else(|| missing("no_account"))
    }
}

/// A customer that is to be made, by an effect of that moment.
struct Buyer {
    new: NewCustomer,
    since: Timestamp,
}

impl Make for Buyer {
    type Made = Customer;

    async fn create(&self, client: &StripeClient) -> Result<Customer, CallError> {
        match client.create_customer(&self.new).await {
            // Stripe is stricter about addresses than we are, and a sale must not fail for one. What is refused for
            // its form is not remembered under the key.
            Err(error) if is_about_email(&error) => {
                client.create_customer(&NewCustomer { email: None, ..self.new.clone() }).await
            }
            made => made,
        }
    }

    async fn find(&self, client: &StripeClient) -> Result<Option<Customer>, CallError> {
        find(client, self.new.origin.effect, self.since).await
    }
}

async fn find(
    client: &StripeClient,
    effect: EffectId,
    since: Timestamp,
) -> Result<Option<Customer>, CallError> {
    // By the server's own clock, which is never ahead of Stripe's by more than the look allows for.
    let found = client.find_customer(effect, since).await?;
    Ok(found.filter(|customer| !customer.is_deleted))
}

fn is_about_email(error: &CallError) -> bool {
    error.class == CallClass::Permanent && error.param() == Some("email")
}

fn link(account: AccountNumber, customer: StripeId) -> Vec<Report> {
    let cause = LinkCause::Created;
    vec![Report::of(Command::LinkCustomer(LinkCustomer { account, customer, cause }))]
}
