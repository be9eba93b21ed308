//! Under which operating-system user the sandbox's processes run.
//!
//! PostgreSQL refuses to run as root. Started by root (containers, CI), its processes run under the owner of the
//! data directory, else `postgres`, else `nobody`; started by anybody else, as that user.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User, chown};

/// A choice of user.
#[derive(Clone, Debug)]
pub struct RunAs {
    other: Option<User>,
}

impl RunAs {
    /// Chooses the user for processes that work in `directory`, which need not exist yet.
    ///
    /// # Errors
    ///
    /// As root, when none of the candidates is an account of this machine.
    pub fn for_directory(directory: &Path) -> io::Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self { other: None });
        }
        // Without an account, initdb cannot name the user it runs as.
        let owner = fs::metadata(directory).ok().map(|found| Uid::from_raw(found.uid()));
        let owner = match owner.filter(|uid| !uid.is_root()) {
            Some(uid) => User::from_uid(uid)?,
            None => None,
        };
        for name in ["postgres", "nobody"] {
            if let Some(user) = owner.clone().or(User::from_name(name)?) {
                return Ok(Self { other: Some(user) });
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "PostgreSQL does not run as root, and this machine has no account `postgres` or `nobody`",
        ))
    }

    /// The account's name, if it is another one than that of this process.
    #[must_use]
    pub fn other_user(&self) -> Option<&str> {
        self.other.as_ref().map(|user| user.name.as_str())
    }

    /// A command that runs as this user.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(user) = &self.other {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// Whether this user can enter a directory: asked of the kernel, since modes, lists and mounts all have a say.
    #[must_use]
    pub fn can_enter(&self, directory: &Path) -> bool {
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", "cd -- \"$1\"", "sh"]).arg(directory);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Makes this user the owner of a file or directory of ours.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        match &self.other {
            Some(user) => {
                chown(path, Some(user.uid), Some(Gid::from_raw(user.gid.as_raw()))).map_err(io::Error::from)
            }
            None => Ok(()),
        }
    }
}
