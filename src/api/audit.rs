//! The proof that events are what they were: signed heads, tiles and proofs by the formats of C2SP.
//!
//! The paths of tiles are those of tlog-tiles, below `/v1/audit/`: a part of a path for every three digits.

use base64::{Engine, engine::general_purpose::STANDARD};
use poem::{Body, IntoResponse, Response, http::header};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
};

use super::{
    answers::Found,
    auth::{Audit, Authorised},
    error::{ApiError, Failure, Reading},
    events::{NDJSON, canonical_lines},
    params::{Path, Query},
    tags::Tag,
    wire::{Limit, Nullable, TilePart, Whole},
};
use crate::{
    domain::{ids::Position, time::Timestamp},
    service::{LogKeyView, LogView, TileId},
};

/// The media type of texts.
const TEXT: &str = "text/plain; charset=utf-8";
/// The media type of tiles.
const BYTES: &str = "application/octet-stream";
/// Only whoever has a key may see it, and need not ask again.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

/// A key that signs, or signed, the heads of the log.
#[derive(Clone, Debug, Object)]
pub struct LogKey {
    /// What verifies its signatures, as `counterfoil audit --key` and other tools for signed notes take it.
    pub verifier_key: String,
    /// Since when it signs.
    pub created_at: Timestamp,
    /// From when on it signs no more; `null` while no other key has taken its place.
    pub retires_at: Nullable<Timestamp>,
}

/// A log that does not go on, as it was last known.
#[derive(Clone, Debug, Object)]
pub struct PredecessorLog {
    /// What it was called.
    pub origin: String,
    /// How many events it covered.
    pub size: i64,
    /// The root of the tree over them, in base64.
    pub root: String,
}

/// Why nothing more is sealed.
#[derive(Clone, Debug, Object)]
pub struct LogHalt {
    /// For programs.
    pub code: String,
    /// For people.
    pub because: String,
}

/// The log of the ledger: the Merkle tree over its events.
#[derive(Clone, Debug, Object)]
pub struct AuditLog {
    /// What it is called in its heads; another one when another log takes its place.
    pub origin: String,
    /// Since when it is kept.
    pub opened_at: Timestamp,
    /// The last event that is sealed; 0 before the first.
    pub sealed_position: i64,
    /// Its keys, the oldest first.
    pub keys: Vec<LogKey>,
    /// The log that it took the place of, if history was lost.
    pub succeeds: Nullable<PredecessorLog>,
    /// Why nothing more is sealed, if so.
    pub halted: Nullable<LogHalt>,
}

impl From<LogView> for AuditLog {
    fn from(log: LogView) -> Self {
        let key = |key: LogKeyView| LogKey {
            verifier_key: key.verifier.to_string(),
            created_at: key.created_at,
            retires_at: Nullable(key.retires_at),
        };
        let succeeds = log.predecessor.map(|before| PredecessorLog {
            origin: before.origin,
            size: before.size,
            root: STANDARD.encode(before.root),
        });
        Self {
            origin: log.origin,
            opened_at: log.opened_at,
            sealed_position: log.sealed.0,
            keys: log.keys.into_iter().map(key).collect(),
            succeeds: Nullable(succeeds),
            halted: Nullable(log.halted.map(|halt| LogHalt { code: halt.code, because: halt.because })),
        }
    }
}

/// A text by a format of C2SP.
pub struct Text(String);

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        // The next answer may be another one.
        let builder = Response::builder().content_type(TEXT).header(header::CACHE_CONTROL, "no-cache");
        builder.body(self.0)
    }
}

impl ApiResponse for Text {
    fn meta() -> MetaResponses {
        answer("The text.", TEXT, MetaSchema::new("string"))
    }

    fn register(_: &mut Registry) {}
}

/// Bytes that never change.
pub struct Bytes(Vec<u8>);

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        let builder = Response::builder().content_type(BYTES).header(header::CACHE_CONTROL, FOR_EVER);
        builder.body(self.0)
    }
}

impl ApiResponse for Bytes {
    fn meta() -> MetaResponses {
        answer("The bytes; they never change.", BYTES, MetaSchema::new_with_format("string", "binary"))
    }

    fn register(_: &mut Registry) {}
}

/// One line for each event.
pub struct Lines(Body);

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        Response::builder().content_type(NDJSON).body(self.0)
    }
}

impl ApiResponse for Lines {
    fn meta() -> MetaResponses {
        answer("One event per line.", NDJSON, MetaSchema::new("string"))
    }

    fn register(_: &mut Registry) {}
}

fn answer(description: &'static str, content_type: &'static str, schema: MetaSchema) -> MetaResponses {
    let schema = MetaSchemaRef::Inline(Box::new(schema));
    let content = vec![MetaMediaType { content_type, schema }];
    let headers = Vec::new();
    MetaResponses {
        responses: vec![MetaResponse {
            description,
            status: Some(200),
            status_range: None,
            content,
            headers,
        }],
    }
}

type Caller = Authorised<Audit>;

/// The tile or the bundle of entries at a path.
async fn tile(caller: Caller, parts: &[&TilePart]) -> Result<Bytes, Failure<Reading>> {
    let parts: Vec<&str> = parts.iter().map(|part| part.0.as_str()).collect();
    let path = parts.join("/");
    let invalid = || {
        ApiError::invalid("tile", "must be `<level>/<index>` or `entries/<index>` as tlog-tiles writes it")
    };
    let (service, who) = (&caller.service, &caller.caller);
    Ok(Bytes(match path.strip_prefix("entries/") {
        Some(place) => service.entries(who, TileId::parse_entries(place).ok_or_else(invalid)?).await?,
        None => service.tile(who, TileId::parse(&path).ok_or_else(invalid)?).await?,
    }))
}

