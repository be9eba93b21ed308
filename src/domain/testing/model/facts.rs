//! Rule 8: what Stripe reports of payments, and the targets that follow.

use super::{Model, PaymentName, Status, Target};
use crate::domain::{
    command::RecordPaymentFact,
    ids::{PaymentReference, RefundRequestId, StripeId, Unit},
    payment::{DisputeStatus, PaymentFact, RefundStatus},
    rejection::Rejection,
    time::Timestamp,
};

/// Of all reports about one thing, the first of the highest rank.
fn settled<'a, S: Copy>(
    reports: &[(&'a StripeId, S, i64)],
    rank: impl Fn(S) -> u8,
) -> Vec<(&'a StripeId, S, i64)> {
    let mut known: Vec<(&StripeId, S, i64)> = Vec::new();
    for report in reports {
        match known.iter_mut().find(|(id, ..)| *id == report.0) {
            None => known.push(*report),
            Some(earlier) if rank(report.1) > rank(earlier.1) => *earlier = *report,
            Some(_) => {}
        }
    }
    known
}

fn refund_rank(status: RefundStatus) -> u8 {
    match status {
        RefundStatus::Pending => 1,
        RefundStatus::Succeeded => 2,
        RefundStatus::Failed | RefundStatus::Cancelled => 3,
    }
}

fn dispute_rank(status: DisputeStatus) -> u8 {
    match status {
        DisputeStatus::Inquiry => 1,
        DisputeStatus::Open => 2,
        DisputeStatus::Won | DisputeStatus::Lost => 3,
    }
}

impl Model {
    pub fn payment_name(&self, reference: &PaymentReference) -> PaymentName {
        match reference {
            PaymentReference::Stripe(intent) => PaymentName::Stripe(intent.clone()),
            PaymentReference::External(id) => {
                let index = self.purchase_ids.iter().position(|known| known == id);
                PaymentName::External(index.expect("only refunds of known purchases are reported"))
            }
        }
    }

    /// A fact in another currency than the purchase's is refused: the reports contradict each other.
    pub fn record_fact(&mut self, command: &RecordPaymentFact, now: Timestamp) -> Result<(), Vec<Rejection>> {
        let payment = self.payment_name(&command.payment);
        let mut paid = self.purchases.iter().filter(|known| known.payment.as_ref() == Some(&payment));
        let is_foreign = paid
            .any(|purchase| command.fact.currency().is_some_and(|other| purchase.money.currency != other));
        if is_foreign && !self.is_known(&payment, &command.fact) {
            return Err(vec![Rejection::PaymentContradicts { what: "" }]);
        }
        self.learn(payment, &command.fact, now);
        Ok(())
    }

    /// Takes a fact in, unless it says nothing new, and moves all targets that hang on it.
    pub fn learn(&mut self, payment: PaymentName, fact: &PaymentFact, now: Timestamp) {
        if self.is_known(&payment, fact) {
            return;
        }
        self.facts.push((payment.clone(), fact.clone()));
        let purchases: Vec<usize> = (0..self.purchases.len())
            .filter(|purchase| self.purchases[*purchase].payment.as_ref() == Some(&payment))
            .collect();
        for purchase in &purchases {
            self.apply_facts(*purchase, now);
        }
        for purchase in purchases {
            let account = self.purchases[purchase].account;
            let alarms = matches!(
                fact,
                PaymentFact::Dispute { status: DisputeStatus::Open, .. } | PaymentFact::FraudWarning { .. }
            );
            if alarms {
                self.freeze_for_dispute(account);
            }
            self.credits_moved(purchase, now);
        }
    }

    /// Moves all parts of a purchase to what the facts known of its payment ask for.
    pub fn apply_facts(&mut self, purchase: usize, now: Timestamp) {
        let units: Vec<Unit> = self.purchases[purchase].parts.keys().cloned().collect();
        for unit in units {
            let target = self.target_by_facts(purchase, &unit);
            self.move_target(purchase, &unit, target, now);
        }
    }

    /// Whether Stripe took what paid for a purchase for a fraud.
    pub fn is_warned_of(&self, purchase: usize) -> bool {
        let payment = self.purchases[purchase].payment.as_ref();
        let mut about = self.facts.iter().filter(|(about, _)| Some(about) == payment);
        about.any(|(_, fact)| matches!(fact, PaymentFact::FraudWarning { .. }))
    }

    pub fn freeze_for_dispute(&mut self, account: usize) {
        if self.settings.freeze_on_dispute && self.accounts[account].status == Status::Open {
            self.accounts[account].status = Status::Frozen;
        }
    }

    fn is_known(&self, payment: &PaymentName, fact: &PaymentFact) -> bool {
        let earlier = || self.facts.iter().filter(|(about, _)| about == payment).map(|(_, fact)| fact);
        match fact {
            PaymentFact::Refund { refund, status, request, .. } => {
                let is_told = earlier().any(|known| {
                    matches!(known, PaymentFact::Refund { refund: id, status: known, .. }
                        if id == refund && refund_rank(*known) >= refund_rank(*status))
                });
                is_told && !request.is_some_and(|request| self.is_answered_now(payment, request))
            }
            PaymentFact::Dispute { dispute, status, .. } => earlier().any(|known| {
                matches!(known, PaymentFact::Dispute { dispute: id, status: known, .. }
                    if id == dispute && dispute_rank(*known) >= dispute_rank(*status))
            }),
            PaymentFact::ChargeRefunded { amount_refunded, currency, .. } => earlier().any(|known| {
                matches!(known, PaymentFact::ChargeRefunded { amount_refunded: sum, currency: known, .. }
                    if known == currency && sum >= amount_refunded)
            }),
            PaymentFact::FraudWarning { .. } => earlier().any(|known| known == fact),
            PaymentFact::CreditNote { note, status, .. } => earlier().any(|known| {
                matches!(known, PaymentFact::CreditNote { note: id, status: known, .. }
                    if id == note && refund_rank(*known) >= refund_rank(*status))
            }),
        }
    }

    /// Whether a request of that payment gets its answer by a report that names it.
    fn is_answered_now(&self, payment: &PaymentName, request: RefundRequestId) -> bool {
        let request = self.request_ids.iter().position(|known| *known == request);
        request.is_some_and(|request| {
            self.requests[request].payment == *payment && self.answer_to(request).is_none()
        })
    }

    fn target_by_facts(&self, purchase: usize, unit: &Unit) -> Target {
        let bought = &self.purchases[purchase];
        let (paid, granted) = (bought.money.gross, bought.parts[unit].granted);
        let share = |money: i64| {
            let rounded_down = i128::from(granted) * i128::from(paid.min(money)) / i128::from(paid);
            i64::try_from(rounded_down).expect("not more than was granted")
        };
        let (refunded, open, lost) = self.money_back(purchase);
        let asked_for = self.asked_for(purchase);
        Target { total: share(refunded + lost + open + asked_for), taken: share(refunded + lost) }
    }

    /// Everything ever reported of a purchase's payment, each with what of its amount is in the payment's currency: which
    /// report of a refund or dispute counts is decided before currencies are looked at.
    fn reports(&self, purchase: usize) -> Vec<(&PaymentFact, i64)> {
        let bought = &self.purchases[purchase];
        let about = self.facts.iter().filter(|(payment, _)| Some(payment) == bought.payment.as_ref());
        let counted = about.map(|(_, fact)| {
            let counts = fact.currency() == Some(bought.money.currency);
            (fact, if counts { fact.amount() } else { 0 })
        });
        counted.collect()
    }

    /// Each refund as it is known, and the highest sum of refunds that a charge showed.
    pub fn refunds_of(&self, purchase: usize) -> (Vec<(&StripeId, RefundStatus, i64)>, i64) {
        let (mut refunds, mut highest) = (Vec::new(), 0);
        for (fact, counted) in self.reports(purchase) {
            match fact {
                PaymentFact::Refund { refund, status, .. } => refunds.push((refund, *status, counted)),
                PaymentFact::ChargeRefunded { .. } => highest = highest.max(counted),
                PaymentFact::Dispute { .. }
                | PaymentFact::FraudWarning { .. }
                | PaymentFact::CreditNote { .. } => {}
            }
        }
        (settled(&refunds, refund_rank), highest)
    }

    /// What credit notes gave back: each that was issued and is not void.
    pub fn credited(&self, purchase: usize) -> i64 {
        let reports = self.reports(purchase);
        let notes = reports.iter().filter_map(|(fact, counted)| match fact {
            PaymentFact::CreditNote { note, status, .. } => Some((note, *status, *counted)),
            _ => None,
        });
        let notes = settled(&notes.collect::<Vec<_>>(), refund_rank);
        notes
            .iter()
            .filter(|(_, status, _)| *status == RefundStatus::Succeeded)
            .map(|(.., amount)| amount)
            .sum()
    }

    /// R with the credit notes, and the sums of open and of lost disputes, from everything ever reported in the payment's
    /// currency.
    pub fn money_back(&self, purchase: usize) -> (i64, i64, i64) {
        let (refunds, highest) = self.refunds_of(purchase);
        let disputes: Vec<_> = self
            .reports(purchase)
            .into_iter()
            .filter_map(|(fact, counted)| match fact {
                PaymentFact::Dispute { dispute, status, .. } => Some((dispute, *status, counted)),
                _ => None,
            })
            .collect();
        let disputes = settled(&disputes, dispute_rank);
        let refunds_that_are = |wanted: RefundStatus| -> i64 {
            refunds.iter().filter(|(_, status, _)| *status == wanted).map(|(.., amount)| amount).sum()
        };
        let disputes_that_are = |wanted: DisputeStatus| -> i64 {
            disputes.iter().filter(|(_, status, _)| *status == wanted).map(|(.., amount)| amount).sum()
        };

        let gone_wrong = refunds_that_are(RefundStatus::Failed) + refunds_that_are(RefundStatus::Cancelled);
        let mut succeeded = refunds_that_are(RefundStatus::Succeeded);
        let mut pending = refunds_that_are(RefundStatus::Pending);
        if self.settings.claw_on_pending {
            succeeded += pending;
            pending = 0;
        }
        let refunded = succeeded.max(highest - gone_wrong - pending) + self.credited(purchase);
        (refunded, disputes_that_are(DisputeStatus::Open), disputes_that_are(DisputeStatus::Lost))
    }
}
