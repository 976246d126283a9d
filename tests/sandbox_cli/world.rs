//! The sandbox and the daemon, both as a person starts them.

use std::path::Path;
use std::process::Stdio;

use longshore::net::{HttpLimits, http_client};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::process::{self, Daemon, LIMIT};

pub fn start(dir: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.args(["--log-level", "warn", "sandbox", "--dir"]).arg(dir).args(more);
    spawn(command)
}

pub fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("started")
}

/// Reads the announcement up to its last line; the value is what it says of the control API.
pub async fn announced(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut control = None;
    loop {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("in time").expect("readable");
        let line = line.expect("the announcement goes on");
        if let Some(url) = line.trim().strip_prefix("control API") {
            control = Some(url.trim().to_owned());
        }
        if line.ends_with("/state") {
            return control.expect("the control API is announced");
        }
    }
}

pub async fn ended(mut child: Child) -> (Option<i32>, String) {
    let status = tokio::time::timeout(LIMIT, child.wait()).await.expect("in time").expect("ended");
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).await.expect("readable");
    (status.code(), said)
}

pub fn terminate(child: &Child) {
    let id = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())).expect("it runs");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is ours");
}

/// A sandbox, and the daemon with the configuration that the sandbox wrote.
pub struct World {
    pub folder: tempfile::TempDir,
    control: String,
    http: reqwest::Client,
    _sandbox: Child,
}

impl World {
    pub async fn start() -> (Self, Daemon) {
        Self::start_with(&[]).await
    }

    pub async fn start_with(more: &[&str]) -> (Self, Daemon) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sandbox = start(folder.path(), more);
        let control = announced(&mut sandbox).await;
        let config = folder.path().join("longshore.toml");
        let text = std::fs::read_to_string(&config).expect("the configuration");
        std::fs::write(&config, format!("{text}\n[ops]\nlisten = \"\"\n")).expect("written");
        let http = http_client(None, HttpLimits::default()).expect("a client");
        let world = Self { folder, control, http, _sandbox: sandbox };
        let daemon = world.run();
        (world, daemon)
    }

    pub fn run(&self) -> Daemon {
        let folder = self.folder.path();
        Daemon::start(process::command(&folder.join("longshore.toml"), &["run"]), folder)
    }

    /// Waits until so many of the webhook's events are so far.
    pub async fn wait_webhook(&self, pointer: &str, count: u64) {
        let mut last = Value::Null;
        let waiting = async {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
            while last.pointer(pointer).and_then(Value::as_u64) != Some(count) {
                tick.tick().await;
                last = self.webhook().await;
            }
        };
        let ended = tokio::time::timeout(LIMIT, waiting).await;
        assert!(ended.is_ok(), "waited in vain for {count} in {pointer}: {last}");
    }

    /// Runs `longshore subscriptions`, and holds that it ends with `code`; what it printed.
    pub async fn subscriptions(&self, args: &[&str], code: i32) -> String {
        let config = self.folder.path().join("longshore.toml");
        let (status, said) = process::try_say(&config, &[&["subscriptions"], args].concat()).await;
        assert_eq!(status.code(), Some(code), "{args:?}: {said}");
        said
    }

    /// What the sandbox says of its webhook's sender.
    pub async fn webhook(&self) -> Value {
        let answer = self.http.get(format!("{}state", self.control)).send().await.expect("answered");
        answer.json::<Value>().await.expect("JSON")["webhook"].take()
    }

    pub async fn post(&self, verb: &str, body: &str) -> Value {
        self.ask(reqwest::Method::POST, verb, body).await
    }

    pub async fn ask(&self, method: reqwest::Method, verb: &str, body: &str) -> Value {
        let url = format!("{}{verb}", self.control);
        let answer = self.http.request(method, url).body(body.to_owned()).send().await.expect("answered");
        let status = answer.status();
        let said = answer.json().await.expect("JSON");
        assert_eq!(status, 200, "{said}");
        said
    }

    /// Every record that lies in the output.
    pub fn delivered(&self) -> Vec<Value> {
        let files = process::files_in_sight(&self.folder.path().join("delivered"));
        let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("a delivered file"));
        texts
            .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<_>>())
            .collect()
    }

    /// Waits until so many records are delivered, and returns them.
    pub async fn wait_delivered(&self, count: usize, daemon: &Daemon) -> Vec<Value> {
        let waiting = async {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
            while self.delivered().len() < count {
                tick.tick().await;
            }
        };
        if tokio::time::timeout(LIMIT, waiting).await.is_err() {
            panic!("{} of {count} records were delivered:\n{}", self.delivered().len(), daemon.log());
        }
        self.delivered()
    }
}

pub fn texts(records: &[Value], pointer: &str) -> Vec<String> {
    let text = |record: &Value| record.pointer(pointer).and_then(Value::as_str).expect("a text").to_owned();
    let mut texts: Vec<String> = records.iter().map(text).collect();
    texts.sort_unstable();
    texts
}
