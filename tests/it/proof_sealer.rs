//! How the service seals: who may halt a log, what a failure costs, who is woken, and what may stand outside.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use counterfoil::{
    audit::checkpoint::Checkpoint,
    config::CheckpointSettings,
    credentials::Vault,
    domain::ids::{LedgerId, Position},
    sealer::{Sealer, outside::Outside},
    store::{
        database_url::DatabaseUrl,
        logs::{
            Halt,
            seal::{acquire_log, halt_log, load_sealed},
        },
        pool::Database,
        sealing::KeyRing,
    },
};
use poem::{Request, Response, Server, endpoint::make, http::StatusCode, listener::TcpAcceptor};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tokio_postgres::Client;

use crate::{
    api_support::Requests,
    proof_support::{KEY, Sealed},
    stripe_client_support::{Reply, ScriptedServer},
    support::wait,
};

const WRITES_ONLY: (&str, &str) = ("COUNTERFOIL_WORKERS", "false");
const URL_VARIABLE: &str = "COUNTERFOIL_CHECKPOINT_URL";
const THE_LEDGER: LedgerId = LedgerId(1);

impl Sealed {
    /// The service's database, in connections that go by a name of their own.
    fn database_as(&self, name: &str) -> Database {
        let url = self.app.database.runtime_url();
        let url = SecretString::from(format!("{}&application_name={name}", url.expose_secret()));
        Database::open(&DatabaseUrl::parse(&url).expect("an address"), 4).expect("a database")
    }

    async fn head(&self) -> i64 {
        self.app.get("/v1/events?limit=1").await["head"].as_i64().expect("a position")
    }

    async fn sealed_up_to(&self) -> i64 {
        self.app.get("/v1/audit/log").await["sealed_position"].as_i64().expect("a position")
    }

    async fn halted(&self) -> Value {
        self.app.get("/v1/audit/log").await["halted"]["code"].clone()
    }

    async fn wait_until_sealed(&self, position: i64) {
        wait::until("the log to go on", async || {
            assert_eq!(self.halted().await, Value::Null);
            (self.sealed_up_to().await >= position).then_some(())
        })
        .await;
    }

    /// How many have signed the head.
    async fn signatures(&self) -> usize {
        let note = self.app.send(Method::GET, "/v1/audit/checkpoint", None).await.text;
        note.lines().filter(|line| line.starts_with("\u{2014} ")).count()
    }

    /// What stands in the directory.
    fn standing(&self, origin: &str) -> Option<String> {
        std::fs::read_to_string(self.outside.join(origin).join("checkpoint")).ok()
    }
}

/// A sealer within the test, beside those of the services.
struct Beside {
    heads: watch::Sender<HashMap<LedgerId, Position>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Beside {
    fn start(sealed: &Sealed, name: &str) -> Self {
        let keys = KeyRing::parse(Some(&KEY.into()), None).expect("keys");
        let vault = Vault::new(sealed.database_as(name), keys);
        let settings = CheckpointSettings {
            checkpoint_dir: Some(sealed.outside.clone()),
            ..CheckpointSettings::default()
        };
        let sealer = Sealer::new(vault, Outside::new(&settings).expect("usable"));
        let heads = watch::Sender::new(HashMap::new());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(sealer.run(heads.subscribe(), async move { drop(stopped.await) }));
        Self { heads, stop, task }
    }

    fn tell(&self, head: i64) {
        self.heads.send_replace(HashMap::from([(THE_LEDGER, Position(head))]));
    }

    /// Ends it; it gives back what it has.
    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        self.task.await.expect("no panic");
    }
}

async fn is_in(database: &Client, name: &str, wait_event: &str) -> bool {
    let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                               AND application_name = $1 AND wait_event = $2)";
    database.query_one(sql, &[&name, &wait_event]).await.expect("an answer").get(0)
}

