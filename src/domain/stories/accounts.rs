//! Stories of accounts: opened, changed, frozen, closed, erased.

use super::*;
use crate::domain::{
    account::AccountStatus, canonical::note_hash, event::ProfileField, working_set::Private,
};

fn note(text: &str) -> Note {
    [("reason".to_owned(), serde_json::Value::from(text))].into_iter().collect()
}

/// What a command would lead to; it leaves no trace.
pub(super) fn decide_once(told: &Story, command: &Command) -> Result<crate::domain::Decision, Rejection> {
    let context = Context {
        now: told.now,
        next_position: Position(told.events.len() as i64 + 1),
        actor: Actor::Operator,
        key: None,
        seed: Seed([42; 16]),
    };
    decide(&told.state, command, &context)
}

#[test]
fn opening_an_account_twice_opens_it_once() {
    let told = story("open b => 0 [account.opened]\n open b => 0 []\n open a => 0 []");
    let numbers: Vec<i64> = told.state.accounts.keys().map(|number| number.0).collect();
    assert_eq!(numbers.len(), 2);
    assert_eq!(told.events[numbers[1] as usize - 1].account, Some(AccountNumber(numbers[1])));
    assert_eq!(told.account().opened_at, start());
}

#[test]
fn a_new_account_comes_with_its_name_and_profile() {
    let account = AccountId::parse("new").expect("an account");
    let profile = ProfileChange { email: Some(Some("a@example.com".to_owned())), ..ProfileChange::default() };
    let command = Command::OpenAccount(OpenAccount {
        account: account.clone(),
        profile: profile.clone(),
        stripe_customer: None,
    });
    let told = Story::new();
    let decision = decide_once(&told, &command).expect("opens");
    let number = AccountNumber(decision.events[0].position.0);
    assert_eq!(decision.private, [Private::Opened { account: number, account_id: account, profile }]);
    assert_eq!(decision.events[0].actor, Actor::Operator);
}

#[test]
fn freezing_refuses_what_moves_credits_and_nothing_else() {
    story(
        "grant 10             => 10
         freeze               => 10 [account.frozen]
         freeze               => 10 []
         spend 1              => rejected AccountFrozen
         hold h 1             => rejected AccountFrozen
         grant 1              => rejected AccountFrozen
         adjust +1            => 11
         adjust -1            => 10
         limit 5              => 10
         unfreeze             => 10 [account.unfrozen]
         unfreeze             => 10 []
         spend 1              => 9",
    );
}

#[test]
fn closing_refuses_every_request_for_ever() {
    let told = story(
        "grant 10             => 10
         close                => 10 [account.closed]
         close                => 10 []
         spend 1              => rejected AccountClosed
         hold h 1             => rejected AccountClosed
         grant 1              => rejected AccountClosed
         adjust +1            => rejected AccountClosed
         freeze               => rejected AccountClosed
         unfreeze             => rejected AccountClosed
         limit 1              => rejected AccountClosed",
    );
    assert_eq!(told.account().status, AccountStatus::Closed);
    let change = ChangeAccount { account: told.account.clone(), profile: ProfileChange::default() };
    assert_eq!(decide_once(&told, &Command::ChangeAccount(change)), Err(Rejection::AccountClosed));
}

#[test]
fn a_frozen_account_can_be_closed() {
    story("freeze => 0\n close => 0 [account.closed]\n unfreeze => rejected AccountClosed");
}

#[test]
fn changes_of_a_profile_say_which_fields_and_never_what() {
    let told = Story::new();
    let profile = ProfileChange {
        email: Some(Some("a@example.com".to_owned())),
        name: Some(None),
        locale: Some(Some("de".to_owned())),
        metadata: Some(note("x")),
    };
    let account = told.account.clone();
    let command =
        Command::ChangeAccount(ChangeAccount { account: account.clone(), profile: profile.clone() });
    let decision = decide_once(&told, &command).expect("changes");
    let EventBody::AccountChanged(body) = &decision.events[0].body else { panic!("a change") };
    let all = [ProfileField::Email, ProfileField::Name, ProfileField::Locale, ProfileField::Metadata];
    assert_eq!(body.fields, all);
    assert_eq!(decision.private, [Private::Profile { account: told.number(), profile }]);
    let nothing = ChangeAccount { account, profile: ProfileChange::default() };
    let decision = decide_once(&told, &Command::ChangeAccount(nothing)).expect("nothing to do");
    assert_eq!(decision, crate::domain::Decision::default());
}

#[test]
fn erasing_gives_the_account_a_name_that_says_nothing() {
    let mut told = story(
        "grant 10             => 10
         close                => 10
         erase",
    );
    assert_eq!(told.events.last().map(|event| event.body.type_name()), Some("account.changed"));
    let number = told.erased_number();
    assert_eq!(told.state.account_numbers.get(&AccountId::parse("a").expect("an account")), None);
    told.account = AccountId::parse(&format!("erased:{number}")).expect("an account");
    told.tell("erase => 10 []");
    told.tell("spend 1 => rejected AccountClosed");
    told.tell("open a => 0 [account.opened]");
}

#[test]
fn nobody_is_called_like_an_erased_account() {
    story("open erased:7 => rejected InvalidConfiguration\n open erased7 => 0");
}

#[test]
fn erasing_applies_to_accounts_that_exist() {
    let mut told = Story::new();
    told.account = AccountId::parse("nobody").expect("an account");
    for line in ["erase", "freeze", "unfreeze", "close", "limit 1", "adjust +1", "grant 1", "hold h 1"] {
        told.tell(&format!("{line} => rejected AccountNotFound"));
    }
    let sweep = Command::ApplyDue(ApplyDue { account: AccountNumber(999) });
    assert_eq!(told.run(&sweep), Err(Rejection::AccountNotFound));
}

#[test]
fn a_note_is_kept_beside_its_event_which_holds_its_salted_hash() {
    let told = story("grant 10 expires 1d => 10\n grant 10 => 20\n at 2d");
    let account = told.account.clone();
    let charge = Charge::Credits { unit: unit("credits"), amount: amount(1) };
    let spend = SpendCredits { account, charge, note: note("for a test") };
    let decision = decide_once(&told, &Command::SpendCredits(spend)).expect("spends");
    let [expired, spent] = decision.events.as_slice() else { panic!("two events") };
    assert_eq!(expired.note_hash, None);
    let [Private::Note { position, account, salt, content }] = decision.private.as_slice() else {
        panic!("a note")
    };
    assert_eq!((*position, *account), (spent.position, Some(told.number())));
    assert_eq!(content, &note("for a test"));
    assert_eq!(spent.note_hash, Some(note_hash(salt, content)));
    assert_ne!(spent.note_hash, Some(note_hash(salt, &note("for another"))));
    assert_ne!(spent.note_hash, Some(note_hash(&[0; 16], content)));
}

impl Story {
    /// The number of the account that was erased.
    fn erased_number(&self) -> AccountNumber {
        let erased = self.state.account_numbers.iter().find(|(id, _)| id.as_str().starts_with("erased:"));
        let (id, number) = erased.expect("an erased account");
        assert_eq!(id.as_str(), format!("erased:{number}"));
        *number
    }
}
