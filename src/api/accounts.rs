//! Accounts: open, read, change, list, freeze, unfreeze, close, limit, erase.

use std::collections::BTreeMap;

use poem::{IntoResponse, Response};
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    registry::{MetaResponses, Registry},
    types::MaybeUndefined,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    answers::{Changed, Created, Found, Written},
    auth::{Authorised, Operate, Read, Spend},
    error::{Failure, Reading, Writing},
    filters,
    idempotency::{IdempotencyKey, OptionalIdempotencyKey, fingerprint},
    params::{Parameter, Path, Query},
    payload::Json,
    tags::Tag,
    wire::{Cursor, DisplayName, Email, Limit, Locale, Metadata, Nullable, Reason, Whole, same_variants},
};
use crate::{
    domain::{
        Command, Event, EventBody,
        account::AccountStatus as Status,
        command::{
            ChangeAccount, CloseAccount, EraseProfile, FreezeAccount, Note, OpenAccount, ProfileChange,
            SetOverdraftLimit, UnfreezeAccount,
        },
        ids::{AccountId, AccountNumber, InvalidName, StripeId, Unit},
        time::Timestamp,
    },
    service::{Accepted, AccountQuery, AccountRow, AccountView, PositionToken},
};

/// Whether an account takes requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum AccountStatus {
    /// It does.
    Open,
    /// Requests that move credits are refused, except operators' adjustments and what ends a hold.
    Frozen,
    /// All requests are refused, for ever.
    Closed,
}

same_variants!(AccountStatus, Status { Open, Frozen, Closed });

impl Parameter for AccountStatus {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let all = [Self::Open, Self::Frozen, Self::Closed];
        let found = all.into_iter().find(|status| Status::from(*status).as_str() == text);
        found.ok_or(InvalidName { expected: "must be open, frozen or closed" })
    }
}

/// A holder of credits.
#[derive(Clone, PartialEq, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Account {
    /// Your own name of it.
    pub account_id: AccountId,
    /// Whether it takes requests.
    pub status: AccountStatus,
    /// When it was opened.
    pub created_at: Timestamp,
    /// The holder's e-mail address.
    pub email: Option<Email>,
    /// The holder's name.
    pub name: Option<DisplayName>,
    /// The holder's language.
    pub locale: Option<Locale>,
    /// Your own keys and values.
    pub metadata: Metadata,
    /// How many credits the account may owe by spending, by unit; units without a limit may owe none.
    pub overdraft_limits: Option<BTreeMap<String, i64>>,
    /// In the answer to a write: the position of the command's last event; absent if nothing had to be changed, and elsewhere.
    pub position: Option<i64>,
}

impl Account {
    fn of_row(row: AccountRow, limits: Option<BTreeMap<Unit, i64>>) -> Self {
        let limits = limits.map(|limits| limits.into_iter().map(|(unit, limit)| (unit.to_string(), limit)));
        Self {
            account_id: row.account,
            status: row.status.into(),
            created_at: row.opened_at,
            email: row.profile.email.map(Email),
            name: row.profile.name.map(DisplayName),
            locale: row.profile.locale.map(Locale),
            metadata: Metadata::of(row.profile.metadata),
            overdraft_limits: limits.map(Iterator::collect),
            position: None,
        }
    }

    /// As a command that changed it, or found nothing to change, has left it.
    fn written(view: AccountView, accepted: &Accepted) -> Self {
        let account = Self::of_row(view.row, Some(view.overdraft_limits));
        Self { position: Written::of(accepted).position(), ..account }
    }

    fn opened(request: NewAccount, opened_at: Timestamp, position: Option<i64>) -> Self {
        Self {
            account_id: request.account_id,
            status: AccountStatus::Open,
            created_at: opened_at,
            email: request.email,
            name: request.name,
            locale: request.locale,
            metadata: request.metadata.unwrap_or_default(),
            overdraft_limits: Some(BTreeMap::new()),
            position,
        }
    }
}

/// A page of accounts.
#[derive(Debug, Object)]
pub struct AccountList {
    /// The accounts, newest first.
    pub items: Vec<Account>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// An account to be opened.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewAccount {
    /// Your own name of it; names that begin with `erased:` are reserved.
    pub account_id: AccountId,
    /// The holder's e-mail address.
    pub email: Option<Email>,
    /// The holder's name.
    pub name: Option<DisplayName>,
    /// The holder's language.
    pub locale: Option<Locale>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
    /// A customer at Stripe that the holder has already. Without one, Stripe makes one for the first checkout.
    pub stripe_customer_id: Option<StripeId>,
}

