//! Which state each command needs.

use super::{
    super::ids::{
        AccountId, AccountNumber, CheckoutLinkId, KeyId, OrderId, PaymentReference, Position, PurchaseId,
        StripeId,
    },
    Command, PaidThrough, Subscriber,
};

/// The state that a command needs in its working set, besides settings and catalogue.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Needs {
    /// Accounts by the client's name, with all open lots, all holds and watched purchases.
    pub accounts: Vec<AccountId>,
    /// Accounts by number, with the same.
    pub account_numbers: Vec<AccountNumber>,
    /// Accounts by the position of an event that concerns them (the one that made a hold), with the same.
    pub accounts_of_events: Vec<Position>,
    /// Payments, with their purchases, the accounts that hold credits of those, and all lots that the purchases touch.
    pub payments: Vec<PaymentReference>,
    /// Purchases, with their payments and everything that those bring.
    pub purchases: Vec<PurchaseId>,
    /// Orders. Their accounts have to be asked for by the position in their ids.
    pub orders: Vec<OrderId>,
    /// Orders of which the purchases are needed, with everything that those bring.
    pub purchases_of_orders: Vec<OrderId>,
    /// Subscriptions. Their accounts have to be asked for by whoever knows them.
    pub subscriptions: Vec<StripeId>,
    /// Customers at Stripe, whose they are.
    pub customers: Vec<StripeId>,
    /// API keys, whether they exist.
    pub keys: Vec<KeyId>,
    /// Checkout links.
    pub links: Vec<CheckoutLinkId>,
}

impl Needs {
    /// An order and its account.
    fn order(&mut self, order: OrderId) {
        self.orders.push(order);
        self.accounts_of_events.push(order.position());
    }

    /// A subscription and the account that is named as its own.
    fn subscription(&mut self, subscription: &StripeId, subscriber: Option<&Subscriber>) {
        self.subscriptions.push(subscription.clone());
        match subscriber {
            Some(Subscriber::Named(account)) => self.accounts.push(account.clone()),
            Some(Subscriber::Owner(account)) => self.account_numbers.push(*account),
            None => {}
        }
    }
}

impl Command {
    /// What must be loaded before the command can be decided.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        match self {
            Self::OpenAccount(command) => {
                needs.accounts.push(command.account.clone());
                needs.customers.extend(command.stripe_customer.clone());
            }
            Self::ChangeAccount(command) => needs.accounts.push(command.account.clone()),
            Self::EraseProfile(command) => needs.accounts.push(command.account.clone()),
            Self::SetOverdraftLimit(command) => needs.accounts.push(command.account.clone()),
            Self::FreezeAccount(command) => needs.accounts.push(command.account.clone()),
            Self::UnfreezeAccount(command) => needs.accounts.push(command.account.clone()),
            Self::CloseAccount(command) => needs.accounts.push(command.account.clone()),
            Self::GrantCredits(command) => needs.accounts.push(command.account.clone()),
            Self::SpendCredits(command) => needs.accounts.push(command.account.clone()),
            Self::PlaceHold(command) => needs.accounts.push(command.account.clone()),
            Self::CaptureHold(command) => needs.accounts_of_events.push(command.hold.position()),
            Self::ReleaseHold(command) => needs.accounts_of_events.push(command.hold.position()),
            Self::AdjustCredits(command) => needs.accounts.push(command.account.clone()),
            Self::TransferCredits(command) => {
                needs.accounts.extend([command.from.clone(), command.to.clone()]);
            }
            Self::RecordPurchase(command) => {
                needs.accounts.push(command.account.clone());
                if let PaidThrough::CheckoutSession { payment_intent: Some(intent), .. } =
                    &command.paid_through
                {
                    needs.payments.push(PaymentReference::Stripe(intent.clone()));
                }
                if let Some(paid) = &command.order {
                    needs.order(paid.order);
                }
            }
            Self::LinkCustomer(command) => {
                needs.account_numbers.push(command.account);
                needs.customers.push(command.customer.clone());
            }
            Self::UnlinkCustomer(command) => {
                needs.account_numbers.push(command.account);
                needs.orders.extend(command.order);
            }
            Self::PlaceOrder(command) => needs.accounts.push(command.account.clone()),
            Self::CreateCheckoutLink(command) => needs.accounts.push(command.account.clone()),
            Self::RevokeCheckoutLink(command) => {
                needs.links.push(command.link);
                needs.accounts_of_events.push(command.link.position());
            }
            Self::FollowCheckoutLink(command) => {
                needs.links.push(command.link);
                needs.accounts_of_events.push(command.link.position());
            }
            Self::RecordSession(command) => needs.order(command.order),
            Self::CloseOrder(command) => needs.order(command.order),
            Self::RequestRefund(command) => {
                needs.order(command.order);
                needs.purchases_of_orders.push(command.order);
            }
            Self::RefuseRefund(command) => needs.payments.push(command.payment.clone()),
            Self::StartSubscription(command) => {
                needs.subscription(&command.subscription, command.subscriber.as_ref());
                command.order.into_iter().for_each(|order| needs.order(order));
            }
            Self::RecordSubscription(command) => {
                needs.subscription(&command.subscription, Some(&command.subscriber));
            }
            Self::RequestSubscriptionChange(command) => {
                needs.subscription(&command.subscription, Some(&command.subscriber));
            }
            Self::SettleSubscriptionChange(command) => {
                needs.subscription(&command.subscription, Some(&command.subscriber));
            }
            Self::RecordInvoiceLine(command) => {
                needs.subscription(&command.subscription, Some(&command.subscriber));
                needs.payments.extend(command.payment_intent.clone().map(PaymentReference::Stripe));
            }
            Self::RecordPaymentFact(command) => needs.payments.push(command.payment.clone()),
            Self::RefundPurchase(command) => needs.purchases.push(command.purchase),
            Self::RevokeKey(command) => needs.keys.push(command.key),
            Self::ApplyDue(command) => needs.account_numbers.push(command.account),
            Self::SetFeature(_)
            | Self::SetPrice(_)
            | Self::SyncPrice(_)
            | Self::SyncProduct(_)
            | Self::ConfigureLedger(_)
            | Self::ConfigureCheckout(_)
            | Self::ConfigureRules(_)
            | Self::CreateKey(_)
            | Self::RecordLostHistory(_)
            | Self::AdvanceClock(_) => {}
        }
        needs
    }
}
