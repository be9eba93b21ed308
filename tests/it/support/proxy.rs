//! A TCP proxy before PostgreSQL: counts round trips, cuts connections around a COMMIT and makes prepared statements fail,
//! on demand.
//!
//! It reads the protocol's messages in both directions (without TLS), so a cut happens at a known place, not at a
//! lucky moment, and [`Proxy::cuts`] says which ones really happened. A COMMIT is recognised as a simple query
//! and as an executed statement.
//!
//! A *round trip* is a change of direction: the client sends after it has received something. The proxy gathers
//! what the client sends in one go before it passes it on, so that pipelined statements count once, however the
//! network cut them up.

mod frontend;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::wait;
use frontend::Frontend;

/// How long the client must be silent for its burst to count as complete.
const BURST_GAP: Duration = Duration::from_millis(5);

/// Where to cut the next connection that sends a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never sees the COMMIT: certainly not committed.
    BeforeCommit,
    /// The server has answered COMMIT, the client has not heard of it: certainly committed.
    BeforeAnswer,
    /// The client has received the answer, then loses the connection.
    AfterAnswer,
    /// The client loses the connection at once, the COMMIT is on its way until [`Proxy::deliver_withheld`]: what
    /// a look-up says in between may be overtaken.
    Withheld,
}

/// A running proxy; ends when dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

struct Shared {
    upstream_port: u16,
    counters: Mutex<Counters>,
    access: watch::Sender<Access>,
    withheld: Notify,
    delivered: Notify,
}

#[derive(Default)]
struct Counters {
    round_trips: u64,
    connections: u64,
    commits: u64,
    ordered: Option<Cut>,
    done: Vec<Cut>,
    /// By the texts of the statements.
    misnamed: HashMap<Vec<u8>, Misnamed>,
}

/// How often the server was asked for a statement by a wrong name, and how often it still is to be.
#[derive(Default)]
struct Misnamed {
    done: u64,
    left: u64,
}

impl Counters {
    /// Whether the statement is to be asked for by a wrong name this time.
    fn misnames(&mut self, text: &[u8]) -> bool {
        let Some(of_text) = self.misnamed.get_mut(text).filter(|of_text| of_text.left > 0) else {
            return false;
        };
        of_text.done += 1;
        of_text.left -= 1;
        true
    }
}

/// What happens to connections, new and present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Open,
    /// Nothing passes in either direction, nothing is closed.
    Paused,
    /// Present connections are closed and new ones as soon as they arrive.
    Refused,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 before the server on `upstream_port`.
    pub async fn start(upstream_port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let shared = Arc::new(Shared {
            upstream_port,
            counters: Mutex::default(),
            access: watch::Sender::new(Access::Open),
            withheld: Notify::new(),
            delivered: Notify::new(),
        });
        let listening = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Self { port, shared, listening }
    }

    /// A database's address, leading through the proxy.
    pub fn url(&self, direct: &SecretString) -> SecretString {
        let direct = direct.expose_secret();
        let server = format!("@127.0.0.1:{}/", self.shared.upstream_port);
        assert!(direct.contains(&server), "the address is not that of the proxied server");
        direct.replace(&server, &format!("@127.0.0.1:{}/", self.port)).into()
    }

    /// Round trips so far, of all connections, those for logging in included.
    pub fn round_trips(&self) -> u64 {
        self.shared.counters().round_trips
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.counters().connections
    }

    /// COMMITs that clients have sent so far, including those that were cut off.
    pub fn commits(&self) -> u64 {
        self.shared.counters().commits
    }

    /// Cuts the next connection that sends a COMMIT, once.
    pub fn cut_next_commit(&self, cut: Cut) {
        self.shared.counters().ordered = Some(cut);
    }

    /// Makes the next `times` executions of a prepared statement fail, on any connection: the server is asked for one that
    /// it does not have, and refuses that as it refuses anything, in its place among those that it is sent with.
    pub fn misname(&self, sql: &str, times: u64) {
        let ordered = Misnamed { done: 0, left: times };
        self.shared.counters().misnamed.insert(sql.as_bytes().to_vec(), ordered);
    }

    /// How often that has happened since it was asked for.
    pub fn misnamed(&self, sql: &str) -> u64 {
        self.shared.counters().misnamed.get(sql.as_bytes()).map_or(0, |of_text| of_text.done)
    }

    /// The cuts that have happened, in order.
    pub fn cuts(&self) -> Vec<Cut> {
        self.shared.counters().done.clone()
    }

    /// Waits until this many cuts have happened.
    pub async fn wait_for_cuts(&self, number: usize) {
        wait::until("the proxy to cut a connection", async || (self.cuts().len() >= number).then_some(()))
            .await;
    }

    /// Lets COMMITs held back by [`Cut::Withheld`] reach the server, and waits until they have.
    pub async fn deliver_withheld(&self) {
        let delivered = self.shared.delivered.notified();
        self.shared.withheld.notify_one();
        tokio::time::timeout(wait::LIMIT, delivered).await.expect("a COMMIT that was held back");
    }

    /// Stops passing anything on, closing nothing.
    pub fn pause(&self) {
        self.shared.access.send_replace(Access::Paused);
    }

    /// Closes all connections and refuses new ones.
    pub fn refuse(&self) {
        self.shared.access.send_replace(Access::Refused);
    }

    /// Ends [`Proxy::pause`] and [`Proxy::refuse`].
    pub fn resume(&self) {
        self.shared.access.send_replace(Access::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.refuse();
    }
}

