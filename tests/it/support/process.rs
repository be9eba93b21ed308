//! The real binary as a child process: its output captured, its end awaited, never left behind.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait;

/// A running `counterfoil`; killed when dropped.
pub struct Process {
    child: Child,
    standard_output: Lines,
    standard_error: Lines,
}

/// Lines that another thread reads.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn follow(source: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let written = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                written.0.lock().expect("lines").push(line);
            }
        });
        lines
    }

    fn text(&self) -> String {
        self.0.lock().expect("lines").join("\n")
    }
}

/// A command line of the binary, free of settings that the test's own environment happens to have.
pub fn command<S: AsRef<str>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let is_ours = name.starts_with("COUNTERFOIL_") || name.starts_with("DATABASE_");
        if is_ours && name != counterfoil::sandbox::binaries::DIRECTORY_VARIABLE {
            command.env_remove(name);
        }
    }
    command.args(arguments.iter().map(AsRef::as_ref)).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("the binary runs")
}

impl Process {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let standard_output = Lines::follow(child.stdout.take().expect("a pipe"));
        let standard_error = Lines::follow(child.stderr.take().expect("a pipe"));
        Self { child, standard_output, standard_error }
    }

    /// What it has written to standard output so far.
    pub fn standard_output(&self) -> String {
        self.standard_output.text()
    }

    /// What it has written to standard error so far: its log.
    pub fn standard_error(&self) -> String {
        self.standard_error.text()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let process_id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(process_id), signal).expect("a running process");
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> ExitStatus {
        let child = Mutex::new(&mut self.child);
        wait::until("the process to end", async || {
            child.lock().expect("the child").try_wait().expect("a child of ours")
        })
        .await
    }

    /// Ends it without letting it do anything more.
    pub fn kill(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the process ---\n{}", self.standard_error());
        }
    }
}
