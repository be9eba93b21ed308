//! The proof that events are what they were: sealed by the real service, verified from outside by us and by others.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use counterfoil::audit::{checkpoint::Checkpoint, merkle::Hash, tile::TileId, tlog_proof::TlogProof};
use reqwest::Method;
use serde_json::json;
use tlog_tiles::{Tile, TileHashReader, TileReader, check_record, prove_record, record_hash};

use crate::{
    api_support::Requests,
    proof_support::Sealed,
    stripe_client_support::{Reply, ScriptedServer},
    support::{app::LEDGER, wait},
};

#[tokio::test]
async fn what_is_written_is_sealed_and_verified_from_outside() {
    let sealed = Sealed::start().await;
    sealed.trade("ada", 4).await;
    sealed.sell("ada").await;
    let first = sealed.everything_sealed().await;
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
    assert!(said.contains("nothing was seen of this log before"), "{said}");
    sealed.trade("bob", 2).await;
    let second = sealed.everything_sealed().await;
    assert!(second.size > first.size);
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
    for words in [
        format!("it goes on from the {} events that were seen before", first.size),
        format!("{} events have the root that is signed", second.size),
        "replayed to 2 accounts and 2 balances".to_owned(),
        "4 balances of 2 accounts compared with what the service says".to_owned(),
        "2 days of revenue from ".to_owned(),
    ] {
        assert!(said.contains(&words), "{words}: {said}");
    }
    let (is_good, said) = sealed.verify().await;
    assert!(is_good, "{said}");
}

#[tokio::test]
async fn a_head_takes_in_a_thousand_events_at_most_however_many_wait() {
    let mut sealed = Sealed::start_with(&[("COUNTERFOIL_WORKERS", "false")]).await;
    sealed.app.account_with("ada", 10_000).await;
    sealed.spend_often("ada", 0..1_200).await;
    assert!(sealed.checkpoint().await.is_none(), "nothing is sealed yet");
    sealed.app.set("COUNTERFOIL_WORKERS", None);
    sealed.app.restart().await;
    let last = sealed.everything_sealed().await;
    let superuser = sealed.app.database.superuser().await;
    let rows = superuser.query("SELECT size FROM checkpoints ORDER BY size", &[]).await.expect("heads");
    let sizes: Vec<i64> = std::iter::once(0).chain(rows.iter().map(|row| row.get(0))).collect();
    assert_eq!(sizes.last().copied(), i64::try_from(last.size).ok());
    let steps: Vec<i64> = sizes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.len() >= 2 && steps.iter().all(|step| *step <= 1_000), "{steps:?}");
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
}

/// Tiles that were read before, as an implementation that is not ours asks for them.
struct Fetched(Vec<(u8, u64, Vec<u8>)>);

