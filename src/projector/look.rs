//! Looking around: which builds there are, which ledgers follow them, how far behind each is.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use deadpool_postgres::PoolError;
use metrics::gauge;

use super::Task;
use crate::{
    store::{
        ledgers::list_ledgers,
        pool::Database,
        projections::{
            Build, LedgerId, fold, list_builds,
            read::{Progress, progress},
        },
        rows::RowError,
        scope,
    },
    telemetry::metrics::{PROJECTOR_HALTED, PROJECTOR_LAG_EVENTS, PROJECTOR_LAG_SECONDS, PROJECTOR_PARKED},
};

/// Who follows what, as of the last look.
#[derive(Default)]
pub struct Following {
    /// Names of the projections that there are.
    projections: BTreeSet<String>,
    tasks: BTreeMap<LedgerId, Vec<(Arc<Build>, Progress)>>,
}

/// Why looking around failed.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// No connection.
    #[error("no connection to the database")]
    Connection(#[from] PoolError),
    /// A refusal.
    #[error("the state of the projections cannot be read")]
    Database(#[from] tokio_postgres::Error),
    /// A ledger that cannot be read.
    #[error("the ledgers cannot be read")]
    Ledgers(#[from] RowError),
}

impl Following {
    fn new(projections: BTreeSet<String>, builds: &[Arc<Build>], found: Vec<Progress>) -> Self {
        let mut tasks: BTreeMap<LedgerId, Vec<_>> = BTreeMap::new();
        for progress in found {
            let build = builds
                .iter()
                .find(|build| build.projection == progress.projection && build.build == progress.build);
            if let Some(build) = build {
                tasks.entry(progress.ledger).or_default().push((Arc::clone(build), progress));
            }
        }
        Self { projections, tasks }
    }

    /// Has the metrics of projections that are gone say that nothing is wrong with them, when this has come after `before`.
    pub fn forget_the_gone(&self, before: &Self) {
        for projection in before.projections.difference(&self.projections) {
            publish(projection, &[]);
        }
    }

    /// What is to be folded when these ledgers have new events.
    pub fn tasks_of(&self, ledgers: &BTreeSet<LedgerId>) -> Vec<Task> {
        let followed = ledgers.iter().filter_map(|ledger| Some((ledger, self.tasks.get(ledger)?)));
        followed
            .flat_map(|(ledger, tasks)| tasks.iter().map(|(build, _)| (*ledger, Arc::clone(build))))
            .collect()
    }

    /// Whether the ledger follows the build.
    pub fn contains(&self, ledger: LedgerId, build: &Build) -> bool {
        self.tasks.get(&ledger).is_some_and(|tasks| tasks.iter().any(|(followed, _)| **followed == *build))
    }

    /// What was behind at the last look and can go on, and builds that may take over.
    pub fn behind(&self) -> Vec<Task> {
        let mut behind = Vec::new();
        for (ledger, tasks) in &self.tasks {
            for (build, progress) in tasks {
                let has_work = progress.position < progress.head || !progress.is_serving;
                if has_work && progress.halt.is_none() {
                    behind.push((*ledger, Arc::clone(build)));
                }
            }
        }
        behind
    }
}

/// Looks at every ledger, lets new ones follow, and publishes how far behind the serving builds are.
///
/// # Errors
/// See [`LookError`].
pub async fn look_around(database: &Database) -> Result<Following, LookError> {
    let mut client = database.pool().get().await?;
    let builds: Vec<Arc<Build>> = list_builds(&client).await?.into_iter().map(Arc::new).collect();
    let ledgers: Vec<LedgerId> =
        list_ledgers(&client).await?.into_iter().map(|ledger| ledger.ledger).collect();
    let mut found = progress(&client, &ledgers).await?;
    let newest_followed = newest_followed(&found);
    let mut has_new_followers = false;
    for ledger in &ledgers {
        for build in newest_for_all(&builds) {
            let followed = newest_followed.get(&(*ledger, build.projection.as_str()));
            if followed.is_none_or(|followed| *followed < build.build) {
                let transaction = client.transaction().await?;
                transaction.batch_execute(&scope::settings(*ledger)).await?;
                fold::follow(&transaction, *ledger, build).await?;
                transaction.commit().await?;
                has_new_followers = true;
            }
        }
    }
    if has_new_followers {
        found = progress(&client, &ledgers).await?;
    }
    let projections: BTreeSet<String> = builds.iter().map(|build| build.projection.clone()).collect();
    for projection in &projections {
        publish(projection, &found);
    }
    Ok(Following::new(projections, &builds, found))
}

fn newest_followed(found: &[Progress]) -> BTreeMap<(LedgerId, &str), i32> {
    let mut newest = BTreeMap::new();
    for progress in found {
        let build: &mut i32 = newest.entry((progress.ledger, progress.projection.as_str())).or_default();
        *build = progress.build.max(*build);
    }
    newest
}

/// The builds that a ledger follows unasked: of each projection the newest one meant for all.
fn newest_for_all(builds: &[Arc<Build>]) -> impl Iterator<Item = &Arc<Build>> {
    builds.iter().filter(|build| {
        let is_older = |other: &Arc<Build>| other.projection == build.projection && other.build > build.build;
        build.for_all && !builds.iter().any(|other| other.for_all && is_older(other))
    })
}

/// One number for each thing to watch: that of the ledger that is worst off.
fn publish(projection: &str, found: &[Progress]) {
    let all = || found.iter().filter(|progress| progress.projection == projection);
    let serving = || all().filter(|progress| progress.is_serving);
    let events = serving().map(|progress| progress.head - progress.position).max().unwrap_or(0);
    let seconds = serving().map(|progress| progress.lag_seconds).fold(0.0, f64::max);
    let parked: i64 = serving().map(|progress| progress.parked).sum();
    let halted = all().filter(|progress| progress.halt.is_some());
    let halted = halted.map(|progress| progress.ledger).collect::<BTreeSet<_>>();
    let name = projection.to_owned();
    gauge!(PROJECTOR_LAG_EVENTS, "projection" => name.clone()).set(events as f64);
    gauge!(PROJECTOR_LAG_SECONDS, "projection" => name.clone()).set(seconds);
    gauge!(PROJECTOR_HALTED, "projection" => name.clone()).set(halted.len() as f64);
    gauge!(PROJECTOR_PARKED, "projection" => name).set(parked as f64);
}
