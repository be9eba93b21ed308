//! The directory of a cluster: chosen so that the server's user can enter it, filled, and started from.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::postmaster::Postmaster;
use super::{Cluster, ClusterError, SUPERUSER, Settings, io_error, pause, poll_until};
use crate::sandbox::binaries::Binaries;
use crate::sandbox::run_as::RunAs;

/// Recovery after a crash is part of a start.
const START_LIMIT: Duration = Duration::from_secs(120);
const PORT_ATTEMPTS: u32 = 10;
/// Where a cluster goes whose own directory its user cannot enter.
const FALLBACK_DIRECTORIES: [&str; 2] = ["/var/lib/counterfoil", "/var/tmp/counterfoil"];

/// A directory for a cluster and the user that its processes run as.
pub(super) struct Place {
    directory: PathBuf,
    run_as: RunAs,
}

impl Place {
    /// The wanted directory, or a replacement (then `true`) if the server's user cannot enter it.
    pub(super) fn choose(wanted: &Path) -> Result<(Self, bool), ClusterError> {
        let parent = wanted.parent().unwrap_or(wanted);
        create_directory(parent)?;
        let wanted = std::path::absolute(wanted)
            .map_err(|source| io_error(format!("cannot resolve {}", wanted.display()), source))?;
        let run_as = RunAs::for_directory(parent)
            .map_err(|source| io_error("cannot choose a user for PostgreSQL".to_owned(), source))?;
        let replacements = FALLBACK_DIRECTORIES.iter().map(|base| Path::new(base).join(digest(&wanted)));
        for (index, directory) in std::iter::once(wanted.clone()).chain(replacements).enumerate() {
            let place = Self { directory, run_as: run_as.clone() };
            match place.prepare() {
                Ok(()) if place.run_as.can_enter(&place.directory) => return Ok((place, index > 0)),
                Err(error) if run_as.other_user().is_none() => return Err(error),
                // Leave nothing where nothing can live; a directory with something in it stays.
                Ok(()) | Err(_) => drop(fs::remove_dir(&place.directory)),
            }
        }
        let user = run_as.other_user().unwrap_or("of this process").to_owned();
        Err(ClusterError::Unreachable { user, directory: wanted })
    }

    /// The programs to run here, if the server's user can execute them.
    pub(super) fn find_binaries(&self) -> Result<Binaries, ClusterError> {
        let binaries = Binaries::find()?;
        match self.run_as.other_user().filter(|_| !self.run_as.can_enter(binaries.directory())) {
            None => Ok(binaries),
            Some(user) => {
                let (user, directory) = (user.to_owned(), binaries.directory().to_owned());
                Err(ClusterError::UnreachableBinaries { user, directory })
            }
        }
    }

    /// A directory that a cluster already lives in.
    pub(super) fn existing(directory: &Path) -> Result<Self, ClusterError> {
        let run_as = RunAs::for_directory(directory)
            .map_err(|source| io_error("cannot choose a user for PostgreSQL".to_owned(), source))?;
        Ok(Self { directory: directory.to_owned(), run_as })
    }