impl TileReader for Fetched {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let bytes = |tile: &Tile| {
            let found = self
                .0
                .iter()
                .find(|(level, index, _)| (*level, *index) == (tile.level(), tile.level_index()));
            found.map(|(_, _, bytes)| bytes[..tile.width() as usize * 32].to_vec()).expect("a fetched tile")
        };
        Ok(tiles.iter().map(bytes).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// The head in a signed note, if that is one by the published format.
fn opened_by_others(note: &str, key: &str) -> tlog_tiles::Checkpoint {
    let verifier = signed_note::StandardVerifier::new(key).expect("a key by the format");
    let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let opened = signed_note::Note::from_bytes(note.as_bytes()).expect("a note");
    opened.verify(&known).expect("a good signature");
    tlog_tiles::Checkpoint::from_bytes(opened.text()).expect("a checkpoint")
}

/// Head and path of a proof, by the letter of its format: a first line, the index of the leaf, the path with a hash in
/// each line, an empty line, the signed head.
fn proof_taken_apart(text: &str, index: u64, key: &str) -> (tlog_tiles::Checkpoint, Vec<tlog_tiles::Hash>) {
    let (proof, note) = text.split_once("\n\n").expect("an empty line");
    let mut lines = proof.split('\n');
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    assert_eq!(lines.next(), Some(format!("index {index}").as_str()));
    let path = lines.map(|line| tlog_tiles::Hash::parse_hash(line).expect("a hash")).collect();
    (opened_by_others(note, key), path)
}

#[tokio::test]
async fn others_implementations_of_the_formats_accept_head_tiles_and_proofs() {
    let sealed = Sealed::start().await;
    // More than one tile of leaves.
    for number in 0..270 {
        sealed.app.account_with(&format!("account-{number}"), 10).await;
    }
    sealed.everything_sealed().await;
    let note = sealed.app.send(Method::GET, "/v1/audit/checkpoint", None).await.text;
    let key = sealed.keys[0].to_string();
    let head = opened_by_others(&note, &key);
    assert!(head.size() > 512);

    let mut fetched = Vec::new();
    for level in 0..2 {
        for index in 0.. {
            let Some(id) = TileId::of_tree(level, index, head.size()) else { break };
            let answer = sealed.app.request(Method::GET, &format!("/v1/audit/tile/{id}")).send().await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status(), 200, "{id}");
            assert_eq!(answer.headers()["Cache-Control"], "private, max-age=31536000, immutable");
            fetched.push((level, index, answer.bytes().await.expect("bytes").to_vec()));
        }
    }
    let fetched = Fetched(fetched);
    let reader = TileHashReader::new(head.size(), *head.hash(), &fetched);
    let leaves = sealed.app.send(Method::GET, "/v1/audit/events", None).await.text;
    let leaves: Vec<&str> = leaves.lines().collect();
    let positions = BTreeSet::from([1, 2, 256, 257, 513, head.size()]);
    for position in positions {
        let index = position - 1;
        let leaf = record_hash(leaves[index as usize].as_bytes());
        // By the tiles, which it holds against the root itself.
        let path = prove_record(head.size(), index, &reader).expect("tiles that have the root");
        check_record(&path, head.size(), *head.hash(), index, leaf).expect("a proof");
        // By the proof that the service makes.
        let text = sealed.app.send(Method::GET, &format!("/v1/audit/proof/{position}"), None).await.text;
        let (told, path) = proof_taken_apart(&text, index, &key);
        check_record(&path, told.size(), *told.hash(), index, leaf).expect("a proof");
        let proof = TlogProof::parse(&text).expect("a proof by our own reading");
        let accepted = proof.verify(Hash(leaf.0), &sealed.keys).expect("a proof");
        assert_eq!((proof.index, accepted.size), (index, told.size()));
    }
    // A bundle of entries holds the leaves themselves.
    let bundle =
        sealed.app.request(Method::GET, "/v1/audit/tile/entries/001").send().await.expect("an answer");
    let bundle = bundle.bytes().await.expect("bytes");
    let length = usize::from(u16::from_be_bytes([bundle[0], bundle[1]]));
    assert_eq!(&bundle[2..2 + length], leaves[256].as_bytes());
}

#[tokio::test]
async fn what_is_not_there_and_what_is_no_tile_is_refused_in_the_usual_shape() {
    let sealed = Sealed::start().await;
    sealed.trade("ada", 1).await;
    sealed.everything_sealed().await;
    for (path, status, code) in [
        ("/v1/audit/tile/0/000", 404, "tile_not_found"),
        ("/v1/audit/tile/0/000.p/200", 404, "tile_not_found"),
        ("/v1/audit/tile/entries/x001/000", 404, "tile_not_found"),
        ("/v1/audit/tile/0/0", 400, "invalid_request"),
        ("/v1/audit/tile/9/000", 400, "invalid_request"),
        ("/v1/audit/tile/0/000.p/0", 400, "invalid_request"),
        ("/v1/audit/proof/1000", 404, "event_not_sealed"),
        ("/v1/audit/proof/0", 404, "event_not_sealed"),
        ("/v1/audit/proof/x", 400, "invalid_request"),
    ] {
        let answer = sealed.app.send(Method::GET, path, None).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    }
    assert_eq!(sealed.app.send(Method::GET, "/v1/audit/tile/0/000.p/2", None).await.status, 200);
    let log = sealed.app.get("/v1/audit/log").await;
    assert_eq!(log["keys"][0]["verifier_key"], json!(sealed.keys[0].to_string()));
    assert_eq!(log["halted"], json!(null));
}

#[tokio::test]
async fn both_keys_sign_while_one_takes_the_others_place() {
    let mut sealed = Sealed::start().await;
    sealed.trade("ada", 1).await;
    sealed.everything_sealed().await;
    let keys = sealed.keys_of("rotate", &["--overlap-days", "7"]).await;
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], sealed.keys[0]);
    sealed.trade("bob", 1).await;
    sealed.everything_sealed().await;
    let note = sealed.app.send(Method::GET, "/v1/audit/checkpoint", None).await.text;
    for key in &keys {
        let known = std::slice::from_ref(key);
        assert!(Checkpoint::open(&note, known).is_ok(), "{key}: {note}");
    }
    sealed.keys = vec![keys[1].clone()];
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
    // One that was never used here.
    let other = counterfoil::audit::note::Seed::new(&[9; 32]).public_key().expect("a key");
    sealed.keys = vec![counterfoil::audit::note::VerifierKey::new(keys[0].name(), other).expect("a key")];
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(!is_good && said.contains("none of its signatures is by a key that is known"), "{said}");
    let again = sealed.run(&["keys", "create", LEDGER]).await;
    assert!(!again.status.success());
}

