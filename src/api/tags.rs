//! The chapters of the specification.

use poem_openapi::Tags;

/// A chapter.
#[derive(Tags)]
pub enum Tag {
    /// Holders of credits, addressed by your own ids.
    Accounts,
    /// What an account has now, and why.
    Balances,
    /// Using credits.
    Spends,
    /// Credits that nobody paid for, and corrections.
    Grants,
    /// Credits that go from one account to another.
    Transfers,
    /// Credits that were paid outside of Stripe. What Stripe is paid for arrives by webhook.
    Purchases,
    /// Credits sold through Stripe: checkouts, the orders behind them, and refunds.
    Orders,
    /// What is paid again and again, and what it grants.
    Subscriptions,
    /// What things cost and what prices grant.
    Catalogue,
    /// What becomes of credits when money goes back or comes again, and what comes for free.
    Rules,
    /// Everything that ever happened in the ledger.
    Events,
    /// That events are what they were: signed heads, tiles and proofs, for tools that are not ours.
    Proof,
    /// Money and use, by day: what finance asks.
    Reports,
    /// Stripe's webhooks as they arrived.
    Inbox,
    /// What is still to be done outside of the ledger, and what waits there for a person.
    Outbox,
    /// What Stripe knows and the ledger does not, and the other way round.
    Reconciliation,
    /// Who may call.
    #[oai(rename = "API keys")]
    ApiKeys,
    /// What only ledgers in test mode have.
    #[oai(rename = "Test mode")]
    TestMode,
}
