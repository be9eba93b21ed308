//! The state that commands are decided on: explicit, loaded before, changed by events alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    account::Account,
    catalogue::Catalogue,
    checkout_link::CheckoutLink,
    command::{Note, ProfileChange},
    event::Event,
    evolve::evolve,
    ids::{
        AccountId, AccountNumber, CheckoutLinkId, KeyId, OrderId, PaymentReference, Position, PurchaseId,
        StripeId,
    },
    order::{Order, OrderDetails},
    payment::Payment,
    purchase::Purchase,
    settings::LedgerSettings,
    subscription::Subscription,
    time::Span,
};

/// What the commands at hand touch. A thing that is not in it does not exist, as far as `decide` is concerned.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WorkingSet {
    /// The ledger's settings.
    pub settings: LedgerSettings,
    /// Features and prices.
    pub catalogue: Catalogue,
    /// The position of the last event that settings and catalogue have seen.
    pub configured_at: Position,
    /// How far the ledger's clock is ahead of the database's; none for a live ledger, whose clock cannot be moved.
    pub clock_ahead: Option<Span>,
    /// Accounts by the client's name.
    pub account_numbers: BTreeMap<AccountId, AccountNumber>,
    /// Accounts.
    pub accounts: BTreeMap<AccountNumber, Account>,
    /// Payments.
    pub payments: BTreeMap<PaymentReference, Payment>,
    /// Purchases.
    pub purchases: BTreeMap<PurchaseId, Purchase>,
    /// Orders.
    pub orders: BTreeMap<OrderId, Order>,
    /// Subscriptions.
    pub subscriptions: BTreeMap<StripeId, Subscription>,
    /// The accounts of customers at Stripe.
    pub customers: BTreeMap<StripeId, AccountNumber>,
    /// API keys that work.
    pub keys: BTreeSet<KeyId>,
    /// Checkout links that were not revoked.
    pub links: BTreeMap<CheckoutLinkId, CheckoutLink>,
    /// Which account a `credits.held` concerns whose hold is asked for.
    pub accounts_of_events: BTreeMap<Position, AccountNumber>,
}

/// What a command leads to. No events: everything is already as it asks.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Decision {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What is kept beside the events and can be erased, or must not be sealed.
    pub private: Vec<Private>,
}

/// Data that is committed with an event but is not part of it.
#[derive(Clone, PartialEq, Debug)]
pub enum Private {
    /// Free text and metadata of an event; the event holds SHA-256 over salt and RFC 8785 JSON.
    Note {
        /// The event.
        position: Position,
        /// The account whose erasure erases it.
        account: Option<AccountNumber>,
        /// What makes the hash unguessable.
        salt: [u8; 16],
        /// The text and metadata.
        content: Note,
    },
    /// A new account's name and profile.
    Opened {
        /// The account.
        account: AccountNumber,
        /// The client's name of it.
        account_id: AccountId,
        /// What is known of its holder.
        profile: ProfileChange,
    },
    /// A change of an account's profile.
    Profile {
        /// The account.
        account: AccountNumber,
        /// What changes.
        profile: ProfileChange,
    },
    /// The account's profile, notes, salts and name are to be erased.
    Erased {
        /// The account.
        account: AccountNumber,
        /// The name that is given up.
        account_id: AccountId,
        /// The name that takes its place.
        replacement: AccountId,
    },
    /// What the checkout of a new order needs to know.
    Ordered {
        /// The order.
        order: OrderId,
        /// Who ordered: whose erasure erases it.
        account: AccountNumber,
        /// Language and addresses.
        details: OrderDetails,
    },
    /// Where an order can be paid: whoever knows the address can.
    Session {
        /// The order.
        order: OrderId,
        /// Who ordered.
        account: AccountNumber,
        /// The address of the page.
        url: String,
    },
    /// What orders by a new link need to know.
    Linked {
        /// The link.
        link: CheckoutLinkId,
        /// Whose: whose erasure erases it.
        account: AccountNumber,
        /// Language and addresses.
        details: OrderDetails,
    },
    /// A new API key's secret.
    KeySecret {
        /// The key.
        key: KeyId,
        /// SHA-256 of the secret.
        secret_hash: [u8; 32],
        /// What people call it.
        name: String,
    },
}

impl WorkingSet {
    /// Takes in what a decision led to, so that the next command sees it.
    pub fn absorb(&mut self, decision: &Decision) {
        for event in &decision.events {
            evolve(self, event);
        }
        for private in &decision.private {
            match private {
                Private::Opened { account, account_id, .. } => {
                    self.account_numbers.insert(account_id.clone(), *account);
                }
                Private::Erased { account, account_id, replacement } => {
                    self.account_numbers.remove(account_id);
                    self.account_numbers.insert(replacement.clone(), *account);
                }
                Private::Note { .. }
                | Private::Profile { .. }
                | Private::Ordered { .. }
                | Private::Session { .. }
                | Private::Linked { .. }
                | Private::KeySecret { .. } => {}
            }
        }
    }
}