impl NewAccount {
    fn command(&self) -> OpenAccount {
        let text = |text: Option<String>| text.map(Some);
        OpenAccount {
            account: self.account_id.clone(),
            profile: ProfileChange {
                email: text(self.email.clone().map(|email| email.0)),
                name: text(self.name.clone().map(|name| name.0)),
                locale: text(self.locale.clone().map(|locale| locale.0)),
                metadata: self.metadata.clone().map(Metadata::into_note),
            },
            stripe_customer: self.stripe_customer_id.clone(),
        }
    }
}

/// What is to change of an account: what is absent stays, `null` removes.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct AccountChange {
    /// The holder's e-mail address.
    #[serde(default)]
    #[oai(nullable)]
    pub email: MaybeUndefined<Email>,
    /// The holder's name.
    #[serde(default)]
    #[oai(nullable)]
    pub name: MaybeUndefined<DisplayName>,
    /// The holder's language.
    #[serde(default)]
    #[oai(nullable)]
    pub locale: MaybeUndefined<Locale>,
    /// Your own keys and values: all of them are replaced.
    #[serde(default)]
    #[oai(nullable)]
    pub metadata: MaybeUndefined<Metadata>,
}

impl AccountChange {
    fn into_profile(self) -> ProfileChange {
        ProfileChange {
            email: change(self.email, |email| email.0),
            name: change(self.name, |name| name.0),
            locale: change(self.locale, |locale| locale.0),
            metadata: change(self.metadata, Metadata::into_note).map(Option::unwrap_or_default),
        }
    }
}

fn change<T, S>(value: MaybeUndefined<T>, stored: impl Fn(T) -> S) -> Option<Option<S>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(stored(value))),
    }
}

/// Why an account is frozen, unfrozen or closed.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct StatusChange {
    /// Why, for people.
    pub reason: Option<Reason>,
}

impl StatusChange {
    fn into_note(self) -> Note {
        let reason = self.reason.map(|reason| ("reason".to_owned(), Value::String(reason.0)));
        reason.into_iter().collect()
    }
}

/// What became of an account.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct AccountStatusAnswer {
    /// The account.
    pub account_id: AccountId,
    /// Whether it takes requests now.
    pub status: AccountStatus,
    /// The position of the event; absent if the account was so already.
    pub position: Option<i64>,
    /// When that was; absent if the account was so already.
    pub recorded_at: Option<Timestamp>,
}

impl AccountStatusAnswer {
    fn new(account: AccountId, status: AccountStatus, accepted: &Accepted) -> Self {
        let (position, recorded_at) = Written::of(accepted).end().unzip();
        Self { account_id: account, status, position, recorded_at }
    }
}

/// How many credits an account may owe by spending.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct OverdraftLimit {
    /// The unit.
    pub unit: Unit,
    /// How many credits; 0 allows none.
    pub limit: Whole,
}

/// How many credits an account may owe by spending, from now on.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct OverdraftLimitAnswer {
    /// The unit.
    pub unit: Unit,
    /// How many credits; 0 allows none.
    pub limit: i64,
    /// The position of the command's last event; absent if the limit was so already.
    pub position: Option<i64>,
}

/// The answer to an erasure.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Erasure {
    /// What the account is called from now on.
    pub account_id: AccountId,
    /// The position of the event; absent if the account was erased before.
    pub position: Option<i64>,
    /// When that was; absent if the account was erased before.
    pub recorded_at: Option<Timestamp>,
}

/// The answer to the wish to open an account.
pub enum OpenedAccount {
    /// It was opened.
    New(Created<Account>),
    /// It was there, and stays as it is.
    Known(Changed<Account>),
}

impl IntoResponse for OpenedAccount {
    fn into_response(self) -> Response {
        match self {
            Self::New(answer) => answer.into_response(),
            Self::Known(answer) => answer.into_response(),
        }
    }
}

impl ApiResponse for OpenedAccount {
    fn meta() -> MetaResponses {
        let mut meta = Changed::<Account>::meta();
        meta.responses.extend(Created::<Account>::meta().responses);
        meta
    }

    fn register(registry: &mut Registry) {
        Created::<Account>::register(registry);
    }
}

/// The resource.
pub struct Accounts;

