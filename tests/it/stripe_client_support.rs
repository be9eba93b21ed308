//! A server that answers as it is told, breaks off when it is told to, and remembers every request: stands in for Stripe
//! where the point is what the client makes of it.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use counterfoil::{
    domain::{
        ids::{AccountId, EffectId, LedgerSlug, OrderId, StripeId},
        settings::LedgerMode,
    },
    stripe::client::{ApiKey, BaseUrl, ClientSettings, Connections, Limiter, Origin, StripeClient},
};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The key that clients of these tests have.
pub const API_KEY: &str = "sk_test_CanaryKey0123456789";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The parts of its query, decoded.
    pub query: BTreeMap<String, String>,
    /// Its headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
    /// The fields of its form, decoded.
    pub form: BTreeMap<String, String>,
}

/// What is done with a request.
pub enum Reply {
    /// A whole answer.
    Answer {
        /// Its status.
        status: u16,
        /// Headers beside the usual ones.
        headers: Vec<(&'static str, String)>,
        /// Its body.
        body: Vec<u8>,
    },
    /// The connection ends without an answer.
    BreakOff,
    /// The connection ends in the middle of an answer.
    BreakOffWithin,
    /// Nothing, for as long as the client likes to wait.
    Silence,
}

impl Reply {
    /// 200 with a JSON body.
    pub fn json(body: &Value) -> Self {
        Self::Answer { status: 200, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    /// An error in Stripe's form.
    pub fn error(status: u16, headers: &[(&'static str, &str)], error: &Value) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self::Answer { status, headers, body: json!({ "error": error }).to_string().into_bytes() }
    }
}

/// A running server.
pub struct ScriptedServer {
    /// Where it is.
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ScriptedServer {
    /// Starts one that does with each request what `script` says.
    pub async fn start(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let (script, log) = (Arc::new(script), Arc::clone(&received));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                tokio::spawn(async move {
                    // A client that breaks off is a matter of its test.
                    let _ = serve(stream, &*script, &log).await;
                });
            }
        });
        Self { url, received, task }
    }

    /// What has come so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no panic").clone()
    }

    /// A client of it with the usual limits.
    pub fn client(&self) -> StripeClient {
        self.client_with(&ClientSettings::default(), 1_000)
    }

    /// A client of it with its own limits, and of rate.
    pub fn client_with(&self, settings: &ClientSettings, per_second: u32) -> StripeClient {
        client_of(&self.url, settings, per_second)
    }
}

/// A client of any address.
pub fn client_of(url: &str, settings: &ClientSettings, per_second: u32) -> StripeClient {
    client_with_key(url, API_KEY, settings, per_second)
}

/// A client of any address, with any key.
pub fn client_with_key(url: &str, api_key: &str, settings: &ClientSettings, per_second: u32) -> StripeClient {
    let per_second = NonZeroU32::new(per_second).expect("not zero");
    StripeClient::new(
        Connections::prepare(settings).expect("connections"),
        BaseUrl::parse(url, LedgerMode::Test).expect("an address"),
        ApiKey::parse(api_key).expect("a key"),
        Arc::new(Limiter::new(per_second, settings.turn_limit)),
    )
}

async fn serve(
    stream: TcpStream,
    script: &(dyn Fn(&Received) -> Reply + Send + Sync),
    log: &Mutex<Vec<Received>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let reply = script(&request);
        log.lock().expect("no panic").push(request);
        let (status, headers, body) = match reply {
            Reply::Answer { status, headers, body } => (status, headers, body),
            Reply::BreakOff => return Ok(()),
            Reply::BreakOffWithin => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":").await?;
                return Ok(());
            }
            Reply::Silence => {
                // Until the client hangs up.
                stream.read_u8().await?;
                return Ok(());
            }
        };
        let mut answer = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            answer.push_str(&format!("{name}: {value}\r\n"));
        }
        answer.push_str("\r\n");
        // In one piece: a second one would wait for the first to be acknowledged.
        stream.write_all(&[answer.as_bytes(), &body].concat()).await?;
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Received>> {
    let mut first = String::new();
    if stream.read_line(&mut first).await? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |text| text.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let body = String::from_utf8(body).expect("text");
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Ok(Some(Received {
        at: Instant::now(),
        method,
        path: path.to_owned(),
        query: decode(query),
        headers,
        form: decode(&body),
        body,
    }))
}

fn decode(form: &str) -> BTreeMap<String, String> {
    let url = Url::parse(&format!("http://localhost/?{form}")).expect("a form");
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    let fields: BTreeMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(fields.len(), pairs.len(), "a field is given twice: {pairs:?}");
    fields
}

/// Limits for whoever gets no answer at all, so that a test need not wait for long.
pub fn impatient() -> ClientSettings {
    ClientSettings { call_limit: Duration::from_millis(300), ..ClientSettings::default() }
}

/// The effect that everything in these tests comes from.
pub fn effect() -> EffectId {
    EffectId::from_bits(0xe1)
}

/// Where everything in these tests comes from.
pub fn origin() -> Origin {
    Origin {
        effect: effect(),
        ledger: LedgerSlug::parse("shop").expect("a name"),
        account: AccountId::parse("alice@example.com").expect("a name"),
        order: Some(OrderId::from_bits(7)),
        refund: None,
    }
}

/// An id as Stripe writes them.
pub fn id(text: &str) -> StripeId {
    StripeId::parse(text).expect("an id")
}