impl Shared {
    fn counters(&self) -> std::sync::MutexGuard<'_, Counters> {
        self.counters.lock().expect("counters that no panic has spoilt")
    }

    /// Takes the ordered cut, if any: it strikes one connection only.
    fn commit_seen(&self) -> Option<Cut> {
        let mut counters = self.counters();
        counters.commits += 1;
        counters.ordered.take()
    }

    fn cut_done(&self, cut: Cut) {
        self.counters().done.push(cut);
    }

    /// Waits while paused; `false` if connections are refused.
    async fn may_pass(&self) -> bool {
        let mut access = self.access.subscribe();
        let state = access.wait_for(|access| *access != Access::Paused).await;
        state.is_ok_and(|access| *access == Access::Open)
    }

    async fn refused(&self) {
        // An error means that the proxy is gone, which comes to the same.
        let _ = self.access.subscribe().wait_for(|access| *access == Access::Refused).await;
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.counters().connections += 1;
            if *shared.access.borrow() == Access::Refused {
                return;
            }
            let Ok(server) = TcpStream::connect(("127.0.0.1", shared.upstream_port)).await else { return };
            // Small messages must not wait for each other, or the proxy would change what it measures.
            let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
            let _: std::io::Result<()> = tokio::select! {
                outcome = Connection::new(client, server, Arc::clone(&shared)).run() => outcome,
                () = shared.refused() => Ok(()),
            };
        });
    }
}

/// What becomes of a connection after a burst.
enum Next {
    GoOn,
    Close,
    /// The client is cut off; these bytes wait.
    Withhold(Vec<u8>),
}

/// One proxied connection. Dropping it closes both sides.
struct Connection {
    from_client: OwnedReadHalf,
    to_client: OwnedWriteHalf,
    from_server: OwnedReadHalf,
    to_server: OwnedWriteHalf,
    frontend: Frontend,
    shared: Arc<Shared>,
    answered_since_last_burst: bool,
}

impl Connection {
    fn new(client: TcpStream, server: TcpStream, shared: Arc<Shared>) -> Self {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let frontend = Frontend::default();
        Self {
            from_client,
            to_client,
            from_server,
            to_server,
            frontend,
            shared,
            answered_since_last_burst: true,
        }
    }

