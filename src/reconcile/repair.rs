//! Differences are repaired: what Stripe tells and the ledger lacks goes through the inbox, under the name of its fact, so
//! that nothing is done twice; what the ledger has and Stripe does not is put right by another fact of the same payment.
//!
//! Invariant: a repair is believed only when both sides were asked again and agree.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    Stopped,
    examine::{
        CREDIT_NOTE_UPDATED, DISPUTE_UPDATED, INVOICE_PAID, REFUND_UPDATED, SESSION_COMPLETED, Subject,
        TAKEN_BACK, event_of,
    },
    trouble::{Trouble, patiently},
    turn::Turn,
};
use crate::{
    domain::{
        Command,
        command::RecordPaymentFact,
        ids::{Actor, Key, Namespace, PaymentReference, StripeId},
        payment::{DisputeStatus, PaymentFact, RefundStatus},
    },
    store::{
        inbox::{self, InboxEntry, InboxStatus, NewEvent},
        reconciliation::{
            findings::{self, Finding, FindingFilter, FindingKind, FindingState, Settled, Verdict},
            runs::{NewRun, Run, RunCounts, RunKind, request_run},
        },
    },
    stripe::client::{StripeClient, origin},
    writer::{Outcome, Submission},
};

/// How long what was put into the inbox is waited for.
const INBOX_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const INBOX_LOOK: Duration = Duration::from_millis(50);
/// How many findings are read at once.
const PAGE: i64 = 100;
/// What is on record of repairs that a run makes by itself.
const BY_A_RUN: &str = "repaired by a run that was to repair what Stripe tells";

