//! What is wished of accounts themselves.

use super::Note;
use crate::domain::ids::{AccountId, StripeId, Unit};

/// What is known of an account's holder; each absent part is left as it is.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ProfileChange {
    /// The e-mail address; `Some(None)` removes it.
    pub email: Option<Option<String>>,
    /// The display name; `Some(None)` removes it.
    pub name: Option<Option<String>>,
    /// The language; `Some(None)` removes it.
    pub locale: Option<Option<String>>,
    /// The client's own key-value pairs, all of them.
    pub metadata: Option<Note>,
}

/// See [`super::Command::OpenAccount`].
#[derive(Clone, PartialEq, Debug)]
pub struct OpenAccount {
    /// The client's name of it.
    pub account: AccountId,
    /// What is known of its holder.
    pub profile: ProfileChange,
    /// A customer at Stripe that is to be the account's.
    pub stripe_customer: Option<StripeId>,
}

/// See [`super::Command::ChangeAccount`].
#[derive(Clone, PartialEq, Debug)]
pub struct ChangeAccount {
    /// The account.
    pub account: AccountId,
    /// What changes.
    pub profile: ProfileChange,
}

/// See [`super::Command::EraseProfile`].
#[derive(Clone, PartialEq, Debug)]
pub struct EraseProfile {
    /// The account.
    pub account: AccountId,
}

/// See [`super::Command::SetOverdraftLimit`].
#[derive(Clone, PartialEq, Debug)]
pub struct SetOverdraftLimit {
    /// The account.
    pub account: AccountId,
    /// The unit.
    pub unit: Unit,
    /// How many credits may be owed: 0 to 2^53 − 1.
    pub limit: i64,
}

/// See [`super::Command::FreezeAccount`].
#[derive(Clone, PartialEq, Debug)]
pub struct FreezeAccount {
    /// The account.
    pub account: AccountId,
    /// Why, for people.
    pub note: Note,
}

/// See [`super::Command::UnfreezeAccount`].
#[derive(Clone, PartialEq, Debug)]
pub struct UnfreezeAccount {
    /// The account.
    pub account: AccountId,
    /// Why, for people.
    pub note: Note,
}

/// See [`super::Command::CloseAccount`].
#[derive(Clone, PartialEq, Debug)]
pub struct CloseAccount {
    /// The account.
    pub account: AccountId,
    /// Why, for people.
    pub note: Note,
}
