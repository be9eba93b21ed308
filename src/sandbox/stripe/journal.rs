//! What survives the process: one file, one line for each transaction.
//!
//! A line is on the disk before anyone hears of the transaction, so that neither a killed process nor a machine that loses
//! its power forgets what it has answered for.
//! A torn last line is what a crash leaves: it is dropped, for nobody was told of it. At each start the file is written
//! anew, without what has been replaced since, and put in place by renaming.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::store::{Kind, Store};

const FILE: &str = "stripe.jsonl";

/// The open file.
pub(super) struct Journal {
    file: File,
}

impl Journal {
    /// Reads what is in `folder` into a store, tidies the file up and opens it.
    ///
    /// # Errors
    /// If the folder or the file cannot be read or written, or holds something else.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Store)> {
        fs::create_dir_all(folder)?;
        let path = folder.join(FILE);
        let store = read(&path)?;
        rewrite(&path, &store)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok((Self { file }, store))
    }

    /// Writes one transaction down.
    ///
    /// # Errors
    /// If the line cannot be written.
    pub(super) fn append(&mut self, changes: &[(Kind, String, Option<Value>)]) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let changes: Vec<Value> =
            changes.iter().map(|(kind, id, value)| json!([kind.name(), id, value])).collect();
        let mut line = serde_json::to_vec(&changes)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }
}

fn read(path: &Path) -> io::Result<Store> {
    let mut store = Store::default();
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(store),
        Err(error) => return Err(error),
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            break;
        }
        let changes: Vec<(String, String, Option<Value>)> = serde_json::from_slice(&line)?;
        for (kind, id, value) in changes {
            let kind = Kind::named(&kind).ok_or_else(|| io::Error::other(format!("{kind} is no kind")))?;
            match value {
                Some(value) => store.put(kind, &id, value),
                None => store.remove(kind, &id),
            }
        }
        store.commit();
    }
    Ok(store)
}

fn rewrite(path: &Path, store: &Store) -> io::Result<()> {
    let beside: PathBuf = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&beside)?);
    for kind in Kind::ALL {
        for (id, value) in store.entries(*kind) {
            serde_json::to_writer(&mut file, &[json!([kind.name(), id, value])])?;
            file.write_all(b"\n")?;
        }
    }
    file.into_inner()?.sync_all()?;
    fs::rename(beside, path)?;
    // The name as well, not only what it names.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_again_and_a_torn_line_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut journal, mut store) = Journal::open(folder.path()).expect("a journal");
        for (id, value) in [("a", json!({"n": 1})), ("b", json!(2)), ("a", json!({"n": 3}))] {
            store.put(Kind::Customer, id, value);
            journal.append(&store.commit()).expect("a line");
        }
        store.remove(Kind::Customer, "b");
        journal.append(&store.commit()).expect("a line");
        journal.file.write_all(b"[[\"customer\",\"c\"").expect("half a line");

        for _ in 0..2 {
            let (_, store) = Journal::open(folder.path()).expect("the journal");
            let customers: Vec<_> = store.entries(Kind::Customer).collect();
            assert_eq!(customers, [("a", &json!({"n": 3}))]);
        }
    }
}
