//! Callers in closed loops: each waits for its spend to be acknowledged before it sends the next.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::task::JoinSet;

/// Which accounts are spent from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// All of them, at random.
    ManyAccounts,
    /// A single one.
    OneAccount,
}

/// One round.
#[derive(Clone, Copy)]
pub struct Plan {
    /// How many callers at once.
    pub callers: usize,
    /// How long they go on.
    pub lasting: Duration,
    /// Which accounts they spend from.
    pub spread: Spread,
    /// How many accounts there are.
    pub accounts: usize,
}

impl Plan {
    /// The account of a caller's next spend: 0 to `accounts` − 1.
    pub fn account(&self) -> usize {
        match self.spread {
            Spread::OneAccount => 0,
            Spread::ManyAccounts => rand::random_range(0..self.accounts),
        }
    }
}

/// What a round, or the median of several, showed.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Acknowledged spends a second.
    pub rate: f64,
    /// The median latency.
    pub median: Duration,
    /// The latency that 99 of 100 spends stayed under.
    pub slowest_hundredth: Duration,
}

impl Measured {
    /// Each figure's median over the rounds.
    pub fn median(rounds: Vec<Self>) -> Self {
        let middle = rounds.len() / 2;
        let of = |figure: fn(&Self) -> Duration| {
            let mut figures: Vec<Duration> = rounds.iter().map(figure).collect();
            figures.sort();
            figures[middle]
        };
        let mut rates: Vec<f64> = rounds.iter().map(|round| round.rate).collect();
        rates.sort_by(f64::total_cmp);
        Self {
            rate: rates[middle],
            median: of(|round| round.median),
            slowest_hundredth: of(|round| round.slowest_hundredth),
        }
    }
}

/// Runs one round of `spend`, which gets the number of the account; gives the figures and how many were acknowledged.
///
/// # Errors
/// The first failure of a spend.
pub async fn round<S, F>(plan: Plan, spend: S) -> anyhow::Result<(Measured, u64)>
where
    S: Fn(usize) -> F + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let spend = Arc::new(spend);
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..plan.callers {
        let spend = Arc::clone(&spend);
        callers.spawn(async move {
            let mut latencies = Vec::new();
            while started.elapsed() < plan.lasting {
                let sent = Instant::now();
                spend(plan.account()).await?;
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(caller) = callers.join_next().await {
        latencies.extend(caller.context("a caller panicked")??);
    }
    let took = started.elapsed().as_secs_f64();
    latencies.sort();
    let acknowledged = latencies.len();
    let at = |share: f64| latencies.get((acknowledged as f64 * share) as usize).copied().unwrap_or_default();
    let measured =
        Measured { rate: acknowledged as f64 / took, median: at(0.5), slowest_hundredth: at(0.99) };
    Ok((measured, acknowledged as u64))
}
