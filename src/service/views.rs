//! Reading: accounts, balances and lots as they are, events and configuration as they were written.
//!
//! Balances and lots are strongly consistent: they come from the state that commands are decided on, with everything
//! applied that has become due. A `min_position` is compared with the ledger's head there, which is never behind a write
//! that was answered, unless history was lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    AccountRow, Caller, KeyRow, NotFound, PositionToken, PriceFilter, PricePlace, Service, ServiceError,
    StoredEvent, SubmitError, position::check_seen,
};
use crate::{
    domain::{
        account::{Account, AccountStatus, Book, Lot},
        account_at,
        amount::Currency,
        catalogue::{Feature, Price},
        ids::{
            AccountId, AccountNumber, FeatureKey, KeyId, LotId, OrderId, Position, PriceId, PurchaseId, Unit,
        },
        settings::{CheckoutSettings, LedgerRules, LedgerSettings},
        time::{Span, TimeRange, Timestamp},
    },
    store::reads::{
        self,
        accounts::{AccountFilter, AccountSnapshot, LotOrigin},
        orders::{DisputeRow, OrderRow, RefundRow},
    },
};

/// An account without its credits.
#[derive(Clone, PartialEq, Debug)]
pub struct AccountView {
    /// As it is stored.
    pub row: AccountRow,
    /// How much it may owe by spending, by unit; only units with a limit.
    pub overdraft_limits: BTreeMap<Unit, i64>,
}

/// Which accounts a list holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccountQuery {
    /// Only those of this status.
    pub status: Option<AccountStatus>,
    /// Only those opened then.
    pub opened: TimeRange,
}

/// A page of accounts.
pub struct AccountPage {
    /// The accounts, newest first.
    pub accounts: Vec<AccountRow>,
    /// The account after which the next page begins, if there is one.
    pub next: Option<AccountNumber>,
}

/// Credits that expire next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextExpiry {
    /// How many.
    pub amount: i64,
    /// When.
    pub at: Timestamp,
}

/// What an account has of one unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BookView {
    /// The unit.
    pub unit: Unit,
    /// What usable lots have left.
    pub available: i64,
    /// Set aside in open holds.
    pub held: i64,
    /// Set aside for open disputes.
    pub disputed: i64,
    /// What is owed.
    pub debt: i64,
    /// What a spend may take.
    pub spendable: i64,
    /// What of it expires next.
    pub next_expiry: Option<NextExpiry>,
}

impl BookView {
    fn of(unit: &Unit, book: &Book) -> Self {
        let expiring = || book.lots.values().filter(|lot| lot.remaining > 0);
        let at = expiring().filter_map(|lot| lot.expires_at).min();
        let next_expiry = at.map(|at| {
            let lots = expiring().filter(|lot| lot.expires_at == Some(at));
            NextExpiry { amount: lots.map(|lot| lot.remaining).sum(), at }
        });
        Self {
            unit: unit.clone(),
            available: book.available,
            held: book.held,
            disputed: book.disputed,
            debt: book.debt,
            spendable: book.spendable(),
            next_expiry,
        }
    }
}

/// What an account has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BalanceView {
    /// The client's name of the account.
    pub account: AccountId,
    /// Up to which event it has been looked at.
    pub position: Position,
    /// The moment that it is true for.
    pub as_of: Timestamp,
    /// Every unit of the ledger, by name.
    pub books: Vec<BookView>,
}

/// A lot that is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LotView {
    /// Of which unit.
    pub unit: Unit,
    /// Its state.
    pub lot: Lot,
    /// What made it.
    pub origin: LotOrigin,
    /// The currency of its cost.
    pub currency: Option<Currency>,
}

/// An order and what became of its money.
pub struct OrderView {
    /// The order.
    pub row: OrderRow,
    /// Its refunds, in the order in which they were asked for.
    pub refunds: Vec<RefundRow>,
    /// The disputes of its payments.
    pub disputes: Vec<DisputeRow>,
}

