//! Changes of subscriptions that are asked of us: what they come to, and what becomes of them.

use super::{
    billing::subscriptions,
    prices::{told_of_pack, told_of_plan},
    *,
};
use crate::domain::{
    command::{RequestSubscriptionChange, SettleSubscriptionChange, Subscriber},
    effects::{Effect, effects_of},
    event::SubscriptionChangeSettled,
    ids::SubscriptionChangeId,
    subscription::{REMEMBERED_REQUESTS, Subscription},
    subscription_change::{AskedChange, CancelAt, ChangeOutcome, ChangeRefusal, Proration, WantedChange},
};

fn id(text: &str) -> StripeId {
    StripeId::parse(text).expect("an id")
}

fn price_of(text: &str) -> PriceId {
    PriceId::parse(text).expect("a price")
}

fn switch(price: Option<&str>, quantity: Option<i64>) -> AskedChange {
    AskedChange::Switch {
        replaces: None,
        price: price.map(price_of),
        quantity: quantity.map(amount),
        proration: Proration::Now,
    }
}

/// One of the plan, paid.
fn subscribed() -> Story {
    subscriptions("invoice in_1 il_1 sub_1 price_plan for 1000 from 0d to 30d via pi_1    => 100")
}

impl Story {
    fn ask(&mut self, change: AskedChange) -> Result<Vec<Event>, Rejection> {
        self.run(&Command::RequestSubscriptionChange(RequestSubscriptionChange {
            subscription: id("sub_1"),
            subscriber: Subscriber::Named(self.account.clone()),
            change,
            note: Note::new(),
        }))
    }

    fn settle_change(
        &mut self,
        request: SubscriptionChangeId,
        outcome: ChangeOutcome,
    ) -> Result<Vec<Event>, Rejection> {
        self.run(&Command::SettleSubscriptionChange(SettleSubscriptionChange {
            subscription: id("sub_1"),
            subscriber: Subscriber::Named(self.account.clone()),
            request,
            outcome,
        }))
    }

    fn sub_1(&self) -> &Subscription {
        &self.state.subscriptions[&id("sub_1")]
    }

    fn wanted(&mut self, change: AskedChange) -> Result<WantedChange, Rejection> {
        self.ask(change)?;
        let requested = self.sub_1().requests.last().expect("a request");
        Ok(requested.change.clone())
    }
}

#[test]
fn a_change_is_ordered_once_and_changes_nothing_until_stripe_tells() {
    let mut story = subscribed();
    let before = story.sub_1().terms.clone();
    let events = story.ask(AskedChange::Cancel { at: CancelAt::Now }).expect("asked");
    let [event] = &events[..] else { panic!("{events:?}") };
    let request = story.sub_1().requests[0].id;
    let account = event.account.expect("of an account");
    assert_eq!(effects_of(event), [Effect::ChangeSubscription { account, request }]);
    assert_eq!((&story.sub_1().terms, story.sub_1().requests[0].outcome), (&before, None));

    let settled = story.settle_change(request, ChangeOutcome::Made).expect("settled");
    let body = SubscriptionChangeSettled { subscription: id("sub_1"), request, refusal: None };
    assert_eq!(settled[0].body, EventBody::SubscriptionChangeSettled(body));
    assert_eq!((settled.len(), effects_of(&settled[0])), (1, Vec::new()));
    // What is known of it stays.
    let refused = ChangeOutcome::Refused(ChangeRefusal::Refused);
    assert_eq!(story.settle_change(request, refused), Ok(Vec::new()));
    assert_eq!(story.sub_1().requests[0].outcome, Some(ChangeOutcome::Made));
    let unknown = SubscriptionChangeId::from_bits(7);
    let not_found = Err(Rejection::SubscriptionChangeNotFound { change: unknown });
    assert_eq!(story.settle_change(unknown, refused), not_found);
}

#[test]
fn a_switch_says_what_it_puts_in_place_of_what() {
    let plan = || price_of("price_plan");
    let switched = |price, quantity| WantedChange::Switch {
        replaces: plan(),
        price: price_of(price),
        quantity,
        proration: Proration::Now,
    };
    for (asked, wanted) in [
        (switch(Some("price_plus"), None), switched("price_plus", 1)),
        (switch(None, Some(3)), switched("price_plan", 3)),
        (switch(Some("price_plus"), Some(2)), switched("price_plus", 2)),
    ] {
        assert_eq!(subscribed().wanted(asked), Ok(wanted));
    }
    assert_eq!(subscribed().wanted(AskedChange::Resume), Ok(WantedChange::Resume {}));
    for at in [CancelAt::Now, CancelAt::PeriodEnd] {
        assert_eq!(subscribed().wanted(AskedChange::Cancel { at }), Ok(WantedChange::Cancel { at }));
    }
}

