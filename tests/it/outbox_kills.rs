//! A process that carries effects out is killed at every step, and another one takes over: every effect happens, none
//! happens twice in effect, the ledger is told of each once, and effects of one key keep their order.
//!
//! The process is this test binary itself, started anew to run [`a_process_that_carries_effects_out`] alone; the world
//! outside is an HTTP server of the test, which does the same for the same id only once, as Stripe does, and remembers
//! every call.

use std::{
    collections::HashMap,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use counterfoil::{
    domain::ids::{Actor, EffectId},
    outbox::{
        Cause, Class, Looked, Ordered, OutboxSettings, Perform, Performed,
        faults::{Fault, Faults},
    },
    store::outbox::entries::{self, Decision, EffectState},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use poem::{
    EndpointExt, IntoEndpoint, Route, Server, get, handler,
    listener::{Acceptor, Listener, TcpListener},
    web::{Data, Json, Query},
};
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;

use crate::{
    outbox_support::{Running, entries as entries_of, order, quick, refund, rows_of, session, told},
    support::wait,
    writer_support::Book,
};

const DATABASE: &str = "OUTBOX_TEST_DATABASE";
const WORLD: &str = "OUTBOX_TEST_WORLD";
const FAULT: &str = "OUTBOX_TEST_FAULT";

/// What the world is asked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Asked {
    id: String,
    position: i64,
    key: String,
    is_look: bool,
}

/// What the world says.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
enum Said {
    Done,
    Away,
    /// It is done, and nobody says so.
    Nothing,
    Declined,
    NotHere,
}

/// What is outside.
#[derive(Default)]
struct World {
    calls: Vec<Asked>,
    /// Effects that have happened, in the order in which they did.
    happened: Vec<Asked>,
    /// Whether calls have to wait.
    is_slow: bool,
}

impl World {
    /// One in four is told to come again, of one in four nobody hears, one in four is declined: the first time.
    fn answer(&mut self, asked: &Asked) -> Said {
        let before = self.calls.iter().filter(|call| call.id == asked.id && !call.is_look).count();
        self.calls.push(asked.clone());
        let has_happened = self.happened.iter().any(|happened| happened.id == asked.id);
        if asked.is_look {
            return if has_happened { Said::Done } else { Said::NotHere };
        }
        let said = match (asked.position % 4, before) {
            (1, 0) => return Said::Away,
            (2, 0) => Said::Nothing,
            (3, 0) => return Said::Declined,
            _ => Said::Done,
        };
        if !has_happened {
            self.happened.push(asked.clone());
        }
        said
    }
}

type SharedWorld = Arc<Mutex<World>>;

#[handler]
async fn ask(Query(asked): Query<Asked>, Data(world): Data<&SharedWorld>) -> Json<Said> {
    let said = world.lock().expect("the world").answer(&asked);
    while world.lock().expect("the world").is_slow {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Json(said)
}

/// The world on a port of its own.
async fn world() -> (SharedWorld, String, AbortHandle) {
    let world = SharedWorld::default();
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a port");
    let address = acceptor.local_addr()[0].as_socket_addr().expect("an address").to_string();
    let endpoint = Route::new().at("/", get(ask)).data(Arc::clone(&world)).into_endpoint();
    let server = tokio::spawn(async { Server::new_with_acceptor(acceptor).run(endpoint).await });
    (world, format!("http://{address}/"), server.abort_handle())
}

/// Asks the world.
struct Asking {
    client: reqwest::Client,
    world: String,
}

impl Asking {
    async fn ask(&self, ordered: &Ordered, is_look: bool) -> Option<Said> {
        let asked = Asked {
            id: ordered.id.to_string(),
            position: ordered.position.0,
            key: ordered.effect.key(),
            is_look,
        };
        let query = [
            ("id", asked.id),
            ("position", asked.position.to_string()),
            ("key", asked.key),
            ("is_look", asked.is_look.to_string()),
        ];
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let url = format!("{}?{}", self.world, query.join("&"));
        self.client.get(url).send().await.ok()?.json().await.ok()
    }
}

impl Perform for Asking {
    fn destination(&self, _: &Ordered) -> &'static str {
        "world"
    }

    async fn perform(&self, ordered: &Ordered) -> Performed {
        match self.ask(ordered, false).await {
            Some(Said::Done) => Performed::Done(told()),
            Some(Said::Declined) => Performed::Dead { cause: Cause::new(Class::Refused, "declined") },
            Some(Said::Away) => {
                Performed::Retry { cause: Cause::new(Class::Unavailable, "away"), after: None }
            }
            _ => Performed::Unknown { cause: Cause::new(Class::Unclear, "no_answer"), after: None },
        }
    }

    async fn look(&self, ordered: &Ordered) -> Looked {
        match self.ask(ordered, true).await {
            Some(Said::Done) => Looked::Found(told()),
            Some(Said::NotHere) => Looked::Absent,
            _ => Looked::Unclear { cause: Cause::new(Class::Unclear, "no_answer"), after: None },
        }
    }
}

fn settings() -> OutboxSettings {
    OutboxSettings {
        lease: Duration::from_millis(900),
        idle: Duration::from_millis(450),
        concurrency: 3,
        ..quick()
    }
}

/// What the child process does; by itself it is no test.
#[tokio::test]
#[ignore = "the other tests of this file start it"]
async fn a_process_that_carries_effects_out() {
    #[expect(clippy::disallowed_methods, reason = "the test that started this process speaks to it so")]
    let setting = |name: &str| std::env::var(name).ok();
    let (Some(database), Some(world)) = (setting(DATABASE), setting(WORLD)) else { return };
    let fault = setting(FAULT).and_then(|number| Fault::ALL.get(number.parse::<usize>().ok()?).copied());
    let faults = fault.map(|fault| Faults::kill_at(fault, 1)).unwrap_or_default();
    let asking = Asking { client: reqwest::Client::new(), world };
    let running = Running::start_on(database.into(), asking, OutboxSettings { faults, ..settings() });
    std::future::pending::<()>().await;
    running.stop().await;
}

/// A child process; killed when dropped.
struct Worker(Child);

impl Worker {
    fn start(book: &Book, world: &str, fault: Option<Fault>) -> Self {
        use secrecy::ExposeSecret;
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command
            .args(["--exact", "outbox_kills::a_process_that_carries_effects_out", "--ignored", "--nocapture"])
            .env(DATABASE, book.database.runtime_url().expose_secret())
            .env(WORLD, world)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(fault) = fault {
            let number = Fault::ALL.iter().position(|known| *known == fault).expect("a fault");
            command.env(FAULT, number.to_string());
        }
        Self(command.spawn().expect("a process"))
    }

    fn signal(&self, signal: Signal) {
        let process_id = i32::try_from(self.0.id()).expect("a process id");
        kill(Pid::from_raw(process_id), signal).expect("a running process");
    }

    /// Waits until it has killed itself.
    async fn has_died(&mut self) {
        let child = Mutex::new(&mut self.0);
        let ended = async || child.lock().expect("the child").try_wait().expect("a child of ours");
        let status = wait::until("the process to die", ended).await;
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status:?}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sixteen effects of five keys.
async fn order_all(book: &Book) -> Vec<EffectId> {
    let effects: Vec<_> = (1..=16)
        .map(|number| if number % 5 == 0 { session(1, number) } else { refund(number % 4, number) })
        .collect();
    order(book, 1, &effects).await
}

/// Has dead ones tried again until nothing is left.
async fn until_done(book: &Book) {
    wait::until("everything to be done", async || {
        let left = entries_of(book).await;
        let client = book.database.runtime().await;
        for dead in left.iter().filter(|entry| entry.state == EffectState::Dead) {
            let reason = "the world has changed its mind";
            entries::decide(&client, book.ledger, dead, Decision::Retry, &Actor::Operator, reason)
                .await
                .expect("a decision");
        }
        left.is_empty().then_some(())
    })
    .await;
}

/// Every effect has happened once, and the ledger knows of each.
async fn check(book: &Book, world: &SharedWorld, ids: &[EffectId]) {
    let (happened, calls) = {
        let world = world.lock().expect("the world");
        (world.happened.clone(), world.calls.clone())
    };
    let mut of_happened: Vec<&str> = happened.iter().map(|asked| asked.id.as_str()).collect();
    of_happened.sort_unstable();
    let mut ordered: Vec<String> = ids.iter().map(EffectId::to_string).collect();
    ordered.sort_unstable();
    assert_eq!(of_happened, ordered);
    // Those that died let others pass.
    let mut of_key: HashMap<&str, Vec<i64>> = HashMap::new();
    for asked in happened.iter().filter(|asked| asked.position % 4 != 3) {
        of_key.entry(&asked.key).or_default().push(asked.position);
    }
    for (key, positions) in of_key {
        assert!(positions.is_sorted(), "{key}: {positions:?}");
    }
    for asked in &calls {
        assert_eq!(ids[usize::try_from(asked.position - 1).expect("an index")].to_string(), asked.id);
    }
    assert_eq!(book.count("credits.granted").await, 16);
    assert_eq!(book.stored_balance("alice").await, 16);
    for table in ["outbox", "outbox_retry", "outbox_dead"] {
        assert_eq!(rows_of(book, table).await, 0, "{table}");
    }
    book.check().await;
}

async fn survives(fault: Fault) {
    let book = Book::open().await;
    book.account_with("alice", 0).await;
    let (world, address, server) = world().await;
    let ids = order_all(&book).await;
    Worker::start(&book, &address, Some(fault)).has_died().await;
    let survivor = Worker::start(&book, &address, None);
    until_done(&book).await;
    drop(survivor);
    check(&book, &world, &ids).await;
    server.abort();
}

macro_rules! survived {
    ($($name:ident: $fault:ident;)*) => {
        $(#[tokio::test]
        async fn $name() {
            survives(Fault::$fault).await;
        })*

        #[test]
        fn every_fault_is_tried() {
            let tried = [$(Fault::$fault),*];
            assert!(Fault::ALL.iter().all(|fault| tried.contains(fault)));
        }
    };
}

survived! {
    nothing_is_lost_or_doubled_by_a_death_when_leases_are_taken: AfterAcquire;
    nothing_is_lost_or_doubled_by_a_death_when_effects_are_claimed: AfterClaim;
    nothing_is_lost_or_doubled_by_a_death_before_an_effect_is_performed: BeforePerform;
    nothing_is_lost_or_doubled_by_a_death_before_the_ledger_knows: AfterPerform;
    nothing_is_lost_or_doubled_by_a_death_when_an_effect_was_looked_for: AfterLook;
    nothing_is_lost_or_doubled_by_a_death_when_the_ledger_knows: AfterReport;
    nothing_is_lost_or_doubled_by_a_death_while_a_batch_is_finished: BeforeDone;
    nothing_is_lost_or_doubled_by_a_death_while_an_effect_is_put_off: BeforeRetry;
    nothing_is_lost_or_doubled_by_a_death_while_an_effect_is_given_up: BeforeDead;
    nothing_is_lost_or_doubled_by_a_death_after_a_batch_was_committed: AfterCommit;
    nothing_is_lost_or_doubled_by_a_death_before_leases_are_renewed: BeforeRenewal;
    nothing_is_lost_or_doubled_by_a_death_after_leases_were_renewed: AfterRenewal;
    nothing_is_lost_or_doubled_by_a_death_when_leases_are_given_back: BeforeRelease;
}

#[tokio::test]
async fn a_process_that_slept_through_the_end_of_its_leases_completes_nothing() {
    let book = Book::open().await;
    book.account_with("alice", 0).await;
    let (world, address, server) = world().await;
    let ids = order_all(&book).await;
    world.lock().expect("the world").is_slow = true;
    let sleeper = Worker::start(&book, &address, None);
    wait::until("a call", async || (world.lock().expect("the world").calls.len() >= 3).then_some(())).await;
    sleeper.signal(Signal::SIGSTOP);
    world.lock().expect("the world").is_slow = false;
    let survivor = Worker::start(&book, &address, None);
    until_done(&book).await;
    let later = order(&book, 17, &[refund(1, 17)]).await;
    sleeper.signal(Signal::SIGCONT);
    until_done(&book).await;
    drop((sleeper, survivor));
    let happened = world.lock().expect("the world").happened.pop().expect("the last one");
    assert_eq!(happened.id, later[0].to_string());
    server.abort();
    // The last one is not among those that are counted.
    assert_eq!(book.count("credits.granted").await, 17);
    assert_eq!(world.lock().expect("the world").happened.len(), ids.len());
}
