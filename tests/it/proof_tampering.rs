//! Somebody with every right in the database changes history. Each way is found from outside or by `counterfoil verify`,
//! and the report names the place; erasing a person is none.

use reqwest::Method;

use crate::{
    api_support::Requests,
    proof_support::{DIRECTORY_VARIABLE, Sealed},
};

impl Sealed {
    /// Does what no role of ours may do.
    async fn tamper(&self, sql: &str) {
        let database = self.app.database.superuser().await;
        // Triggers and foreign keys do not apply to whoever may say so.
        let sql = format!("SET session_replication_role = replica; {sql}");
        database.batch_execute(&sql).await.expect("a superuser may do anything");
    }

    async fn position_of(&self, event_type: &str) -> i64 {
        let database = self.app.database.superuser().await;
        let sql = "SELECT max(position) FROM events WHERE type = $1";
        database.query_one(sql, &[&event_type]).await.expect("an event").get(0)
    }
}

#[tokio::test]
async fn every_way_to_change_history_is_found_and_its_place_named() {
    let sealed = Sealed::start().await;
    sealed.trade("ada", 6).await;
    sealed.everything_sealed().await;
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
    sealed.tamper("CREATE TABLE kept AS TABLE events; CREATE TABLE kept_notes AS TABLE event_notes").await;
    let last = sealed.position_of("credits.spent").await;
    let place = last - 2;
    let columns = "command, command_size, batch_id, account_number, type, version, unit, amount, balance_after,
        held_after, disputed_after, recorded_at, effective_at, actor, request_id, key_namespace, key, key_hash,
        fingerprint, note_hash, body";
    let swap = format!(
        "UPDATE events SET position = {place} + {place} + 1 - position, command = {place} + {place} + 1 - position
          WHERE position IN ({place}, {place} + 1)"
    );
    let inserted = columns.replace("actor,", "'system',");
    let insert = format!(
        "UPDATE events SET position = position + 1 WHERE position >= {place};
         INSERT INTO events (ledger_id, position, {columns})
         SELECT ledger_id, {place}, {inserted} FROM events WHERE position = {place} + 1"
    );
    // What keeps rows in order keeps nobody who may take it away.
    sealed
        .tamper(
            "DO $$ DECLARE rule text; BEGIN
               FOR rule IN SELECT conname FROM pg_constraint
                            WHERE conrelid = 'events'::regclass AND contype IN ('c', 'p', 'u') LOOP
                 EXECUTE format('ALTER TABLE events DROP CONSTRAINT %I CASCADE', rule);
               END LOOP;
               FOR rule IN SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'events'::regclass LOOP
                 EXECUTE format('DROP INDEX %s', rule);
               END LOOP;
             END $$",
        )
        .await;
    for (what, sql) in [
        ("an amount", format!("UPDATE events SET amount = amount - 1 WHERE position = {place}")),
        (
            "an amount and every balance after it",
            format!(
                "UPDATE events SET amount = amount - CASE position WHEN {place} THEN 1 ELSE 0 END,
                        balance_after = balance_after - 1 WHERE position >= {place} AND unit IS NOT NULL"
            ),
        ),
        ("an actor", format!("UPDATE events SET actor = 'system' WHERE position = {place}")),
        ("a deletion", format!("DELETE FROM events WHERE position = {place}")),
        ("two that are swapped", swap),
        ("an insertion", insert),
    ] {
        sealed.tamper(&sql).await;
        let (is_good, said) = sealed.audit(&[]).await;
        let is_named = said.contains(&format!("WRONG position {place}:"));
        assert!(!is_good && is_named, "{what} at {place}: {said}");
        sealed.tamper("TRUNCATE events; INSERT INTO events SELECT * FROM kept").await;
    }
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
}

