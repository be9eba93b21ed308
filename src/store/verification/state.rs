//! What is stored of purchases, payments, orders, subscriptions, and lots with rows of their own, beside what the events
//! lead to: rows that are missing, that no event speaks of, and that say something else.

use tokio_postgres::{Client, Row, types::Type};
use uuid::Uuid;

use super::{VerifyError, replay::Kept};
use crate::{
    domain::{
        account::{ACCOUNT_STATE_VERSION, Lot},
        ids::{LotId, PaymentReference},
        order::{ORDER_STATE_VERSION, Order},
        payment::{PAYMENT_STATE_VERSION, Payment},
        purchase::{PURCHASE_STATE_VERSION, Purchase},
        subscription::{SUBSCRIPTION_STATE_VERSION, Subscription},
    },
    store::{
        rows::{RowError, state},
        scope::Parameter,
    },
};

/// Payments, and lots, that are compared at a time.
const ROWS: i64 = 2_000;

/// What was compared, and what of it differs.
#[derive(Default)]
pub struct Compared {
    /// How many rows either side has.
    pub rows: usize,
    /// What is not as the events say.
    pub differing: Vec<Differing>,
}

/// A row that is not as the events say.
pub struct Differing {
    /// The account that it is of, if it is of one.
    pub account: Option<i64>,
    /// What it is, by kind and id, and how it differs: for people.
    pub what: String,
}

/// A page of rows that are of no page of accounts.
pub struct ComparedPage<T> {
    /// Its rows.
    pub compared: Compared,
    /// Where the next page begins; none after the last one.
    pub next: Option<T>,
}

impl Compared {
    /// Adds a row. `stored` is none if there is no such row, and `replayed` if no event speaks of it; `agrees` says
    /// whether the columns beside the state are as they must be.
    fn add<T: PartialEq>(
        &mut self,
        (kind, id, account): (&str, String, Option<i64>),
        stored: Option<Result<T, RowError>>,
        replayed: Option<T>,
        agrees: impl Fn(&T) -> Result<bool, VerifyError>,
    ) -> Result<(), VerifyError> {
        self.rows += 1;
        let how = match (stored, replayed) {
            (None, _) => "is missing".to_owned(),
            (Some(_), None) => "is there, but no event speaks of it".to_owned(),
            (Some(Err(error)), _) => format!("is not what its events say: {error}"),
            (Some(Ok(stored)), Some(replayed)) if stored == replayed && agrees(&replayed)? => return Ok(()),
            (Some(Ok(_)), Some(_)) => "is not what its events say".to_owned(),
        };
        self.differing.push(Differing { account, what: format!("the {kind} {id} {how}") });
        Ok(())
    }
}

/// State with columns beside it, which say the same.
pub(super) trait Stored: Kept + PartialEq {
    /// The version of its shape.
    const VERSION: i16;
    /// Selects `id`, as the domain writes it, `account_number`, `state_version`, `state` and the columns beside it.
    const SELECT: &'static str;
    /// Whether the columns beside the state are as they must be.
    fn agrees(&self, row: &Row) -> Result<bool, VerifyError>;
}

impl Stored for Purchase {
    const VERSION: i16 = PURCHASE_STATE_VERSION;
    const SELECT: &'static str = "
        SELECT 'pur_' || replace(purchase_id::text, '-', '') AS id, account_number, state_version,
               state::text AS state, payment, version, other_lots FROM purchases";

    fn agrees(&self, row: &Row) -> Result<bool, VerifyError> {
        let lots = self.parts.values().flat_map(|part| part.other_lots());
        let lots: Vec<Uuid> = lots.map(|lot| Uuid::from_u128(lot.to_bits())).collect();
        Ok(row.try_get::<_, Option<String>>("payment")?
            == self.payment.as_ref().map(PaymentReference::to_string)
            && row.try_get::<_, i64>("version")? == self.version.0
            && row.try_get::<_, Vec<Uuid>>("other_lots")? == lots)
    }
}

impl Stored for Payment {
    const VERSION: i16 = PAYMENT_STATE_VERSION;
    const SELECT: &'static str = "
        SELECT payment AS id, NULL::bigint AS account_number, state_version, state::text AS state, version
          FROM payments";

    fn agrees(&self, row: &Row) -> Result<bool, VerifyError> {
        Ok(row.try_get::<_, i64>("version")? == self.version.0)
    }
}

impl Stored for Order {
    const VERSION: i16 = ORDER_STATE_VERSION;
    const SELECT: &'static str = "
        SELECT 'ord_' || replace(order_id::text, '-', '') AS id, account_number, state_version,
               state::text AS state, status, version, purchases FROM orders";

    fn agrees(&self, row: &Row) -> Result<bool, VerifyError> {
        let purchases = self.purchases.iter().map(|purchase| Uuid::from_u128(purchase.to_bits()));
        Ok(row.try_get::<_, &str>("status")? == self.status.as_str()
            && row.try_get::<_, i64>("version")? == self.version.0
            && row.try_get::<_, Vec<Uuid>>("purchases")? == purchases.collect::<Vec<_>>())
    }
}

impl Stored for Subscription {
    const VERSION: i16 = SUBSCRIPTION_STATE_VERSION;
    const SELECT: &'static str = "
        SELECT subscription_id AS id, account_number, state_version, state::text AS state, status, started, version
          FROM subscriptions";

