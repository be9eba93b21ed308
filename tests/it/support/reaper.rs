//! Ends the shared cluster when nobody uses it any more.
//!
//! The reaper is this test binary once more, running just the ignored test below in a process group of its own, so
//! that neither a crash nor Ctrl-C of the run takes it along. It waits until no process has held the `users` lock
//! for a moment (between two test processes there may be none), stops the cluster and removes its directory.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use counterfoil::sandbox::postgres::Cluster;

use super::cluster;

const VARIABLE: &str = "COUNTERFOIL_TEST_REAPER";
const POLL: Duration = Duration::from_millis(100);
/// How long nobody must have used the cluster.
const QUIET: Duration = Duration::from_secs(2);

/// Starts a reaper unless there is one. One too many ends by itself.
#[expect(clippy::zombie_processes, reason = "it outlives this process, which is its point")]
pub fn ensure_running() {
    let lock = cluster::lock_file("reaper");
    if lock.try_lock().is_err() {
        return;
    }
    drop(lock);
    let this = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(this);
    command.args(["--ignored", "--exact", "support::reaper::the_cluster_ends_with_the_last_user"]);
    command.env(VARIABLE, "1").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a reaper");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a process of its own without a runtime, and it has all the time"
)]
#[ignore = "not a test: the process that cleans up after all others"]
fn the_cluster_ends_with_the_last_user() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    // Declared first, so released last: whoever then gets it sees that there is no reaper any more.
    let users = cluster::lock_file("users");
    let reaper = cluster::lock_file("reaper");
    if reaper.try_lock().is_err() {
        return;
    }
    let mut last_use = Instant::now();
    loop {
        std::thread::sleep(POLL);
        if users.try_lock().is_err() {
            last_use = Instant::now();
        } else if last_use.elapsed() > QUIET {
            // Still holding the lock: whoever comes now waits and then starts a new cluster.
            break;
        } else {
            users.unlock().expect("a lock of ours");
        }
    }
    let directory = cluster::directory();
    if let Ok(Some(running)) = Cluster::adopt(&directory.join("postgres")) {
        running.stop().expect("a cluster that stops");
    }
    if directory.exists() {
        std::fs::remove_dir_all(&directory).expect("a directory of ours");
    }
}
