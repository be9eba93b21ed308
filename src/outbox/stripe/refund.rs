//! A refund that was asked for: Stripe is asked to send the money back.

use super::{Failed, Make, StripeEffects, cause, make, missing, origin};
use crate::{
    domain::{
        Command,
        amount::Amount,
        command::{RecordPaymentFact, RefuseRefund},
        ids::{Actor, Key, Namespace, PaymentReference, RefundRequestId},
        payment::{RefundRefusal, RequestStatus},
    },
    outbox::{Class, Looked, Ordered, Performed, Report},
    store::reads::orders::{RefundRow, find_customer, find_refund},
    stripe::{
        Refund,
        client::{CallClass, CallError, NewRefund, StripeClient},
        extract_refund,
    },
};

impl StripeEffects {
    pub(super) async fn create_refund(
        &self,
        ordered: &Ordered,
        refund: RefundRequestId,
    ) -> Result<Performed, Failed> {
        let row = self.requested(ordered, refund).await?;
        if row.status != RequestStatus::Requested {
            return Ok(Performed::Done(Vec::new()));
        }
        let PaymentReference::Stripe(payment) = &row.payment else { return Err(missing("no_payment")) };
        let buyer = find_customer(&self.database, ordered.ledger, row.account).await?;
        let account = buyer.ok_or_else(|| missing("no_account"))?.account;
        let access = self.access(ordered.ledger).await?;
        let new = NewRefund {
            origin: origin(ordered, &access, account, row.request.order, Some(refund)),
            payment: payment.clone(),
            amount: Amount::new(row.request.amount),
            reason: None,
        };
        match make(&access.client, &new).await {
            Ok(made) => Ok(Performed::Done(facts(&made)?)),
            Err(error) => match refusal(&error) {
                Some(reason) => Ok(Performed::Done(vec![refused(refund, &row, reason)])),
                None => Err(error.into()),
            },
        }
    }

    pub(super) async fn look_for_refund(
        &self,
        ordered: &Ordered,
        refund: RefundRequestId,
    ) -> Result<Looked, Failed> {
        let row = self.requested(ordered, refund).await?;
        if row.status != RequestStatus::Requested {
            return Ok(Looked::Found(Vec::new()));
        }
        let PaymentReference::Stripe(payment) = &row.payment else { return Err(missing("no_payment")) };
        let access = self.access(ordered.ledger).await?;
        match access.client.find_refund(ordered.id, payment).await? {
            Some(made) => Ok(Looked::Found(facts(&made)?)),
            None => Ok(Looked::Absent),
        }
    }

    async fn requested(&self, ordered: &Ordered, refund: RefundRequestId) -> Result<RefundRow, Failed> {
        find_refund(&self.database, ordered.ledger, refund).await?.ok_or_else(|| missing("no_refund"))
    }
}

impl Make for NewRefund {
    type Made = Refund;

    async fn create(&self, client: &StripeClient) -> Result<Refund, CallError> {
        client.create_refund(self).await
    }

    async fn find(&self, client: &StripeClient) -> Result<Option<Refund>, CallError> {
        client.find_refund(self.origin.effect, &self.payment).await
    }
}

/// What Stripe says of a refund, under the keys under which its webhooks tell the same.
fn facts(refund: &Refund) -> Result<Vec<Report>, Failed> {
    let unreadable = || Failed::Unknown(cause(Class::Unclear, "garbled_answer"), None);
    let report = extract_refund(refund).map_err(|_| unreadable())?;
    let payment = PaymentReference::Stripe(report.payment_intent);
    let told = report.facts.into_iter().map(|fact| {
        let key = Key::new(Namespace::Stripe, &fact.key_text()).map_err(|_| unreadable())?;
        let command = Command::RecordPaymentFact(RecordPaymentFact { payment: payment.clone(), fact });
        Ok(Report::of_fact(command, key, Actor::Stripe))
    });
    told.collect()
}

/// Why Stripe will never make this refund, if that is what it says: the ledger gives the credits back. A wrong API key is
/// no such reason, and neither is a payment that Stripe does not know.
fn refusal(error: &CallError) -> Option<RefundRefusal> {
    if error.class != CallClass::Permanent || error.is_unauthorised() || error.is_missing_object() {
        return None;
    }
    Some(match error.code() {
        "charge_already_refunded" => RefundRefusal::AlreadyRefunded,
        "charge_disputed" => RefundRefusal::Disputed,
        "insufficient_funds" | "balance_insufficient" => RefundRefusal::InsufficientFunds,
        _ => RefundRefusal::Refused,
    })
}

fn refused(refund: RefundRequestId, row: &RefundRow, reason: RefundRefusal) -> Report {
    let payment = row.payment.clone();
    Report::of(Command::RefuseRefund(RefuseRefund { refund, payment, reason }))
}