    fn agrees(&self, row: &Row) -> Result<bool, VerifyError> {
        Ok(row.try_get::<_, &str>("status")? == self.terms.status.as_str()
            && row.try_get::<_, i64>("started")? == self.started.0
            && row.try_get::<_, i64>("version")? == self.version.0)
    }
}

/// Compares what is stored of the accounts numbered in the range.
pub(super) async fn of_accounts<T: Stored>(
    client: &Client,
    ledger: i64,
    range: [i64; 2],
) -> Result<Compared, VerifyError> {
    let part = "ledger_id = $1 AND account_number > $2 AND account_number <= $3";
    let statement = format!(
        "SELECT id AS key, COALESCE(r.account_number, s.account_number) AS account, s.*, r.state AS replayed
           FROM ({} WHERE {part}) s
           FULL JOIN (SELECT id, account_number, state FROM pg_temp.replayed_states
                       WHERE kind = '{}' AND {part}) r USING (id)
          ORDER BY key",
        T::SELECT,
        T::KIND,
    );
    let mut compared = Compared::default();
    for row in super::rows(client, &statement, ledger, range).await? {
        add::<T>(&mut compared, &row)?;
    }
    Ok(compared)
}

/// Compares the payments behind one, in their order.
pub(super) async fn payments(
    client: &Client,
    ledger: i64,
    after: &str,
) -> Result<ComparedPage<String>, VerifyError> {
    let part = "ORDER BY id LIMIT $3";
    let statement = format!(
        "SELECT id AS key, NULL::bigint AS account, s.*, r.state AS replayed
           FROM ({} WHERE ledger_id = $1 AND payment > $2 {part}) s
           FULL JOIN (SELECT id, state FROM pg_temp.replayed_states
                       WHERE ledger_id = $1 AND kind = '{}' AND id > $2 {part}) r USING (id)
          ORDER BY key LIMIT $3",
        Payment::SELECT,
        Payment::KIND,
    );
    let parameters: [Parameter<'_>; 3] = [(&ledger, Type::INT8), (&after, Type::TEXT), (&ROWS, Type::INT8)];
    let mut page = ComparedPage { compared: Compared::default(), next: None };
    for row in client.query_typed(&statement, &parameters).await? {
        add::<Payment>(&mut page.compared, &row)?;
        page.next = Some(row.try_get("key")?);
    }
    Ok(page)
}

fn add<T: Stored>(compared: &mut Compared, row: &Row) -> Result<(), VerifyError> {
    let stored: Option<&str> = row.try_get("state")?;
    let version: Option<i16> = row.try_get("state_version")?;
    let stored = stored.zip(version).map(|(text, found)| state::<T>(T::KIND, found, T::VERSION, text));
    let replayed: Option<&str> = row.try_get("replayed")?;
    let replayed = replayed.map(|text| super::replay::read::<T>(T::KIND, text)).transpose()?;
    let name = (T::KIND, row.try_get("key")?, row.try_get("account")?);
    let account: Option<i64> = row.try_get("account_number")?;
    compared.add(name, stored, replayed, |replayed| {
        Ok(account == replayed.account().map(|number| number.0) && replayed.agrees(row)?)
    })
}

const LOTS: &str = "
    SELECT lot_id, COALESCE(r.account_number, s.account_number) AS account, s.state_version, s.state, s.purchase_id,
           r.state AS replayed, (s.account_number, s.unit, s.is_open) = (r.account_number, r.unit, r.is_open) AS agrees
      FROM (SELECT lot_id, account_number, unit, is_open, purchase_id, state_version, state::text AS state FROM lots
             WHERE ledger_id = $1 AND lot_id > $2 AND state IS NOT NULL ORDER BY lot_id LIMIT $3) s
      FULL JOIN (SELECT lot_id, account_number, unit, is_open, state FROM pg_temp.replayed_lots
                  WHERE ledger_id = $1 AND lot_id > $2 AND has_row ORDER BY lot_id LIMIT $3) r USING (lot_id)
     ORDER BY lot_id LIMIT $3";

/// Compares the lots with rows of their own behind one, in their order.
pub(super) async fn lots(
    client: &Client,
    ledger: i64,
    after: Uuid,
) -> Result<ComparedPage<Uuid>, VerifyError> {
    let parameters: [Parameter<'_>; 3] = [(&ledger, Type::INT8), (&after, Type::UUID), (&ROWS, Type::INT8)];
    let mut page = ComparedPage { compared: Compared::default(), next: None };
    for row in client.query_typed(LOTS, &parameters).await? {
        let id: Uuid = row.try_get("lot_id")?;
        let stored: Option<&str> = row.try_get("state")?;
        let version: Option<i16> = row.try_get("state_version")?;
        let stored =
            stored.zip(version).map(|(text, found)| state::<Lot>("lot", found, ACCOUNT_STATE_VERSION, text));
        let replayed: Option<&str> = row.try_get("replayed")?;
        let replayed = replayed.map(|text| super::replay::read::<Lot>("lot", text)).transpose()?;
        let name = ("lot", LotId::from_bits(id.as_u128()).to_string(), row.try_get("account")?);
        page.compared.add(name, stored, replayed, |lot| {
            let purchase = lot.purchase.map(|purchase| Uuid::from_u128(purchase.to_bits()));
            Ok(row.try_get::<_, Option<bool>>("agrees")? == Some(true)
                && row.try_get::<_, Option<Uuid>>("purchase_id")? == purchase)
        })?;
        page.next = Some(id);
    }
    Ok(page)
}
