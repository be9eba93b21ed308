//! Carries effects out at Stripe.
//!
//! What an effect needs (the account's customer, what the order sold) is read when its turn comes, because the effects
//! before it under the same key may have changed it. What came of a call goes back as a command.
//!
//! | file | carries out |
//! | --- | --- |
//! | `customer` | an account's customer |
//! | `session` | the checkout session of an order |
//! | `refund` | a refund that was asked for |
//! | `subscription` | a change of a subscription that was asked for |
//! | `judge` | nothing: it says what a failed call means for the outbox |
//!
//! Invariants:
//! - a call that makes something goes out under the effect's id, and what it makes carries that id, so that it can be
//!   found before it is made again;
//! - a key under which Stripe keeps a failure is given up for another one, after a look has shown that nothing was made;
//! - an effect whose purpose is gone (the customer is there, the order was closed) is done, without a call;
//! - what only a person can mend (a wrong key, a price that Stripe does not know) is dead, with Stripe's own code.

mod customer;
mod judge;
mod refund;
mod session;
mod subscription;

use std::sync::Arc;

use super::{Class, Looked, Ordered, Perform, Performed};
use crate::{
    credentials::{StripeAccess, StripeClients},
    domain::{
        effects::Effect,
        ids::{AccountId, LedgerId, OrderId, RefundRequestId},
        time::Span,
    },
    store::{pool::Database, reads},
    stripe::client::{CallError, Origin, StripeClient},
};
use judge::{Failed, cause};

/// The name of the destination in metrics and causes.
const STRIPE: &str = "stripe";
/// How many keys one attempt goes through. The next attempt begins with the first again, and what any of them made is found.
const MOST_KEYS: u32 = 4;

/// Carries effects out at Stripe, for all ledgers.
pub struct StripeEffects {
    database: Database,
    clients: Arc<StripeClients>,
}

impl StripeEffects {
    /// Reads what effects need from `database`, and calls with `clients`.
    pub fn new(database: Database, clients: Arc<StripeClients>) -> Self {
        Self { database, clients }
    }

    /// The ledger's client. A simulated Stripe lives no earlier than the ledger: what is ordered after the ledger's clock was
    /// moved on is not made before Stripe's was, or Stripe would forget the key too soon.
    async fn access(&self, ledger: LedgerId) -> Result<StripeAccess, Failed> {
        let access = self.clients.of(ledger).await?;
        if access.client.is_simulated() {
            let moment = reads::read_moment(&self.database, ledger).await?;
            if moment.clock_ahead > Span::seconds(0) {
                access.client.advance_simulated_clock(moment.now).await?;
            }
        }
        Ok(access)
    }

    /// Moves a simulated Stripe's clock to where the ledger's is.
    async fn advance_clock(&self, ledger: LedgerId) -> Result<Performed, Failed> {
        let nothing_to_move = Ok(Performed::Done(Vec::new()));
        let access = match self.clients.of(ledger).await {
            Ok(access) if access.client.is_simulated() => access,
            Err(error) if error.is_permanent() => return nothing_to_move,
            Ok(_) => return nothing_to_move,
            Err(error) => return Err(error.into()),
        };
        let now = reads::read_moment(&self.database, ledger).await?.now;
        access.client.advance_simulated_clock(now).await?;
        nothing_to_move
    }
}

/// Something that is to be made at Stripe.
trait Make: Sync {
    /// What Stripe answers.
    type Made: Send;

    /// Has it made.
    fn create(&self, client: &StripeClient) -> impl Future<Output = Result<Self::Made, CallError>> + Send;

    /// Looks for what an earlier call has made.
    fn find(
        &self,
        client: &StripeClient,
    ) -> impl Future<Output = Result<Option<Self::Made>, CallError>> + Send;
}

/// Has something made, under another key if Stripe keeps a failure under the last one: it would repeat that for a day. Only
/// what a look does not find is made under another key.
async fn make<M: Make>(client: &StripeClient, new: &M) -> Result<M::Made, CallError> {
    let mut renewal = 0;
    loop {
        let error = match new.create(&client.with_renewed_key(renewal)).await {
            Err(error) if error.is_key_spent() => error,
            made => return made,
        };
        renewal += 1;
        match new.find(client).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if renewal < MOST_KEYS => {}
            // What became of it is still open.
            Ok(None) | Err(_) => return Err(error),
        }
    }
}

/// What marks an object as made by an effect.
fn origin(
    ordered: &Ordered,
    access: &StripeAccess,
    account: AccountId,
    order: Option<OrderId>,
    refund: Option<RefundRequestId>,
) -> Origin {
    Origin { effect: ordered.id, ledger: access.ledger.clone(), account, order, refund }
}

impl Perform for StripeEffects {
    fn destination(&self, _: &Ordered) -> &'static str {
        STRIPE
    }

    async fn perform(&self, ordered: &Ordered) -> Performed {
        let performed = match ordered.effect {
            Effect::CreateCustomer { account, order } => self.create_customer(ordered, account, order).await,
            Effect::CreateCheckoutSession { order, .. } => self.create_session(ordered, order).await,
            Effect::CreateRefund { refund, .. } => self.create_refund(ordered, refund).await,
            Effect::ChangeSubscription { request, .. } => self.change_subscription(ordered, request).await,
            Effect::AdvanceStripeClock { .. } => self.advance_clock(ordered.ledger).await,
        };
        performed.unwrap_or_else(Failed::performed)
    }

    async fn look(&self, ordered: &Ordered) -> Looked {
        let looked = match ordered.effect {
            Effect::CreateCustomer { account, .. } => self.look_for_customer(ordered, account).await,
            Effect::CreateCheckoutSession { order, .. } => self.look_for_session(ordered, order).await,
            Effect::CreateRefund { refund, .. } => self.look_for_refund(ordered, refund).await,
            Effect::ChangeSubscription { request, .. } => self.look_for_change(ordered, request).await,
            // It is moved to a moment, not by a span: once more does no harm.
            Effect::AdvanceStripeClock { .. } => Ok(Looked::Absent),
        };
        looked.unwrap_or_else(Failed::looked)
    }
}

/// What the effect is about is not in the ledger: a defect.
fn missing(what: &'static str) -> Failed {
    Failed::Dead(cause(Class::Defect, what))
}
