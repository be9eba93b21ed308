//! One file for each decision: what is checked, in which order, and which events it writes.
//!
//! A comment marks the point of no return: every check stands above it, and below it the command succeeds. What is due on
//! a touched account is written before the command's own events (`Draft::touch`), and what follows from credits that
//! became usable after them (`follow_up`).

mod accounts;
mod adjust_credits;
mod advance_clock;
mod change_subscription;
mod charge;
mod checkout_links;
mod configuration;
mod customers;
mod grant_credits;
mod holds;
mod orders;
mod prices;
mod record_invoice_line;
mod record_payment_fact;
mod record_purchase;
mod refund_purchase;
mod request_refund;
mod spend_credits;
mod subscriptions;
mod transfer_credits;

use super::{command::Command, decide::Draft, event::HistoryLost, rejection::Rejection};

/// Decides the command on the draft.
pub(super) fn decide(draft: &mut Draft<'_>, command: &Command) -> Result<(), Rejection> {
    match command {
        Command::OpenAccount(command) => accounts::open(draft, command),
        Command::ChangeAccount(command) => accounts::change(draft, command),
        Command::EraseProfile(command) => accounts::erase(draft, command),
        Command::SetOverdraftLimit(command) => accounts::set_overdraft_limit(draft, command),
        Command::FreezeAccount(command) => accounts::freeze(draft, command),
        Command::UnfreezeAccount(command) => accounts::unfreeze(draft, command),
        Command::CloseAccount(command) => accounts::close(draft, command),
        Command::GrantCredits(command) => grant_credits::decide(draft, command),
        Command::SpendCredits(command) => spend_credits::decide(draft, command),
        Command::PlaceHold(command) => holds::place(draft, command),
        Command::CaptureHold(command) => holds::capture(draft, command),
        Command::ReleaseHold(command) => holds::release(draft, command),
        Command::AdjustCredits(command) => adjust_credits::decide(draft, command),
        Command::TransferCredits(command) => transfer_credits::decide(draft, command),
        Command::RecordPurchase(command) => record_purchase::decide(draft, command),
        Command::RecordPaymentFact(command) => record_payment_fact::decide(draft, command),
        Command::RefundPurchase(command) => refund_purchase::decide(draft, command),
        Command::LinkCustomer(command) => customers::link(draft, command),
        Command::UnlinkCustomer(command) => customers::unlink(draft, command),
        Command::PlaceOrder(command) => orders::place(draft, command),
        Command::RecordSession(command) => orders::record_session(draft, command),
        Command::CloseOrder(command) => orders::close(draft, command),
        Command::CreateCheckoutLink(command) => checkout_links::create(draft, command),
        Command::RevokeCheckoutLink(command) => checkout_links::revoke(draft, command),
        Command::FollowCheckoutLink(command) => checkout_links::follow(draft, command),
        Command::RequestRefund(command) => request_refund::request(draft, command),
        Command::RefuseRefund(command) => request_refund::refuse(draft, command),
        Command::StartSubscription(command) => subscriptions::start(draft, command),
        Command::RecordSubscription(command) => subscriptions::record(draft, command),
        Command::RequestSubscriptionChange(command) => change_subscription::request(draft, command),
        Command::SettleSubscriptionChange(command) => change_subscription::settle(draft, command),
        Command::RecordInvoiceLine(command) => record_invoice_line::decide(draft, command),
        Command::SetFeature(feature) => configuration::set_feature(draft, feature),
        Command::SetPrice(command) => prices::set(draft, command),
        Command::SyncPrice(command) => prices::sync(draft, command),
        Command::SyncProduct(command) => prices::sync_product(draft, command),
        Command::ConfigureLedger(settings) => configuration::configure_ledger(draft, settings),
        Command::ConfigureCheckout(checkout) => configuration::configure_checkout(draft, checkout),
        Command::ConfigureRules(rules) => configuration::configure_rules(draft, rules),
        Command::CreateKey(command) => configuration::create_key(draft, command),
        Command::RevokeKey(command) => configuration::revoke_key(draft, command),
        Command::ApplyDue(command) => draft.touch(command.account),
        Command::RecordLostHistory(command) => {
            draft.emit(None, None, HistoryLost { last_seen: command.last_seen });
            Ok(())
        }
        Command::AdvanceClock(command) => advance_clock::decide(draft, command),
    }
}
