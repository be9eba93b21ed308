//! How far a long command is and how fast: a bar on a terminal, a line a second elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

const INTERVAL: Duration = Duration::from_secs(1);
const STYLE: &str = "{msg} [{wide_bar}] {pos} of {len} events, {per_sec}, {eta} left";

/// Tells on standard output how far the folding or checking of one ledger's events is.
pub(super) struct Rate {
    what: String,
    started: Instant,
    told: Instant,
    from: i64,
    done: i64,
    bar: Option<ProgressBar>,
}

impl Rate {
    /// Begins after `from` events, which were dealt with before and say nothing about the speed.
    pub(super) fn new(what: String, from: i64) -> Self {
        let now = Instant::now();
        let bar = std::io::stdout().is_terminal().then(|| bar(&what, from));
        Self { what, started: now, told: now, from, done: from, bar }
    }

    /// `done` of `all` events are dealt with.
    pub(super) fn report(&mut self, done: i64, all: i64) {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_length(all.unsigned_abs());
            bar.set_position(done.unsigned_abs());
        } else if self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            println!("{}: {done} of {all} events, {} a second", self.what, self.per_second());
        }
    }

    /// Everything is dealt with.
    pub(super) fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let events = self.done - self.from;
        println!("{}: {events} events in {seconds:.1} s, {} a second", self.what, self.per_second());
    }

    fn per_second(&self) -> i64 {
        let milliseconds = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX).max(1);
        (self.done - self.from).saturating_mul(1_000) / milliseconds
    }
}

fn bar(what: &str, from: i64) -> ProgressBar {
    let style = ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length()
        .with_style(style)
        .with_message(what.to_owned())
        .with_position(from.unsigned_abs())
}

const PARTS_STYLE: &str = "{prefix} [{wide_bar}] {percent} % {msg}";

/// Tells on standard error how far something is that counts in thousandths.
pub(super) struct Parts {
    what: String,
    bar: ProgressBar,
    told: Option<Instant>,
}

impl Parts {
    pub(super) fn new(what: String) -> Self {
        let style =
            ProgressStyle::with_template(PARTS_STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(1_000).with_style(style).with_prefix(what.clone());
        Self { what, bar, told: None }
    }

    /// So much of it is done; `words` say more.
    pub(super) fn report(&mut self, permille: i64, words: &str) {
        self.bar.set_position(permille.clamp(0, 1_000).unsigned_abs());
        self.bar.set_message(words.to_owned());
        // Where there is no terminal, the bar is not seen.
        if self.bar.is_hidden() && self.told.is_none_or(|told| told.elapsed() >= INTERVAL) {
            self.told = Some(Instant::now());
            eprintln!("{}: {} %, {words}", self.what, permille / 10);
        }
    }

    /// All of it is done.
    pub(super) fn finish(self, words: &str) {
        self.bar.finish_and_clear();
        eprintln!("{}: done, {words}", self.what);
    }
}