#[tokio::test]
async fn what_another_process_sealed_while_a_lease_was_waited_for_halts_nothing() {
    let sealed = Sealed::start_with(&[WRITES_ONLY]).await;
    sealed.trade("ada", 1).await;
    // Whoever is called `slow` waits between the look at the ledger and the lease.
    let superuser = sealed.app.database.superuser().await;
    let gate = "CREATE TABLE gate AS SELECT false AS is_open;
        CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
            IF current_setting('application_name') = 'slow' THEN
                WHILE NOT (SELECT is_open FROM public.gate) LOOP PERFORM pg_sleep(0.01); END LOOP;
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER gate BEFORE UPDATE ON logs FOR EACH STATEMENT EXECUTE FUNCTION wait_at_gate()";
    superuser.batch_execute(gate).await.expect("a gate");
    let slow = Beside::start(&sealed, "slow");
    wait::until("the slow one to be at the gate", async || {
        is_in(&superuser, "slow", "PgSleep").await.then_some(())
    })
    .await;
    sealed.app.account_with("bob", 10).await;
    let quick = Beside::start(&sealed, "quick");
    sealed.wait_until_sealed(sealed.head().await).await;
    quick.stop().await;
    assert!(is_in(&superuser, "slow", "PgSleep").await, "it looked before, and waits still");
    superuser.batch_execute("UPDATE gate SET is_open = true").await.expect("the gate opens");
    sealed.app.account_with("cleo", 10).await;
    sealed.wait_until_sealed(sealed.head().await).await;
    slow.stop().await;
}

#[tokio::test]
async fn only_who_has_the_lease_halts_a_log() {
    let sealed = Sealed::start_with(&[WRITES_ONLY]).await;
    let database = sealed.database_as("test");
    let client = database.pool().get().await.expect("a connection");
    let halt = Halt { code: "different".into(), because: "of a test".into() };
    let acquire = async |lasting, held| {
        acquire_log(&client, THE_LEDGER, 1, lasting, held).await.expect("an answer").expect("a lease")
    };
    let minute = Duration::from_secs(60);
    let lost = acquire(minute, None).await;
    let ended = acquire(Duration::ZERO, Some(lost)).await;
    for lease in [lost, ended] {
        assert!(!halt_log(&client, THE_LEDGER, lease, &halt).await.expect("an answer"), "{lease:?}");
    }
    let own = acquire(minute, None).await;
    assert!(!halt_log(&client, THE_LEDGER, ended, &halt).await.expect("an answer"));
    assert_eq!(load_sealed(&client, THE_LEDGER, 1).await.expect("a log").log.halted, None);
    assert!(halt_log(&client, THE_LEDGER, own, &halt).await.expect("an answer"));
    assert_eq!(load_sealed(&client, THE_LEDGER, 1).await.expect("a log").log.halted, Some(halt));
}

/// What is done with the next checkpoint that is posted.
enum Taking {
    /// It is taken.
    Take,
    /// Another process gets the lease for a second, and a later checkpoint is known: as if this one had come late.
    TakeOver(Client),
    /// It is refused.
    Refuse,
}

/// An address that checkpoints are posted to, which does with each request what `answer` says.
async fn address<A>(answer: impl Fn(Request) -> A + Clone + Send + Sync + 'static) -> (String, JoinHandle<()>)
where
    A: Future<Output = StatusCode> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let endpoint = make(move |request: Request| {
        let answer = answer.clone();
        async move { Ok::<Response, poem::Error>(answer(request).await.into()) }
    });
    let acceptor = TcpAcceptor::from_tokio(listener).expect("a listener");
    let served = Server::new_with_acceptor(acceptor).run(endpoint);
    (url, tokio::spawn(async move { served.await.expect("a server") }))
}

