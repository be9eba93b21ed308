//! Accounts come and go: open, change, erase, limit, freeze, unfreeze, close.

use super::customers;
use crate::domain::{
    account::AccountStatus,
    amount::MAX_AMOUNT,
    command::{
        ChangeAccount, CloseAccount, EraseProfile, FreezeAccount, OpenAccount, ProfileChange,
        SetOverdraftLimit, UnfreezeAccount,
    },
    decide::Draft,
    event::{
        AccountChanged, AccountClosed, AccountFrozen, AccountOpened, AccountUnfrozen, CreditsGranted,
        FreezeCause, GrantSource, LimitChanged, LinkCause, ProfileField,
    },
    ids::{AccountId, AccountNumber, LotId, StripeId},
    rejection::Rejection,
    settings::SignupGrant,
    time::Span,
    working_set::Private,
};

/// Opens an account, with the credits that the ledger grants to each new one. One that is there stays as it is: the
/// client's name is the key. Only a customer that is given is taken over there as well.
///
/// Checks, in this order: the name; that a customer which is given is no other account's; for an account that is there
/// that it is not closed, and has no other customer.
pub(super) fn open(draft: &mut Draft<'_>, command: &OpenAccount) -> Result<(), Rejection> {
    if let Ok(account) = draft.find_account(&command.account) {
        return match &command.stripe_customer {
            Some(customer) => adopt(draft, account, customer),
            None => Ok(()),
        };
    }
    if command.account.is_erased() {
        let problem = "names that begin with `erased:` are kept for erased accounts";
        return Err(Rejection::InvalidConfiguration { field: "account_id", problem });
    }
    let account = AccountNumber(draft.next_position().0);
    if let Some(customer) = &command.stripe_customer {
        customers::check(draft, account, customer)?;
    }
    // Point of no return.
    draft.emit(Some(account), None, AccountOpened {});
    let profile = command.profile.clone();
    draft.keep(Private::Opened { account, account_id: command.account.clone(), profile });
    if let Some(customer) = &command.stripe_customer {
        customers::write(draft, account, customer, LinkCause::Adopted);
    }
    for grant in &draft.base().settings.signup_grants {
        welcome(draft, account, grant);
    }
    Ok(())
}

/// Credits of a new account.
fn welcome(draft: &mut Draft<'_>, account: AccountNumber, grant: &SignupGrant) {
    let now = draft.context().now;
    let body = CreditsGranted {
        lot: LotId::new(draft.next_position(), 0, &draft.context().seed),
        source: GrantSource::SignUp,
        granted: grant.amount.get(),
        expires_at: grant.expires_days.map(|days| now.plus(Span::days(i64::from(days)))),
        priority: grant.priority,
    };
    draft.emit(Some(account), Some(&grant.unit), body);
}

/// Gives an account that is there a customer. One that has it, or is closed and has it, stays as it is.
fn adopt(draft: &mut Draft<'_>, account: AccountNumber, customer: &StripeId) -> Result<(), Rejection> {
    draft.touch(account)?;
    if customers::check(draft, account, customer)? {
        draft.discard();
        return Ok(());
    }
    if draft.account(account).status == AccountStatus::Closed {
        return Err(Rejection::AccountClosed);
    }
    // Point of no return.
    customers::write(draft, account, customer, LinkCause::Adopted);
    Ok(())
}

/// Changes profile and metadata. Checks: the account exists; is not closed. Nothing to change: no event.
pub(super) fn change(draft: &mut Draft<'_>, command: &ChangeAccount) -> Result<(), Rejection> {
    let account = draft.touch_unless_closed(&command.account)?;
    // Point of no return.
    let fields = changed_fields(&command.profile);
    if fields.is_empty() {
        draft.discard();
        return Ok(());
    }
    draft.emit(Some(account), None, AccountChanged { fields });
    draft.keep(Private::Profile { account, profile: command.profile.clone() });
    Ok(())
}

fn changed_fields(profile: &ProfileChange) -> Vec<ProfileField> {
    let changed = [
        (profile.email.is_some(), ProfileField::Email),
        (profile.name.is_some(), ProfileField::Name),
        (profile.locale.is_some(), ProfileField::Locale),
        (profile.metadata.is_some(), ProfileField::Metadata),
    ];
    changed.into_iter().filter(|(is_changed, _)| *is_changed).map(|(_, field)| field).collect()
}

/// Erases a person. Possible on closed accounts too; the account goes on under a name that says nothing.
pub(super) fn erase(draft: &mut Draft<'_>, command: &EraseProfile) -> Result<(), Rejection> {
    let account = draft.find_account(&command.account)?;
    if command.account.is_erased() {
        return Ok(());
    }
    draft.touch(account)?;
    let replacement = AccountId::erased(account);
    // Point of no return.
    draft.emit(Some(account), None, AccountChanged { fields: vec![ProfileField::Erased] });
    draft.keep(Private::Erased { account, account_id: command.account.clone(), replacement });
    Ok(())
}

/// Sets how much may be owed by spending. Checks: the account exists; is not closed; the unit; the range.
pub(super) fn set_overdraft_limit(
    draft: &mut Draft<'_>,
    command: &SetOverdraftLimit,
) -> Result<(), Rejection> {
    let account = draft.touch_unless_closed(&command.account)?;
    draft.check_unit(&command.unit)?;
    if !(0..=MAX_AMOUNT).contains(&command.limit) {
        return Err(Rejection::AmountTooLarge { unit: command.unit.clone() });
    }
    // Point of no return.
    if draft.book(account, &command.unit).overdraft_limit == command.limit {
        draft.discard();
        return Ok(());
    }
    draft.emit(Some(account), Some(&command.unit), LimitChanged { overdraft: command.limit });
    Ok(())
}

/// Freezes an account that is open. Checks: the account exists; is not closed.
pub(super) fn freeze(draft: &mut Draft<'_>, command: &FreezeAccount) -> Result<(), Rejection> {
    let account = draft.touch_unless_closed(&command.account)?;
    // Point of no return.
    if draft.account(account).status == AccountStatus::Frozen {
        draft.discard();
        return Ok(());
    }
    draft.emit_noted(Some(account), None, AccountFrozen { cause: FreezeCause::Requested }, &command.note);
    Ok(())
}

/// Opens a frozen account again. Checks: the account exists; is not closed.
pub(super) fn unfreeze(draft: &mut Draft<'_>, command: &UnfreezeAccount) -> Result<(), Rejection> {
    let account = draft.touch_unless_closed(&command.account)?;
    // Point of no return.
    if draft.account(account).status == AccountStatus::Open {
        draft.discard();
        return Ok(());
    }
    draft.emit_noted(Some(account), None, AccountUnfrozen {}, &command.note);
    Ok(())
}

/// Closes an account for ever. Checks: the account exists. One that is closed stays as it is.
pub(super) fn close(draft: &mut Draft<'_>, command: &CloseAccount) -> Result<(), Rejection> {
    let account = draft.find_account(&command.account)?;
    draft.touch(account)?;
    // Point of no return.
    if draft.account(account).status == AccountStatus::Closed {
        draft.discard();
        return Ok(());
    }
    draft.emit_noted(Some(account), None, AccountClosed {}, &command.note);
    Ok(())
}
