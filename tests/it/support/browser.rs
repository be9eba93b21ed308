//! A real browser (Chromium, without a window), driven over its debugging pipe: what it refuses to do is refused here.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

use super::wait;

/// A browser with one page.
pub struct Browser {
    pipe: Mutex<Pipe>,
    page: String,
    _process: Child,
    _profile: TempDir,
}

struct Pipe {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    sent: u64,
}

impl Pipe {
    async fn call(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).await.expect("a browser that listens");
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).await.expect("a browser that answers");
            assert_eq!(answer.pop(), Some(0), "the browser has ended");
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            if answer["id"] == self.sent {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}

impl Browser {
    /// Starts one.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        // The pipe is expected as descriptors 3 and 4.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --user-data-dir=\"$0\" --remote-debugging-pipe 3<&0 4>&1 >/dev/null 2>&1";
        let is_there = Command::new("chromium").arg("--version").output().await;
        let is_there = is_there.is_ok_and(|output| output.status.success());
        assert!(is_there, "chromium is missing: bin/test installs it");
        let mut process = Command::new("sh")
            .args(["-c", script])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a shell");
        let to = process.stdin.take().expect("a pipe");
        let from = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut pipe = Pipe { to, from, sent: 0 };
        let target = pipe.call(None, "Target.createTarget", json!({"url": "about:blank"})).await;
        let parameters = json!({"targetId": target["targetId"], "flatten": true});
        let attached = pipe.call(None, "Target.attachToTarget", parameters).await;
        let page = attached["sessionId"].as_str().expect("a session").to_owned();
        Self { pipe: Mutex::new(pipe), page, _process: process, _profile: profile }
    }

    /// Goes to an address.
    pub async fn go_to(&self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
    }

    /// Shows an HTML page of somebody else's.
    pub async fn show(&self, html: &str) {
        let frames = self.call("Page.getFrameTree", json!({})).await;
        let frame = &frames["frameTree"]["frame"]["id"];
        self.call("Page.setDocumentContent", json!({"frameId": frame, "html": html})).await;
    }

    /// The value of an expression in the page; `null` while the page is being changed.
    pub async fn value(&self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        self.call("Runtime.evaluate", parameters).await["result"]["value"].clone()
    }

    /// Waits until the page's text has that in it.
    pub async fn reads(&self, text: &str) {
        let mut last = Value::Null;
        let read = tokio::time::timeout(wait::LIMIT, async {
            loop {
                last = self.value("document.body ? location.href + ' ' + document.body.innerText : ''").await;
                if last.as_str().is_some_and(|shown| shown.contains(text)) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        assert!(read.await.is_ok(), "no page says {text:?}; the last one: {last}");
    }

    /// Fills a field in.
    pub async fn fill_in(&self, field: &str, text: &str) {
        let expression = format!("document.querySelector('[name={field}]').value = '{text}'");
        assert_eq!(self.value(&expression).await, text);
    }

    /// Presses the button.
    pub async fn press(&self, button: &str) {
        self.value(&format!("document.querySelector('{button}').click()")).await;
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        self.pipe.lock().await.call(Some(&self.page), method, parameters).await
    }
}
