//! One instance per directory: a file lock that dies with its process, however it dies.
//!
//! The lock is the kernel's (`flock`), not the file's existence, so there is nothing stale to clean up after a
//! crash. The file's content says who holds it, for messages only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// The lock on one file, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct InstanceLock {
    file: File,
}

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("held by {0}")]
    Held(
        /// What the holder wrote about itself.
        String,
    ),
    /// The file cannot be opened or locked.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl InstanceLock {
    /// Takes the lock at once or not at all, and notes this process as its holder.
    ///
    /// # Errors
    ///
    /// When another process holds it, or the file cannot be used.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                return Err(LockError::Held(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut lock = Self { file };
        lock.describe(&format!("process {}", std::process::id()))?;
        Ok(lock)
    }

    /// Replaces what others are told about the holder.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn describe(&mut self, holder: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{holder}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_about_the_first_and_may_follow_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("lock");
        let mut first = InstanceLock::acquire(&path).expect("a free lock");
        first.describe("the first one").expect("a writable file");
        match InstanceLock::acquire(&path) {
            Err(LockError::Held(holder)) => assert_eq!(holder, "the first one"),
            other => panic!("expected the lock to be held, got {other:?}"),
        }
        drop(first);
        InstanceLock::acquire(&path).expect("a lock that is free again");
    }
}
