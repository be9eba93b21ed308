//! What a statement of ours costs, as the service's own transactions plan it.

use counterfoil::{domain::ids::LedgerId, store::scope};
use serde_json::Value;
use tokio_postgres::Client;

/// Pages of memory that a statement touches, and its plan.
///
/// The statement is the one that `begins` like that in `source`, the text of the file that it stands in; `types` and `values` are
/// those of its parameters.
pub async fn touched(
    client: &Client,
    ledger: LedgerId,
    (source, begins): (&str, &str),
    types: &str,
    values: &str,
) -> (u64, Value) {
    let begin = source.find(&format!("\"{begins}")).expect("the statement") + 1;
    let end = begin + source[begin..].find("\";").expect("its end");
    touched_by(client, ledger, &source[begin..end], types, values).await
}

/// The same of a statement whose text is at hand.
pub async fn touched_by(
    client: &Client,
    ledger: LedgerId,
    statement: &str,
    types: &str,
    values: &str,
) -> (u64, Value) {
    client.batch_execute(&scope::begin_reading(ledger)).await.expect("begun");
    client.batch_execute(&format!("PREPARE tried ({types}) AS {statement}")).await.expect("prepared");
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE tried ({values})");
    let plan: Value = client.query_one(&explain, &[]).await.expect("a plan").get(0);
    client.batch_execute("ROLLBACK; DEALLOCATE tried").await.expect("rolled back");
    let count = |kind: &str| plan[0]["Plan"][kind].as_u64().expect("a number");
    (count("Shared Hit Blocks") + count("Shared Read Blocks"), plan)
}
