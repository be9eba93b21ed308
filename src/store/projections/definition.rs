//! Projections as they are written: a folder with `tables.sql`, `apply.sql` and a `README.md`.
//!
//! `tables.sql` makes tables, each with `ledger_id` first in its primary key, and views of them. The statements of
//! `apply.sql` fold the events of the ledger `$1` after position `$2` up to and including `$3` into them. Names need no
//! schema: the build's own comes first, the service's second. A statement ends with a semicolon at the end of a line.
//!
//! A file `on_poison` says what becomes of an event that cannot be folded: `halt` stops the ledger's build there, which is
//! what happens without the file; `park` passes over it, which is for statistics.
//!
//! The version is the hash of the statements and of that word: comments may change without a rebuild.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use crate::domain::canonical::hex;

static COMPILED_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/projections");

const TABLES: &str = "tables.sql";
const APPLY: &str = "apply.sql";
const ON_POISON: &str = "on_poison";
/// How many bytes of the hash make the version.
const VERSION_BYTES: usize = 6;
/// So that a schema's name, made from it, stays within PostgreSQL's 63 characters.
const LONGEST_NAME: usize = 32;

/// One projection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    /// The folder's name: 1 to 32 characters of `a-z 0-9 _`, beginning with a letter.
    pub name: String,
    /// What makes its tables.
    pub tables: Vec<String>,
    /// What fills them.
    pub apply: Vec<String>,
    /// Whether an event that cannot be folded is passed over.
    pub parks: bool,
    /// Twelve hexadecimal digits; another one if the SQL is another.
    pub version: String,
}

/// Why a folder is no projection.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its name cannot be that of a schema.
    #[error(
        "`{0}` is no name for a projection: 1 to {LONGEST_NAME} characters of a-z 0-9 _, beginning with a letter"
    )]
    Name(String),
    /// One that comes with the program is called the same.
    #[error(
        "{folder} is called as the projection {name} is, which comes with the program: give the folder another name"
    )]
    Taken {
        /// The name of both.
        name: String,
        /// The folder.
        folder: PathBuf,
    },
    /// A file is missing or holds nothing.
    #[error(
        "projection {name}: {file} is missing or has no statement (they end with ; at the end of a line)"
    )]
    Nothing {
        /// The projection.
        name: String,
        /// The file.
        file: &'static str,
    },
    /// It says something else than `halt` or `park`.
    #[error("projection {name}: {ON_POISON} says neither `halt` nor `park`")]
    Policy {
        /// The projection.
        name: String,
    },
    /// Something follows the last statement.
    #[error("projection {name}: {file} ends within a statement (they end with ; at the end of a line)")]
    Unfinished {
        /// The projection.
        name: String,
        /// The file.
        file: &'static str,
    },
}

/// The projections that are part of the program.
///
/// # Errors
/// None in a program that passed its tests.
pub fn compiled_in() -> Result<Vec<Definition>, DefinitionError> {
    let read = |folder: &Dir<'_>| {
        let name = folder.path().to_string_lossy().into_owned();
        let text = |file| folder.get_file(folder.path().join(file)).and_then(|file| file.contents_utf8());
        let (tables, apply) = (text(TABLES).unwrap_or_default(), text(APPLY).unwrap_or_default());
        Definition::new(&name, tables, apply, text(ON_POISON))
    };
    COMPILED_IN.dirs().map(read).collect()
}

/// Whether a projection of this name is part of the program.
pub fn is_compiled_in(name: &str) -> bool {
    COMPILED_IN.get_dir(name).is_some()
}

/// The projections in a directory, one in each folder of it.
///
/// # Errors
/// The first folder that is no projection, or is called as one is that comes with the program.
pub fn in_directory(directory: &Path) -> Result<Vec<Definition>, DefinitionError> {
    let folders = folders(directory)?;
    let is_taken = |(name, _): &&(String, PathBuf)| is_compiled_in(name);
    if let Some((name, folder)) = folders.iter().find(is_taken) {
        return Err(DefinitionError::Taken { name: name.clone(), folder: folder.clone() });
    }
    folders.iter().map(|(name, folder)| read_folder(name, folder)).collect()
}

/// The folders of a directory, by name.
fn folders(directory: &Path) -> Result<Vec<(String, PathBuf)>, DefinitionError> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable(directory))? {
        let path = entry.map_err(unreadable(directory))?.path();
        if path.is_dir() {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            folders.push((name, path));
        }
    }
    folders.sort();
    Ok(folders)
}

