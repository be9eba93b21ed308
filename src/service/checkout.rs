//! Checkouts: an order is placed, and the request that asked for it waits a moment for the page where it can be paid.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Accepted, Caller, NotFound, OrderPage, OrderView, PositionToken, Request, Service, ServiceError,
    position::check_seen,
};
use crate::{
    domain::{
        effects::Effect,
        ids::{AccountId, LedgerId, OrderId},
        order::{Order, OrderStatus},
        time::TimeRange,
    },
    store::{
        outbox::entries::{Obstacle, find_obstacle},
        reads::{
            self, ReadError,
            orders::{OrderFilter, OrderRow, disputes_of_order, find_order, list_orders, refunds_of_order},
        },
    },
};

/// Which orders a page holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OrderQuery {
    /// Only this account's.
    pub account: Option<AccountId>,
    /// Only those that have come so far.
    pub status: Option<OrderStatus>,
    /// Only those placed then.
    pub created: TimeRange,
    /// Only those after this one, which are older.
    pub after: Option<OrderId>,
    /// How many at most.
    pub limit: i64,
}

/// How long a request waits for Stripe before it is told to come back.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// Programs get along without a second request.
    OfPrograms,
    /// People are shown that something happens.
    OfBrowsers,
}

impl Patience {
    fn limit(self) -> Duration {
        match self {
            Self::OfPrograms => Duration::from_secs(6),
            Self::OfBrowsers => Duration::from_millis(2_500),
        }
    }
}

/// Pauses between looks begin with this and double up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// An order that was placed, as far as it has come.
pub struct CheckedOut {
    /// What was written.
    pub accepted: Accepted,
    /// The order; without a session if Stripe is slow.
    pub order: OrderRow,
}

impl Service {
    /// Places an order, and waits until it has a session, has failed, or [`Patience`] ends.
    ///
    /// # Errors
    /// As [`Service::submit`]; [`ServiceError::StripeRefused`] if Stripe will not make the session as things are.
    pub async fn check_out(
        &self,
        caller: &Caller,
        request: Request,
        placed: impl FnOnce(&Accepted) -> Option<OrderId>,
    ) -> Result<CheckedOut, ServiceError> {
        let accepted = self.submit(caller, request).await?;
        let order = placed(&accepted).ok_or(ServiceError::NotFound(NotFound::Order))?;
        let order = self.wait_for_session(caller.ledger, order, Patience::OfPrograms).await?;
        Ok(CheckedOut { accepted, order })
    }

    /// Waits until an order has a session, has ended, or patience does.
    pub(super) async fn wait_for_session(
        &self,
        ledger: LedgerId,
        order: OrderId,
        patience: Patience,
    ) -> Result<OrderRow, ServiceError> {
        let deadline = Instant::now() + patience.limit();
        let mut pause = FIRST_PAUSE;
        loop {
            let (_, row) = find_order(&self.database, ledger, order).await?;
            let row = row.ok_or(ServiceError::NotFound(NotFound::Order))?;
            if row.order.session.is_some() || row.order.status != OrderStatus::Placed {
                return Ok(row);
            }
            if let Some(Obstacle { code, effect }) = self.obstacle(ledger, &row.order).await? {
                return Err(ServiceError::StripeRefused { code, effect });
            }
            if Instant::now() + pause >= deadline {
                return Ok(row);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// An effect that the order needs and that only a person can bring back to life: its own, or an earlier one that is in
    /// its way, such as that of the customer of another order.
    async fn obstacle(&self, ledger: LedgerId, order: &Order) -> Result<Option<Obstacle>, ReadError> {
        let client = self.database.pool().get().await?;
        let needed = Effect::CreateCheckoutSession { account: order.account, order: order.id };
        Ok(find_obstacle(&client, ledger, &needed.key(), order.id.position()).await?)
    }

    /// An order, with the refunds that were asked for.
    ///
    /// # Errors
    /// [`NotFound::Order`]; [`ServiceError::HistoryLost`] if what was `seen` is gone.
    pub async fn order(
        &self,
        caller: &Caller,
        order: OrderId,
        seen: Option<PositionToken>,
    ) -> Result<OrderView, ServiceError> {
        let (moment, row) = find_order(&self.database, caller.ledger, order).await?;
        check_seen(&moment, seen)?;
        let row = row.ok_or(ServiceError::NotFound(NotFound::Order))?;
        let refunds = refunds_of_order(&self.database, caller.ledger, order).await?;
        let disputes = disputes_of_order(&self.database, caller.ledger, order).await?;
        Ok(OrderView { row, refunds, disputes })
    }

    /// A page of orders, newest first. Of an account and a status it may be short, or empty, and not be the last.
    ///
    /// # Errors
    /// [`NotFound::Account`] if an account is named that there is not.
    pub async fn orders(&self, caller: &Caller, query: OrderQuery) -> Result<OrderPage, ServiceError> {
        let OrderQuery { account, status, created, after, limit } = query;
        let placed = reads::recorded::positions_recorded(&self.database, caller.ledger, created).await?;
        // Orders have ids in the order in which they were placed.
        let end = OrderId::first_at(placed.end);
        let mut filter = OrderFilter {
            account: None,
            status,
            from: Some(OrderId::first_at(placed.start)),
            before: Some(after.map_or(end, |after| after.min(end))),
        };
        if let Some(account) = account {
            let (_, number) = reads::accounts::find_number(&self.database, caller.ledger, &account).await?;
            filter.account = Some(number.ok_or(ServiceError::NotFound(NotFound::Account))?);
        }
        let (orders, next) = list_orders(&self.database, caller.ledger, &filter, limit).await?;
        Ok(OrderPage { orders, next })
    }
}
