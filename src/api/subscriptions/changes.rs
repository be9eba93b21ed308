//! Changes of subscriptions: asked for here, made at Stripe.

use poem_openapi::{Enum, Object, OpenApi};
use serde::Deserialize;

use crate::{
    api::{
        answers::{Created, Found, Written},
        auth::{Authorised, Billing},
        error::{ApiError, Failure, Selling},
        idempotency::{IdempotencyKey, fingerprint},
        notes,
        params::Path,
        payload::Json,
        tags::Tag,
        wire::{Metadata, Nullable, Reason, SubscriptionId, same_variants},
    },
    domain::{
        Command, EventBody,
        amount::{Amount, Currency},
        command::{RequestSubscriptionChange, Subscriber},
        ids::{PriceId, StripeId, SubscriptionChangeId, Unit},
        subscription_change::{self, AskedChange, ChangeOutcome, RequestedChange, WantedChange},
        time::Timestamp,
    },
    service::{self, InvoicePreview, PreviewedGrant},
};

/// When a subscription is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum CancelAt {
    /// At once. Nothing is given back for the rest of the period; that is an order's or a payment's refund.
    Now,
    /// With the period that is paid.
    PeriodEnd,
}

/// When the rest of a period is charged at its new price, and its old price is given back for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Proration {
    /// At once; if that cannot be paid nothing changes.
    Now,
    /// With the next invoice.
    NextInvoice,
    /// Never: the new price counts from the next period on.
    Never,
}

same_variants!(CancelAt, subscription_change::CancelAt { Now, PeriodEnd });
same_variants!(Proration, subscription_change::Proration { Now, NextInvoice, Never });

/// How a subscription is to end.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewCancellation {
    /// When; `period_end` if absent.
    pub at: Option<CancelAt>,
    /// Why, for people.
    pub reason: Option<Reason>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

/// That a subscription is to go on.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewResumption {
    /// Why, for people.
    pub reason: Option<Reason>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

/// What a subscription is to be of. One of `price_id` and `quantity` has to differ from what is.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewSwitch {
    /// The new price, of the subscription's currency; the old one stays if absent.
    pub price_id: Option<PriceId>,
    /// How many of it, 1 to 10,000; as many as there are if absent.
    pub quantity: Option<Amount>,
    /// The price in whose place it comes; needed if the subscription has several.
    pub replaces: Option<PriceId>,
    /// When it is charged; `now` if absent.
    pub proration: Option<Proration>,
    /// Why, for people.
    pub reason: Option<Reason>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

impl NewCancellation {
    fn asked(&self) -> AskedChange {
        AskedChange::Cancel { at: self.at.unwrap_or(CancelAt::PeriodEnd).into() }
    }
}

impl NewSwitch {
    fn asked(&self) -> AskedChange {
        AskedChange::Switch {
            replaces: self.replaces.clone(),
            price: self.price_id.clone(),
            quantity: self.quantity,
            proration: self.proration.unwrap_or(Proration::Now).into(),
        }
    }
}

/// What is to change about a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is to end.
    Cancel,
    /// It is not to end with its period after all.
    Resume,
    /// It is to be of another price or quantity.
    Switch,
}

/// How far a change has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ChangeStatus {
    /// Stripe has not answered yet.
    Requested,
    /// Stripe has made it. How the subscription is then, and what its invoice grants, comes with Stripe's webhooks.
    Made,
    /// It will not be made; `refusal` says why.
    Refused,
}

/// A change of a subscription that was asked for, as far as it has come.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct SubscriptionChange {
    /// Which change.
    pub change_id: SubscriptionChangeId,
    /// Of which subscription.
    pub subscription_id: StripeId,
    /// What is to change.
    pub kind: ChangeKind,
    /// When it is to end; `null` if it is not to.
    pub at: Nullable<CancelAt>,
    /// The price in whose place another one comes; `null` if none does.
    pub replaces: Nullable<PriceId>,
    /// The new price.
    pub price_id: Nullable<PriceId>,
    /// How many of it.
    pub quantity: Nullable<i64>,
    /// When that is charged.
    pub proration: Nullable<Proration>,
    /// How far it has come.
    pub status: ChangeStatus,
    /// Why it will not be made: `subscription_ended`, `payment_failed`, `item_gone` (the price is not subscribed to any
    /// more), `refused` (Stripe does not make it) or `given_up`; `null` if that is not so.
    pub refusal: Nullable<String>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// In the answer to the request for it: the position of the command's last event; absent elsewhere.
    pub position: Option<i64>,
}