    async fn run(mut self) -> std::io::Result<()> {
        let mut from_client = vec![0; 1 << 16];
        let mut from_server = vec![0; 1 << 16];
        loop {
            tokio::select! {
                length = self.from_client.read(&mut from_client) => match length? {
                    0 => return Ok(()),
                    length => {
                        let burst = self.rest_of_burst(&from_client[..length]).await?;
                        if !self.shared.may_pass().await {
                            return Ok(());
                        }
                        match self.pass_to_server(burst).await? {
                            Next::GoOn => {}
                            Next::Close => return Ok(()),
                            Next::Withhold(rest) => return self.withhold(&rest).await,
                        }
                    }
                },
                length = self.from_server.read(&mut from_server) => match length? {
                    0 => return Ok(()),
                    length => {
                        if !self.shared.may_pass().await {
                            return Ok(());
                        }
                        self.answered_since_last_burst = true;
                        self.to_client.write_all(&from_server[..length]).await?;
                    }
                },
            }
        }
    }

    async fn rest_of_burst(&mut self, first: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut burst = first.to_vec();
        let mut more = vec![0; 1 << 16];
        while let Ok(length) = tokio::time::timeout(BURST_GAP, self.from_client.read(&mut more)).await {
            match length? {
                0 => break,
                length => burst.extend_from_slice(&more[..length]),
            }
        }
        Ok(burst)
    }

    async fn pass_to_server(&mut self, mut burst: Vec<u8>) -> std::io::Result<Next> {
        if std::mem::take(&mut self.answered_since_last_burst) {
            self.shared.counters().round_trips += 1;
        }
        let shared = &self.shared;
        let commit_at = self.frontend.find_commit(&mut burst, |text| shared.counters().misnames(text));
        let cut = commit_at.and_then(|_| self.shared.commit_seen());
        let (Some(cut), Some(commit_at)) = (cut, commit_at) else {
            self.write_to_server(&burst).await?;
            return Ok(Next::GoOn);
        };
        let (before, commit_and_after) = burst.split_at(commit_at);
        self.to_server.write_all(before).await?;
        match cut {
            Cut::BeforeCommit => {}
            Cut::BeforeAnswer => {
                self.to_server.write_all(commit_and_after).await?;
                self.read_commit_answer().await?;
            }
            Cut::AfterAnswer => {
                self.to_server.write_all(commit_and_after).await?;
                let answer = self.read_commit_answer().await?;
                self.to_client.write_all(&answer).await?;
                self.to_client.flush().await?;
            }
            Cut::Withheld => {
                self.shared.cut_done(cut);
                return Ok(Next::Withhold(commit_and_after.to_vec()));
            }
        }
        self.shared.cut_done(cut);
        Ok(Next::Close)
    }

    /// Passes a burst on while also passing on answers: with both directions full, neither end would read.
    async fn write_to_server(&mut self, burst: &[u8]) -> std::io::Result<()> {
        let mut answers = vec![0; 1 << 16];
        let mut written = 0;
        while written < burst.len() {
            tokio::select! {
                length = self.to_server.write(&burst[written..]) => written += length?,
                length = self.from_server.read(&mut answers) => match length? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    length => {
                        self.answered_since_last_burst = true;
                        self.to_client.write_all(&answers[..length]).await?;
                    }
                },
            }
        }
        Ok(())
    }

    /// Everything up to the end of the answer to COMMIT: its tag, then "ready for query", idle.
    async fn read_commit_answer(&mut self) -> std::io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        let mut more = vec![0; 1 << 16];
        loop {
            match self.from_server.read(&mut more).await? {
                0 => return Ok(answer),
                length => answer.extend_from_slice(&more[..length]),
            }
            if answer.ends_with(b"Z\0\0\0\x05I") {
                return Ok(answer);
            }
        }
    }

    /// Closes the client's side, and delivers the rest when told to.
    async fn withhold(self, rest: &[u8]) -> std::io::Result<()> {
        let Self { mut from_server, mut to_server, from_client, to_client, shared, .. } = self;
        drop((from_client, to_client));
        shared.withheld.notified().await;
        to_server.write_all(rest).await?;
        let mut answer = vec![0; 1 << 16];
        let mut seen = Vec::new();
        while !seen.ends_with(b"Z\0\0\0\x05I") {
            match from_server.read(&mut answer).await? {
                0 => break,
                length => seen.extend_from_slice(&answer[..length]),
            }
        }
        shared.delivered.notify_one();
        Ok(())
    }
}
