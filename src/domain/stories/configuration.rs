//! Stories of configuration: units, features, prices, settings and keys.

use super::*;
use crate::domain::{
    amount::MAX_AMOUNT,
    event::LedgerConfigured,
    settings::{LedgerRules, Rollover, Scope, SignupGrant, SubscriptionRules},
    working_set::Private,
};

fn invalid(told: &mut Story, command: Command) -> (&'static str, &'static str) {
    match told.run(&command) {
        Err(Rejection::InvalidConfiguration { field, problem }) => (field, problem),
        other => panic!("must be invalid, but led to {other:?}"),
    }
}

fn types(told: &mut Story, command: Command) -> Vec<&'static str> {
    let events = told.run(&command).expect("is valid");
    events.iter().map(|event| event.body.type_name()).collect()
}

#[test]
fn what_is_set_already_changes_nothing() {
    let mut told = Story::new();
    let grants = || vec![price_grant("credits", 100, 1)];
    assert!(types(&mut told, Command::SetFeature(feature("analysis", 10))).is_empty());
    assert!(types(&mut told, Command::SetPrice(price("price_pack", 500, grants()).into())).is_empty());
    assert!(types(&mut told, Command::ConfigureLedger(settings())).is_empty());
    assert_eq!(types(&mut told, Command::SetFeature(feature("analysis", 11))), ["feature.set"]);
    assert_eq!(types(&mut told, Command::SetPrice(price("price_pack", 501, grants()).into())), ["price.set"]);
    let settings = LedgerSettings { claw_on_pending: true, ..settings() };
    assert_eq!(types(&mut told, Command::ConfigureLedger(settings)), ["ledger.configured"]);
    told.tell("grant 22 => 22");
    told.tell("spend analysis x 2 => 0");
}

#[test]
fn features_and_prices_are_in_units_of_the_ledger() {
    let mut told = Story::new();
    let gold = || Rejection::UnknownUnit { unit: unit("gold") };
    let in_gold = Feature { unit: unit("gold"), ..feature("analysis", 1) };
    assert_eq!(told.run(&Command::SetFeature(in_gold)), Err(gold()));
    let in_gold = price("price_gold", 1, vec![price_grant("gold", 1, 1)]);
    assert_eq!(told.run(&Command::SetPrice(in_gold.into())), Err(gold()));
}

#[test]
fn a_price_grants_each_unit_once_and_something_at_all() {
    let mut told = Story::new();
    let mut refuse =
        |money, grants| invalid(&mut told, Command::SetPrice(price("price_x", money, grants).into())).0;
    let grant = || price_grant("credits", 1, 1);
    assert_eq!(refuse(1, vec![]), "grants");
    assert_eq!(refuse(1, vec![grant(), grant()]), "grants");
    assert_eq!(refuse(1, vec![PriceGrant { priority: 101, ..grant() }]), "priority");
    assert_eq!(refuse(-1, vec![grant()]), "money");
    assert_eq!(refuse(MAX_AMOUNT + 1, vec![grant()]), "money");
    let last = PriceGrant { priority: 100, ..grant() };
    assert_eq!(
        types(&mut told, Command::SetPrice(price("price_x", MAX_AMOUNT, vec![last]).into())),
        ["price.set"]
    );
    assert_eq!(types(&mut told, Command::SetPrice(price("price_y", 0, vec![grant()]).into())), ["price.set"]);
}

#[test]
fn units_stay_as_they_are() {
    let mut told = Story::new();
    let mut fewer = settings();
    fewer.units.remove(&unit("bonus"));
    assert_eq!(invalid(&mut told, Command::ConfigureLedger(fewer)).0, "units");
    let mut rescaled = settings();
    rescaled.units.insert(unit("bonus"), UnitSettings { scale: 2 });
    assert_eq!(invalid(&mut told, Command::ConfigureLedger(rescaled)).0, "units");
    let mut too_fine = settings();
    too_fine.units.insert(unit("gold"), UnitSettings { scale: 10 });
    assert_eq!(invalid(&mut told, Command::ConfigureLedger(too_fine.clone())).0, "units");
    too_fine.units.insert(unit("gold"), UnitSettings { scale: 9 });
    assert_eq!(types(&mut told, Command::ConfigureLedger(too_fine)), ["ledger.configured"]);
}

#[test]
fn rules_are_set_together_and_leave_everything_else_as_it_is() {
    let mut told = Story::new();
    let before = told.state.settings.clone();
    let set = |rules: &LedgerRules| Command::ConfigureRules(rules.clone());
    assert!(types(&mut told, set(&before.rules())).is_empty());
    let mut rules = LedgerRules {
        clawback_policy: ClawbackPolicy::LotOnly,
        claw_on_pending: true,
        freeze_on_dispute: true,
        signup_grants: vec![welcome("credits", 25)],
        ..LedgerRules::default()
    };
    rules.subscriptions.rollover = Rollover::Capped(amount(500));
    assert_eq!(types(&mut told, set(&rules)), ["ledger.configured"]);
    assert!(types(&mut told, set(&rules)).is_empty());
    assert_eq!(told.state.settings.rules(), rules);
    assert_eq!(told.state.settings.clone().with_rules(before.rules()), before);
}