fn read_folder(name: &str, folder: &Path) -> Result<Definition, DefinitionError> {
    let text = |file| fs::read_to_string(folder.join(file)).map_err(unreadable(&folder.join(file)));
    let on_poison = folder.join(ON_POISON).exists().then(|| text(ON_POISON)).transpose()?;
    Definition::new(name, &text(TABLES)?, &text(APPLY)?, on_poison.as_deref())
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> DefinitionError + use<> {
    let path = path.to_owned();
    move |source| DefinitionError::Unreadable { path, source }
}

impl Definition {
    fn new(name: &str, tables: &str, apply: &str, on_poison: Option<&str>) -> Result<Self, DefinitionError> {
        let is_name = (1..=LONGEST_NAME).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !is_name {
            return Err(DefinitionError::Name(name.to_owned()));
        }
        let tables = statements(name, TABLES, tables)?;
        let apply = statements(name, APPLY, apply)?;
        let parks = match on_poison.map(str::trim) {
            None | Some("halt") => false,
            Some("park") => true,
            Some(_) => return Err(DefinitionError::Policy { name: name.to_owned() }),
        };
        let version = version(&tables, &apply, parks);
        Ok(Self { name: name.to_owned(), tables, apply, parks, version })
    }
}

fn statements(name: &str, file: &'static str, text: &str) -> Result<Vec<String>, DefinitionError> {
    let mut finished = Vec::new();
    let mut statement = String::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.trim_start().starts_with("--")) {
        statement.push_str(line);
        statement.push('\n');
        if line.ends_with(';') {
            finished.push(std::mem::take(&mut statement).trim().to_owned());
        }
    }
    if !statement.trim().is_empty() {
        return Err(DefinitionError::Unfinished { name: name.to_owned(), file });
    }
    if finished.is_empty() {
        return Err(DefinitionError::Nothing { name: name.to_owned(), file });
    }
    Ok(finished)
}

fn version(tables: &[String], apply: &[String], parks: bool) -> String {
    let mut hasher = Sha256::new();
    for statements in [tables, apply] {
        for statement in statements {
            hasher.update(statement);
            hasher.update([0]);
        }
        hasher.update([1]);
    }
    if parks {
        hasher.update([2]);
    }
    hex(&hasher.finalize()[..VERSION_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "CREATE TABLE t (ledger_id bigint PRIMARY KEY);\n";

    #[test]
    fn every_folder_in_the_repository_is_compiled_in_and_explains_itself() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("projections");
        let mut compiled = compiled_in().expect("projections");
        compiled.sort_by(|one, other| one.name.cmp(&other.name));
        let stored = folders(&directory).expect("folders").into_iter();
        let stored = stored.map(|(name, folder)| read_folder(&name, &folder).expect("a projection"));
        assert_eq!(compiled, stored.collect::<Vec<_>>());
        assert!(!compiled.is_empty());
        for definition in compiled {
            assert!(directory.join(&definition.name).join("README.md").is_file(), "{}", definition.name);
        }
    }

    #[test]
    fn a_file_may_hold_several_statements() {
        let apply = "-- first;\nUPDATE t\n   SET a = ';x';\n\nDELETE FROM t;\n";
        let definition = Definition::new("two", TABLE, apply, None).expect("a projection");
        assert_eq!(definition.apply, ["UPDATE t\n   SET a = ';x';", "DELETE FROM t;"]);
    }

    #[test]
    fn the_version_follows_the_statements_and_not_the_comments() {
        let version = |apply| Definition::new("one", TABLE, apply, None).expect("a projection").version;
        assert_eq!(version("-- why\nDELETE FROM t;\n"), version("DELETE FROM t;"));
        assert_ne!(version("DELETE FROM t;"), version("DELETE FROM u;"));
        assert_eq!(version("DELETE FROM t;").len(), 2 * VERSION_BYTES);
    }

    #[test]
    fn statistics_may_pass_over_what_they_cannot_count() {
        let definition = |on_poison| Definition::new("one", TABLE, TABLE, on_poison);
        let parks = |on_poison| definition(on_poison).expect("a projection").parks;
        assert_eq!([None, Some("halt\n"), Some("park\n")].map(parks), [false, false, true]);
        assert!(matches!(definition(Some("ignore")), Err(DefinitionError::Policy { .. })));
        let version = |on_poison| definition(on_poison).expect("a projection").version;
        assert_eq!(version(None), version(Some("halt")));
        assert_ne!(version(None), version(Some("park")));
    }

    #[test]
    fn a_folder_is_not_called_as_a_projection_of_the_program_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().join("books");
        for (name, text) in [(TABLES, TABLE), (APPLY, TABLE)] {
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join(name), text).expect("a file");
        }
        let refused = in_directory(directory.path()).expect_err("a name that is taken").to_string();
        assert!(
            refused.contains(&format!("{} is called as the projection books is", folder.display())),
            "{refused}"
        );
    }

    #[test]
    fn what_cannot_be_a_projection_is_refused() {
        for name in ["", "History", "1st", "a-b", "a b", &"a".repeat(33)] {
            assert!(
                matches!(Definition::new(name, TABLE, TABLE, None), Err(DefinitionError::Name(_))),
                "{name}"
            );
        }
        assert!(matches!(
            Definition::new("a", TABLE, "-- nothing;\n", None),
            Err(DefinitionError::Nothing { file: APPLY, .. })
        ));
        assert!(matches!(
            Definition::new("a", "CREATE TABLE t ()", TABLE, None),
            Err(DefinitionError::Unfinished { file: TABLES, .. })
        ));
    }
}
