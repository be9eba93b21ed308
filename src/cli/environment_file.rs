//! The file that tells scripts where a `counterfoil dev` is and how to get in: lines of `NAME=value`, which shells and
//! other programs read alike.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Its place in a data directory.
pub(super) fn path(data_directory: &Path) -> PathBuf {
    data_directory.join("dev.env")
}

/// Reads what a file says; one that is not there says nothing.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let lines = text.lines().filter_map(|line| line.split_once('='));
    Ok(lines.map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()).to_owned())).collect())
}

/// Replaces a file as a whole, readable for its owner only.
pub(super) fn write(path: &Path, entries: &[(&str, &str)]) -> anyhow::Result<()> {
    let unfinished = path.with_extension("env.new");
    let attempt = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        for (name, value) in entries {
            writeln!(file, "{name}={value}")?;
        }
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = path(directory.path());
        write(&file, &[("A", "1"), ("B", "postgres://u:p@h/d?x=y")]).expect("a file");
        let read = read(&file).expect("a readable file");
        let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, [("A", "1"), ("B", "postgres://u:p@h/d?x=y")]);
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn values_may_be_quoted_and_the_file_may_be_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = path(directory.path());
        assert_eq!(read(&file).expect("nothing"), []);
        fs::write(&file, "# for scripts\nA=1\nB=\"two\"\nC='a=b'\n").expect("a file");
        let read = read(&file).expect("a readable file");
        let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, [("A", "1"), ("B", "two"), ("C", "a=b")]);
    }
}