impl SubscriptionChange {
    /// As the subscription remembers it.
    pub fn of(subscription: &StripeId, requested: RequestedChange) -> Self {
        let (status, refusal) = match requested.outcome {
            None => (ChangeStatus::Requested, None),
            Some(ChangeOutcome::Made) => (ChangeStatus::Made, None),
            Some(ChangeOutcome::Refused(refusal)) => {
                (ChangeStatus::Refused, Some(refusal.as_str().to_owned()))
            }
        };
        let nothing = || (None, None, None, None, None);
        let (kind, (at, replaces, price, quantity, proration)) = match requested.change {
            WantedChange::Cancel { at } => (ChangeKind::Cancel, (Some(at.into()), None, None, None, None)),
            WantedChange::Resume {} => (ChangeKind::Resume, nothing()),
            WantedChange::Switch { replaces, price, quantity, proration } => (
                ChangeKind::Switch,
                (None, Some(replaces), Some(price), Some(quantity), Some(proration.into())),
            ),
        };
        Self {
            change_id: requested.id,
            subscription_id: subscription.clone(),
            kind,
            at: Nullable(at),
            replaces: Nullable(replaces),
            price_id: Nullable(price),
            quantity: Nullable(quantity),
            proration: Nullable(proration),
            status,
            refusal: Nullable(refusal),
            requested_at: requested.requested_at,
            position: None,
        }
    }
}

/// Credits that an invoice would grant.
#[derive(Clone, Debug, Object)]
pub struct PreviewedCredits {
    /// The unit.
    pub unit: Unit,
    /// How many.
    pub amount: i64,
    /// When they would expire.
    pub expires_at: Timestamp,
}

/// An invoice that is not drawn up.
#[derive(Clone, Debug, Object)]
pub struct PreviewedInvoice {
    /// When it would be.
    pub due_at: Timestamp,
    /// What everything comes to with taxes, in the smallest part of the currency; below zero the customer is given
    /// credit for later invoices.
    pub total: i64,
    /// What would be charged: not what the customer's credit covers.
    pub amount_due: i64,
    /// The currency.
    pub currency: Currency,
    /// What it grants once it is paid.
    pub credits: Vec<PreviewedCredits>,
}

impl From<InvoicePreview> for PreviewedInvoice {
    fn from(invoice: InvoicePreview) -> Self {
        let credits = invoice.grants.into_iter();
        Self {
            due_at: invoice.due_at,
            total: invoice.total,
            amount_due: invoice.amount_due,
            currency: invoice.currency,
            credits: credits
                .map(|PreviewedGrant { unit, amount, expires_at }| PreviewedCredits {
                    unit,
                    amount,
                    expires_at,
                })
                .collect(),
        }
    }
}

/// What a change would come to.
#[derive(Clone, Debug, Object)]
pub struct SubscriptionChangePreview {
    /// The next invoice; `null` if the change leads to none.
    pub invoice: Nullable<PreviewedInvoice>,
    /// When the subscription ends; `null` if the change does not end it.
    pub ends_at: Nullable<Timestamp>,
    /// Until when credits of the subscription can be used when it has ended; `null` if there are none.
    pub credits_until: Nullable<Timestamp>,
}

impl From<service::ChangePreview> for SubscriptionChangePreview {
    fn from(preview: service::ChangePreview) -> Self {
        Self {
            invoice: Nullable(preview.invoice.map(Into::into)),
            ends_at: Nullable(preview.ends_at),
            credits_until: Nullable(preview.credits_until),
        }
    }
}

/// The resource.
pub struct SubscriptionChanges;

