//! Writes the JSON Schemas of events.

use std::{fs, path::PathBuf};

use anyhow::Context;

use crate::api;

/// Write the JSON Schemas of events: one file for the body of each type and version, and `event.json` for the whole.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The directory to write them to.
    #[arg(long, default_value = "openapi/events", value_name = "DIRECTORY")]
    output: PathBuf,
}

pub(super) fn run(Arguments { output }: &Arguments) -> anyhow::Result<()> {
    fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
    for (name, schema) in api::event_schemas() {
        let file = output.join(name);
        fs::write(&file, format!("{schema:#}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