/// The resource.
pub struct AuditTrail;

#[OpenApi(tag = "Tag::Proof")]
impl AuditTrail {
    /// Read the log
    ///
    /// Its name and keys. Whoever verifies should have the keys by another way than from here.
    #[oai(path = "/v1/audit/log", method = "get", operation_id = "read_audit_log")]
    async fn log(&self, caller: Caller) -> Result<Found<AuditLog>, Failure<Reading>> {
        Ok(Found(caller.service.log(&caller.caller).await?.into()))
    }

    /// Read the signed head
    ///
    /// How many events are sealed, and the root of the tree over them, as a
    /// [checkpoint](https://c2sp.org/tlog-checkpoint): a [signed note](https://c2sp.org/signed-note).
    #[oai(path = "/v1/audit/checkpoint", method = "get", operation_id = "read_checkpoint")]
    async fn checkpoint(&self, caller: Caller) -> Result<Text, Failure<Reading>> {
        Ok(Text(caller.service.checkpoint(&caller.caller).await?))
    }

    /// Prove an event
    ///
    /// That it is in the tree of the last signed head: a [proof](https://c2sp.org/tlog-proof) with that head.
    #[oai(path = "/v1/audit/proof/:position", method = "get", operation_id = "prove_event")]
    async fn proof(
        &self,
        caller: Caller,
        /// The event's position.
        position: Path<Whole>,
    ) -> Result<Text, Failure<Reading>> {
        Ok(Text(caller.service.proof(&caller.caller, Position(position.0.get())).await?))
    }

    /// Read sealed bytes
    ///
    /// In order, after a position: each line is the canonical form of an event ([RFC 8785](https://www.rfc-editor.org/rfc/rfc8785)),
    /// and without its end the very leaf of the tree. A stream that ends early was cut off and can be taken up after the
    /// last whole line.
    #[oai(path = "/v1/audit/events", method = "get", operation_id = "list_sealed_bytes")]
    async fn events(
        &self,
        caller: Caller,
        /// Only events after this position; all if absent.
        after: Query<Whole>,
        /// How many at most; all up to the head at the time of the request if absent.
        limit: Query<Limit>,
    ) -> Result<Lines, Failure<Reading>> {
        let after = Position(after.0.map_or(0, Whole::get));
        let body = canonical_lines(caller.service, caller.caller, after, limit.0.map(Into::into)).await?;
        Ok(Lines(body))
    }

    /// Read a tile
    ///
    /// 256 neighbouring hashes of every eighth level of the tree, by [tlog-tiles](https://c2sp.org/tlog-tiles), or with
    /// `entries` as its level the sealed bytes of 256 events, each behind its length in two bytes.
    #[oai(path = "/v1/audit/tile/:level/:first", method = "get", operation_id = "read_tile")]
    async fn tile(
        &self,
        caller: Caller,
        /// `0` to `7`, or `entries`.
        level: Path<TilePart>,
        /// The index in three digits.
        first: Path<TilePart>,
    ) -> Result<Bytes, Failure<Reading>> {
        tile(caller, &[&level.0, &first.0]).await
    }

    /// Read a tile with an index of two parts
    ///
    /// Either an index of more than three digits, or a tile that is not full.
    #[oai(
        path = "/v1/audit/tile/:level/:first/:second",
        method = "get",
        operation_id = "read_tile_of_two_parts"
    )]
    async fn tile_of_two_parts(
        &self,
        caller: Caller,
        /// `0` to `7`, or `entries`.
        level: Path<TilePart>,
        /// The first digits of the index behind an `x`, or its only ones followed by `.p`.
        first: Path<TilePart>,
        /// The last digits of the index, or how many hashes there are.
        second: Path<TilePart>,
    ) -> Result<Bytes, Failure<Reading>> {
        tile(caller, &[&level.0, &first.0, &second.0]).await
    }

    /// Read a tile with an index of three parts
    #[oai(
        path = "/v1/audit/tile/:level/:first/:second/:third",
        method = "get",
        operation_id = "read_tile_of_three_parts"
    )]
    async fn tile_of_three_parts(
        &self,
        caller: Caller,
        /// `0` to `7`, or `entries`.
        level: Path<TilePart>,
        /// The first digits of the index behind an `x`.
        first: Path<TilePart>,
        /// The next ones behind an `x`, or the last ones followed by `.p`.
        second: Path<TilePart>,
        /// The last digits of the index, or how many hashes there are.
        third: Path<TilePart>,
    ) -> Result<Bytes, Failure<Reading>> {
        tile(caller, &[&level.0, &first.0, &second.0, &third.0]).await
    }

    /// Read a tile with an index of four parts
    #[oai(
        path = "/v1/audit/tile/:level/:first/:second/:third/:fourth",
        method = "get",
        operation_id = "read_tile_of_four_parts"
    )]
    async fn tile_of_four_parts(
        &self,
        caller: Caller,
        /// `0` to `7`, or `entries`.
        level: Path<TilePart>,
        /// The first digits of the index behind an `x`.
        first: Path<TilePart>,
        /// The next ones behind an `x`.
        second: Path<TilePart>,
        /// The next ones behind an `x`, or the last ones followed by `.p`.
        third: Path<TilePart>,
        /// The last digits of the index, or how many hashes there are.
        fourth: Path<TilePart>,
    ) -> Result<Bytes, Failure<Reading>> {
        tile(caller, &[&level.0, &first.0, &second.0, &third.0, &fourth.0]).await
    }
}