/// An address that does with each checkpoint what is laid down, and counts those that it refuses.
async fn moody_address(taking: Arc<Mutex<Taking>>, refused: Arc<AtomicUsize>) -> (String, JoinHandle<()>) {
    address(move |request: Request| {
        let (taking, refused) = (Arc::clone(&taking), Arc::clone(&refused));
        async move {
            if request.method() != Method::POST {
                return StatusCode::METHOD_NOT_ALLOWED;
            }
            let told = {
                let mut taking = taking.lock().expect("no panic");
                let next = if matches!(*taking, Taking::Refuse) { Taking::Refuse } else { Taking::Take };
                std::mem::replace(&mut *taking, next)
            };
            if let Taking::TakeOver(superuser) = &told {
                let sql = "UPDATE logs SET fence = fence + 1, leased_until = now() + interval '1 second'";
                superuser.batch_execute(sql).await.expect("a superuser may do anything");
            }
            if matches!(told, Taking::Take) {
                return StatusCode::NO_CONTENT;
            }
            refused.fetch_add(1, Ordering::SeqCst);
            StatusCode::CONFLICT
        }
    })
    .await
}

#[tokio::test]
async fn a_head_that_is_refused_halts_the_log_unless_it_came_too_late() {
    let (taking, refused) = (Arc::new(Mutex::new(Taking::Take)), Arc::default());
    let (url, serving) = moody_address(Arc::clone(&taking), Arc::clone(&refused)).await;
    let sealed = Sealed::start_with(&[(URL_VARIABLE, &url)]).await;
    sealed.trade("ada", 1).await;
    sealed.everything_sealed().await;
    let published = async || {
        let sql = "SELECT published_size FROM logs";
        let row = sealed.app.database.superuser().await.query_one(sql, &[]).await.expect("a log");
        row.get::<_, i64>(0)
    };
    wait::until("the head to be posted", async || (published().await > 0).then_some(())).await;

    *taking.lock().expect("no panic") = Taking::TakeOver(sealed.app.database.superuser().await);
    sealed.trade("bob", 1).await;
    let head = sealed.head().await;
    wait::until("the head to be posted again", async || {
        assert_eq!(sealed.halted().await, Value::Null);
        (published().await >= head).then_some(())
    })
    .await;
    assert_eq!(refused.load(Ordering::SeqCst), 1);

    *taking.lock().expect("no panic") = Taking::Refuse;
    sealed.trade("cleo", 1).await;
    let code = wait::until("the log to be halted", async || {
        let code = sealed.halted().await;
        code.is_string().then_some(code)
    })
    .await;
    assert_eq!(code, "different");
    serving.abort();
}

#[tokio::test]
async fn an_address_that_fails_once_is_tried_again_long_before_a_lease_would_run_out() {
    let is_first = Arc::new(Mutex::new(true));
    let server = ScriptedServer::start(move |request| {
        let is_post = request.method == "POST";
        let has_failed = is_post && std::mem::replace(&mut *is_first.lock().expect("no panic"), false);
        let status = match (is_post, has_failed) {
            (false, _) => 405,
            (true, true) => 503,
            (true, false) => 204,
        };
        Reply::Answer { status, headers: Vec::new(), body: Vec::new() }
    })
    .await;
    let sealed = Sealed::start_with(&[(URL_VARIABLE, &server.url)]).await;
    sealed.trade("ada", 1).await;
    let head = sealed.everything_sealed().await;
    let posts = wait::until("the head to be posted", async || {
        let mut posts = server.received();
        posts.retain(|request| request.method == "POST");
        let last = Checkpoint::open(&posts.last()?.body, &sealed.keys).expect("signed");
        (posts.len() >= 2 && last.size >= head.size).then_some(posts)
    })
    .await;
    let waited = posts[1].at - posts[0].at;
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test]
async fn whoever_writes_what_is_sealed_elsewhere_asks_for_it_at_each_look_and_not_at_each_write() {
    let mut sealed = Sealed::start().await;
    sealed.trade("ada", 1).await;
    sealed.everything_sealed().await;
    let head = sealed.head().await;
    assert!(sealed.app.terminate().await);
    let superuser = sealed.app.database.superuser().await;
    let count = "UPDATE logs SET fence = fence + 1, leased_until = now() + interval '1 hour';
        CREATE SEQUENCE attempts MINVALUE 0;
        CREATE FUNCTION count_attempt() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
            PERFORM nextval('public.attempts');
            RETURN NULL;
        END $$;
        CREATE TRIGGER attempts BEFORE UPDATE ON logs FOR EACH STATEMENT EXECUTE FUNCTION count_attempt()";
    superuser.batch_execute(count).await.expect("a superuser may do anything");
    let attempts = async || {
        let row = superuser.query_one("SELECT last_value FROM attempts", &[]).await.expect("a number");
        row.get::<_, i64>(0)
    };
    let begun = Instant::now();
    let beside = Beside::start(&sealed, "beside");
    let written = Cell::new(head + 1_000);
    wait::until("somebody to ask for the log", async || {
        written.set(written.get() + 1);
        beside.tell(written.get());
        (attempts().await > 0 && begun.elapsed() > Duration::from_secs(3)).then_some(())
    })
    .await;
    let (asked, looks) = (attempts().await, begun.elapsed().as_secs() as i64 + 1);
    assert!(asked <= looks + 1, "{asked} attempts in {looks} looks, after {} writes", written.get() - head);
    beside.stop().await;
}

