//! What `counterfoil dev` says when it is up: where everything is, and lines to paste.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::demo;

/// What there is to say.
pub(super) struct Greeting {
    pub(super) url: String,
    pub(super) stripe_url: String,
    /// A page where something can be bought.
    pub(super) buy_url: Option<String>,
    pub(super) api_key: SecretString,
    pub(super) data_directory: PathBuf,
    pub(super) environment_file: PathBuf,
    /// This program.
    pub(super) program: PathBuf,
    /// Where the cluster is, if it could not be in the data directory.
    pub(super) moved_cluster: Option<PathBuf>,
}

impl fmt::Display for Greeting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, stripe_url, data_directory, environment_file, .. } = self;
        writeln!(formatter, "Counterfoil {} is running.\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(formatter, "  address      {url}")?;
        writeln!(formatter, "  ledger       {} (test mode)", demo::SLUG)?;
        writeln!(formatter, "  Stripe       {stripe_url} (simulated)")?;
        writeln!(formatter, "  data         {}", data_directory.display())?;
        if let Some(directory) = &self.moved_cluster {
            let directory = directory.display();
            writeln!(formatter, "  PostgreSQL   {directory} (its user cannot enter the directory above)")?;
        }
        writeln!(formatter, "  for scripts  {}\n", environment_file.display())?;
        writeln!(formatter, "Open an account, give it credits, spend some:\n")?;
        for (path, key, body) in [
            ("accounts", None, r#"{"account_id":"alice"}"#),
            (
                "accounts/alice/grants",
                Some("try-grant"),
                r#"{"unit":"credits","amount":100,"reason":"welcome"}"#,
            ),
            ("accounts/alice/spends", Some("try-spend"), r#"{"feature":"resume_analysis"}"#),
        ] {
            writeln!(formatter, "  {}\n", self.curl(path, key, body))?;
        }
        writeln!(formatter, "Sell some: open the `url` of the answer and pay with 4242 4242 4242 4242:\n")?;
        let checkout = r#"{"account_id":"alice","price_id":"price_demo_starter"}"#;
        writeln!(formatter, "  {}\n", self.curl("checkout-sessions", Some("try-buy"), checkout))?;
        if let Some(buy_url) = &self.buy_url {
            writeln!(formatter, "Or buy as a customer does who was sent a link:\n\n  {buy_url}\n")?;
        }
        writeln!(formatter, "Or have a payment reported without paying:\n")?;
        let (program, directory) = (self.program.display(), data_directory.display());
        writeln!(
            formatter,
            "  {program} stripe trigger checkout.session.completed --account alice --price price_demo_starter \
             --data-dir '{directory}'\n"
        )?;
        write!(formatter, "Ctrl-C stops everything.")
    }
}

impl Greeting {
    fn curl(&self, path: &str, idempotency_key: Option<&str>, body: &str) -> String {
        let key = idempotency_key.map(|key| format!(" -H 'Idempotency-Key: {key}'")).unwrap_or_default();
        format!(
            "curl {}/v1/{path} -H 'Authorization: Bearer {}' -H 'Content-Type: application/json'{key} -d '{body}'",
            self.url,
            self.api_key.expose_secret(),
        )
    }
}
