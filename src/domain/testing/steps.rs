//! Random histories. A plan consists of small steps that name things by small numbers ("the third hold"), so that it
//! means something for any ledger, shrinks well, and can be run on several ledgers whose ids differ.

use super::billing::BillingStep;
use crate::domain::{
    order::OrderFailure,
    payment::{DisputeStatus, RefundRefusal, RefundStatus},
    settings::{ClawbackPolicy, Rollover},
};

/// One step of a plan. Percentages are of what the account has available, or the hold holds, when the step is taken; one
/// credit at least.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// Lets time pass, in seconds.
    Wait(i64),
    /// Writes down what is due.
    Sweep {
        account: u8,
    },
    Open {
        account: u8,
    },
    Freeze {
        account: u8,
    },
    Unfreeze {
        account: u8,
    },
    Close {
        account: u8,
    },
    Overdraft {
        account: u8,
        unit: u8,
        limit: i64,
    },
    Grant {
        account: u8,
        unit: u8,
        amount: i64,
        /// Hours from now; zero and below are not in the future.
        expires: Option<i64>,
        priority: u8,
    },
    Spend {
        account: u8,
        unit: u8,
        percent: i64,
    },
    SpendOnFeature {
        account: u8,
        feature: u8,
        quantity: i64,
    },
    Hold {
        account: u8,
        unit: u8,
        percent: i64,
        /// In seconds.
        lapses_after: i64,
    },
    Capture {
        hold: u8,
        percent: i64,
        allow_excess: bool,
    },
    Release {
        hold: u8,
    },
    /// Credits of one account to another, or, wrongly, to itself.
    Transfer {
        from: u8,
        to: u8,
        unit: u8,
        percent: i64,
    },
    AdjustIn {
        account: u8,
        unit: u8,
        amount: i64,
    },
    AdjustOut {
        account: u8,
        unit: u8,
        percent: i64,
    },
    /// A paid checkout session, with a payment intent of its own or, wrongly, the one of the session before.
    Buy {
        account: u8,
        bought: Bought,
        again: bool,
    },
    FreeSession {
        account: u8,
        bought: Bought,
    },
    BuyElsewhere {
        account: u8,
        bought: Bought,
        gross: i64,
    },
    Refund {
        purchase: u8,
        amount: Option<i64>,
    },
    /// A report about one of the last payments (0: the last one), or about the next one that will be made.
    Fact {
        payment: u8,
        fact: Fact,
    },
    /// What the operator says of a price; `None` leaves it to Stripe.
    SetPrice {
        price: u8,
        active: Option<bool>,
        credits: Option<i64>,
        rollover: Option<Rollover>,
    },
    /// What Stripe says of a price, at one of a few moments.
    SyncPrice {
        price: u8,
        moment: u8,
        active: bool,
        stated: StatedTerms,
        looked: bool,
    },
    /// What Stripe says of a product; the prices belong to two of them in turn.
    SyncProduct {
        product: u8,
        moment: u8,
        active: bool,
        deleted: bool,
        stated: StatedTerms,
    },
    /// Opens an account, or finds it open, with a customer.
    OpenWith {
        account: u8,
        customer: u8,
    },
    Link {
        account: u8,
        customer: u8,
        adopted: bool,
    },
    Unlink {
        account: u8,
        customer: Option<u8>,
        order: Option<u8>,
    },
    Order {
        account: u8,
        price: u8,
        quantity: i64,
    },
    /// An order's session is made: the one that is its own.
    Session {
        order: u8,
    },
    /// An order ends without payment.
    End {
        order: u8,
        session: WhichSession,
        failure: Option<OrderFailure>,
    },
    /// An order is paid, rightly or not.
    Pay {
        order: u8,
        session: WhichSession,
        free: bool,
        flaw: Option<Flaw>,
    },
    /// A refund of an order is asked for.
    Ask {
        order: u8,
        amount: Option<i64>,
    },
    /// A refund that was asked for is refused.
    Refuse {
        request: u8,
        reason: RefundRefusal,
    },
    /// Something about a subscription.
    Billing(BillingStep),
    Configure {
        policy: ClawbackPolicy,
        claw_on_pending: bool,
        freeze_on_dispute: bool,
        /// How many credits new accounts get, for a day.
        signup: Option<i64>,
    },
}

/// What is bought.
#[derive(Clone, PartialEq, Debug)]
pub enum Bought {
    /// So many of a price, with or without stating what that is in credits.
    Price { price: u8, quantity: i64, stated: Option<Stated> },
    /// So many of the first unit, and of the second.
    Totals { first: i64, second: Option<i64> },
}

/// What is said of the credits that a price grants.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Stated {
    Rightly,
    Wrongly,
}

/// What metadata says of credits.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum StatedTerms {
    Nothing,
    /// So many, but not of which unit.
    Credits(i64),
    /// So many of the first unit.
    CreditsOfUnit(i64),
    Expiry,
    Rollover(Rollover),
}

/// Which session something is about.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum WhichSession {
    Own,
    Another,
    None,
}

/// What of a paid session is not as it was ordered.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Flaw {
    Account,
    Price,
    Quantity,
    Credits,
    Currency,
    Subtotal,
}

/// What is reported of a payment.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    /// One that `answers` says that it is the answer to the payment's request of the same number.
    Refund {
        refund: u8,
        status: RefundStatus,
        amount: i64,
        foreign: bool,
        answers: bool,
    },
    ChargeRefunded {
        amount: i64,
    },
    Dispute {
        dispute: u8,
        status: DisputeStatus,
        amount: i64,
    },
    Warning {
        warning: u8,
    },
    /// A credit note, as far as it gives back what no refund does.
    CreditNote {
        note: u8,
        issued: bool,
        amount: i64,
    },
}

/// How many accounts the harness opens at the beginning; one more name is used for an account that is not there.
pub const ACCOUNTS: u8 = 3;

/// Names the payment that will be made next.
pub const NEXT_PAYMENT: u8 = u8::MAX;

/// What payments pay in turn, in cents: gross and tax.
pub const PAID: [(i64, i64); 3] = [(100, 0), (119, 19), (30, 0)];