#[tokio::test]
async fn who_never_looked_before_is_told_the_place_by_what_the_service_has_kept_of_its_log() {
    let mut sealed = Sealed::start().await;
    // More than one block of the log.
    sealed.trade("ada", 260).await;
    sealed.everything_sealed().await;
    sealed.tamper("CREATE TABLE kept AS TABLE events").await;
    for place in [7, sealed.position_of("credits.spent").await] {
        let change = |actor: &str| {
            format!(
                "UPDATE events e SET actor = {actor} FROM kept k WHERE e.position = {place} AND k.position = {place}"
            )
        };
        sealed.tamper(&change("'system'")).await;
        sealed.auditor = sealed.auditor.join("another");
        std::fs::create_dir(&sealed.auditor).expect("a directory");
        let (is_good, said) = sealed.audit(&[]).await;
        let expected = format!("WRONG position {place}: it is not the event that was sealed");
        assert!(!is_good && said.contains(&expected), "{expected}: {said}");
        sealed.tamper(&change("k.actor")).await;
    }
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
}

#[tokio::test]
async fn a_tail_that_was_rewritten_with_all_its_hashes_is_found_by_who_saw_the_head_before() {
    let mut sealed = Sealed::start().await;
    sealed.trade("ada", 4).await;
    sealed.everything_sealed().await;
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
    let place = sealed.position_of("credits.spent").await - 1;
    // The log begins anew on the changed events, signed with the log's own key, and the outside is not looked at.
    sealed.app.kill();
    sealed
        .tamper(&format!(
            "UPDATE events SET actor = 'system' WHERE position = {place};
             DELETE FROM checkpoints; DELETE FROM tiles;
             UPDATE logs SET size = 0, published_size = 0, leased_until = NULL"
        ))
        .await;
    let elsewhere = sealed.auditor.join("elsewhere");
    let there = std::mem::replace(&mut sealed.outside, elsewhere.clone());
    sealed.app.set(DIRECTORY_VARIABLE, elsewhere.to_str());
    sealed.app.restart().await;
    let forged = sealed.everything_sealed().await;
    let (is_good, said) = sealed.audit(&[]).await;
    let expected = format!("WRONG position {place}: they were others when they were seen last");
    assert!(!is_good && said.contains(&expected), "{said}");
    // Where the outside is looked at, nothing more is signed.
    sealed.outside = there.clone();
    sealed.app.kill();
    sealed.tamper("UPDATE logs SET leased_until = NULL").await;
    sealed.app.set(DIRECTORY_VARIABLE, there.to_str());
    sealed.app.restart().await;
    sealed.trade("bob", 1).await;
    let code = crate::support::wait::until("the log to be halted", async || {
        let log = sealed.app.get("/v1/audit/log").await;
        log["halted"]["code"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(code, "different");
    assert_eq!(sealed.checkpoint().await.map(|head| head.size), Some(forged.size));
}

#[tokio::test]
async fn a_changed_note_is_found_and_an_erased_person_leaves_every_proof_valid() {
    let sealed = Sealed::start().await;
    sealed.trade("ada", 3).await;
    sealed.everything_sealed().await;
    let place = sealed.position_of("credits.spent").await;
    sealed.tamper("CREATE TABLE kept_notes AS TABLE event_notes").await;
    sealed
        .tamper(&format!(
            "UPDATE event_notes SET content = jsonb_set(content, '{{metadata}}', '{{\"job\": \"other\"}}') WHERE position = {place}"
        ))
        .await;
    let (is_good, said) = sealed.verify().await;
    assert!(!is_good && said.contains(&format!("position {place}: its note has been changed")), "{said}");
    sealed.tamper("TRUNCATE event_notes; INSERT INTO event_notes SELECT * FROM kept_notes").await;
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");

    let erased =
        sealed.app.request(Method::DELETE, "/v1/accounts/ada/profile").header("Idempotency-Key", "erase");
    assert!(erased.send().await.expect("an answer").status().is_success());
    sealed.everything_sealed().await;
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
    let (is_good, said) = sealed.verify().await;
    assert!(is_good && said.contains("erased"), "{said}");
    let proof = sealed.app.send(Method::GET, &format!("/v1/audit/proof/{place}"), None).await;
    assert_eq!(proof.status, 200);
}