    fn prepare(&self) -> Result<(), ClusterError> {
        if let Some(parent) = self.directory.parent() {
            create_directory(parent)?;
        }
        create_directory(&self.directory)?;
        self.run_as
            .give(&self.directory)
            .and_then(|()| fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o700)))
            .map_err(|source| io_error(format!("cannot prepare {}", self.directory.display()), source))
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn password_file(&self) -> PathBuf {
        self.directory.join("password")
    }

    fn port_file(&self) -> PathBuf {
        self.directory.join("port")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub(super) fn adopt(&self) -> Result<Option<Cluster>, ClusterError> {
        let Some(found) = Postmaster::of(&self.data()) else { return Ok(None) };
        let mut ready = None;
        let decided = poll_until(START_LIMIT, || match Postmaster::of(&self.data()) {
            Some(postmaster) if !postmaster.ready => false,
            other => {
                ready = other;
                true
            }
        });
        match ready {
            // The file of a server that is just ending may still be there: then it is not ours to adopt.
            Some(postmaster) if postmaster.pid == found.pid => {
                Ok(Some(self.cluster(postmaster, None, self.password()?)))
            }
            _ if decided => Ok(None),
            _ => Err(self.timed_out("become ready")),
        }
    }

    fn cluster(&self, postmaster: Postmaster, child: Option<Child>, password: SecretString) -> Cluster {
        Cluster {
            directory: self.directory.clone(),
            moved: false,
            adopted: child.is_none(),
            postmaster,
            child,
            password,
            running: true,
        }
    }

    fn timed_out(&self, verb: &'static str) -> ClusterError {
        ClusterError::TimedOut { directory: self.directory.clone(), verb, limit: START_LIMIT }
    }

    /// Makes the cluster unless it is there. A run that was cut short leaves `data.new`, never half of `data`.
    pub(super) fn initialise(&self, binaries: &Binaries, durable: bool) -> Result<(), ClusterError> {
        if let Ok(version) = fs::read_to_string(self.data().join("PG_VERSION")) {
            return self.check_version(version.trim(), binaries);
        }
        self.make_password()?;
        let unfinished = self.directory.join("data.new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)
                .map_err(|source| io_error(format!("cannot remove {}", unfinished.display()), source))?;
        }
        let mut command = self.command(&binaries.initdb());
        command.arg("-D").arg(&unfinished).arg("--pwfile").arg(self.password_file());
        command.args([
            "--username",
            SUPERUSER,
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--no-locale",
        ]);
        if !durable {
            command.arg("--no-sync");
        }
        let output = command.output().map_err(|source| io_error("cannot run initdb".to_owned(), source))?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(ClusterError::Failed { program: "initdb", output });
        }
        fs::rename(&unfinished, self.data())
            .map_err(|source| io_error(format!("cannot rename {}", unfinished.display()), source))
    }

    fn check_version(&self, found: &str, binaries: &Binaries) -> Result<(), ClusterError> {
        let server = binaries.major_version();
        if found == server.to_string() {
            return Ok(());
        }
        Err(ClusterError::OtherVersion { directory: self.data(), found: found.to_owned(), server })
    }

    fn make_password(&self) -> Result<(), ClusterError> {
        let path = self.password_file();
        let failed = |source| io_error(format!("cannot write {}", path.display()), source);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        writeln!(file, "{:032x}", rand::random::<u128>()).map_err(failed)?;
        self.run_as.give(&path).map_err(failed)
    }

    fn password(&self) -> Result<SecretString, ClusterError> {
        let path = self.password_file();
        let text = fs::read_to_string(&path)
            .map_err(|source| io_error(format!("cannot read {}", path.display()), source))?;
        Ok(text.trim().into())
    }

    /// Starts the server and waits until it accepts connections.
    pub(super) fn launch(&self, binaries: &Binaries, settings: &Settings) -> Result<Cluster, ClusterError> {
        let deadline = Instant::now() + START_LIMIT;
        let mut ports_tried = 0;
        loop {
            let (log, log_start) = self.open_log()?;
            let port = self.free_port().map_err(|source| io_error("no free port".to_owned(), source))?;
            let child = self
                .server_command(binaries, settings, port, log)
                .spawn()
                .map_err(|source| io_error("cannot run postgres".to_owned(), source))?;
            match self.wait_until_ready(child, deadline)? {
                Some((postmaster, child)) => {
                    self.remember_port(port)?;
                    return Ok(self.cluster(postmaster, Some(child), self.password()?));
                }
                None => {
                    let output = self.log_since(log_start);
                    if !is_passing(&output, &mut ports_tried) || Instant::now() > deadline {
                        return Err(ClusterError::Failed { program: "postgres", output });
                    }
                    pause();
                }
            }
        }
    }

    /// The port of the last start if it is free, so that addresses in other people's hands stay true.
    fn free_port(&self) -> io::Result<u16> {
        let last = fs::read_to_string(self.port_file()).ok().and_then(|text| text.trim().parse().ok());
        let listener = match last.map(|port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port))) {
            Some(Ok(listener)) => listener,
            _ => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        };
        Ok(listener.local_addr()?.port())
    }

    fn remember_port(&self, port: u16) -> Result<(), ClusterError> {
        let path = self.port_file();
        fs::write(&path, format!("{port}\n"))
            .map_err(|source| io_error(format!("cannot write {}", path.display()), source))
    }

    /// `None` if the server has ended instead.
    fn wait_until_ready(
        &self,
        mut child: Child,
        deadline: Instant,
    ) -> Result<Option<(Postmaster, Child)>, ClusterError> {
        let own_pid = i32::try_from(child.id()).ok();
        loop {
            if !matches!(child.try_wait(), Ok(None)) {
                return Ok(None);
            }
            match Postmaster::of(&self.data()) {
                Some(postmaster) if postmaster.ready && Some(postmaster.pid.as_raw()) == own_pid => {
                    return Ok(Some((postmaster, child)));
                }
                _ if Instant::now() > deadline => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(self.timed_out("become ready"));
                }
                _ => pause(),
            }
        }
    }

    fn server_command(&self, binaries: &Binaries, settings: &Settings, port: u16, log: File) -> Command {
        let mut command = self.command(&binaries.postgres());
        command.arg("-D").arg(self.data()).process_group(0).stdout(Stdio::null()).stderr(log);
        let on_or_off = |setting: bool| if setting { "on" } else { "off" };
        let own = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            ("unix_socket_directories", String::new()),
            ("max_connections", settings.max_connections.to_string()),
            ("fsync", on_or_off(settings.durable).to_owned()),
            ("full_page_writes", on_or_off(settings.durable).to_owned()),
            ("logging_collector", "off".to_owned()),
            ("log_destination", "stderr".to_owned()),
            ("log_line_prefix", "%m [%p] ".to_owned()),
            ("timezone", "UTC".to_owned()),
            ("log_timezone", "UTC".to_owned()),
        ];
        for (name, value) in own {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        for (name, value) in &settings.parameters {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
    }

    /// A program of PostgreSQL, free of settings that belong to another server.
    fn command(&self, program: &Path) -> Command {
        let mut command = self.run_as.command(program);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").current_dir(&self.directory).stdin(Stdio::null());
        command
    }

    fn open_log(&self) -> Result<(File, u64), ClusterError> {
        let path = self.log_file();
        let failed = |source| io_error(format!("cannot open {}", path.display()), source);
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(failed)?;
        self.run_as.give(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok((file, length))
    }

    fn log_since(&self, start: u64) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(self.log_file())?;
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        read().unwrap_or_else(|error| format!("(its log cannot be read: {error})"))
    }
}

/// Whether a failed start is worth repeating: somebody took the port meanwhile, or the server processes of a
/// killed postmaster have not all noticed yet.
fn is_passing(log: &str, ports_tried: &mut u32) -> bool {
    if log.contains("could not bind") || log.contains("could not create any TCP/IP sockets") {
        *ports_tried += 1;
        return *ports_tried < PORT_ATTEMPTS;
    }
    log.contains("still in use") || log.contains("Is another postmaster")
}

fn create_directory(path: &Path) -> Result<(), ClusterError> {
    fs::create_dir_all(path).map_err(|source| io_error(format!("cannot make {}", path.display()), source))
}

/// A name for a directory, made from the path of another one.
fn digest(path: &Path) -> String {
    HEXLOWER.encode(&Sha256::digest(path.as_os_str().as_encoded_bytes())[..8])
}