impl Turn<'_> {
    /// Makes the repairs that were asked for; says whether there were any.
    pub(super) async fn make_repairs(&self) -> Result<bool, Stopped> {
        let filter = FindingFilter { kind: None, state: Some(FindingState::Repairing) };
        let asked =
            findings::list_findings(&*self.connection().await?, self.id(), filter, None, PAGE).await?;
        for finding in &asked {
            let settled = match self.try_to_repair(finding).await {
                Ok(settled) => settled,
                Err(Trouble::Stopped(stopped)) => return Err(stopped),
                Err(trouble) => Settled::NotRepaired(trouble.to_string()),
            };
            self.settle(finding, &settled).await?;
        }
        Ok(!asked.is_empty())
    }

    async fn try_to_repair(&self, finding: &Finding) -> Result<Settled, Trouble> {
        let access = self.reconciler.clients.of(self.id()).await?;
        self.repair(&access.client, finding).await
    }

    /// Repairs a difference that a run has found.
    pub(super) async fn repair_at_once(
        &self,
        client: &StripeClient,
        finding: Finding,
        run: &Run,
        counts: &mut RunCounts,
    ) -> Result<(), Trouble> {
        let connection = self.connection().await?;
        let actor = &run.actor;
        findings::decide(&connection, self.id(), finding.id, Verdict::Repair, actor, BY_A_RUN).await?;
        drop(connection);
        let settled = self.repair(client, &Finding { actor: Some(actor.clone()), ..finding.clone() }).await?;
        if settled == Settled::Repaired {
            counts.repaired += 1;
        }
        Ok(self.settle(&finding, &settled).await?)
    }

    async fn settle(&self, finding: &Finding, settled: &Settled) -> Result<(), Stopped> {
        findings::settle(&*self.connection().await?, self.id(), finding.id, settled).await?;
        let (ledger, kind) = (self.id(), finding.difference.kind.as_str());
        tracing::info!(%ledger, finding = %finding.id, kind, ?settled, "a difference was to be repaired");
        Ok(())
    }

    async fn repair(&self, client: &StripeClient, finding: &Finding) -> Result<Settled, Trouble> {
        let difference = &finding.difference;
        if difference.kind == FindingKind::EventsMissed {
            return Ok(self.compare_what_was_missed(finding).await?);
        }
        let Some(subject) = Subject::of(difference).filter(|_| difference.kind.has_repair()) else {
            return Ok(Settled::NotRepaired("no_repair: a person has to put it right".to_owned()));
        };
        let trouble = match difference.kind {
            FindingKind::PaidNotCredited
            | FindingKind::RefundNotRecorded
            | FindingKind::DisputeNotRecorded => self.feed(client, &subject).await?,
            _ => self.put_right(finding, &subject).await?,
        };
        Ok(match (self.examine(client, &subject).await?, trouble) {
            (None, _) => Settled::Repaired,
            (Some(_), Some(trouble)) => Settled::NotRepaired(trouble),
            (Some(_), None) => Settled::NotRepaired("still_differs: they still do not agree".to_owned()),
        })
    }

    /// The comparison closes it.
    async fn compare_what_was_missed(&self, finding: &Finding) -> Result<Settled, Stopped> {
        let run = NewRun {
            kind: RunKind::Comparison,
            actor: finding.actor.clone().unwrap_or(Actor::System),
            repairs: true,
            since: finding.difference.details.since,
            until: None,
        };
        request_run(&*self.connection().await?, self.id(), &run).await?;
        Ok(Settled::Repaired)
    }

    /// Tells the inbox how something is at Stripe. Answers why it came to nothing, if it did.
    async fn feed(&self, client: &StripeClient, subject: &Subject) -> Result<Option<String>, Trouble> {
        let (id, kind, mut object) = match subject {
            Subject::Session(id) => {
                let session = patiently(|| client.fetch_checkout_session(id)).await?;
                (id, SESSION_COMPLETED, session.object.into_json())
            }
            Subject::Invoice(id, _) => {
                let invoice = patiently(|| client.fetch_invoice(id)).await?;
                (id, INVOICE_PAID, invoice.into_json())
            }
            Subject::Refund(id, _) => {
                let refund = patiently(|| client.fetch_refund(id)).await?;
                (id, REFUND_UPDATED, refund.object.into_json())
            }
            Subject::CreditNote(id, _) => {
                let note = patiently(|| client.fetch_credit_note(id)).await?;
                (id, CREDIT_NOTE_UPDATED, note.into_json())
            }
            Subject::Dispute(id, _) => {
                let dispute = patiently(|| client.fetch_dispute(id)).await?;
                (id, DISPUTE_UPDATED, dispute.into_json())
            }
            Subject::Order(_) => return Ok(None),
        };
        let told = self.tell_inbox(id, kind, &object).await?;
        // An order that was lost with a part of history: the session says itself for whom and for what it was.
        let told = match told {
            Some(reason) if reason.starts_with("unknown_order") && forget_order(&mut object) => {
                self.tell_inbox(id, kind, &object).await?
            }
            told => told,
        };
        Ok(told)
    }

    async fn tell_inbox(&self, id: &StripeId, kind: &str, object: &Value) -> Result<Option<String>, Stopped> {
        let body = self.body_about(object, id, kind);
        let event = NewEvent { event_id: event_of(id), kind: kind.to_owned(), body };
        inbox::put_event(&*self.connection().await?, self.id(), &event).await?;
        // If nobody listens, the inbox finds it by itself.
        let _ = self.reconciler.bell.try_send(self.id());
        let begun = Instant::now();
        loop {
            let found = inbox::find_webhook(&*self.connection().await?, self.id(), &event.event_id).await?;
            match found {
                Some((InboxEntry { status: InboxStatus::Processed, .. }, _)) | None => return Ok(None),
                Some((InboxEntry { status: InboxStatus::Received | InboxStatus::Failed, reason, .. }, _)) => {
                    if begun.elapsed() > INBOX_LIMIT {
                        let waits = || "inbox_busy: the inbox has not come to it yet".to_owned();
                        return Ok(Some(reason.unwrap_or_else(waits)));
                    }
                }
                Some((InboxEntry { reason, .. }, _)) => return Ok(reason),
            }
            sleep(INBOX_LOOK).await;
        }
    }

    /// Has another fact of the same payment make good what the ledger has and Stripe does not.
    async fn put_right(&self, finding: &Finding, subject: &Subject) -> Result<Option<String>, Stopped> {
        let details = &finding.difference.details;
        let Some(payment) = details.payment.clone() else {
            return Ok(Some("no_payment: the purchase names no payment; adjust the account".to_owned()));
        };
        let Some(fact) = self.fact_against(&payment, subject).await? else {
            return Ok(Some("no_fact: no fact of the payment undoes it; adjust the account".to_owned()));
        };
        let submission = Submission {
            key: Key::new(Namespace::Stripe, &fact.key_text()).ok(),
            command: Command::RecordPaymentFact(RecordPaymentFact { payment, fact }),
            fingerprint: None,
            actor: finding.actor.clone().unwrap_or(Actor::System),
            request_id: None,
        };
        Ok(match self.reconciler.writers.submit(self.id(), submission).await {
            Ok(Outcome::Accepted(_)) => None,
            Ok(Outcome::Rejected(rejection)) => Some(format!("rejected: {rejection}")),
            Err(error) => Some(format!("ledger_unavailable: {error}")),
        })
    }

    async fn fact_against(
        &self,
        reference: &PaymentReference,
        subject: &Subject,
    ) -> Result<Option<PaymentFact>, Stopped> {
        let Some(payment) = self.payment(reference).await? else { return Ok(None) };
        Ok(match subject {
            Subject::Session(sold) | Subject::Invoice(sold, _) => {
                let name = StripeId::parse(&format!("{TAKEN_BACK}{sold}")).ok();
                payment.money.zip(name).map(|(money, refund)| PaymentFact::Refund {
                    refund,
                    status: RefundStatus::Succeeded,
                    amount: (money.gross - payment.money_back(false).taken).max(0),
                    currency: money.currency,
                    request: None,
                })
            }
            Subject::Refund(id, _) => {
                payment.refunds.get(id).map(|(_, amount, currency)| PaymentFact::Refund {
                    refund: id.clone(),
                    status: RefundStatus::Failed,
                    amount: *amount,
                    currency: *currency,
                    request: None,
                })
            }
            Subject::CreditNote(id, _) => {
                payment.credit_notes.get(id).map(|(_, amount, currency)| PaymentFact::CreditNote {
                    note: id.clone(),
                    status: RefundStatus::Cancelled,
                    amount: *amount,
                    currency: *currency,
                })
            }
            // One that was lost is decided: no later word of it counts.
            Subject::Dispute(id, _) => {
                payment.disputes.get(id).filter(|(status, ..)| status.rank() < DisputeStatus::Won.rank()).map(
                    |(_, amount, currency)| PaymentFact::Dispute {
                        dispute: id.clone(),
                        status: DisputeStatus::Won,
                        amount: *amount,
                        currency: *currency,
                    },
                )
            }
            Subject::Order(_) => None,
        })
    }
}

/// Takes the marks of an order away from a session that says for whom and for what it was besides.
fn forget_order(session: &mut Value) -> bool {
    let Some(metadata) = session.get_mut("metadata").and_then(Value::as_object_mut) else { return false };
    let is_complete = metadata.contains_key("account_id") && metadata.contains_key("price_id");
    if is_complete {
        metadata.shift_remove(origin::ORDER);
        metadata.shift_remove("order_id");
    }
    is_complete
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_is_forgotten_only_if_the_session_says_enough_without_it() {
        let marks =
            json!({"order_id": "ord_1", "counterfoil_order": "ord_1", "account_id": "a", "price_id": "p"});
        let mut session = json!({"id": "cs_1", "metadata": marks});
        assert!(forget_order(&mut session));
        assert_eq!(session["metadata"], json!({"account_id": "a", "price_id": "p"}));
        let mut session = json!({"id": "cs_1", "metadata": {"order_id": "ord_1", "account_id": "a"}});
        assert!(!forget_order(&mut session));
        assert_eq!(session["metadata"]["order_id"], "ord_1");
    }
}
