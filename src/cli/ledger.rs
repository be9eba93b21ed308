//! `counterfoil ledger`: makes ledgers, lists them, and keeps their secrets.

mod secrets;

use clap::{Args, Subcommand, ValueEnum};
use secrecy::{ExposeSecret, SecretString};

use super::administration::Administration;
use super::parse;
use crate::app;
use crate::config::{DatabaseSettings, SealingSettings};
use crate::domain::ids::{LedgerSlug, Unit};
use crate::domain::settings::{ClawbackPolicy, LedgerMode, LedgerSettings, UnitSettings};
use crate::stripe::signature::SigningSecret;

/// Make ledgers, list them, and keep their secrets.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(Box<CreateArguments>),
    List(ListArguments),
    StripeKey(secrets::StripeKeyArguments),
    WebhookSecret(secrets::WebhookSecretArguments),
    Secrets(secrets::SecretsArguments),
    Reseal(secrets::ResealArguments),
}

/// Make a ledger: one book, of one product in one environment.
///
/// Prints its name and the secret that its webhooks must be signed with, as NAME=value. Next: `counterfoil key create`.
#[derive(Args)]
struct CreateArguments {
    /// Its name in addresses and keys.
    #[arg(value_name = "LEDGER", value_parser = parse::ledger_slug)]
    slug: LedgerSlug,
    /// Whether its money is real.
    #[arg(long, value_enum)]
    mode: Mode,
    /// A unit that it counts, and how many decimal places of it are shown. May be repeated.
    #[arg(long = "unit", value_name = "UNIT[:SCALE]", default_value = "credits", value_parser = unit)]
    units: Vec<(Unit, UnitSettings)>,
    /// Where credits come from that a refund takes back when the purchase's own are spent: `debt` takes the account's
    /// other credits and then makes debt, `lot-only` writes them off.
    #[arg(long, value_enum, default_value = "debt")]
    clawback_policy: Policy,
    /// Take credits back as soon as a refund is pending, not only when it has succeeded.
    #[arg(long)]
    claw_on_pending: bool,
    /// Freeze an account while a payment of it is disputed.
    #[arg(long)]
    freeze_on_dispute: bool,
    /// Where a client that is short of credits can send its user.
    #[arg(long, value_name = "URL")]
    buy_url: Option<String>,
    /// The signing secret of Stripe's webhook endpoint (whsec_…). A new one is made if it is left out: enough to try
    /// things with `counterfoil stripe trigger`.
    #[arg(long, env = "COUNTERFOIL_WEBHOOK_SECRET", hide_env_values = true, value_name = "SECRET")]
    webhook_secret: Option<SecretString>,
    #[command(flatten)]
    sealing: SealingSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// List all ledgers: name, mode, when they were made.
#[derive(Args)]
struct ListArguments {
    #[command(flatten)]
    database: DatabaseSettings,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Real money.
    Live,
    /// Stripe's test mode.
    Test,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// Other credits, then debt.
    Debt,
    /// Written off.
    LotOnly,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Create(arguments) => create(*arguments).await,
        Command::List(arguments) => list(&arguments).await,
        Command::StripeKey(arguments) => secrets::set_stripe_key(arguments).await,
        Command::WebhookSecret(arguments) => secrets::add_webhook_secret(arguments).await,
        Command::Secrets(arguments) => secrets::show(arguments).await,
        Command::Reseal(arguments) => secrets::reseal(arguments).await,
    }
}

async fn create(arguments: CreateArguments) -> anyhow::Result<()> {
    let secret = match &arguments.webhook_secret {
        Some(secret) => SigningSecret::parse(secret.expose_secret())?,
        None => SigningSecret::generate(),
    };
    let mode = match arguments.mode {
        Mode::Live => LedgerMode::Live,
        Mode::Test => LedgerMode::Test,
    };
    let keys = app::read_keys(&arguments.sealing)?;
    let administration = Administration::connect(&arguments.database).await?.with_keys(keys);
    let slug = arguments.slug.clone();
    let ledger = administration.create_ledger(&slug, mode, settings(arguments)).await?;
    administration.add_webhook_secret(&ledger, &secret).await?;
    administration.finish().await;
    println!("COUNTERFOIL_LEDGER={slug}");
    println!("COUNTERFOIL_WEBHOOK_SECRET={}", secret.expose());
    Ok(())
}

fn settings(arguments: CreateArguments) -> LedgerSettings {
    LedgerSettings {
        units: arguments.units.into_iter().collect(),
        clawback_policy: match arguments.clawback_policy {
            Policy::Debt => ClawbackPolicy::Debt,
            Policy::LotOnly => ClawbackPolicy::LotOnly,
        },
        claw_on_pending: arguments.claw_on_pending,
        freeze_on_dispute: arguments.freeze_on_dispute,
        buy_url: arguments.buy_url,
        ..LedgerSettings::default()
    }
}

async fn list(arguments: &ListArguments) -> anyhow::Result<()> {
    let administration = Administration::connect(&arguments.database).await?;
    for ledger in administration.list_ledgers().await? {
        println!("{}\t{}\t{}", ledger.slug, ledger.mode.as_str(), ledger.created_at);
    }
    Ok(())
}

/// Reads `credits` and `credits:2`.
fn unit(text: &str) -> Result<(Unit, UnitSettings), String> {
    let (name, scale) = text.split_once(':').unwrap_or((text, "0"));
    let unit = Unit::parse(name).map_err(|error| error.to_string())?;
    let scale = scale.parse().ok().filter(|scale| *scale <= 9).ok_or("a scale must be 0 to 9")?;
    Ok((unit, UnitSettings { scale }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_may_say_its_decimal_places() {
        let read = |text| unit(text).map(|(unit, settings)| (unit.to_string(), settings.scale));
        assert_eq!(read("credits"), Ok(("credits".to_owned(), 0)));
        assert_eq!(read("credits:2"), Ok(("credits".to_owned(), 2)));
        assert!(read("credits:10").is_err());
        assert!(read("credits:").is_err());
        assert!(read("Credits").is_err());
    }
}