/// A page of orders.
pub struct OrderPage {
    /// The orders, newest first.
    pub orders: Vec<OrderRow>,
    /// The order after which the next page begins, if there is one.
    pub next: Option<OrderId>,
}

/// The place of a lot in the order of all lots of an account: by unit, then in spending order.
pub type SpendingPlace = (Unit, u8, Timestamp, bool, LotId);

/// A page of lots.
pub struct LotPage {
    /// The lots, by unit, in spending order.
    pub lots: Vec<LotView>,
    /// The place after which the next page begins, if there is one.
    pub next: Option<SpendingPlace>,
    /// Up to which event the account has been looked at.
    pub position: Position,
    /// The moment that it is true for.
    pub as_of: Timestamp,
}

/// Which events a page holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventQuery {
    /// Only those after this position.
    pub after: Position,
    /// Only those up to this position.
    pub until: Option<Position>,
    /// Only those of these types; all if there are none.
    pub types: Vec<&'static str>,
    /// How many at most.
    pub limit: i64,
}

/// How many events are looked at for a page of certain types, so that one who asks for what is rare cannot have a whole ledger
/// read at once.
pub const EVENTS_LOOKED_AT: i64 = 10_000;

/// A page of events.
pub struct EventPage {
    /// The events, in order.
    pub events: Vec<StoredEvent>,
    /// Up to which position all that was asked for is in it.
    pub reached: Position,
    /// The ledger's last position.
    pub head: Position,
}

/// A page of API keys.
pub struct KeyPage {
    /// The keys, newest first.
    pub keys: Vec<KeyRow>,
    /// The key after which the next page begins, if there is one.
    pub next: Option<KeyId>,
}

impl Service {
    /// How the ledger's checkouts look and where they lead back to.
    ///
    /// # Errors
    /// [`ServiceError::Failed`] if the database is away.
    pub async fn checkout_settings(&self, caller: &Caller) -> Result<CheckoutSettings, ServiceError> {
        Ok(reads::catalogue::read_settings(&self.database, caller.ledger).await?.checkout)
    }

    /// The ledger's rules.
    ///
    /// # Errors
    /// [`ServiceError::Failed`] if the database is away.
    pub async fn rules(&self, caller: &Caller) -> Result<LedgerRules, ServiceError> {
        Ok(reads::catalogue::read_settings(&self.database, caller.ledger).await?.rules())
    }

    /// What time it is in the ledger, and how far that is ahead of the database's clock.
    ///
    /// # Errors
    /// [`ServiceError::Failed`] if the database is away.
    pub async fn clock(&self, caller: &Caller) -> Result<(Timestamp, Span), ServiceError> {
        let moment = reads::read_moment(&self.database, caller.ledger).await?;
        Ok((moment.now, moment.clock_ahead))
    }

    /// One account.
    ///
    /// # Errors
    /// [`NotFound::Account`], and whatever keeps a read from succeeding.
    pub async fn account(
        &self,
        caller: &Caller,
        account: &AccountId,
        seen: Option<PositionToken>,
    ) -> Result<AccountView, ServiceError> {
        let snapshot = self.snapshot(caller, account, seen).await?;
        let state = snapshot.working_set.accounts.get(&snapshot.row.number);
        let limits = state.into_iter().flat_map(|state| &state.books);
        let limits = limits.filter(|(_, book)| book.overdraft_limit > 0);
        let overdraft_limits = limits.map(|(unit, book)| (unit.clone(), book.overdraft_limit)).collect();
        Ok(AccountView { row: snapshot.row, overdraft_limits })
    }

