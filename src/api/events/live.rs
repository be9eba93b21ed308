//! Events as they happen: server-sent events.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use poem::Body;
use tokio::time::timeout;

use super::{Event, check_range};
use crate::{
    api::error::ApiError,
    domain::ids::Position,
    service::{Caller, PositionToken, Service, StoredEvent},
};

/// The media type of server-sent events.
pub const MEDIA_TYPE: &str = "text/event-stream";
/// How long nothing may come before a comment shows that the connection lives, to whatever stands between.
const LONGEST_SILENCE: Duration = Duration::from_secs(15);
/// The first words: a client that is cut off comes back after a second.
const BEGINNING: &str = "retry: 1000\n\n";
/// Means nothing to a client.
const COMMENT: &str = ":\n\n";

/// The events after a position, or after that which was seen last, without an end. Whoever takes them slowly is waited for.
///
/// # Errors
/// A position that the ledger has not reached, and whatever keeps it from being followed.
pub async fn live(
    service: &Arc<Service>,
    caller: &Arc<Caller>,
    after: Position,
    seen: Option<PositionToken>,
) -> Result<Body, ApiError> {
    let (follower, head) = service.follow(caller, after, seen).await?;
    if seen.is_none() {
        check_range(after, None, head)?;
    }
    let following = stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        let text = match timeout(LONGEST_SILENCE, follower.next()).await {
            Err(_) => Ok(Bytes::from_static(COMMENT.as_bytes())),
            Ok(Ok(None)) => return None,
            Ok(Ok(Some((run, after)))) => run.written(after, write).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
        };
        match text {
            Ok(text) => Some((Ok(text), Some(follower))),
            Err(error) => Some((Err(io::Error::other(error)), None)),
        }
    });
    let beginning = stream::once(async { Ok(Bytes::from_static(BEGINNING.as_bytes())) });
    Ok(Body::from_bytes_stream(beginning.chain(following).boxed()))
}

fn write(stored: &StoredEvent, place: PositionToken) -> Result<Vec<u8>, ApiError> {
    let mut text = format!("id: {place}\ndata: ").into_bytes();
    Event::from(stored.clone()).write(&mut text)?;
    text.extend(b"\n\n");
    Ok(text)
}