#[tokio::test]
async fn what_is_not_committed_stands_nowhere_outside_and_the_lease_is_free_for_others() {
    let server = ScriptedServer::start(|request| {
        let status = if request.method == "POST" { 204 } else { 405 };
        Reply::Answer { status, headers: Vec::new(), body: Vec::new() }
    })
    .await;
    let sealed = Sealed::start_with(&[(URL_VARIABLE, &server.url)]).await;
    sealed.trade("ada", 1).await;
    let mut head = sealed.everything_sealed().await;
    let superuser = sealed.app.database.superuser().await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no checkpoints today'; END $$";
    superuser.batch_execute(refuse).await.expect("a function");
    let failures = || sealed.app.process.standard_error().matches("cannot be sealed").count();
    for (name, trigger) in [
        ("bob", "CREATE TRIGGER refused BEFORE INSERT ON checkpoints FOR EACH ROW EXECUTE FUNCTION refuse()"),
        (
            "cleo",
            "CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON checkpoints DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION refuse()",
        ),
    ] {
        let before = failures();
        superuser.batch_execute(trigger).await.expect("a trigger");
        sealed.trade(name, 1).await;
        wait::until("sealing to fail and the lease to be given back", async || {
            let sql = "SELECT leased_until IS NULL FROM logs";
            let is_free: bool = superuser.query_one(sql, &[]).await.expect("a log").get(0);
            (failures() > before && is_free).then_some(())
        })
        .await;
        let standing = sealed.standing(&head.origin).expect("a checkpoint");
        let posted = server.received().into_iter().filter(|request| request.method == "POST");
        for note in posted.map(|request| request.body).chain([standing]) {
            let outside = Checkpoint::open(&note, &sealed.keys).expect("signed");
            assert!(
                outside.size <= head.size,
                "{} events stand outside, and {} are sealed",
                outside.size,
                head.size
            );
        }
        superuser.batch_execute("DROP TRIGGER refused ON checkpoints").await.expect("no trigger");
        head = sealed.everything_sealed().await;
    }
}

