//! A subscription begins, changes, ends. What it grants is told by `record_invoice_line`.

use crate::domain::{
    command::{RecordSubscription, StartSubscription, Subscriber},
    decide::Draft,
    due,
    event::{
        OrderPaid, ShortenedLot, SubscriptionChange, SubscriptionChanged, SubscriptionEnded,
        SubscriptionStarted,
    },
    ids::{AccountNumber, StripeId},
    order::OrderStatus,
    rejection::Rejection,
    subscription::{SubscribedPrice, Subscription, SubscriptionStatus, SubscriptionTerms},
    time::Timestamp,
};

use super::orders::touch_order;

/// Makes a subscription, if it is known, and its account part of the draft.
pub(super) fn touch<'a>(
    draft: &mut Draft<'a>,
    subscription: &StripeId,
    subscriber: &Subscriber,
) -> Result<(AccountNumber, Option<&'a Subscription>), Rejection> {
    let account = match subscriber {
        Subscriber::Named(account) => draft.find_account(account)?,
        Subscriber::Owner(account) => *account,
    };
    let known = draft.base().subscriptions.get(subscription);
    if known.is_some_and(|known| known.account != account) {
        return Err(Rejection::SubscriptionOfAnotherAccount { subscription: subscription.clone() });
    }
    draft.touch(account)?;
    if let Some(known) = known {
        draft.state.subscriptions.insert(known.id.clone(), known.clone());
    }
    Ok((account, known))
}

/// What is known of a subscription that Stripe has not told of itself yet: whatever it tells is newer.
pub(super) fn untold(items: Vec<SubscribedPrice>, period_end: Option<Timestamp>) -> SubscriptionTerms {
    SubscriptionTerms {
        as_of: Timestamp::default(),
        status: SubscriptionStatus::Active,
        items,
        period_end,
        cancel_at_period_end: false,
        collection_paused: false,
    }
}

/// Checks, in this order: the order exists, if there is one; the account exists, and is the subscription's. A session that is known to have been
/// completed changes nothing.
pub(super) fn start(draft: &mut Draft<'_>, command: &StartSubscription) -> Result<(), Rejection> {
    let order = command.order.map(|order| touch_order(draft, order)).transpose()?;
    let of_order = order.map(|order| Subscriber::Owner(order.account));
    let subscriber = of_order.or_else(|| command.subscriber.clone()).ok_or(Rejection::AccountNotFound)?;
    let (account, known) = touch(draft, &command.subscription, &subscriber)?;
    // Point of no return.
    let unpaid = order.filter(|order| !order.paid_sessions.contains(&command.session));
    if let Some(order) = unpaid {
        let again = order.status == OrderStatus::Paid;
        let body = OrderPaid { order: order.id, session: command.session.clone(), purchase: None, again };
        draft.emit(Some(order.account), None, body);
    }
    let subscription = command.subscription.clone();
    match (known, order) {
        (None, order) => {
            let items =
                order.map(|order| SubscribedPrice { price: order.price.clone(), quantity: order.quantity });
            let terms = untold(items.into_iter().collect(), None);
            let order = order.map(|order| order.id);
            draft.emit(Some(account), None, SubscriptionStarted { subscription, order, terms });
        }
        (Some(Subscription { order: None, .. }), Some(order)) => {
            let change = SubscriptionChange::Order(order.id);
            draft.emit(Some(account), None, SubscriptionChanged { subscription, change });
        }
        (Some(_), _) if unpaid.is_none() => draft.discard(),
        (Some(_), _) => {}
    }
    Ok(())
}

/// Checks: the account exists, and is the subscription's. What is older than what is known, and anything after the end, changes nothing.
pub(super) fn record(draft: &mut Draft<'_>, command: &RecordSubscription) -> Result<(), Rejection> {
    let (account, known) = touch(draft, &command.subscription, &command.subscriber)?;
    // Point of no return.
    let (subscription, terms) = (command.subscription.clone(), command.terms.clone());
    let Some(known) = known else {
        let order = command.order;
        let body = SubscriptionStarted { subscription, order, terms: terms.clone() };
        draft.emit(Some(account), None, body);
        if terms.status.has_ended() {
            end(draft, account, &command.subscription, terms);
        }
        return Ok(());
    };
    let new_order = command.order.filter(|_| known.order.is_none());
    let is_newer = terms.overtakes(&known.terms);
    if new_order.is_none() && !is_newer {
        draft.discard();
    }
    if let Some(order) = new_order {
        let (subscription, change) = (subscription.clone(), SubscriptionChange::Order(order));
        draft.emit(Some(account), None, SubscriptionChanged { subscription, change });
    }
    if is_newer && terms.status.has_ended() {
        end(draft, account, &command.subscription, terms);
    } else if is_newer {
        let change = SubscriptionChange::Terms(terms);
        draft.emit(Some(account), None, SubscriptionChanged { subscription, change });
    }
    Ok(())
}

/// There will be no renewal, so that nothing has to be waited for: credits end with the period that they were paid for.
fn end(draft: &mut Draft<'_>, account: AccountNumber, subscription: &StripeId, terms: SubscriptionTerms) {
    let now = draft.context().now;
    let books = &draft.account(account).books;
    let lots = draft.state.subscriptions[subscription].lots.iter();
    let shortened =
        lots.filter_map(|of_period| {
            let lot = books.get(&of_period.unit)?.lots.get(&of_period.lot)?;
            let expires_at = of_period.ends_at.max(now);
            (lot.is_open() && lot.expires_at.is_some_and(|before| before > expires_at))
                .then(|| ShortenedLot { unit: of_period.unit.clone(), lot: of_period.lot, expires_at })
        });
    let shortened = shortened.collect();
    let body = SubscriptionEnded { subscription: subscription.clone(), terms, shortened };
    draft.emit(Some(account), None, body);
    due::apply_due(draft, account);
}
