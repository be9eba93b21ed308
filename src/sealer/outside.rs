//! Where checkpoints stand outside of the database, so that whoever rewrites the database cannot rewrite them as well.
//!
//! In a directory each log has the file `<origin>/checkpoint`, replaced as a whole. A URL takes each checkpoint as the
//! body of a POST, whoever answers there with 409 Conflict knowing a later or a different one; and it is asked for the last
//! one with GET and `?origin=<origin>`. One that only takes (404, 405 or 501 to GET) is told and not asked.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::config::CheckpointSettings;

/// How long a POST or a GET may take.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(3);
/// Longer than any checkpoint.
const LONGEST_NOTE: u64 = 64 * 1024;

/// Where checkpoints are sent to.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    directory: Option<PathBuf>,
    destination: Option<(reqwest::Client, reqwest::Url)>,
}

/// A checkpoint that stands outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Where, for people.
    pub place: String,
    /// The signed note.
    pub note: String,
}

/// Why the outside cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// The directory.
    #[error("checkpoints cannot be kept in {}: {cause}", file.display())]
    File {
        /// Where.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// What stands there is no checkpoint of this log. It is left as it is.
    #[error("{place} holds something else than a checkpoint of this log: {reason}")]
    Foreign {
        /// Where.
        place: String,
        /// What it is not.
        reason: String,
    },
    /// The URL cannot be reached, or refuses for the moment.
    #[error("checkpoints cannot be posted or read back: {0}")]
    Http(String),
    /// The client cannot be prepared, or the URL is none.
    #[error("the URL for checkpoints cannot be used: {0}")]
    Url(String),
    /// Whoever takes checkpoints at the URL knows one that contradicts this one.
    #[error("the checkpoint contradicts one that was posted before")]
    Conflict,
}

impl Outside {
    /// Prepares the places that the settings name; there may be none.
    ///
    /// # Errors
    /// [`OutsideError::Url`].
    pub fn new(settings: &CheckpointSettings) -> Result<Self, OutsideError> {
        let destination = match &settings.checkpoint_url {
            Some(url) => {
                let url = reqwest::Url::parse(url).map_err(|error| OutsideError::Url(error.to_string()))?;
                let client = reqwest::Client::builder()
                    .timeout(CALL_LIMIT)
                    .redirect(reqwest::redirect::Policy::none())
                    .build()
                    .map_err(|error| OutsideError::Url(error.to_string()))?;
                Some((client, url))
            }
            None => None,
        };
        Ok(Self { directory: settings.checkpoint_dir.clone(), destination })
    }

    /// Whether checkpoints are sent anywhere.
    pub fn is_anywhere(&self) -> bool {
        self.directory.is_some() || self.destination.is_some()
    }

    fn file(&self, origin: &str) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join(origin).join("checkpoint"))
    }

    /// The last checkpoint of a log in each of the places that has one.
    ///
    /// # Errors
    /// [`OutsideError::File`] and [`OutsideError::Http`].
    pub async fn last(&self, origin: &str) -> Result<Vec<Standing>, OutsideError> {
        let mut standing = Vec::new();
        if let Some(file) = self.file(origin) {
            let place = file.display().to_string();
            standing.extend(Self::last_in(file).await?.map(|note| Standing { place, note }));
        }
        if let Some((client, url)) = &self.destination {
            let note = last_at(client, url, origin).await?;
            let place = "the URL for checkpoints".to_owned();
            standing.extend(note.map(|note| Standing { place, note }));
        }
        Ok(standing)
    }

    async fn last_in(file: PathBuf) -> Result<Option<String>, OutsideError> {
        blocking(file, |file| match fs::metadata(file) {
            Ok(about) if about.len() > LONGEST_NOTE => Err(ErrorKind::FileTooLarge.into()),
            Ok(_) => fs::read_to_string(file).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// Sends a checkpoint to every place. May be repeated.
    ///
    /// # Errors
    /// [`OutsideError`]; it may stand in some of the places.
    pub async fn publish(&self, origin: &str, note: &str) -> Result<(), OutsideError> {
        if let Some(file) = self.file(origin) {
            let note = note.to_owned();
            blocking(file, move |file| replace(file, &note)).await?;
        }
        let Some((client, url)) = &self.destination else { return Ok(()) };
        let request = client.post(url.clone()).header("Content-Type", "text/plain; charset=utf-8");
        let answer = request.body(note.to_owned()).send().await;
        let answer = answer.map_err(|error| OutsideError::Http(error.without_url().to_string()))?;
        match answer.status().as_u16() {
            200..=299 => Ok(()),
            409 => Err(OutsideError::Conflict),
            other => Err(OutsideError::Http(format!("answered {other}"))),
        }
    }
}

/// The last checkpoint that a URL knows of a log, if it tells.
async fn last_at(
    client: &reqwest::Client,
    url: &reqwest::Url,
    origin: &str,
) -> Result<Option<String>, OutsideError> {
    let unreachable = |error: reqwest::Error| OutsideError::Http(error.without_url().to_string());
    let mut of_origin = url.clone();
    of_origin.query_pairs_mut().append_pair("origin", origin);
    let mut answer = client.get(of_origin).send().await.map_err(unreachable)?;
    match answer.status().as_u16() {
        200 => {}
        404 | 405 | 501 => return Ok(None),
        other => return Err(OutsideError::Http(format!("answered {other} when it was asked"))),
    }
    let mut note = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
        note.extend_from_slice(&piece);
        if note.len() as u64 > LONGEST_NOTE {
            return Err(OutsideError::Http("what it answers is no checkpoint: it is too long".to_owned()));
        }
    }
    let note = String::from_utf8(note);
    note.map(Some)
        .map_err(|_| OutsideError::Http("what it answers is no checkpoint: it is no text".to_owned()))
}

async fn blocking<T: Send + 'static>(
    file: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, OutsideError> {
    let place = file.clone();
    let done = tokio::task::spawn_blocking(move || work(&place)).await.map_err(io::Error::other);
    done.and_then(|done| done).map_err(|cause| OutsideError::File { file, cause })
}

/// Replaces a file as a whole, on disk before it returns: a reader sees the old text or the new one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let Some(directory) = file.parent() else { return Err(ErrorKind::InvalidInput.into()) };
    fs::create_dir_all(directory)?;
    let new = file.with_extension(format!("{}.new", std::process::id()));
    let mut written = File::create(&new)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    fs::rename(&new, file)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_checkpoint_in_a_directory_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = CheckpointSettings {
            checkpoint_dir: Some(directory.path().join("new")),
            ..CheckpointSettings::default()
        };
        let outside = Outside::new(&settings).expect("usable");
        let last = async || -> Vec<String> {
            let standing = outside.last("example/log").await.expect("readable");
            standing.into_iter().map(|standing| standing.note).collect()
        };
        assert_eq!(last().await, [] as [&str; 0]);
        for note in ["one", "two"] {
            outside.publish("example/log", note).await.expect("writable");
            assert_eq!(last().await, [note]);
        }
        let left = fs::read_dir(directory.path().join("new/example/log")).expect("a folder").count();
        assert_eq!(left, 1);
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("example"), "a file").expect("written");
        let settings = CheckpointSettings {
            checkpoint_dir: Some(directory.path().into()),
            ..CheckpointSettings::default()
        };
        let outside = Outside::new(&settings).expect("usable");
        let error = outside.publish("example/log", "one").await.expect_err("no folder").to_string();
        assert!(error.contains("example/log/checkpoint"), "{error}");
    }
}
