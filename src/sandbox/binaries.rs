//! Finds the programs of a PostgreSQL server on this machine.
//!
//! Looked for in this order: `COUNTERFOIL_PG_BIN`, what `pg_config --bindir` says, Debian's and Ubuntu's
//! `/usr/lib/postgresql/*/bin`, Homebrew, `PATH`; the newest of several versions first. A place counts if it has
//! both `initdb` and `postgres` (client packages have neither) and the server is new enough. An explicit
//! `COUNTERFOIL_PG_BIN` is never passed over in silence.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest PostgreSQL that Counterfoil supports.
pub const OLDEST_MAJOR_VERSION: u32 = 15;
/// Names the directory of the programs explicitly.
pub const DIRECTORY_VARIABLE: &str = "COUNTERFOIL_PG_BIN";

/// The programs of one PostgreSQL installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    directory: PathBuf,
    major_version: u32,
}

/// No usable installation was found.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    /// `COUNTERFOIL_PG_BIN` is set to a place that does not do.
    #[error("{DIRECTORY_VARIABLE}={} {reason}", directory.display())]
    Explicit {
        /// The place.
        directory: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing was found anywhere.
    #[error(
        "no PostgreSQL server {OLDEST_MAJOR_VERSION} or newer was found; install one (Debian, Ubuntu: apt-get \
         install postgresql; macOS: brew install postgresql@17) or set {DIRECTORY_VARIABLE} to the directory \
         of its initdb and postgres{considered}"
    )]
    NotFound {
        /// Places that were looked at and did not do, as ` (<place> <reason>; …)`, or nothing.
        considered: String,
    },
}

impl Binaries {
    /// Finds the programs of this machine.
    ///
    /// # Errors
    ///
    /// When there is no usable installation, with the reason for every place that came near.
    pub fn find() -> Result<Self, BinariesError> {
        if let Some(directory) = env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from) {
            return Self::inspect(&directory).map_err(|reason| BinariesError::Explicit { directory, reason });
        }
        let path = env::var_os("PATH").unwrap_or_default();
        Self::first_usable(candidates(Path::new("/"), pg_config_directory(), env::split_paths(&path)))
    }

    /// The directory that holds them.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The server's major version.
    #[must_use]
    pub fn major_version(&self) -> u32 {
        self.major_version
    }

    /// The program that makes a cluster.
    #[must_use]
    pub fn initdb(&self) -> PathBuf {
        self.directory.join("initdb")
    }

    /// The server.
    #[must_use]
    pub fn postgres(&self) -> PathBuf {
        self.directory.join("postgres")
    }

    fn first_usable(candidates: impl IntoIterator<Item = PathBuf>) -> Result<Self, BinariesError> {
        let mut considered = String::new();
        for directory in candidates {
            match Self::inspect(&directory) {
                Ok(found) => return Ok(found),
                Err(_) if !directory.join("postgres").exists() => {}
                Err(reason) => {
                    let separator = if considered.is_empty() { " (" } else { "; " };
                    // Writing to a String cannot fail.
                    let _ = write!(considered, "{separator}{} {reason}", directory.display());
                }
            }
        }
        if !considered.is_empty() {
            considered.push(')');
        }
        Err(BinariesError::NotFound { considered })
    }

    fn inspect(directory: &Path) -> Result<Self, String> {
        for program in ["initdb", "postgres"] {
            if !directory.join(program).is_file() {
                return Err(format!("has no {program}"));
            }
        }
        let output = Command::new(directory.join("postgres")).arg("--version").stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("has a postgres that does not start: {error}"))?;
        match major_version(&String::from_utf8_lossy(&output.stdout)) {
            Some(major_version) if major_version >= OLDEST_MAJOR_VERSION => {
                Ok(Self { directory: directory.to_owned(), major_version })
            }
            Some(older) => Err(format!("has version {older}, older than {OLDEST_MAJOR_VERSION}")),
            None => Err("has a postgres that does not say its version".to_owned()),
        }
    }
}