#[test]
fn what_cannot_be_switched_is_refused_by_name() {
    let field = |field| move |rejection: &Rejection| matches!(rejection, Rejection::InvalidConfiguration { field: named, .. } if *named == field);
    let check = |asked: AskedChange, is_expected: &dyn Fn(&Rejection) -> bool| {
        let rejection = subscribed().ask(asked.clone()).expect_err("refused");
        assert!(is_expected(&rejection), "{asked:?}: {rejection:?}");
    };
    check(switch(Some("price_none"), None), &|rejection| matches!(rejection, Rejection::UnknownPrice { .. }));
    check(switch(None, None), &field("price_id"));
    check(switch(Some("price_plan"), Some(1)), &field("price_id"));
    check(switch(None, Some(10_001)), &field("quantity"));
    let replaces = Some(price_of("price_plus"));
    let other = AskedChange::Switch { replaces, price: None, quantity: None, proration: Proration::Never };
    check(other, &field("replaces"));

    let mut story = subscribed();
    let mut duo = price("price_duo", 1_000, vec![price_grant("credits", 1, 1)]);
    duo.active = false;
    story.run(&Command::SetPrice(duo.into())).expect("a valid price");
    let rejection = story.ask(switch(Some("price_duo"), None));
    assert_eq!(rejection, Err(Rejection::PriceInactive { price: price_of("price_duo") }));
    story.run(&told_of_pack("price_pack")).expect("a valid price");
    let rejection = story.ask(switch(Some("price_pack"), None)).expect_err("refused");
    assert!(field("price_id")(&rejection), "{rejection:?}");
    story.run(&told_of_plan("price_month")).expect("a valid price");
    story.ask(switch(Some("price_month"), None)).expect("a price that is paid each month");
    let mut dollars = price("price_usd", 1_000, vec![price_grant("credits", 1, 1)]);
    dollars.currency = Currency::parse("usd").expect("a currency");
    story.run(&Command::SetPrice(dollars.into())).expect("a valid price");
    let rejection = story.ask(switch(Some("price_usd"), None)).expect_err("refused");
    assert!(field("price_id")(&rejection), "{rejection:?}");
}

#[test]
fn nothing_is_asked_about_what_is_unknown_or_over_or_of_a_closed_account() {
    let cancel = || AskedChange::Cancel { at: CancelAt::PeriodEnd };
    assert_eq!(subscriptions("").ask(cancel()), Err(Rejection::SubscriptionNotFound));
    let mut ended = subscribed();
    ended.tell("told sub_1 canceled as 2");
    for asked in [cancel(), AskedChange::Resume, switch(Some("price_plus"), None)] {
        assert_eq!(ended.ask(asked), Err(Rejection::SubscriptionEnded { subscription: id("sub_1") }));
    }
    let mut frozen = subscribed();
    frozen.tell("freeze");
    assert_eq!(frozen.ask(cancel()).map(|events| events.len()), Ok(1), "who is frozen may leave");
    let mut closed = subscribed();
    closed.tell("close");
    assert_eq!(closed.ask(cancel()), Err(Rejection::AccountClosed));
}

#[test]
fn the_latest_changes_are_remembered() {
    let mut story = subscribed();
    for _ in 0..=REMEMBERED_REQUESTS {
        story.ask(AskedChange::Resume).expect("asked");
        let request = story.sub_1().requests.last().expect("a change").id;
        story.settle_change(request, ChangeOutcome::Made).expect("settled");
    }
    let remembered = &story.sub_1().requests;
    assert_eq!(remembered.len(), REMEMBERED_REQUESTS);
    assert!(remembered.is_sorted_by_key(|requested| requested.id));
}

#[test]
fn a_change_that_is_still_to_be_made_is_not_forgotten_however_many_are_asked_for() {
    let mut story = subscribed();
    for _ in 0..REMEMBERED_REQUESTS {
        story.ask(AskedChange::Resume).expect("asked");
    }
    let open: Vec<_> = story.sub_1().requests.iter().map(|requested| requested.id).collect();
    let too_many = || Err(Rejection::TooManyChanges { subscription: id("sub_1") });
    assert_eq!(story.ask(AskedChange::Resume), too_many());
    story.settle_change(open[1], ChangeOutcome::Made).expect("settled");
    story.ask(AskedChange::Resume).expect("asked");
    let remembered: Vec<_> = story.sub_1().requests.iter().map(|requested| requested.id).collect();
    assert_eq!((remembered[0], &remembered[1..7]), (open[0], &open[2..]));
    assert_eq!(story.ask(AskedChange::Resume), too_many());
    assert_eq!(story.settle_change(open[0], ChangeOutcome::Made).map(|events| events.len()), Ok(1));
}