    /// A page of accounts, newest first, after the account `after`.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn accounts(
        &self,
        caller: &Caller,
        query: &AccountQuery,
        after: Option<AccountNumber>,
        limit: i64,
    ) -> Result<AccountPage, ServiceError> {
        let opened = reads::recorded::positions_recorded(&self.database, caller.ledger, query.opened).await?;
        let filter = AccountFilter { status: query.status, opened };
        let list = reads::accounts::list_accounts(&self.database, caller.ledger, &filter, after, limit + 1);
        let (accounts, next) = page(list.await?, limit, |row| row.number);
        Ok(AccountPage { accounts, next })
    }

    /// What an account has, of every unit.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub async fn balance(
        &self,
        caller: &Caller,
        account: &AccountId,
        seen: Option<PositionToken>,
    ) -> Result<BalanceView, ServiceError> {
        let snapshot = self.snapshot(caller, account, seen).await?;
        let state = state_now(&snapshot)?;
        let none = Book::default();
        let books = units(&snapshot.working_set.settings, &state)
            .into_iter()
            .map(|unit| BookView::of(unit, state.books.get(unit).unwrap_or(&none)));
        Ok(BalanceView {
            account: snapshot.row.account.clone(),
            position: snapshot.moment.position,
            as_of: snapshot.moment.now,
            books: books.collect(),
        })
    }

    /// A page of an account's open lots after the place `after`; of one unit, if given.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub async fn lots(
        &self,
        caller: &Caller,
        account: &AccountId,
        unit: Option<&Unit>,
        after: Option<&SpendingPlace>,
        limit: i64,
        seen: Option<PositionToken>,
    ) -> Result<LotPage, ServiceError> {
        let snapshot = self.snapshot(caller, account, seen).await?;
        let state = state_now(&snapshot)?;
        let mut lots: Vec<(SpendingPlace, &Lot)> = open_lots(&state)
            .filter(|(place, _)| unit.is_none_or(|unit| place.0 == *unit))
            .filter(|(place, _)| after.is_none_or(|after| place > after))
            .collect();
        lots.sort_by(|(one, _), (other, _)| one.cmp(other));
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        lots.truncate(wanted.saturating_add(1));
        let (lots, next) = page(lots, limit, |(place, _)| place.clone());
        let lots = self.explained(caller, lots).await?;
        Ok(LotPage { lots, next, position: snapshot.moment.position, as_of: snapshot.moment.now })
    }

    /// Lots with where they came from.
    async fn explained(
        &self,
        caller: &Caller,
        lots: Vec<(SpendingPlace, &Lot)>,
    ) -> Result<Vec<LotView>, ServiceError> {
        let ids: Vec<LotId> = lots.iter().map(|(_, lot)| lot.id).collect();
        let purchases: BTreeSet<PurchaseId> = lots.iter().filter_map(|(_, lot)| lot.purchase).collect();
        let purchases: Vec<PurchaseId> = purchases.into_iter().collect();
        let origins = reads::accounts::read_origins(&self.database, caller.ledger, &ids, &purchases).await?;
        let explained = lots.into_iter().map(|((unit, ..), lot)| {
            let origin = origins.lots.get(&lot.id.position()).cloned().ok_or_else(|| {
                tracing::error!(lot = %lot.id, "the event that made a lot is not there");
                SubmitError::Internal
            })?;
            let money = lot.purchase.and_then(|purchase| origins.money.get(&purchase));
            let currency = money.map(|money| money.currency);
            Ok(LotView { unit, lot: lot.clone(), origin, currency })
        });
        explained.collect()
    }

    /// A page of events. Of certain types it may be short, or empty, and not be the last.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn events(&self, caller: &Caller, query: &EventQuery) -> Result<EventPage, ServiceError> {
        let EventQuery { after, until, ref types, limit } = *query;
        let looked_at = if types.is_empty() { limit } else { EVENTS_LOOKED_AT };
        let end = until.unwrap_or(Position(i64::MAX)).0.clamp(after.0, after.0.saturating_add(looked_at));
        let (moment, events) = if types.is_empty() {
            reads::events::list_events(&self.database, caller.ledger, after, end - after.0).await?
        } else {
            let range = (after, Position(end));
            reads::events::list_events_of_types(&self.database, caller.ledger, range, types, limit).await?
        };
        let reached = match events.last() {
            Some(last) if i64::try_from(events.len()) == Ok(limit) => last.event.position,
            _ => Position(end.min(moment.position.0)).max(after),
        };
        Ok(EventPage { events, reached, head: moment.position })
    }

    /// The positions of the events that were recorded in that time, as far as the ledger has come.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn positions_recorded(
        &self,
        caller: &Caller,
        range: TimeRange,
    ) -> Result<Range<Position>, ServiceError> {
        Ok(reads::recorded::positions_recorded(&self.database, caller.ledger, range).await?)
    }

    /// A page of features by name, after `after`; and the last of them, if there are more.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn features(
        &self,
        caller: &Caller,
        after: Option<&FeatureKey>,
        limit: i64,
    ) -> Result<(Vec<Feature>, Option<FeatureKey>), ServiceError> {
        let list = reads::catalogue::list_features(&self.database, caller.ledger, after, limit + 1);
        Ok(page(list.await?, limit, |feature| feature.feature.clone()))
    }

    /// One feature.
    ///
    /// # Errors
    /// [`NotFound::Feature`], and whatever keeps a read from succeeding.
    pub async fn feature(&self, caller: &Caller, feature: &FeatureKey) -> Result<Feature, ServiceError> {
        let found = reads::catalogue::find_feature(&self.database, caller.ledger, feature).await?;
        found.ok_or(ServiceError::NotFound(NotFound::Feature))
    }

    /// A page of prices as a shop lists them, after `after`; and the place of the last of them, if there are more.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn prices(
        &self,
        caller: &Caller,
        filter: PriceFilter,
        after: Option<&PricePlace>,
        limit: i64,
    ) -> Result<(Vec<Price>, Option<PricePlace>), ServiceError> {
        let list = reads::catalogue::list_prices(&self.database, caller.ledger, filter, after, limit + 1);
        Ok(page(list.await?, limit, PricePlace::of))
    }

    /// One price.
    ///
    /// # Errors
    /// [`NotFound::Price`], and whatever keeps a read from succeeding.
    pub async fn price(&self, caller: &Caller, price: &PriceId) -> Result<Price, ServiceError> {
        let found = reads::catalogue::find_price(&self.database, caller.ledger, price).await?;
        found.ok_or(ServiceError::NotFound(NotFound::Price))
    }

    /// A page of API keys, newest first, after the key `after`.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn keys(
        &self,
        caller: &Caller,
        after: Option<KeyId>,
        limit: i64,
    ) -> Result<KeyPage, ServiceError> {
        let list = reads::keys::list_keys(&self.database, caller.ledger, after, limit + 1);
        let (keys, next) = page(list.await?, limit, |row| row.key);
        Ok(KeyPage { keys, next })
    }

    async fn snapshot(
        &self,
        caller: &Caller,
        account: &AccountId,
        seen: Option<PositionToken>,
    ) -> Result<AccountSnapshot, ServiceError> {
        let found = reads::accounts::find_account(&self.database, caller.ledger, account);
        let (moment, found) = found.await?;
        check_seen(&moment, seen)?;
        found.ok_or(ServiceError::NotFound(NotFound::Account))
    }
}

fn state_now(snapshot: &AccountSnapshot) -> Result<Account, ServiceError> {
    let state = account_at(&snapshot.working_set, snapshot.row.number, snapshot.moment.now);
    state.ok_or(ServiceError::NotFound(NotFound::Account))
}

fn units<'a>(settings: &'a LedgerSettings, account: &'a Account) -> BTreeSet<&'a Unit> {
    settings.units.keys().chain(account.books.keys()).collect()
}

fn open_lots(account: &Account) -> impl Iterator<Item = (SpendingPlace, &Lot)> {
    account.books.iter().flat_map(|(unit, book)| {
        book.lots.values().filter(|lot| lot.is_open()).map(move |lot| {
            let (priority, expires_at, paid, id) = lot.spending_order();
            ((unit.clone(), priority, expires_at, paid, id), lot)
        })
    })
}

/// Cuts a list that was read one item too long; the key of the last item that is left, if there was one more.
pub(super) fn page<T, K>(mut items: Vec<T>, limit: i64, key: impl Fn(&T) -> K) -> (Vec<T>, Option<K>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if items.len() <= limit {
        return (items, None);
    }
    items.truncate(limit);
    let next = items.last().map(key);
    (items, next)
}
