//! What the process tells about itself: logs here, numbers in [`metrics`].
//!
//! Logs are lines on standard error, so that standard output stays clean for what a command answers. A failure is
//! logged once, where it is handled, with ids as fields.
//!
//! Invariant: no line holds a secret or personal data, at no level. Our own messages are written that way; below
//! `warn` the libraries' messages are dropped, since a database driver shows statements and parameters there.

pub mod metrics;

use std::io;
use std::panic::{self, PanicHookInfo};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogLevel, LogSettings};

/// Starts logging for this process.
///
/// # Errors
///
/// When logging has been started before.
pub fn start_logging(settings: &LogSettings) -> Result<(), TryInitError> {
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match settings.log_format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.compact().with_ansi(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter(settings.log_level))).try_init()?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// The usual hook writes the panic's words, which may quote anything, and not as a line of the log.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let words = panic.payload().downcast_ref::<&'static str>().copied();
    let place = panic.location().map(ToString::to_string);
    tracing::error!(place, words = words.unwrap_or("with values, which are not logged"), "a defect: panic");
}

fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(own.min(LevelFilter::WARN)).with_target("counterfoil", own)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_never_say_more_than_warnings() {
        let filter = filter(LogLevel::Trace);
        assert!(filter.would_enable("counterfoil::writer", &Level::TRACE));
        assert!(filter.would_enable("tokio_postgres::connection", &Level::WARN));
        assert!(!filter.would_enable("tokio_postgres::query", &Level::INFO));
    }

    #[test]
    fn the_level_holds_for_everybody() {
        let filter = filter(LogLevel::Error);
        assert!(!filter.would_enable("counterfoil", &Level::WARN));
        assert!(!filter.would_enable("poem", &Level::WARN));
        assert!(filter.would_enable("poem", &Level::ERROR));
    }
}
