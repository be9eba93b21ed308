//! Bodies that are read from the database page by page while they are sent.

use std::{fmt::Display, future::ready};

use futures_util::{Stream, StreamExt};
use poem::Body;

/// What a body ends in of which a page could not be read: the beginning of a text without its end, which is no event, no row
/// and no entry to whoever reads JSON, CSV, Beancount or hledger.
///
/// An error of the body would not do: poem polls a connection once more that has failed, and hyper then ends the answer as if
/// it were whole.
const CUT_OFF: &str = "\"the export was cut off";

/// The pages, up to the first that fails. Each ends with a whole line.
pub(super) fn body<E: Display + 'static>(
    pages: impl Stream<Item = Result<Vec<u8>, E>> + Send + 'static,
) -> Body {
    let texts = pages.scan(false, |has_failed, page| {
        let text = match page {
            _ if *has_failed => None,
            Ok(text) => Some(text),
            Err(error) => {
                tracing::warn!(%error, "an export was cut off");
                *has_failed = true;
                Some(CUT_OFF.into())
            }
        };
        ready(text.map(Ok::<_, std::io::Error>))
    });
    Body::from_bytes_stream(texts)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn sent(pages: Vec<Result<&'static str, &'static str>>) -> String {
        let pages = pages.into_iter().map(|page| page.map(|text| text.as_bytes().to_vec()));
        body(stream::iter(pages.collect::<Vec<_>>())).into_string().await.expect("text")
    }

    #[tokio::test]
    async fn pages_follow_one_another() {
        assert_eq!(sent(vec![Ok("one\n"), Ok("two\n")]).await, "one\ntwo\n");
    }

    #[tokio::test]
    async fn nothing_follows_a_page_that_fails_but_half_a_text() {
        let text = sent(vec![Ok("one\n"), Err("no connection"), Ok("three\n")]).await;
        assert_eq!(text, format!("one\n{CUT_OFF}"));
        assert!(serde_json::from_str::<serde_json::Value>(CUT_OFF).is_err());
    }
}
