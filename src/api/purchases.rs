//! Purchases that were paid outside of Stripe, and their refunds.

use std::collections::BTreeMap;

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::{Created, UnitBalance, Written, unit_of},
    auth::{Authorised, Billing, Operate},
    error::{ApiError, Failure, Writing},
    idempotency::{IdempotencyKey, fingerprint},
    notes,
    params::Path,
    payload::Json,
    tags::Tag,
    wire::{Metadata, Nullable, Reason, Reference, Whole},
};
use crate::{
    domain::{
        Command, Event, EventBody,
        amount::{Amount, Currency, PaidMoney},
        command::{Bought, PaidThrough, RecordPurchase, RefundPurchase},
        event::{CreditsPurchased, TargetCause, TargetMoved},
        ids::{AccountId, LotId, PriceId, PurchaseId, StripeId, Unit},
        payment::PaymentFact,
        time::Timestamp,
    },
    service::Accepted,
};

/// What was paid, in the smallest part of the currency (cents; whole yen).
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct Money {
    /// Everything that was paid, tax included.
    pub amount: Amount,
    /// The tax in it; 0 if absent.
    pub tax: Option<Whole>,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    fn paid(&self) -> Result<PaidMoney, ApiError> {
        let tax = self.tax.as_ref().map_or(0, |tax| tax.get());
        let paid = PaidMoney::new(self.amount.get(), tax, self.currency);
        paid.ok_or_else(|| ApiError::invalid("money.tax", "must not be more than the amount"))
    }
}

