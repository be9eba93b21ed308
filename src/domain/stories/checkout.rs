//! The words of stories about checkouts, customers and refunds that are asked of us.
//!
//! ```text
//! link cus_1 created                      the account has a customer (`adopted`: the client says so)
//! unlink cus_1 for o                      Stripe has it no longer, and o came to a halt over it; `-` for no customer
//! order o price_pack x 2                  a checkout begins
//! session o cs_1                          it has a page
//! expire o cs_1, fail o cs_1 reason       it ends without payment; `-` for no session
//! pay o pi_1 for 500                      its session is paid; `free` for no payment
//! ask r o 200                             a refund is asked for; all that is left without an amount
//! answer r re_1 200 succeeded             Stripe tells of the refund that answers it
//! refuse r pi_1 reason                    nothing comes of it
//! ```

use super::*;
use crate::domain::{
    event::LinkCause,
    order::{OrderDetails, OrderEnding, OrderFailure},
    payment::RefundRefusal,
};

impl Story {
    pub(super) fn checkout_command(&mut self, verb: &str, words: &mut Words<'_>) -> Command {
        let note = Note::new();
        match verb {
            "link" => {
                let customer = stripe(words.next());
                let cause = match words.next() {
                    "created" => LinkCause::Created,
                    "adopted" => LinkCause::Adopted,
                    other => panic!("no customer is {other}"),
                };
                Command::LinkCustomer(LinkCustomer { account: self.number(), customer, cause })
            }
            "unlink" => {
                let customer = Some(words.next()).filter(|word| *word != "-").map(stripe);
                let order = words.after("for").map(|name| self.order(name));
                Command::UnlinkCustomer(UnlinkCustomer { account: self.number(), customer, order })
            }
            "order" => {
                words.next();
                let price = PriceId::parse(words.next()).expect("a price");
                let quantity = words.after("x").map_or(1, |text| text.parse().expect("a quantity"));
                let details = OrderDetails { locale: Some("de".to_owned()), ..OrderDetails::default() };
                let trial_days = words.after("trial").map(|text| text.parse().expect("days"));
                let (account, quantity) = (self.account.clone(), amount(quantity));
                Command::PlaceOrder(PlaceOrder { account, price, quantity, trial_days, details, note })
            }
            "session" => {
                let (order, session) = (self.order(words.next()), stripe(words.next()));
                let url = format!("https://pay.example/{session}");
                let expires_at = self.now.plus(Span::days(1));
                Command::RecordSession(RecordSession { order, session, url, expires_at })
            }
            "expire" => {
                let (order, session) = (self.order(words.next()), session(words.next()));
                Command::CloseOrder(CloseOrder { order, session, ending: OrderEnding::Expired })
            }
            "fail" => {
                let (order, session) = (self.order(words.next()), session(words.next()));
                let reasons = [OrderFailure::PaymentFailed, OrderFailure::Refused, OrderFailure::GivenUp];
                let reason = words.next();
                let reason = reasons.into_iter().find(|known| known.as_str() == reason).expect("a reason");
                Command::CloseOrder(CloseOrder { order, session, ending: OrderEnding::Failed(reason) })
            }
            "pay" => self.pay(words),
            "ask" => {
                words.next();
                let order = self.order(words.next());
                let amount = words.0.next().map(|text| amount(text.parse().expect("an amount")));
                Command::RequestRefund(RequestRefund { order, amount, note })
            }
            "answer" => {
                let request = Some(self.request(words.next()));
                let payment = PaymentReference::Stripe(stripe(words.next()));
                let (refund, amount) = (stripe(words.next()), words.number());
                let status = refund_status(words.next());
                let fact = PaymentFact::Refund { refund, status, amount, currency: eur(), request };
                Command::RecordPaymentFact(RecordPaymentFact { payment, fact })
            }
            "refuse" => {
                let refund = self.request(words.next());
                let payment = PaymentReference::Stripe(stripe(words.next()));
                let reasons = [
                    RefundRefusal::AlreadyRefunded,
                    RefundRefusal::Disputed,
                    RefundRefusal::InsufficientFunds,
                    RefundRefusal::Refused,
                    RefundRefusal::GivenUp,
                ];
                let reason = words.next();
                let reason = reasons.into_iter().find(|known| known.as_str() == reason).expect("a reason");
                Command::RefuseRefund(RefuseRefund { refund, payment, reason })
            }
            other => self.billing_command(other, words),
        }
    }

    /// `pay o pi_1 for 500 tax 80`, and what differs from what was ordered: `of 600` is the subtotal, `as price_both x 2`
    /// what was sold, `credits 7` what it is in credits, `in usd` the currency, `by b` the account.
    fn pay(&mut self, words: &mut Words<'_>) -> Command {
        let id = self.order(words.next());
        let payment_intent = Some(words.next()).filter(|word| *word != "free").map(stripe);
        let ordered = self.state.orders.get(&id).cloned();
        let gross = words.after("for").map_or(0, |text| text.parse().expect("money"));
        let tax = words.after("tax").map_or(0, |text| text.parse().expect("money"));
        let subtotal = words.after("of").map(|text| text.parse().expect("money"));
        let price = words.after("as").map(|price| {
            let quantity = words.after("x").map_or(1, |text| text.parse().expect("a quantity"));
            (PriceId::parse(price).expect("a price"), amount(quantity))
        });
        let totals =
            words.after("credits").map(|text| (unit("credits"), amount(text.parse().expect("credits"))));
        let currency = words.after("in").map_or(eur(), |code| Currency::parse(code).expect("a currency"));
        let account =
            words.after("by").map_or(self.account.clone(), |id| AccountId::parse(id).expect("an account"));
        let session = words.after("at").map_or(stripe(&format!("cs_{}", self.step)), stripe);
        Command::RecordPurchase(RecordPurchase {
            account,
            paid_through: PaidThrough::CheckoutSession { session, payment_intent },
            order: Some(PaidOrder {
                order: id,
                subtotal: subtotal.or(ordered.map(|order| order.subtotal)).unwrap_or(0),
            }),
            bought: Bought { price, totals: totals.into_iter().collect() },
            money: PaidMoney::new(gross, tax, currency).expect("money"),
            note: Note::new(),
        })
    }

    /// The order of that name; one that never was, if there is none.
    pub(super) fn order(&self, name: &str) -> OrderId {
        self.orders.get(name).copied().unwrap_or_else(|| OrderId::from_bits(99 << 64))
    }

    /// The refund of that name; one that never was, if there is none.
    pub(super) fn request(&self, name: &str) -> RefundRequestId {
        self.refunds.get(name).copied().unwrap_or_else(|| RefundRequestId::from_bits(99 << 64))
    }
}

fn session(word: &str) -> Option<StripeId> {
    Some(word).filter(|word| *word != "-").map(stripe)
}
