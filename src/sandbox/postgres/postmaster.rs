//! What a data directory says about the server that runs on it.
//!
//! `postmaster.pid` is PostgreSQL's own record: process id, directory, start, port, socket directory, address,
//! shared memory, and a status that becomes `ready` when connections are accepted. The file survives a crash and
//! process ids are used again, so the process is asked whether it really is a server on this directory.

use std::fs;
use std::path::Path;

use nix::unistd::Pid;

/// A server process on one data directory.
#[derive(Clone, Debug)]
pub(super) struct Postmaster {
    pub(super) pid: Pid,
    pub(super) port: u16,
    pub(super) ready: bool,
    data_directory: String,
}

impl Postmaster {
    /// The live server of a data directory, if there is one.
    pub(super) fn of(data: &Path) -> Option<Self> {
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let found = Self::parse(&text)?;
        found.is_alive().then_some(found)
    }

    /// `None` while the file is being written.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        Some(Self {
            pid: Pid::from_raw(lines.first()?.trim().parse().ok().filter(|pid| *pid > 0)?),
            data_directory: (*lines.get(1)?).to_owned(),
            port: lines.get(3)?.trim().parse().ok()?,
            ready: lines.get(7).is_some_and(|status| status.trim() == "ready"),
        })
    }

    /// Whether the process exists and is a server on this directory.
    pub(super) fn is_alive(&self) -> bool {
        command_line(self.pid).is_some_and(|command| command.contains(&self.data_directory))
    }
}

#[cfg(target_os = "linux")]
fn command_line(pid: Pid) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(not(target_os = "linux"))]
fn command_line(pid: Pid) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-ww", "-o", "args=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "4711\n/somewhere/data\n1700000000\n54321\n\n127.0.0.1\n  1234567     3\n";

    #[test]
    fn a_server_that_is_starting_is_not_ready() {
        let starting = Postmaster::parse(&format!("{FILE}starting\n")).expect("a complete file");
        assert_eq!((starting.pid.as_raw(), starting.port, starting.ready), (4711, 54321, false));
        let ready = Postmaster::parse(&format!("{FILE}ready   \n")).expect("a complete file");
        assert!(ready.ready);
    }

    #[test]
    fn a_file_that_is_being_written_says_nothing() {
        assert!(Postmaster::parse("").is_none());
        assert!(Postmaster::parse("4711\n/somewhere/data\n").is_none());
        assert!(Postmaster::parse("-1\n/somewhere/data\n0\n1\n").is_none());
    }

    #[test]
    fn another_process_with_the_same_id_is_not_taken_for_the_server() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = FILE.replace("4711", &std::process::id().to_string());
        fs::write(directory.path().join("postmaster.pid"), file).expect("a file");
        assert!(Postmaster::of(directory.path()).is_none());
    }
}
