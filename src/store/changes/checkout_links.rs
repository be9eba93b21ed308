//! Links by which orders are placed: made, revoked, followed.
//!
//! An erasure of an account takes what its links know of a person; as with notes, it reaches what the same batch wrote
//! before it, and nothing that comes after it.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Changes;
use crate::{
    domain::{
        EventBody, Private,
        event::CheckoutLinkCreated,
        ids::{AccountNumber, Actor, CheckoutLinkId},
        order::OrderDetails,
        time::Timestamp,
    },
    store::session::{Pipeline, Session, Statement, Value},
};

pub(super) static STATEMENTS: &[&Statement] =
    &[&ERASE_CHECKOUT_LINKS, &INSERT_CHECKOUT_LINKS, &REVOKE_CHECKOUT_LINK, &FOLLOW_CHECKOUT_LINK];

/// Before any link is written: what the batch adds after an erasure stays.
static ERASE_CHECKOUT_LINKS: Statement = Statement {
    name: "erase_checkout_links",
    sql: "UPDATE checkout_links SET locale = NULL, success_url = NULL, cancel_url = NULL
           WHERE ledger_id = $1 AND account_number = $2",
    parameters: &[Type::INT8, Type::INT8],
};

static INSERT_CHECKOUT_LINKS: Statement = Statement {
    name: "insert_checkout_links",
    sql: "INSERT INTO checkout_links (ledger_id, link_id, account_number, price, quantity, expires_at, created_at, locale,
              success_url, cancel_url)
          SELECT h.ledger_id, u.link_id, u.account_number, u.price, u.quantity, u.expires_at, u.created_at, u.locale,
                 u.success_url, u.cancel_url
            FROM ledger_heads h,
                 unnest($2::uuid[], $3::int8[], $4::text[], $5::int8[], $6::timestamptz[], $7::timestamptz[],
                        $8::text[], $9::text[], $10::text[])
                 AS u (link_id, account_number, price, quantity, expires_at, created_at, locale, success_url, cancel_url)
           WHERE h.ledger_id = $1",
    parameters: &[
        Type::INT8,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// One statement for each link, which can do nothing but look it up: one that joins might scan the ledger.
static REVOKE_CHECKOUT_LINK: Statement = Statement {
    name: "revoke_checkout_link",
    sql: "UPDATE checkout_links SET revoked_at = $3 WHERE ledger_id = $1 AND link_id = $2",
    parameters: &[Type::INT8, Type::UUID, Type::TIMESTAMPTZ],
};

static FOLLOW_CHECKOUT_LINK: Statement = Statement {
    name: "follow_checkout_link",
    sql: "UPDATE checkout_links SET orders = orders + $3, last_order = $4 WHERE ledger_id = $1 AND link_id = $2",
    parameters: &[Type::INT8, Type::UUID, Type::INT8, Type::UUID],
};

/// What the batch writes of them.
#[derive(Default)]
pub(super) struct LinkColumns<'a> {
    ledger: i64,
    erased: Vec<i64>,
    new: NewColumns<'a>,
    revoked: Vec<(Uuid, OffsetDateTime)>,
    followed: BTreeMap<Uuid, Followed>,
}

/// How many orders were placed by a link, and the last of them.
#[derive(Default)]
struct Followed {
    orders: i64,
    last: Uuid,
}

#[derive(Default)]
struct NewColumns<'a> {
    ids: Vec<Uuid>,
    accounts: Vec<i64>,
    prices: Vec<&'a str>,
    quantities: Vec<i64>,
    expire_at: Vec<Option<OffsetDateTime>>,
    created_at: Vec<OffsetDateTime>,
    locales: Vec<Option<&'a str>>,
    success_urls: Vec<Option<&'a str>>,
    cancel_urls: Vec<Option<&'a str>>,
}

fn uuid_of(link: CheckoutLinkId) -> Uuid {
    Uuid::from_u128(link.to_bits())
}

impl<'a> LinkColumns<'a> {
    pub(super) fn new(changes: &Changes<'a>) -> Self {
        let mut columns = Self { ledger: changes.ledger.0, ..Self::default() };
        let mut kept: BTreeMap<CheckoutLinkId, (AccountNumber, &'a OrderDetails)> = BTreeMap::new();
        for private in &changes.private {
            match private {
                Private::Linked { link, account, details } => {
                    kept.insert(*link, (*account, details));
                }
                Private::Erased { account, .. } => {
                    columns.erased.push(account.0);
                    kept.retain(|_, (of, _)| of != account);
                }
                _ => {}
            }
        }
        for event in changes.events() {
            match (&event.body, event.account, &event.actor) {
                (EventBody::CheckoutLinkCreated(body), Some(account), _) => {
                    let details = kept.get(&body.link).map(|(_, details)| *details);
                    columns.new.add(body, account, event.recorded_at, details);
                }
                (EventBody::CheckoutLinkRevoked(body), ..) => {
                    columns.revoked.push((uuid_of(body.link), event.recorded_at.to_datetime()));
                }
                (EventBody::OrderPlaced(body), _, Actor::CheckoutLink(link)) => {
                    let followed = columns.followed.entry(uuid_of(*link)).or_default();
                    followed.orders += 1;
                    followed.last = Uuid::from_u128(body.order.to_bits());
                }
                _ => {}
            }
        }
        columns
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        for account in &self.erased {
            pipeline.rows(session, &ERASE_CHECKOUT_LINKS, vec![&self.ledger, account]);
        }
        let new = &self.new;
        if !new.ids.is_empty() {
            let values: Vec<Value<'_>> = vec![
                &self.ledger,
                &new.ids,
                &new.accounts,
                &new.prices,
                &new.quantities,
                &new.expire_at,
                &new.created_at,
                &new.locales,
                &new.success_urls,
                &new.cancel_urls,
            ];
            pipeline.rows(session, &INSERT_CHECKOUT_LINKS, values);
        }
        for (link, revoked_at) in &self.revoked {
            pipeline.rows(session, &REVOKE_CHECKOUT_LINK, vec![&self.ledger, link, revoked_at]);
        }
        for (link, Followed { orders, last }) in &self.followed {
            pipeline.rows(session, &FOLLOW_CHECKOUT_LINK, vec![&self.ledger, link, orders, last]);
        }
    }
}

impl<'a> NewColumns<'a> {
    fn add(
        &mut self,
        body: &'a CheckoutLinkCreated,
        account: AccountNumber,
        created_at: Timestamp,
        details: Option<&'a OrderDetails>,
    ) {
        let detail = |of: fn(&OrderDetails) -> &Option<String>| of(details?).as_deref();
        self.ids.push(uuid_of(body.link));
        self.accounts.push(account.0);
        self.prices.push(body.price.as_str());
        self.quantities.push(body.quantity.get());
        self.expire_at.push(body.expires_at.map(|moment| moment.to_datetime()));
        self.created_at.push(created_at.to_datetime());
        self.locales.push(detail(|details| &details.locale));
        self.success_urls.push(detail(|details| &details.success_url));
        self.cancel_urls.push(detail(|details| &details.cancel_url));
    }
}