#[test]
fn settings_are_written_in_the_first_shape_until_there_are_rules_that_it_had_not() {
    let version = |change: fn(&mut LedgerSettings)| {
        let mut settings = settings();
        change(&mut settings);
        LedgerConfigured(settings).version()
    };
    assert_eq!(version(|_| {}), 1);
    assert_eq!(version(|settings| settings.claw_on_pending = true), 1);
    assert_eq!(version(|settings| settings.subscriptions.renewal_grace_days = 4), 2);
    assert_eq!(version(|settings| settings.signup_grants = vec![welcome("credits", 25)]), 2);
}

#[test]
fn rules_that_could_not_be_followed_are_refused() {
    let mut told = Story::new();
    let mut refuse = |change: fn(&mut LedgerRules)| {
        let mut rules = LedgerRules::default();
        change(&mut rules);
        let whole = settings().with_rules(rules.clone());
        let refused = told.run(&Command::ConfigureRules(rules));
        assert_eq!(refused, told.run(&Command::ConfigureLedger(whole)));
        refused
    };
    let field = |refused| match refused {
        Err(Rejection::InvalidConfiguration { field, .. }) => field,
        other => panic!("must be invalid, but led to {other:?}"),
    };
    assert_eq!(field(refuse(|rules| rules.subscriptions.renewal_grace_days = 91)), "renewal_grace_days");
    let gold = Err(Rejection::UnknownUnit { unit: unit("gold") });
    let trial = |rules: &mut LedgerRules| {
        rules.subscriptions.trial_credits = [(unit("gold"), amount(1))].into();
    };
    assert_eq!(refuse(trial), gold);
    assert_eq!(refuse(|rules| rules.signup_grants = vec![welcome("gold", 1)]), gold);
    let twice = refuse(|rules| rules.signup_grants = vec![welcome("credits", 1), welcome("credits", 2)]);
    assert_eq!(field(twice), "signup_grants");
    let late =
        refuse(|rules| rules.signup_grants = vec![SignupGrant { priority: 101, ..welcome("credits", 1) }]);
    assert_eq!(field(late), "signup_grants");
    let over = |rules: &mut LedgerRules| {
        rules.signup_grants = vec![SignupGrant { expires_days: Some(0), ..welcome("credits", 1) }];
    };
    assert_eq!(field(refuse(over)), "signup_grants");
    let longest = |rules: &mut LedgerRules| {
        rules.subscriptions.renewal_grace_days = 90;
        rules.signup_grants =
            vec![SignupGrant { priority: 100, expires_days: Some(1), ..welcome("credits", 1) }];
    };
    let mut rules = LedgerRules::default();
    longest(&mut rules);
    assert_eq!(types(&mut told, Command::ConfigureRules(rules)), ["ledger.configured"]);
}

fn welcome(name: &str, credits: i64) -> SignupGrant {
    SignupGrant { unit: unit(name), amount: amount(credits), expires_days: None, priority: 50 }
}

#[test]
fn a_new_account_gets_what_the_rules_say_once_and_in_the_command_that_opens_it() {
    let mut told = Story::new();
    let grants = vec![SignupGrant { expires_days: Some(14), ..welcome("credits", 25) }, welcome("bonus", 3)];
    let rules = LedgerRules { signup_grants: grants, ..LedgerRules::default() };
    told.run(&Command::ConfigureRules(rules)).expect("valid rules");
    for line in [
        "open a                           => 0 []",
        "open b                           => 25 [account.opened credits.granted credits.granted]",
        "open b                           => 25 []",
        "unit bonus",
        "spend 1                          => 2",
        "unit credits",
        "at 13d",
        "sweep                            => 25 []",
        "at 14d",
        "sweep                            => 0 [credits.expired]",
        "open c with cus_1                => 25 [account.opened customer.linked credits.granted credits.granted]",
    ] {
        told.tell(line);
    }
}

#[test]
fn keys_are_made_and_revoked_once() {
    let mut told = Story::new();
    let create = |scopes, expires_at| {
        let (secret_hash, name) = ([1; 32], "ci".to_owned());
        Command::CreateKey(CreateKey { scopes, expires_at, secret_hash, name })
    };
    assert_eq!(invalid(&mut told, create(vec![], None)).0, "scopes");
    assert_eq!(told.run(&create(vec![Scope::Read], Some(start()))), Err(Rejection::ExpiryNotInFuture));
    let soon = start().plus(Span::seconds(1));
    let events = told.run(&create(vec![Scope::Spend, Scope::Read, Scope::Spend], Some(soon))).expect("a key");
    let EventBody::KeyCreated(body) = &events[0].body else { panic!("a key") };
    assert_eq!(
        (body.scopes.as_slice(), body.expires_at),
        ([Scope::Read, Scope::Spend].as_slice(), Some(soon))
    );
    let key = body.key;
    assert!(told.state.keys.contains(&key));
    let revoke = Command::RevokeKey(RevokeKey { key });
    assert_eq!(types(&mut told, revoke.clone()), ["key.revoked"]);
    assert_eq!(told.run(&revoke), Err(Rejection::KeyNotFound { key }));
    assert!(told.state.keys.is_empty());
}