#[tokio::test]
async fn a_database_that_fell_behind_its_published_head_halts_and_is_recovered_under_another_name() {
    let mut sealed = Sealed::start().await;
    sealed.trade("ada", 2).await;
    let before = sealed.everything_sealed().await;
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
    sealed.app.kill();
    forget_the_last_event(&sealed, before.size).await;
    sealed.app.restart().await;
    let halted = wait::until("the log to be halted", async || {
        let log = sealed.app.get("/v1/audit/log").await;
        log["halted"]["code"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(halted, "behind");

    sealed.printed(&["recover", LEDGER]).await;
    sealed.keys = sealed.keys_of("list", &[]).await;
    let after = sealed.everything_sealed().await;
    assert_ne!(after.origin, before.origin);
    let predecessor = after.succeeds.expect("the name of the old log");
    assert_eq!(
        (predecessor.origin, predecessor.size, predecessor.root),
        (before.origin, before.size, before.root)
    );
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(!is_good && said.contains("took its place"), "{said}");
    let (is_good, said) = sealed.audit(&["--accept-successor"]).await;
    let expected = format!("position {}: a head that was seen before covered these events", before.size);
    assert!(!is_good && said.contains(&expected), "{said}");
}

#[tokio::test]
async fn what_an_address_took_is_asked_for_before_anything_is_signed() {
    let taken: Arc<Mutex<Option<String>>> = Arc::default();
    let kept = Arc::clone(&taken);
    let server = ScriptedServer::start(move |request| {
        let mut kept = kept.lock().expect("no panic");
        let answer = |status, body: String| Reply::Answer { status, headers: Vec::new(), body: body.into() };
        match (request.method.as_str(), &*kept) {
            ("POST", _) => {
                *kept = Some(request.body.clone());
                answer(204, String::new())
            }
            (_, Some(note)) => answer(200, note.clone()),
            (_, None) => answer(404, String::new()),
        }
    })
    .await;
    let url = format!("{}/heads", server.url);
    let mut sealed = Sealed::start_with(&[("COUNTERFOIL_CHECKPOINT_URL", &url)]).await;
    sealed.trade("ada", 2).await;
    let head = sealed.everything_sealed().await;
    let note = wait::until("the head to be posted", async || {
        let note = taken.lock().expect("no panic").clone()?;
        Checkpoint::open(&note, &sealed.keys).is_ok_and(|posted| posted.size >= head.size).then_some(note)
    })
    .await;
    let asked = server.received().into_iter().find(|request| request.method == "GET").expect("a question");
    assert_eq!((asked.path.as_str(), asked.query["origin"].as_str()), ("/heads", head.origin.as_str()));

    // The directory is empty and the database restored: only the address knows better.
    sealed.app.kill();
    std::fs::remove_dir_all(&sealed.outside).expect("a directory");
    forget_the_last_event(&sealed, head.size).await;
    sealed.app.restart().await;
    let halted = wait::until("the log to be halted", async || {
        let log = sealed.app.get("/v1/audit/log").await;
        log["halted"]["code"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(halted, "behind");
    assert_eq!(taken.lock().expect("no panic").as_ref(), Some(&note), "nothing was posted after it");
}

/// As a restored backup would have it: the head that stands outside is unknown.
async fn forget_the_last_event(sealed: &Sealed, size: u64) {
    let database = sealed.app.database.superuser().await;
    let cut = size as i64 - 1;
    let forget = format!(
        "UPDATE logs SET size = 0, published_size = 0, leased_until = NULL; DELETE FROM checkpoints; DELETE FROM tiles;
         SET session_replication_role = replica; DELETE FROM events WHERE position > {cut};
         UPDATE ledger_heads h SET position = {cut}, batch_id = COALESCE(e.batch_id, h.batch_id), recorded_at = e.recorded_at
           FROM events e WHERE e.position = {cut}"
    );
    database.batch_execute(&forget).await.expect("a superuser may do anything");
}

#[tokio::test]
async fn two_processes_seal_one_log_and_one_takes_over_from_the_other() {
    let mut sealed = Sealed::start().await;
    sealed.trade("ada", 1).await;
    sealed.everything_sealed().await;
    let (_other, url) = sealed.app.start_another().await;
    sealed.trade("bob", 2).await;
    sealed.everything_sealed().await;
    assert!(sealed.app.terminate().await);
    sealed.app.url = url;
    sealed.trade("cleo", 2).await;
    sealed.everything_sealed().await;
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
}