#[OpenApi(tag = "Tag::Subscriptions")]
impl SubscriptionChanges {
    /// End a subscription
    ///
    /// At once, or with the period that is paid. Credits that were paid for can be used until that period ends. Stripe is
    /// asked right after the answer; the subscription's `changes` tell what came of it.
    #[oai(
        path = "/v1/subscriptions/:subscription/cancel",
        method = "post",
        operation_id = "cancel_subscription"
    )]
    async fn cancel(
        &self,
        caller: Authorised<Billing>,
        /// Marks repeats of this request: they are answered as it was.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// Stripe's id of it.
        subscription: Path<SubscriptionId>,
        body: Json<NewCancellation>,
    ) -> Result<Created<SubscriptionChange>, Failure<Selling>> {
        let id = subscription.0.0;
        let print = fingerprint("POST /v1/subscriptions/{subscription}/cancel", &[id.as_str()], &body.sent);
        let (change, new) = (body.content.asked(), body.content);
        ask(&caller, id, change, (new.reason, new.metadata), key, print).await
    }

    /// Preview the end of a subscription
    ///
    /// Changes nothing.
    #[oai(
        path = "/v1/subscriptions/:subscription/cancel/preview",
        method = "post",
        operation_id = "preview_subscription_cancellation"
    )]
    async fn preview_cancellation(
        &self,
        caller: Authorised<Billing>,
        /// Stripe's id of it.
        subscription: Path<SubscriptionId>,
        body: Json<NewCancellation>,
    ) -> Result<Found<SubscriptionChangePreview>, Failure<Selling>> {
        preview(&caller, &subscription.0.0, &body.content.asked()).await
    }

    /// Let a subscription go on
    ///
    /// One that was to end with its period.
    #[oai(
        path = "/v1/subscriptions/:subscription/resume",
        method = "post",
        operation_id = "resume_subscription"
    )]
    async fn resume(
        &self,
        caller: Authorised<Billing>,
        /// Marks repeats of this request: they are answered as it was.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// Stripe's id of it.
        subscription: Path<SubscriptionId>,
        body: Json<NewResumption>,
    ) -> Result<Created<SubscriptionChange>, Failure<Selling>> {
        let id = subscription.0.0;
        let print = fingerprint("POST /v1/subscriptions/{subscription}/resume", &[id.as_str()], &body.sent);
        let new = body.content;
        ask(&caller, id, AskedChange::Resume, (new.reason, new.metadata), key, print).await
    }

    /// Change a subscription
    ///
    /// To another price, another quantity, or both. Its credits come when Stripe says that its invoice is paid. Stripe is
    /// asked right after the answer; the subscription's `changes` tell what came of it.
    #[oai(
        path = "/v1/subscriptions/:subscription/change",
        method = "post",
        operation_id = "change_subscription"
    )]
    async fn change(
        &self,
        caller: Authorised<Billing>,
        /// Marks repeats of this request: they are answered as it was.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// Stripe's id of it.
        subscription: Path<SubscriptionId>,
        body: Json<NewSwitch>,
    ) -> Result<Created<SubscriptionChange>, Failure<Selling>> {
        let id = subscription.0.0;
        let print = fingerprint("POST /v1/subscriptions/{subscription}/change", &[id.as_str()], &body.sent);
        let (change, new) = (body.content.asked(), body.content);
        ask(&caller, id, change, (new.reason, new.metadata), key, print).await
    }

    /// Preview a change of a subscription
    ///
    /// What it would cost, by Stripe's reckoning, and what it would grant. Changes nothing.
    #[oai(
        path = "/v1/subscriptions/:subscription/change/preview",
        method = "post",
        operation_id = "preview_subscription_change"
    )]
    async fn preview_change(
        &self,
        caller: Authorised<Billing>,
        /// Stripe's id of it.
        subscription: Path<SubscriptionId>,
        body: Json<NewSwitch>,
    ) -> Result<Found<SubscriptionChangePreview>, Failure<Selling>> {
        preview(&caller, &subscription.0.0, &body.content.asked()).await
    }
}

async fn preview(
    caller: &Authorised<Billing>,
    subscription: &StripeId,
    change: &AskedChange,
) -> Result<Found<SubscriptionChangePreview>, Failure<Selling>> {
    Ok(Found(caller.service.preview_change(&caller.caller, subscription, change).await?.into()))
}

async fn ask(
    caller: &Authorised<Billing>,
    subscription: StripeId,
    change: AskedChange,
    (reason, metadata): (Option<Reason>, Option<Metadata>),
    key: IdempotencyKey,
    print: [u8; 32],
) -> Result<Created<SubscriptionChange>, Failure<Selling>> {
    let known = caller.service.subscription(&caller.caller, &subscription, None).await?;
    let command = Command::RequestSubscriptionChange(RequestSubscriptionChange {
        subscriber: Subscriber::Owner(known.subscription.account),
        subscription,
        change,
        note: notes::note(reason, metadata),
    });
    let accepted = caller.submit(command, Some(key.0), print).await?;
    let (_, requested) = Written::of(&accepted).find(|body| match body {
        EventBody::SubscriptionChangeRequested(requested) => Some(requested.clone()),
        _ => None,
    })?;
    let (position, requested_at) = Written::of(&accepted).end().ok_or_else(ApiError::internal)?;
    let (id, change) = (requested.request, requested.change);
    let asked = RequestedChange { id, change, requested_at, outcome: None };
    let change = SubscriptionChange::of(&requested.subscription, asked);
    Ok(Created::new(&accepted, SubscriptionChange { position: Some(position), ..change }))
}