#[test]
fn the_secret_of_a_key_stands_beside_its_event() {
    let told = Story::new();
    let command = CreateKey {
        scopes: vec![Scope::Admin],
        expires_at: None,
        secret_hash: [7; 32],
        name: "ci".to_owned(),
    };
    let context = Context {
        now: start(),
        next_position: Position(50),
        actor: Actor::Operator,
        key: None,
        seed: Seed([3; 16]),
    };
    let decision = decide(&told.state, &Command::CreateKey(command), &context).expect("a key");
    let [Private::KeySecret { key, secret_hash, name }] = decision.private.as_slice() else {
        panic!("a secret")
    };
    assert_eq!((key.position(), *secret_hash, name.as_str()), (Position(50), [7; 32], "ci"));
    assert!(!decision.events[0].body.to_json().expect("serialises").contains("ci"));
}

#[test]
fn lost_history_is_written_down() {
    let mut told = Story::new();
    let command = Command::RecordLostHistory(RecordLostHistory { last_seen: Position(12) });
    assert_eq!(types(&mut told, command), ["history.lost"]);
}

#[test]
fn every_command_says_what_it_needs() {
    let mut told = Story::new();
    let account = told.account.clone();
    let mut needs = |line: &str| told.command(&mut Words(line.split_whitespace().peekable())).needs();
    let of_account = Needs { accounts: vec![account.clone()], ..Needs::default() };
    for line in
        ["freeze", "unfreeze", "close", "erase", "limit 1", "grant 1", "spend 1", "adjust +1", "hold h 1"]
    {
        assert_eq!(needs(line), of_account, "{line}");
    }
    assert_eq!(needs("buy external 1 for 1"), of_account);
    let payment = PaymentReference::Stripe(stripe("pi_1"));
    assert_eq!(needs("buy pi_1 1 for 1"), Needs { payments: vec![payment.clone()], ..of_account.clone() });
    assert_eq!(needs("charge pi_1 1"), Needs { payments: vec![payment], ..Needs::default() });
    let of_hold = Needs { accounts_of_events: vec![Position(99)], ..Needs::default() };
    assert_eq!(needs("capture h 1"), of_hold);
    assert_eq!(needs("release h"), of_hold);
    assert_eq!(needs("return"), Needs { purchases: vec![PurchaseId::from_bits(1)], ..Needs::default() });
    assert_eq!(needs("open a"), of_account);
    let change = ChangeAccount { account, profile: ProfileChange::default() };
    assert_eq!(Command::ChangeAccount(change).needs(), of_account);
    let key = KeyId::from_bits(5);
    assert_eq!(Command::RevokeKey(RevokeKey { key }).needs(), Needs { keys: vec![key], ..Needs::default() });
    assert_eq!(Command::ConfigureLedger(settings()).needs(), Needs::default());
    let number = AccountNumber(4);
    let sweep = Command::ApplyDue(ApplyDue { account: number }).needs();
    assert_eq!(sweep, Needs { account_numbers: vec![number], ..Needs::default() });
}

#[test]
fn rules_that_nobody_set_are_not_written_and_those_that_somebody_set_are() {
    let written = |settings: &LedgerSettings| serde_json::to_value(settings).expect("JSON");
    let plain = LedgerSettings::default();
    assert_eq!((written(&plain).get("checkout"), written(&plain).get("subscriptions")), (None, None));
    let subscriptions = SubscriptionRules { renewal_grace_days: 4, ..SubscriptionRules::default() };
    let set = LedgerSettings { checkout: checkout_settings(), subscriptions, ..plain };
    let read: LedgerSettings = serde_json::from_value(written(&set)).expect("settings");
    assert_eq!(read, set);
}

#[test]
fn checkouts_lead_back_to_hosts_that_are_named_beside_their_addresses() {
    let mut told = Story::new();
    let other = || Some("https://elsewhere.example/".to_owned());
    for (field, settings) in [
        ("success_url", CheckoutSettings { success_url: other(), ..checkout_settings() }),
        ("cancel_url", CheckoutSettings { cancel_url: other(), ..checkout_settings() }),
    ] {
        assert_eq!(invalid(&mut told, Command::ConfigureCheckout(settings)).0, field);
    }
    let unchanged = types(&mut told, Command::ConfigureCheckout(checkout_settings()));
    assert!(unchanged.is_empty(), "{unchanged:?}");
    let taxed = CheckoutSettings { automatic_tax: true, ..checkout_settings() };
    let before = told.state.settings.clone();
    assert_eq!(types(&mut told, Command::ConfigureCheckout(taxed.clone())), ["ledger.configured"]);
    assert_eq!(told.state.settings, LedgerSettings { checkout: taxed, ..before });
}
