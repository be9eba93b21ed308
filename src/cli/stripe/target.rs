//! The service that webhooks are posted to, and what has to be known of it.

use std::fmt;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    cli::environment_file,
    domain::{
        amount::Currency,
        ids::{LedgerSlug, PriceId, StripeId},
    },
    stripe::{Event, Fact, extract, signature::SigningSecret},
};

use super::bodies::Money;

/// Which service, and which ledger.
#[derive(Args)]
pub(super) struct Settings {
    /// The ledger that receives it.
    #[arg(long, env = "COUNTERFOIL_LEDGER", default_value = "demo", value_name = "LEDGER", value_parser = slug)]
    ledger: LedgerSlug,
    /// Where the service is; what the data directory's dev.env says, if left out.
    #[arg(long, env = "COUNTERFOIL_URL", value_name = "URL")]
    url: Option<String>,
    /// A signing secret of the ledger (whsec_…); what the data directory's dev.env says, if left out.
    #[arg(long, env = "COUNTERFOIL_WEBHOOK_SECRET", hide_env_values = true, value_name = "SECRET")]
    webhook_secret: Option<SecretString>,
    /// An API key, to ask what a price costs (scope `read`) or what was paid last (`operate`); what the data
    /// directory's dev.env says, if left out.
    #[arg(long, env = "COUNTERFOIL_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<SecretString>,
    /// The data directory of a running `counterfoil dev`.
    #[arg(long, env = "COUNTERFOIL_DATA_DIR", default_value = ".counterfoil", value_name = "DIRECTORY")]
    data_dir: std::path::PathBuf,
}

fn slug(text: &str) -> Result<LedgerSlug, String> {
    LedgerSlug::parse(text).map_err(|error| error.to_string())
}

/// A service that can be posted to.
pub(super) struct Target {
    /// What webhooks to it are signed with.
    pub(super) secret: SigningSecret,
    url: String,
    ledger: LedgerSlug,
    api_key: Option<SecretString>,
    client: Client,
}

/// What the service answered.
pub(super) struct Answer {
    /// Whether it took the webhook.
    pub(super) is_success: bool,
    status: u16,
    body: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.status, self.body)
    }
}

impl Target {
    /// Puts together what flags, environment and the data directory say, in this order.
    pub(super) fn find(settings: &Settings) -> anyhow::Result<Self> {
        let noted = environment_file::read(&environment_file::path(&settings.data_dir))?;
        let noted = |name: &str| noted.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let unknown = |what: &str, flag: &str| {
            let directory = settings.data_dir.display();
            format!(
                "{what} is not known: give {flag}, or the --data-dir of a running `counterfoil dev` (not {directory})"
            )
        };
        let url = settings.url.clone().or_else(|| noted("COUNTERFOIL_URL"));
        let url = url.with_context(|| unknown("the service's address", "--url"))?;
        let secret =
            settings.webhook_secret.clone().or_else(|| noted("COUNTERFOIL_WEBHOOK_SECRET").map(Into::into));
        let secret = secret.with_context(|| unknown("the signing secret", "--webhook-secret"))?;
        Ok(Self {
            secret: SigningSecret::parse(secret.expose_secret())?,
            url: url.trim_end_matches('/').to_owned(),
            ledger: settings.ledger.clone(),
            api_key: settings.api_key.clone().or_else(|| noted("COUNTERFOIL_API_KEY").map(Into::into)),
            client: Client::new(),
        })
    }

    /// Posts a signed body.
    pub(super) async fn post(&self, body: String, signature: String) -> anyhow::Result<Answer> {
        let url = format!("{}/webhooks/stripe/{}", self.url, self.ledger);
        let request = self.client.post(&url).header("Stripe-Signature", signature);
        let request = request.header("Content-Type", "application/json; charset=utf-8").body(body);
        let response = request.send().await.with_context(|| format!("{url} does not answer"))?;
        let (is_success, status) = (response.status().is_success(), response.status().as_u16());
        Ok(Answer { is_success, status, body: response.text().await?.trim().to_owned() })
    }

    /// What one of the price costs, as the service knows it.
    pub(super) async fn price_money(&self, price: &str) -> anyhow::Result<Money> {
        #[derive(Deserialize)]
        struct Price {
            money: PriceMoney,
        }
        #[derive(Deserialize)]
        struct PriceMoney {
            amount: i64,
            currency: Currency,
        }
        let price = PriceId::parse(price).context("--price")?;
        let known = self.ask::<Price>(&format!("/v1/prices/{price}")).await;
        let Price { money } = known.context("what the price costs is not known: give --amount")?;
        Ok(Money { amount: money.amount, currency: money.currency })
    }

    /// The payment intent and the money of the last checkout of an account that the service has processed.
    pub(super) async fn last_payment(&self, account: &str) -> anyhow::Result<(StripeId, Money)> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            event_id: String,
            #[serde(rename = "type")]
            kind: String,
            body: Option<String>,
        }
        let advice = "which payment is meant is not known: give --payment-intent";
        let page: Page = self.ask("/v1/inbox?status=processed&limit=500").await.context(advice)?;
        for entry in page.items.into_iter().filter(|entry| entry.kind.starts_with("checkout.session.")) {
            let entry: Entry = self.ask(&format!("/v1/inbox/{}", entry.event_id)).await.context(advice)?;
            if let Some(payment) = entry.body.and_then(|body| payment_of(account, body.as_bytes())) {
                return Ok(payment);
            }
        }
        bail!("the account `{account}` has paid for no checkout: give --payment-intent")
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let key = self.api_key.as_ref().context("the service can only be asked with an --api-key")?;
        let url = format!("{}{path}", self.url);
        let request = self.client.get(&url).bearer_auth(key.expose_secret());
        let response = request.send().await.with_context(|| format!("{url} does not answer"))?;
        if !response.status().is_success() {
            let status = response.status();
            bail!("{url} answered {status}: {}", response.text().await?);
        }
        response.json().await.with_context(|| format!("the answer of {url}"))
    }
}

/// What was paid with, and how much, if the body is that of a checkout that the account paid.
fn payment_of(account: &str, body: &[u8]) -> Option<(StripeId, Money)> {
    match extract(&Event::parse(body).ok()?).ok()? {
        Fact::SessionPaid(session) if session.account.as_ref()?.account_id() == account => {
            let money = Money { amount: session.money.gross, currency: session.money.currency };
            Some((session.payment_intent?, money))
        }
        _ => None,
    }
}