#[OpenApi(tag = "Tag::Accounts")]
impl Accounts {
    /// Open an account
    ///
    /// The `account_id` is the key: the first request answers 201; another one with the same `account_id` answers 200
    /// with the account as it is, and changes nothing.
    #[oai(path = "/v1/accounts", method = "post", operation_id = "open_account")]
    async fn open(
        &self,
        caller: Authorised<Spend>,
        /// Marks repeats of this request, if the account's id is not enough.
        #[oai(name = "Idempotency-Key")]
        key: OptionalIdempotencyKey,
        body: Json<NewAccount>,
    ) -> Result<OpenedAccount, Failure<Writing>> {
        let command = Command::OpenAccount(body.content.command());
        let accepted =
            caller.submit(command, key.0, fingerprint("POST /v1/accounts", &[], &body.sent)).await?;
        let is_opened = |event: &Event| matches!(event.body, EventBody::AccountOpened(_));
        if !accepted.events.iter().any(is_opened) {
            let view = caller.service.account(&caller.caller, &body.content.account_id, None).await?;
            let account = Account::written(view, &accepted);
            return Ok(OpenedAccount::Known(Changed::new(&accepted, account)));
        }
        let written = Written::of(&accepted);
        let (event, ()) = written.find(|body| matches!(body, EventBody::AccountOpened(_)).then_some(()))?;
        let account = Account::opened(body.content, event.recorded_at, written.position());
        Ok(OpenedAccount::New(Created::new(&accepted, account)))
    }

