//! The month as it is played: buyers, their banks, and what they do day by day.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    month_plan::{Act, How, LASTING, Price, Script},
    stage::{Stage, count},
    support::simulator::id,
};

/// A checkout that was begun.
#[derive(Debug)]
pub struct Sale {
    pub order: String,
    pub session: String,
    pub how: How,
    /// What it was paid by, once it was completed.
    payment: Option<String>,
    is_settled: bool,
    /// Refunds of it that the ledger took on.
    pub requests: Vec<String>,
}

/// What an account has done so far, as far as it was told.
#[derive(Debug)]
pub struct Life {
    pub script: Script,
    pub sales: Vec<Sale>,
    /// Credits spent, by day of business.
    pub spent: Vec<(usize, i64)>,
}

impl Sale {
    /// How its order ends.
    pub fn ends(&self) -> &'static str {
        match self.how {
            How::Debit { arrives: false } => "failed",
            How::Never => "expired",
            _ => "paid",
        }
    }
}

impl Life {
    /// One that has yet to begin.
    pub fn new(script: Script) -> Self {
        Self { script, sales: Vec::new(), spent: Vec::new() }
    }

    fn name(&self) -> &str {
        &self.script.account
    }
}

impl Stage<'_> {
    /// Opens an account, with a customer if the script says so.
    pub async fn open(&self, life: &Life) {
        let mut body = json!({"account_id": life.name()});
        if life.script.has_customer {
            let form = format!("metadata[adopted_by]={}", life.name());
            body["stripe_customer_id"] = self.stripe.post("/v1/customers", &form).await.ok()["id"].clone();
        }
        let opened = self.ask("/v1/accounts", &format!("open {}", life.name()), &body).await;
        assert_eq!(opened.status, 201, "{opened:?}");
    }

    /// What an account does on a day of business, after its banks have done what they had to.
    /// `refunds` are those that there were in the morning.
    pub async fn play(&self, life: &mut Life, day: usize, refunds: &[Value]) {
        self.settle(life, refunds).await;
        for (number, act) in life.script.days[day].clone().into_iter().enumerate() {
            let key = format!("{} {day}.{number}", life.name());
            match act {
                Act::Buy { price, quantity, how } => self.buy(life, &key, price, quantity, how).await,
                Act::Spend { reports } => self.spend(life, &key, day, reports).await,
                Act::AskBack { nth, cents } => self.ask_back(life, &key, nth, cents).await,
                Act::SendBack { nth, cents } => self.refund_at_stripe(life, &key, nth, cents).await,
                Act::TurnDown => self.turn_down(life, refunds).await,
            }
        }
    }

    /// Begins a checkout at night, and leaves it.
    pub async fn sit_up(&self, life: &mut Life, night: usize) {
        let key = format!("{} at night {night}", life.name());
        self.buy(life, &key, &LASTING[0], 1, How::Never).await;
    }

    async fn buy(&self, life: &mut Life, key: &str, price: &Price, quantity: i64, how: How) {
        let body = json!({"account_id": life.name(), "price_id": price.id, "quantity": quantity});
        let (order, session) = self.check_out(key, &body).await;
        let payment = self.pay(&session, how).await;
        let is_settled = !matches!(how, How::Debit { .. });
        life.sales.push(Sale { order, session, how, payment, is_settled, requests: Vec::new() });
    }

    /// The buyer at the page; what it was paid by.
    async fn pay(&self, session: &str, how: How) -> Option<String> {
        let complete = async |order: Value| self.at_page(session, "complete", order).await;
        let paid = match how {
            How::Card => complete(json!({"outcome": "paid"})).await,
            How::DeclinedFirst => {
                complete(json!({"outcome": "declined"})).await;
                complete(json!({"outcome": "paid"})).await
            }
            How::Challenged => {
                complete(json!({"outcome": "paid", "card": "4000000000003220"})).await;
                self.at_page(session, "challenge", json!({"outcome": "passed"})).await
            }
            How::WithCode => complete(json!({"outcome": "paid", "promotion_code": "SPRING"})).await,
            How::Free => complete(json!({"outcome": "paid", "promotion_code": "FREE"})).await,
            How::Debit { .. } => complete(json!({"outcome": "unpaid"})).await,
            How::SlowCard { .. } => complete(json!({"outcome": "paid", "card": "4000000000007726"})).await,
            How::Never => return None,
        };
        assert_eq!(paid["status"], "complete", "{paid}");
        paid["payment_intent"].as_str().map(str::to_owned)
    }

    async fn spend(&self, life: &mut Life, key: &str, day: usize, reports: i64) {
        let body = json!({"feature": "report", "quantity": reports});
        let answer = self.ask(&format!("/v1/accounts/{}/spends", life.name()), key, &body).await;
        match answer.status {
            201 => life.spent.push((day, answer.json()["amount"].as_i64().expect("an amount"))),
            402 => count(&self.counts.refusals),
            _ => panic!("{answer:?}"),
        }
    }

    async fn ask_back(&self, life: &mut Life, key: &str, nth: usize, cents: Option<i64>) {
        let nth = nth % life.sales.len().max(1);
        let Some(sale) = life.sales.get_mut(nth) else { return };
        let body = cents.map_or_else(|| json!({}), |cents| json!({"amount": cents}));
        let answer = self.ask(&format!("/v1/orders/{}/refunds", sale.order), key, &body).await;
        match (answer.status, answer.json()["error"]["code"].as_str()) {
            (201, _) => sale.requests.push(answer.json()["refund_id"].as_str().expect("an id").to_owned()),
            (409, Some("refund_exceeds_payment" | "order_not_paid")) => count(&self.counts.refusals),
            _ => panic!("{answer:?}"),
        }
    }

    /// A refund in the dashboard, of what was paid.
    async fn refund_at_stripe(&self, life: &Life, key: &str, nth: usize, cents: i64) {
        let Some(sale) = life.sales.get(nth % life.sales.len().max(1)) else { return };
        let (Some(payment), true) = (&sale.payment, sale.is_settled) else { return };
        self.send_back(payment, key, cents).await;
    }

    /// The bank turns down a refund that had arrived.
    async fn turn_down(&self, life: &Life, refunds: &[Value]) {
        let payments: BTreeSet<&str> = life.sales.iter().filter_map(|sale| sale.payment.as_deref()).collect();
        let arrived = refunds.iter().rev().find(|refund| {
            let payment = refund["payment_intent"].as_str().unwrap_or_default();
            refund["status"] == "succeeded" && payments.contains(payment)
        });
        if let Some(refund) = arrived {
            // It may have been turned down a moment ago.
            self.stripe.try_control(Method::POST, &format!("refunds/{}/fail", id(refund)), json!({})).await;
        }
    }

    /// What banks had to do since the day before: direct debits and slow refunds arrive, or do not.
    pub async fn settle(&self, life: &mut Life, refunds: &[Value]) {
        for sale in &mut life.sales {
            match sale.how {
                How::Debit { arrives } if !sale.is_settled => {
                    let outcome = if arrives { "succeeded" } else { "failed" };
                    self.at_page(&sale.session, "async_result", json!({"outcome": outcome})).await;
                    sale.is_settled = true;
                }
                How::Debit { .. } | How::SlowCard { .. } => {
                    // Refunds to an account at a bank take their time as well.
                    let arrive = !matches!(sale.how, How::SlowCard { refunds_arrive: false });
                    let (Some(payment), word) = (&sale.payment, if arrive { "succeed" } else { "fail" })
                    else {
                        continue;
                    };
                    for refund in refunds {
                        if refund["payment_intent"] == payment.as_str() && refund["status"] == "pending" {
                            self.stripe.control(&format!("refunds/{}/{word}", id(refund)), json!({})).await;
                        }
                    }
                }
                _ => {}
            }
        }
    }
}
