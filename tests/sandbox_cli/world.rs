//! The sandbox and the daemon, both as a person starts them.

use std::path::Path;
use std::process::Stdio;

use longshore::sandbox::sample::EventSpec;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::common::delivered;
use crate::common::net::client;
use crate::common::place::Place;
use crate::common::process::{self, Daemon, LIMIT};
use crate::common::wait::{in_time, looking};

pub fn start(dir: &Path, more: &[&str]) -> Child {
    let mut command = process::bare(&["--log-level", "warn", "sandbox", "--dir"]);
    command.arg(dir).args(more);
    spawn(command)
}

pub fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
}

/// Reads the announcement up to its last line; the value is what it says of the control API.
pub async fn announced(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut control = None;
    loop {
        let line = in_time("it says more", lines.next_line()).await.expect("readable");
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
    let status = in_time("it has ended", child.wait()).await.expect("ended");
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).await.expect("readable");
    (status.code(), said)
}

pub fn terminate(child: &Child) {
    process::signal(child, Signal::TERM);
}

/// A sandbox, and the daemon with the configuration that the sandbox wrote.
pub struct World {
    place: Place,
    control: String,
    http: reqwest::Client,
    _sandbox: Child,
}

crate::is_a_place!(World, place);

impl World {
    pub async fn start() -> (Self, Daemon) {
        Self::start_with(&[]).await
    }

    pub async fn start_with(more: &[&str]) -> (Self, Daemon) {
        let place = Place::new();
        let mut sandbox = start(place.folder(), more);
        let control = announced(&mut sandbox).await;
        place.configure(&place.read("longshore.toml"));
        let world = Self { place, control, http: client(), _sandbox: sandbox };
        let daemon = world.run();
        (world, daemon)
    }

    /// Waits until so many of the webhook's events are so far.
    pub async fn wait_webhook(&self, pointer: &str, count: u64) {
        let is_so = async || self.webhook().await.pointer(pointer).and_then(Value::as_u64) == Some(count);
        let ended = tokio::time::timeout(LIMIT, looking(is_so)).await;
        assert!(ended.is_ok(), "waited in vain for {count} in {pointer}: {}", self.webhook().await);
    }

    /// Runs `longshore subscriptions`, and holds that it ends with `code`; what it printed.
    pub async fn subscriptions(&self, args: &[&str], code: i32) -> String {
        let (status, said) = self.try_say(&[&["subscriptions"], args].concat()).await;
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
        delivered::records(&self.path("delivered"))
    }

    /// Waits until so many records are delivered, and returns them.
    pub async fn wait_delivered(&self, count: usize, daemon: &Daemon) -> Vec<Value> {
        let what = format!("{count} records are delivered");
        daemon.until(&what, || self.delivered().len() >= count).await;
        self.delivered()
    }
}

pub fn texts(records: &[Value], pointer: &str) -> Vec<String> {
    let text = |record: &Value| record.pointer(pointer).and_then(Value::as_str).expect("a text").to_owned();
    let mut texts: Vec<String> = records.iter().map(text).collect();
    texts.sort_unstable();
    texts
}

/// What names each record of an event, in order.
pub fn names(records: &[Value]) -> Vec<String> {
    let name = |record: &Value| {
        let name = ["/id", "/tenantArticleId", ""].iter().find_map(|pointer| record.pointer(pointer)?.as_str());
        name.expect("a name").to_owned()
    };
    let mut names: Vec<String> = records.iter().map(name).collect();
    names.sort_unstable();
    names
}

/// The names of the records of these events, in order.
pub fn names_of(events: impl IntoIterator<Item = EventSpec>) -> Vec<String> {
    let events = events.into_iter().flat_map(EventSpec::iter);
    let mut names: Vec<String> = events.flat_map(|event| event.record_names()).collect();
    names.sort_unstable();
    names
}
