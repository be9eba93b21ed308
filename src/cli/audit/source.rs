//! Where an auditor's events come from: a service, or a file.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};

use anyhow::{Context, bail};
use reqwest::{Client, Response};
use secrecy::{ExposeSecret, SecretString};

use super::Arguments;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::memory::Range;
use crate::audit::merkle::Hash;
use crate::audit::note::VerifierKey;
use crate::audit::record::read_line;
use crate::audit::tile::{TILE_WIDTH, TileId, tile_nodes};
use crate::audit::tlog_proof::TlogProof;
use crate::audit::verification::Verification;
use crate::domain::ids::LedgerSlug;

/// Where events come from.
pub(super) enum Source {
    /// A running service.
    Service(Service),
    /// A file.
    File(std::path::PathBuf),
}

/// A running service.
pub(super) struct Service {
    client: Client,
    url: String,
    api_key: SecretString,
}

/// The lines of a source.
pub(super) enum EventLines {
    File(Lines<BufReader<File>>),
    Stream { answer: Response, rest: Vec<u8>, taken: usize },
}

impl Source {
    pub(super) fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        if let Some(file) = &arguments.export {
            return Ok(Self::File(file.clone()));
        }
        let (Some(url), Some(api_key)) = (&arguments.url, &arguments.api_key) else {
            bail!("give --url and --api-key, or --export");
        };
        let client = Client::builder().build().context("the client cannot be prepared")?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self::Service(Service { client, url, api_key: api_key.clone() }))
    }

    pub(super) async fn checkpoint(&self) -> anyhow::Result<String> {
        match self {
            Self::Service(service) => service.text("/v1/audit/checkpoint").await,
            Self::File(_) => bail!("give --checkpoint with --export"),
        }
    }

    /// All events from the first on.
    pub(super) async fn lines(&self) -> anyhow::Result<EventLines> {
        match self {
            Self::Service(service) => service.lines(0).await,
            Self::File(file) => {
                let opened =
                    File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
                Ok(EventLines::File(BufReader::new(opened).lines()))
            }
        }
    }
}

impl EventLines {
    /// The next line, without its end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<String>> {
        match self {
            Self::File(lines) => Ok(lines.next().transpose().context("the file cannot be read")?),
            Self::Stream { answer, rest, taken } => loop {
                if let Some(end) = rest[*taken..].iter().position(|byte| *byte == b'\n') {
                    let line =
                        std::str::from_utf8(&rest[*taken..*taken + end]).context("a line is no text")?;
                    let line = line.to_owned();
                    *taken += end + 1;
                    return Ok(Some(line));
                }
                rest.drain(..*taken);
                *taken = 0;
                match answer.chunk().await.context("the events were cut off")? {
                    Some(chunk) => rest.extend_from_slice(&chunk),
                    None if rest.is_empty() => return Ok(None),
                    None => bail!("the events were cut off within a line"),
                }
            },
        }
    }
}

impl Service {
    pub(super) async fn get(&self, path: &str, accept: Option<&str>) -> anyhow::Result<Response> {
        let request =
            self.client.get(format!("{}{path}", self.url)).bearer_auth(self.api_key.expose_secret());
        let request = match accept {
            Some(accept) => request.header("Accept", accept),
            None => request,
        };
        request.send().await.with_context(|| format!("{}{path} cannot be reached", self.url))
    }

    async fn good(&self, path: &str, accept: Option<&str>) -> anyhow::Result<Response> {
        let answer = self.get(path, accept).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        bail!("{path} answered {status}: {text}")
    }

    async fn text(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.good(path, None).await?;
        answer.text().await.with_context(|| format!("the answer to {path} was cut off"))
    }

    /// The events after a position, with the names of their accounts.
    pub(super) async fn lines(&self, after: i64) -> anyhow::Result<EventLines> {
        let answer = self.good(&format!("/v1/events?after={after}"), Some("application/x-ndjson")).await?;
        Ok(EventLines::Stream { answer, rest: Vec::new(), taken: 0 })
    }

    /// Has an event proven. The inner error is why the proof proves nothing.
    pub(super) async fn prove(
        &self,
        position: u64,
        leaf: Hash,
        keys: &[VerifierKey],
    ) -> anyhow::Result<Result<(), String>> {
        let text = self.text(&format!("/v1/audit/proof/{position}")).await?;
        let Some(proof) = TlogProof::parse(&text) else { return Ok(Err("it is none".to_owned())) };
        if proof.index + 1 != position {
            return Ok(Err(format!("it is about position {}", proof.index + 1)));
        }
        Ok(proof.verify(leaf, keys).map(|_| ()).map_err(|error| error.to_string()))
    }

    /// The first event that is another one than the service's own tiles say, if they say so.
    pub(super) async fn find_difference(
        &self,
        verification: &Verification,
        head: &Checkpoint,
    ) -> anyhow::Result<Option<Range>> {
        let leaves = verification.leaves();
        let count = leaves.blocks().len();
        for index in 0..=(count as u64 / TILE_WIDTH) {
            let begin = (index * TILE_WIDTH) as usize;
            let mine = leaves.blocks().get(begin..count.min(begin + TILE_WIDTH as usize)).unwrap_or_default();
            if mine.is_empty() {
                break;
            }
            let theirs = self.tile(TileId::of_tree(1, index, head.size).context("a tile")?).await?;
            if let Some(place) = mine.iter().zip(&theirs).position(|(mine, theirs)| mine != theirs) {
                let ledger = super::ledger_of_origin(&head.origin)?;
                return self.difference_within(&ledger, (begin + place) as u64).await.map(Some);
            }
        }
        let last = TileId::of_tree(0, count as u64, head.size);
        let Some(last) = last.filter(|_| !leaves.rest().is_empty()) else { return Ok(None) };
        let theirs = self.tile(last).await?;
        let place = leaves.rest().iter().zip(&theirs).position(|(mine, theirs)| mine != theirs);
        Ok(place.map(|place| {
            let position = count as u64 * TILE_WIDTH + place as u64 + 1;
            Range { first: position, last: position }
        }))
    }

    async fn difference_within(&self, ledger: &LedgerSlug, block: u64) -> anyhow::Result<Range> {
        let before = block * TILE_WIDTH;
        let theirs = self.tile(TileId::full(0, block)).await?;
        let mut lines = self.lines(before as i64).await?;
        for (place, theirs) in theirs.iter().enumerate() {
            let Some(line) = lines.next().await? else { break };
            let position = before + place as u64 + 1;
            if !read_line(ledger, &line).is_ok_and(|record| record.leaf == *theirs) {
                return Ok(Range { first: position, last: position });
            }
        }
        Ok(Range { first: before + 1, last: before + TILE_WIDTH })
    }

    async fn tile(&self, id: TileId) -> anyhow::Result<Vec<Hash>> {
        let path = format!("/v1/audit/tile/{id}");
        let bytes = self.good(&path, None).await?.bytes().await.context("a tile was cut off")?;
        let nodes = tile_nodes(&bytes).filter(|nodes| nodes.len() == id.width());
        nodes.with_context(|| format!("{path} is no tile of that width"))
    }
}
