//! A folder, a certificate, a configuration, and daemons that are started and ended by the tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use longshore::clock::SystemClock;
use longshore::config::{Config, Files};
use longshore::inbox::ledger::{Ledger, Summary};
use longshore::inbox::{Inbox, SqliteInbox};
use longshore::net::{HttpLimits, http_client};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// No test waits longer for anything.
pub const LIMIT: Duration = Duration::from_secs(90);

/// What senders show.
pub const SECRET: &str = "Bearer first";

pub struct World {
    pub folder: tempfile::TempDir,
    pub config: PathBuf,
    pub address: SocketAddr,
}

impl World {
    /// A world whose feed has the keys of `feed`, and whose configuration ends in `more`. Records go into the table
    /// `orders`, the newest version of each.
    pub fn new(feed: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        std::fs::write(path.join("secret"), format!("{SECRET}\n")).expect("the secret");
        certificate(path);
        let address = free_address();
        let text = format!(
            r#"
[[feed]]
name = "fft"
type = "webhook"
listen = "{address}"
certificate_file = "certificate.pem"
key_file = "key.pem"
secret_file = "secret"
{feed}
[[route]]
name = "orders"
blob_types = ["*"]
sinks = ["database"]

[[sink]]
name = "database"
type = "sqlite"
path = "delivered.db"
key = ["/id"]
version = "/version"

[inbox]
path = "inbox/inbox.db"

[ops]
listen = ""

{more}
"#
        );
        let config = path.join("longshore.toml");
        std::fs::write(&config, text).expect("the configuration");
        std::fs::create_dir(path.join("inbox")).expect("a folder");
        Self { folder, config, address }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// Starts the daemon and waits until it listens.
    pub async fn start(&self) -> Daemon {
        let daemon = self.spawn(&["run"]);
        let listens = async {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            while tokio::net::TcpStream::connect(self.address).await.is_err() {
                tick.tick().await;
            }
        };
        if tokio::time::timeout(LIMIT, listens).await.is_err() {
            panic!("it does not listen:\n{}", daemon.log());
        }
        daemon
    }

    fn spawn(&self, args: &[&str]) -> Daemon {
        let log = tempfile::NamedTempFile::new_in(self.path()).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_longshore"))
            .arg("--config")
            .arg(&self.config)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().expect("the log"))
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        Daemon { child, log }
    }

    /// Runs `longshore` to its end; whether it ended well, and what it printed.
    pub async fn say(&self, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.arg("--config").arg(&self.config).args(args).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await.expect("in time").expect("it runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }

    /// Runs curl with `args`, trusting the certificate; the status, the headers and the body of the answer.
    pub async fn curl(&self, args: &[&str]) -> Option<(u16, String)> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include", "--max-time", "60", "--cacert"]);
        command.arg(self.path().join("certificate.pem")).args(args).kill_on_drop(true);
        let output = match command.output().await {
            Ok(output) => output,
            Err(error) => {
                left_out(&format!("curl cannot be run: {error}"));
                return None;
            }
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        // `100 Continue` stands before the answer.
        let last = said.rsplit("HTTP/1.1 ").next().expect("an answer");
        let status = last.split(' ').next().and_then(|status| status.parse().ok()).expect("a status");
        Some((status, said))
    }

    /// Posts with a client of our own; the status, or `None` where there was no answer.
    pub async fn post(&self, client: &reqwest::Client, body: String) -> Option<u16> {
        let request = client.post(self.url("/events")).header("Authorization", SECRET).body(body);
        request.send().await.ok().map(|answer| answer.status().as_u16())
    }

    pub fn client(&self) -> reqwest::Client {
        http_client(Some(&self.path().join("certificate.pem")), HttpLimits::default()).expect("a client")
    }

    /// The inbox, beside the daemon's own hold on it.
    pub fn inbox(&self) -> SqliteInbox {
        let config = Config::load(&self.config, Files::Checked).expect("a good configuration");
        SqliteInbox::open(&config.inbox, Arc::new(SystemClock)).expect("the inbox")
    }

    /// Waits until `reached` holds of the inbox.
    pub async fn wait(&self, what: &str, mut reached: impl FnMut(&Summary) -> bool) -> Summary {
        let inbox = self.inbox();
        let waiting = async {
            loop {
                let summary = inbox.summary().await.expect("a summary");
                if reached(&summary) {
                    return summary;
                }
                inbox.changed().await;
            }
        };
        match tokio::time::timeout(LIMIT, waiting).await {
            Ok(summary) => summary,
            Err(_) => panic!("waited in vain until {what}: {:#?}", inbox.summary().await),
        }
    }

    /// The delivered records.
    pub fn delivered(&self) -> Vec<serde_json::Value> {
        let database = rusqlite::Connection::open(self.path().join("delivered.db")).expect("the database");
        let mut select = database.prepare("SELECT body FROM orders ORDER BY 1").expect("the table");
        let bodies = select.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        bodies.map(|body| serde_json::from_str(&body.expect("a row")).expect("JSON")).collect()
    }
}

/// A self-signed certificate for this machine, and its key.
pub fn certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
}

/// An address that was free a moment ago: a daemon that is started anew has to come back to it.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}

pub fn event(event: &str, id: &str, payload: &str) -> String {
    format!(r#"{{"event":"{event}","eventId":"{id}","payload":{payload}}}"#)
}

/// Says that a test is left out; with `CI=true` that is a failure.
pub fn left_out(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    eprintln!("LEFT OUT: {why}");
}

pub struct Daemon {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Daemon {
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        kill_process(pid, signal).expect("it is ours");
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("the log")
    }

    /// Asks it to stop, and holds that it ends well.
    pub async fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await;
        let log = self.log();
        let status = status.unwrap_or_else(|_| panic!("it does not end:\n{log}")).expect("it ended");
        assert!(status.success(), "ended with {status}:\n{log}");
        log
    }

    /// Ends it without any notice.
    pub async fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().await.expect("it ended");
    }
}