#[tokio::test]
async fn a_thousand_events_wait_for_no_look_and_fewer_do() {
    let sealed = Sealed::start_with(&[WRITES_ONLY]).await;
    sealed.app.account_with("ada", 10_000).await;
    let head = sealed.head().await;
    // A look that took long is followed by a long time without one.
    let slow_look = Duration::from_secs(2);
    let (lock, superuser) = (sealed.app.database.superuser().await, sealed.app.database.superuser().await);
    lock.batch_execute("BEGIN; LOCK TABLE ledgers IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    let beside = Beside::start(&sealed, "beside");
    wait::until("the look to begin", async || is_in(&superuser, "beside", "relation").await.then_some(()))
        .await;
    tokio::time::sleep(slow_look).await;
    let looked = Instant::now();
    lock.batch_execute("COMMIT").await.expect("no lock");
    sealed.wait_until_sealed(head).await;
    assert_eq!(sealed.sealed_up_to().await, head);

    sealed.spend_often("ada", 0..1_000).await;
    assert_eq!(sealed.head().await, head + 1_000);
    beside.tell(head + 999);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(sealed.sealed_up_to().await, head);
    beside.tell(head + 1_000);
    sealed.wait_until_sealed(head + 1_000).await;
    let waited = looked.elapsed();
    assert!(waited < slow_look * 20, "that was the next look, {waited:?} after the last");
    beside.stop().await;
}

#[tokio::test]
async fn of_heads_in_a_row_the_newest_leaves_once_a_second_and_the_outside_is_asked_before_each() {
    let posted: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
    let asked: Arc<AtomicUsize> = Arc::default();
    let (kept, questions) = (Arc::clone(&posted), Arc::clone(&asked));
    let (url, serving) = address(move |mut request: Request| {
        let (kept, questions) = (Arc::clone(&kept), Arc::clone(&questions));
        async move {
            if request.method() == Method::POST {
                let note = request.take_body().into_string().await.expect("text");
                kept.lock().expect("no panic").push((Instant::now(), note));
                return StatusCode::NO_CONTENT;
            }
            questions.fetch_add(1, Ordering::SeqCst);
            // Far away: no more than two heads a second.
            tokio::time::sleep(Duration::from_millis(600)).await;
            StatusCode::METHOD_NOT_ALLOWED
        }
    })
    .await;
    let mut sealed = Sealed::start_with(&[WRITES_ONLY, (URL_VARIABLE, &url)]).await;
    sealed.app.account_with("ada", 10_000).await;
    sealed.spend_often("ada", 0..3_200).await;
    sealed.app.set(WRITES_ONLY.0, None);
    sealed.app.restart().await;
    let last = sealed.everything_sealed().await;
    let posts = wait::until("the last head to be posted", async || {
        let posts = posted.lock().expect("no panic").clone();
        let newest = Checkpoint::open(&posts.last()?.1, &sealed.keys).expect("signed");
        (newest == last).then_some(posts)
    })
    .await;
    let superuser = sealed.app.database.superuser().await;
    let rows = superuser.query("SELECT note FROM checkpoints", &[]).await.expect("heads");
    let heads: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let asked = asked.load(Ordering::SeqCst);
    assert!(heads.len() >= 4 && asked >= heads.len(), "{} heads, asked {asked} times", heads.len());
    assert!(posts.iter().all(|(_, note)| heads.contains(note)), "what is posted was committed");
    assert!(posts.len() >= 2, "those of more than a second wait for the last one");
    // The last one ends the row and waits for nothing.
    let pauses = posts[..posts.len() - 1].windows(2).map(|pair| pair[1].0 - pair[0].0);
    let pauses: Vec<Duration> = pauses.collect();
    assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(900)), "{pauses:?}");
    serving.abort();
}

#[tokio::test]
async fn a_key_signs_no_more_when_its_time_has_passed_and_who_knows_no_other_is_told_which_sign() {
    let mut sealed = Sealed::start().await;
    let keys = sealed.keys_of("rotate", &["--overlap-days", "7"]).await;
    sealed.trade("ada", 1).await;
    sealed.everything_sealed().await;
    assert_eq!(sealed.signatures().await, 2);
    let superuser = sealed.app.database.superuser().await;
    let pass = "UPDATE log_keys SET retires_at = now() - interval '1 second' WHERE number = 1";
    assert_eq!(superuser.execute(pass, &[]).await.expect("a key"), 1);
    sealed.trade("bob", 1).await;
    sealed.keys = vec![keys[1].clone()];
    sealed.everything_sealed().await;
    assert_eq!(sealed.signatures().await, 1);
    let (is_good, said) = sealed.audit(&[]).await;
    assert!(is_good, "{said}");
    sealed.keys = vec![keys[0].clone()];
    let (is_good, said) = sealed.audit(&[]).await;
    let expected = format!(
        "none of its signatures is by a key that is known; they are by {} ({})",
        keys[1].name(),
        keys[1].id_text()
    );
    assert!(!is_good && said.contains(&expected), "{expected}: {said}");
}