/// What was bought and paid: so many of a price (`price_id`, `quantity`), or so many credits (`unit`, `amount`).
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewPurchase {
    /// The price.
    pub price_id: Option<PriceId>,
    /// How many of the price; 1 if absent.
    pub quantity: Option<Amount>,
    /// The unit, instead of a price.
    pub unit: Option<Unit>,
    /// How many credits, with a unit.
    pub amount: Option<Amount>,
    /// What was paid.
    pub money: Money,
    /// What the payment is called elsewhere: an invoice number, a transfer's reference.
    pub reference: Option<Reference>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

impl NewPurchase {
    /// What it says was bought; an error names the field that is missing or too many.
    pub(super) fn bought(&self) -> Result<Bought, ApiError> {
        let not_both = |field| Err(ApiError::invalid(field, "must not be given with `price_id`"));
        match (&self.price_id, &self.unit, self.amount) {
            (Some(_), Some(_), _) => not_both("unit"),
            (Some(_), None, Some(_)) => not_both("amount"),
            (Some(price), None, None) => {
                let quantity = self.quantity.unwrap_or(Amount::ONE);
                Ok(Bought { price: Some((price.clone(), quantity)), totals: BTreeMap::new() })
            }
            (None, _, _) if self.quantity.is_some() => {
                Err(ApiError::invalid("quantity", "must not be given without `price_id`"))
            }
            (None, Some(unit), Some(amount)) => {
                Ok(Bought { price: None, totals: BTreeMap::from([(unit.clone(), amount)]) })
            }
            (None, Some(_), None) => Err(ApiError::invalid("amount", "is missing")),
            (None, None, Some(_)) => Err(ApiError::invalid("unit", "is missing")),
            (None, None, None) => {
                Err(ApiError::invalid("price_id", "is missing; `unit` and `amount` may be given instead"))
            }
        }
    }
}

/// A lot that was bought.
#[derive(Clone, Debug, Object)]
pub struct PurchasedLot {
    /// Which lot.
    pub lot_id: LotId,
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: i64,
    /// Its share of the money without tax.
    pub cost: i64,
    /// When it expires; `null` if it does not.
    pub expires_at: Nullable<Timestamp>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
}

/// What was paid, in the smallest part of the currency.
#[derive(Clone, Debug, Object)]
pub struct Paid {
    /// Everything that was paid, tax included.
    pub amount: i64,
    /// The tax in it.
    pub tax: i64,
    /// The currency.
    pub currency: Currency,
}

/// A purchase that was recorded.
#[derive(Clone, Debug, Object)]
pub struct Purchase {
    /// Which purchase.
    pub purchase_id: PurchaseId,
    /// Who bought.
    pub account_id: AccountId,
    /// The price; `null` if credits were named.
    pub price_id: Nullable<PriceId>,
    /// How many of the price; `null` if credits were named.
    pub quantity: Nullable<i64>,
    /// What was paid.
    pub money: Paid,
    /// The lots that it made, one for each unit.
    pub lots: Vec<PurchasedLot>,
    /// What the account had then, of the units that were bought.
    pub balances: Vec<UnitBalance>,
    /// The position of the command's last event.
    pub position: i64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl Purchase {
    fn of(account: AccountId, accepted: &Accepted) -> Result<Self, ApiError> {
        let written = Written::of(accepted);
        let of_kind = |event: &'_ Event| purchased(&event.body).map(|_| event.clone());
        let events: Vec<Event> = accepted.events.iter().filter_map(of_kind).collect();
        let (_, first) = written.find(purchased)?;
        let mut lots = Vec::with_capacity(events.len());
        let mut balances = Vec::with_capacity(events.len());
        for event in &events {
            let unit = unit_of(event)?;
            lots.extend(purchased(&event.body).map(|body| PurchasedLot {
                lot_id: body.lot,
                unit: unit.clone(),
                amount: body.granted,
                cost: body.cost,
                expires_at: Nullable(body.expires_at),
                priority: body.priority,
            }));
            balances.push(written.balance(unit)?);
        }
        let (position, recorded_at) = written.end().ok_or_else(ApiError::internal)?;
        Ok(Self {
            purchase_id: first.purchase,
            account_id: account,
            price_id: Nullable(first.price.clone()),
            quantity: Nullable(first.quantity),
            money: Paid { amount: first.money.gross, tax: first.money.tax, currency: first.money.currency },
            lots,
            balances,
            position,
            recorded_at,
        })
    }
}

fn purchased(body: &EventBody) -> Option<&CreditsPurchased> {
    match body {
        EventBody::CreditsPurchased(purchased) => Some(purchased),
        _ => None,
    }
}

/// Money that was given back outside of Stripe.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewRefund {
    /// How much, in the smallest part of the payment's currency; all that is left if absent.
    pub amount: Option<Amount>,
    /// Why, for people.
    pub reason: Option<Reason>,
    /// What the refund is called elsewhere.
    pub reference: Option<Reference>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

/// What a refund took of one unit.
#[derive(Clone, Debug, Object)]
pub struct Clawback {
    /// The unit.
    pub unit: Unit,
    /// How many credits of the purchase must now not be in the buyer's hands, of all its refunds together.
    pub clawed_in_all: i64,
    /// By how much the balance (available minus debt) changed.
    pub amount: i64,
    /// What the account had of the unit then.
    pub balance: UnitBalance,
}

/// A refund that was recorded.
#[derive(Clone, Debug, Object)]
pub struct Refund {
    /// Which refund.
    pub refund_id: StripeId,
    /// Of which purchase.
    pub purchase_id: PurchaseId,
    /// How much money, in the smallest part of the currency.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
    /// What became of the credits, by unit.
    pub clawbacks: Vec<Clawback>,
    /// The position of the command's last event.
    pub position: i64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl Refund {
    fn of(purchase: PurchaseId, accepted: &Accepted) -> Result<Self, ApiError> {
        let written = Written::of(accepted);
        let (_, (_, refund)) = written.find(refunded)?;
        let mut clawbacks = Vec::new();
        let moves = || accepted.events.iter().filter_map(|event| Some((event, refunded(&event.body)?)));
        // The buyer's event comes behind those of accounts that he gave credits to.
        let buyer =
            moves().next_back().and_then(|(event, _)| event.account).ok_or_else(ApiError::internal)?;
        for (event, (moved, _)) in moves().filter(|(event, _)| event.account == Some(buyer)) {
            let unit = unit_of(event)?;
            clawbacks.push(Clawback {
                unit: unit.clone(),
                clawed_in_all: moved.after.total,
                amount: event.amount,
                balance: written.balance_of(buyer, unit)?,
            });
        }
        let (position, recorded_at) = written.end().ok_or_else(ApiError::internal)?;
        Ok(Self {
            refund_id: refund.id,
            purchase_id: purchase,
            amount: refund.amount,
            currency: refund.currency,
            clawbacks,
            position,
            recorded_at,
        })
    }
}

struct RefundFact {
    id: StripeId,
    amount: i64,
    currency: Currency,
}

/// What the refund moved, and the refund.
fn refunded(body: &EventBody) -> Option<(&TargetMoved, RefundFact)> {
    let EventBody::PurchaseClawed(clawed) = body else { return None };
    match &clawed.0.cause {
        TargetCause::Fact(PaymentFact::Refund { refund, amount, currency, .. }) => {
            Some((&clawed.0, RefundFact { id: refund.clone(), amount: *amount, currency: *currency }))
        }
        _ => None,
    }
}

/// The resource.
pub struct Purchases;

#[OpenApi(tag = "Tag::Purchases")]
impl Purchases {
    /// Record a purchase
    ///
    /// One that was paid outside of Stripe: by transfer, in an app store. Its credits carry what was paid for them.
    #[oai(path = "/v1/accounts/:account/purchases", method = "post", operation_id = "record_purchase")]
    async fn record(
        &self,
        caller: Authorised<Billing>,
        /// Marks repeats of this request: they are answered as it was, and nothing is credited twice.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The account.
        account: Path<AccountId>,
        body: Json<NewPurchase>,
    ) -> Result<Created<Purchase>, Failure<Writing>> {
        let print = fingerprint("POST /v1/accounts/{account}/purchases", &[account.0.as_str()], &body.sent);
        let (bought, money) = (body.content.bought()?, body.content.money.paid()?);
        let asked_by = if body.content.amount.is_some() { "amount" } else { "quantity" };
        let NewPurchase { reference, metadata, .. } = body.content;
        let command = Command::RecordPurchase(RecordPurchase {
            order: None,
            account: account.0.clone(),
            paid_through: PaidThrough::External,
            bought,
            money,
            note: notes::note_with_reference(None, reference, metadata),
        });
        let accepted = caller.submit(command, Some(key.0), print).await;
        let accepted = accepted.map_err(|error| ApiError::from(error).about(Some(asked_by)))?;
        Ok(Created::new(&accepted, Purchase::of(account.0, &accepted)?))
    }

    /// Record a refund
    ///
    /// Of a purchase that was paid outside of Stripe. The same share of its credits is taken back: its own unspent ones
    /// first, then others of the account, then as debt.
    #[oai(path = "/v1/purchases/:purchase/refunds", method = "post", operation_id = "refund_purchase")]
    async fn refund(
        &self,
        caller: Authorised<Operate>,
        /// Marks repeats of this request: they are answered as it was, and nothing is taken back twice.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The purchase.
        purchase: Path<PurchaseId>,
        body: Json<NewRefund>,
    ) -> Result<Created<Refund>, Failure<Writing>> {
        let name = purchase.0.to_string();
        let print = fingerprint("POST /v1/purchases/{purchase}/refunds", &[&name], &body.sent);
        let NewRefund { amount, reason, reference, metadata } = body.content;
        let note = notes::note_with_reference(reason, reference, metadata);
        let command = Command::RefundPurchase(RefundPurchase { purchase: purchase.0, amount, note });
        let accepted = caller.submit(command, Some(key.0), print).await;
        let accepted = accepted.map_err(|error| ApiError::from(error).about(amount.map(|_| "amount")))?;
        Ok(Created::new(&accepted, Refund::of(purchase.0, &accepted)?))
    }
}
