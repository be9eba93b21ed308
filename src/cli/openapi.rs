//! `counterfoil openapi`: writes the specification of the HTTP interface.

use std::path::PathBuf;

use anyhow::Context;

use crate::api;

/// Write the specification of the HTTP interface (OpenAPI 3.1, YAML).
///
/// A running service answers the same at /openapi.yaml, and shows it for people at /docs.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The file to write; `-` is standard output.
    #[arg(long, default_value = "openapi/counterfoil.yaml", value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(Arguments { output }: &Arguments) -> anyhow::Result<()> {
    let yaml = api::openapi::to_yaml(&api::specification());
    if output.as_os_str() == "-" {
        print!("{yaml}");
        return Ok(());
    }
    if let Some(directory) = output.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    std::fs::write(output, yaml).with_context(|| format!("cannot write {}", output.display()))
}
