//! What an operator does with the secrets of ledgers: sets the key for Stripe, looks at what is there, seals it anew.
//!
//! Invariant: a secret is read from the environment or from standard input, never from an argument, and is shown by its
//! hint alone.

use std::io::{self, BufRead, IsTerminal};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::app;
use crate::cli::administration::Administration;
use crate::cli::parse;
use crate::config::{DatabaseSettings, SealingSettings, StripeSettings};
use crate::domain::ids::{LedgerSlug, StripeId};
use crate::store::ledgers::Ledger;
use crate::stripe::client::{ApiKey, BaseUrl, ClientSettings, Connections, Limiter, StripeClient};
use crate::stripe::signature::SigningSecret;

/// Where the key for Stripe may be given.
const STRIPE_API_KEY: &str = "COUNTERFOIL_STRIPE_API_KEY";
/// Where a signing secret may be given.
const WEBHOOK_SECRET: &str = "COUNTERFOIL_WEBHOOK_SECRET";

/// Set the key that a ledger calls Stripe with, in place of the one that it had.
///
/// The key (sk_test_…, rk_test_…, sk_live_… or rk_live_…) is read from COUNTERFOIL_STRIPE_API_KEY or, if that is not set,
/// from standard input. It is kept sealed under --key-encryption-key. Running services use it within five seconds.
#[derive(Args)]
pub(super) struct StripeKeyArguments {
    /// The ledger; its mode has to be the key's.
    #[arg(value_name = "LEDGER", value_parser = parse::ledger_slug)]
    slug: LedgerSlug,
    /// Where calls go: something that speaks as Stripe does. To Stripe itself if absent.
    #[arg(long, env = "COUNTERFOIL_STRIPE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// Ask Stripe whether it takes the key before it is kept, and note whose it is.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    sealing: SealingSettings,
    #[command(flatten)]
    stripe: StripeSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Let webhooks in that are signed with another secret, beside those that the ledger has.
///
/// The signing secret of Stripe's endpoint (whsec_…) is read from COUNTERFOIL_WEBHOOK_SECRET or, if that is not set, from
/// standard input. It is kept sealed if there is a --key-encryption-key.
#[derive(Args)]
pub(super) struct WebhookSecretArguments {
    /// The ledger.
    #[arg(value_name = "LEDGER", value_parser = parse::ledger_slug)]
    slug: LedgerSlug,
    #[command(flatten)]
    sealing: SealingSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Show which secrets a ledger has, by their hints, and whether this environment's key opens them.
#[derive(Args)]
pub(super) struct SecretsArguments {
    /// The ledger.
    #[arg(value_name = "LEDGER", value_parser = parse::ledger_slug)]
    slug: LedgerSlug,
    #[command(flatten)]
    sealing: SealingSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Seal the secrets of one ledger, or of all, under --key-encryption-key.
///
/// To replace the key: give the new one as --key-encryption-key and the old one as --key-encryption-key-previous to all
/// services, run this, then take the old one away. Secrets that were kept in clear are sealed as well.
#[derive(Args)]
pub(super) struct ResealArguments {
    /// The ledger; all of them if absent.
    #[arg(value_name = "LEDGER", value_parser = parse::ledger_slug)]
    slug: Option<LedgerSlug>,
    #[command(flatten)]
    sealing: SealingSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

pub(super) async fn set_stripe_key(arguments: StripeKeyArguments) -> anyhow::Result<()> {
    let administration =
        Administration::connect(&arguments.database).await?.with_keys(app::read_keys(&arguments.sealing)?);
    let ledger = existing(&administration, &arguments.slug).await?;
    let api_key = ApiKey::parse(read_secret(STRIPE_API_KEY)?.expose_secret())?;
    ensure!(
        api_key.mode() == ledger.mode,
        "the ledger `{}` is in {} mode and the key in {} mode",
        ledger.slug,
        ledger.mode.as_str(),
        api_key.mode().as_str()
    );
    let base_url = arguments.base_url.as_deref().map(|url| BaseUrl::parse(url, ledger.mode));
    let base_url = base_url.transpose().context("--base-url")?;
    let account = match arguments.check {
        true => ask_stripe(&arguments.stripe, &api_key, base_url.clone().unwrap_or_default()).await?,
        false => None,
    };
    administration
        .vault()
        .keep_stripe_key(ledger.ledger, &api_key, base_url.as_ref(), account.as_ref())
        .await?;
    administration.finish().await;
    println!("{}\t{}\t{}", ledger.slug, api_key.hint(), base_url.unwrap_or_default());
    Ok(())
}

/// Whose key it is; none if it may do other things and not tell that.
async fn ask_stripe(
    settings: &StripeSettings,
    api_key: &ApiKey,
    base_url: BaseUrl,
) -> anyhow::Result<Option<StripeId>> {
    let settings = ClientSettings::from(settings);
    let limiter = Arc::new(Limiter::new(settings.test_rate, settings.turn_limit));
    let client = StripeClient::new(Connections::prepare(&settings)?, base_url, api_key.clone(), limiter);
    match client.fetch_account().await {
        Ok(account) => Ok(Some(account.id().clone())),
        Err(error) if error.status() == Some(403) => {
            eprintln!("counterfoil: Stripe knows the key, which may not tell whose it is");
            Ok(None)
        }
        Err(error) => match error.message() {
            Some(words) => bail!("{error}: {words}"),
            None => bail!(error),
        },
    }
}

pub(super) async fn add_webhook_secret(arguments: WebhookSecretArguments) -> anyhow::Result<()> {
    let administration =
        Administration::connect(&arguments.database).await?.with_keys(app::read_keys(&arguments.sealing)?);
    let ledger = existing(&administration, &arguments.slug).await?;
    let secret = SigningSecret::parse(read_secret(WEBHOOK_SECRET)?.expose_secret())?;
    administration.add_webhook_secret(&ledger, &secret).await?;
    administration.finish().await;
    Ok(())
}

pub(super) async fn show(arguments: SecretsArguments) -> anyhow::Result<()> {
    let administration =
        Administration::connect(&arguments.database).await?.with_keys(app::read_keys(&arguments.sealing)?);
    let ledger = existing(&administration, &arguments.slug).await?;
    let secrets = administration.vault().inventory(ledger.ledger).await?;
    administration.finish().await;
    for secret in secrets {
        let under =
            secret.sealed_under.map_or_else(|| "in clear".to_owned(), |key| format!("sealed under {key}"));
        let state = secret.closed.map_or_else(|| "opens".to_owned(), |error| error.to_string());
        println!("{}\t{}\t{under}\t{state}", secret.purpose.as_str(), secret.hint);
    }
    Ok(())
}

pub(super) async fn reseal(arguments: ResealArguments) -> anyhow::Result<()> {
    let administration =
        Administration::connect(&arguments.database).await?.with_keys(app::read_keys(&arguments.sealing)?);
    let ledgers = match &arguments.slug {
        Some(slug) => vec![existing(&administration, slug).await?],
        None => administration.list_ledgers().await?,
    };
    let mut closed = 0;
    for ledger in ledgers {
        let done = administration.vault().reseal(ledger.ledger).await?;
        println!("{}\t{} sealed anew\t{} were already", ledger.slug, done.changed, done.kept);
        for error in &done.closed {
            eprintln!("counterfoil: {}: {error}", ledger.slug);
        }
        closed += done.closed.len();
    }
    administration.finish().await;
    ensure!(closed == 0, "secrets that could not be opened and stay as they are: {closed}");
    Ok(())
}

async fn existing(administration: &Administration, slug: &LedgerSlug) -> anyhow::Result<Ledger> {
    administration.find_ledger(slug).await?.with_context(|| format!("there is no ledger `{slug}`"))
}

/// A secret as it was given.
#[expect(clippy::disallowed_methods, reason = "an argument would show the secret in every list of processes")]
fn read_secret(variable: &str) -> anyhow::Result<SecretString> {
    if let Ok(secret) = std::env::var(variable) {
        return Ok(secret.trim().into());
    }
    let mut input = io::stdin().lock();
    if io::stdin().is_terminal() {
        eprint!("{variable}=");
    }
    let mut line = String::new();
    input.read_line(&mut line).context("standard input cannot be read")?;
    ensure!(!line.trim().is_empty(), "give the secret in {variable} or on standard input");
    Ok(line.trim().into())
}