    /// List accounts
    #[oai(path = "/v1/accounts", method = "get", operation_id = "list_accounts")]
    async fn list(
        &self,
        caller: Authorised<Read>,
        /// Only accounts of this status.
        status: Query<AccountStatus>,
        /// Only accounts opened then or later.
        opened_from: Query<Timestamp>,
        /// Only accounts opened before.
        opened_until: Query<Timestamp>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<AccountList>, Failure<Reading>> {
        let after: Option<i64> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let opened = filters::time_range("opened", opened_from, opened_until)?;
        let query = AccountQuery { status: status.0.map(Into::into), opened };
        let (after, limit) = (after.map(AccountNumber), limit.0.unwrap_or_default().into());
        let page = caller.service.accounts(&caller.caller, &query, after, limit).await?;
        Ok(Found(AccountList {
            items: page.accounts.into_iter().map(|row| Account::of_row(row, None)).collect(),
            next_cursor: Nullable(page.next.map(|number| Cursor::of(&number))),
        }))
    }

    /// Read an account
    #[oai(path = "/v1/accounts/:account", method = "get", operation_id = "read_account")]
    async fn read(
        &self,
        caller: Authorised<Read>,
        /// The account.
        account: Path<AccountId>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
    ) -> Result<Found<Account>, Failure<Reading>> {
        let view = caller.service.account(&caller.caller, &account.0, min_position.0).await?;
        Ok(Found(Account::of_row(view.row, Some(view.overdraft_limits))))
    }

    /// Change an account
    ///
    /// Changes what is known of its holder. What is absent stays as it is; `null` removes. Answers the account as it is
    /// then.
    #[oai(path = "/v1/accounts/:account", method = "patch", operation_id = "change_account")]
    async fn change(
        &self,
        caller: Authorised<Spend>,
        /// The account.
        account: Path<AccountId>,
        body: Json<AccountChange>,
    ) -> Result<Changed<Account>, Failure<Writing>> {
        let print = fingerprint("PATCH /v1/accounts/{account}", &[account.0.as_str()], &body.sent);
        let profile = body.content.into_profile();
        let command = Command::ChangeAccount(ChangeAccount { account: account.0.clone(), profile });
        let accepted = caller.submit(command, None, print).await?;
        let view = caller.service.account(&caller.caller, &account.0, None).await?;
        Ok(Changed::new(&accepted, Account::written(view, &accepted)))
    }

    /// Freeze an account
    ///
    /// Requests that move its credits are refused from then on, except adjustments.
    #[oai(path = "/v1/accounts/:account/freeze", method = "post", operation_id = "freeze_account")]
    async fn freeze(
        &self,
        caller: Authorised<Operate>,
        /// Marks repeats of this request.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The account.
        account: Path<AccountId>,
        body: Json<StatusChange>,
    ) -> Result<Changed<AccountStatusAnswer>, Failure<Writing>> {
        let print = fingerprint("POST /v1/accounts/{account}/freeze", &[account.0.as_str()], &body.sent);
        let note = body.content.into_note();
        let command = Command::FreezeAccount(FreezeAccount { account: account.0.clone(), note });
        let accepted = caller.submit(command, Some(key.0), print).await?;
        let answer = AccountStatusAnswer::new(account.0, AccountStatus::Frozen, &accepted);
        Ok(Changed::new(&accepted, answer))
    }

    /// Unfreeze an account
    #[oai(path = "/v1/accounts/:account/unfreeze", method = "post", operation_id = "unfreeze_account")]
    async fn unfreeze(
        &self,
        caller: Authorised<Operate>,
        /// Marks repeats of this request.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The account.
        account: Path<AccountId>,
        body: Json<StatusChange>,
    ) -> Result<Changed<AccountStatusAnswer>, Failure<Writing>> {
        let print = fingerprint("POST /v1/accounts/{account}/unfreeze", &[account.0.as_str()], &body.sent);
        let note = body.content.into_note();
        let command = Command::UnfreezeAccount(UnfreezeAccount { account: account.0.clone(), note });
        let accepted = caller.submit(command, Some(key.0), print).await?;
        let answer = AccountStatusAnswer::new(account.0, AccountStatus::Open, &accepted);
        Ok(Changed::new(&accepted, answer))
    }

    /// Close an account
    ///
    /// For ever. What Stripe reports of its payments is still recorded.
    #[oai(path = "/v1/accounts/:account/close", method = "post", operation_id = "close_account")]
    async fn close(
        &self,
        caller: Authorised<Operate>,
        /// Marks repeats of this request.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The account.
        account: Path<AccountId>,
        body: Json<StatusChange>,
    ) -> Result<Changed<AccountStatusAnswer>, Failure<Writing>> {
        let print = fingerprint("POST /v1/accounts/{account}/close", &[account.0.as_str()], &body.sent);
        let note = body.content.into_note();
        let command = Command::CloseAccount(CloseAccount { account: account.0.clone(), note });
        let accepted = caller.submit(command, Some(key.0), print).await?;
        let answer = AccountStatusAnswer::new(account.0, AccountStatus::Closed, &accepted);
        Ok(Changed::new(&accepted, answer))
    }

    /// Set an overdraft limit
    ///
    /// How many credits of a unit the account may owe by spending.
    #[oai(
        path = "/v1/accounts/:account/overdraft-limit",
        method = "put",
        operation_id = "set_overdraft_limit"
    )]
    async fn set_overdraft_limit(
        &self,
        caller: Authorised<Operate>,
        /// Marks repeats of this request, so that a late one undoes nothing.
        #[oai(name = "Idempotency-Key")]
        key: OptionalIdempotencyKey,
        /// The account.
        account: Path<AccountId>,
        body: Json<OverdraftLimit>,
    ) -> Result<Changed<OverdraftLimitAnswer>, Failure<Writing>> {
        let print =
            fingerprint("PUT /v1/accounts/{account}/overdraft-limit", &[account.0.as_str()], &body.sent);
        let OverdraftLimit { unit, limit } = body.content;
        let command = SetOverdraftLimit { account: account.0, unit: unit.clone(), limit: limit.get() };
        let accepted = caller.submit(Command::SetOverdraftLimit(command), key.0, print).await?;
        let position = Written::of(&accepted).position();
        Ok(Changed::new(&accepted, OverdraftLimitAnswer { unit, limit: limit.get(), position }))
    }

    /// Erase a person
    ///
    /// Erases profile, metadata, reasons and your name of the account. Its credits and events stay, under a name that
    /// says nothing.
    #[oai(path = "/v1/accounts/:account/profile", method = "delete", operation_id = "erase_profile")]
    async fn erase(
        &self,
        caller: Authorised<Operate>,
        /// The account.
        account: Path<AccountId>,
    ) -> Result<Changed<Erasure>, Failure<Writing>> {
        let print = fingerprint("DELETE /v1/accounts/{account}/profile", &[account.0.as_str()], &Value::Null);
        let command = Command::EraseProfile(EraseProfile { account: account.0.clone() });
        let accepted = caller.submit(command, None, print).await?;
        let (position, recorded_at) = Written::of(&accepted).end().unzip();
        let number = accepted.events.iter().find_map(|event| event.account);
        let account_id = number.map_or(account.0, AccountId::erased);
        Ok(Changed::new(&accepted, Erasure { account_id, position, recorded_at }))
    }
}