/// Reads `postgres (PostgreSQL) 17.2 (Debian 17.2-1)` and `postgres (PostgreSQL) 18beta1`.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split("(PostgreSQL)").nth(1)?.trim_start();
    let digits = version.find(|character: char| !character.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

/// Where to look, in that order: below `root` are the places that packages are installed to.
fn candidates(
    root: &Path,
    pg_config: Option<PathBuf>,
    path: impl Iterator<Item = PathBuf>,
) -> impl Iterator<Item = PathBuf> {
    let debian = newest_first(&root.join("usr/lib/postgresql"), "", "bin");
    let homebrew = ["opt/homebrew/opt", "usr/local/opt", "home/linuxbrew/.linuxbrew/opt"];
    let homebrew = homebrew.map(|prefix| newest_first(&root.join(prefix), "postgresql@", "bin"));
    pg_config.into_iter().chain(debian).chain(homebrew.into_iter().flatten()).chain(path)
}

fn pg_config_directory() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output().ok()?;
    let directory = String::from_utf8(output.stdout).ok()?;
    let directory = directory.trim();
    (output.status.success() && !directory.is_empty()).then(|| PathBuf::from(directory))
}

/// The subdirectories `<prefix><version>/<tail>` of a directory, the highest version first.
fn newest_first(directory: &Path, prefix: &str, tail: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(tail)))
        })
        .collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    versions.into_iter().map(|(_, directory)| directory).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(root: &Path, name: &str, version: &str) -> PathBuf {
        let directory = root.join(name).join("bin");
        fs::create_dir_all(&directory).expect("a directory");
        for program in ["initdb", "postgres"] {
            // Written by another process: while this one has a file open for writing, a neighbouring test that
            // starts a process would pass the handle on, and the file could not be executed.
            let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'");
            let status = Command::new("/bin/sh")
                .args(["-c", "printf '%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", &script])
                .arg(directory.join(program))
                .status();
            assert!(status.expect("a shell").success());
        }
        directory
    }

    #[test]
    fn the_newest_of_several_versions_comes_first() {
        let root = tempfile::tempdir().expect("a temporary directory");
        for version in ["9", "15", "17"] {
            installation(root.path(), version, version);
        }
        fs::create_dir(root.path().join("common")).expect("a directory");
        let versions = newest_first(root.path(), "", "bin");
        let expected: Vec<_> = ["17", "15", "9"].map(|v| root.path().join(v).join("bin")).into();
        assert_eq!(versions, expected);
    }

    #[test]
    fn what_is_configured_comes_before_packages_and_packages_before_the_path() {
        let root = tempfile::tempdir().expect("a temporary directory");
        for place in ["usr/lib/postgresql/15", "usr/lib/postgresql/17", "opt/homebrew/opt/postgresql@16"] {
            installation(root.path(), place, "15");
        }
        let path = ["/one", "/two"].map(PathBuf::from).into_iter();
        let found = candidates(root.path(), Some("/configured".into()), path);
        let found: Vec<String> = found.map(|place| place.display().to_string()).collect();
        let below = |place: &str| format!("{}/{place}/bin", root.path().display());
        let expected = [
            "/configured".to_owned(),
            below("usr/lib/postgresql/17"),
            below("usr/lib/postgresql/15"),
            below("opt/homebrew/opt/postgresql@16"),
            "/one".to_owned(),
            "/two".to_owned(),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn places_without_a_server_or_with_an_old_one_are_passed_over() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let empty = root.path().join("empty");
        let old = installation(root.path(), "old", "14.11");
        let good = installation(root.path(), "good", "17.2 (Debian 17.2-1.pgdg120+1)");
        let found = Binaries::first_usable([empty.clone(), old.clone(), good.clone()]);
        assert_eq!(found.expect("a usable one"), Binaries { directory: good, major_version: 17 });

        let message = Binaries::first_usable([empty, old.clone()]).unwrap_err().to_string();
        assert!(message.contains("older than 15"), "{message}");
        assert!(message.contains(&old.display().to_string()), "{message}");
    }

    #[test]
    fn versions_are_read_from_what_the_server_prints() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("something else"), None);
    }
}
