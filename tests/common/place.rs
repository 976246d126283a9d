//! A folder with a configuration in it, the program that runs with it, and its inbox.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::Arc;

use longshore::clock::SystemClock;
use longshore::config::{Config, Files};
use longshore::inbox::ledger::{Ledger as _, NoticeLine, Selector, Summary};
use longshore::inbox::{Inbox as _, SqliteInbox};
use serde_json::Value;
use tokio::process::Command;

use super::delivered::files_in_sight;
use super::process::{self, Daemon, LIMIT};

/// A route that takes everything, and its sink: files below `out`.
pub const ALL: &str = "[[route]]\nname = \"all\"\nblob_types = [\"*\"]\nsinks = [\"files\"]\n\
     [[sink]]\nname = \"files\"\ntype = \"directory\"\npath = \"out\"\n";

/// How many lines of a log are shown when a wait was in vain.
const TOLD_LINES: usize = 60;

pub struct Place {
    pub config: PathBuf,
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self::within(tempfile::tempdir().expect("a folder"))
    }

    pub fn within(folder: tempfile::TempDir) -> Self {
        Self { config: folder.path().join("longshore.toml"), folder }
    }

    /// Where everything lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Leaves everything where it is, for a person to look at.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// Writes the configuration. Nothing is listened on for health and metrics, unless the test changes that.
    pub fn configure(&self, text: &str) {
        std::fs::write(&self.config, format!("{text}\n[ops]\nlisten = \"\"\n")).expect("the configuration");
    }

    /// Changes the configuration, and holds that it has changed.
    pub fn reconfigure(&self, change: impl FnOnce(&str) -> String) {
        let text = std::fs::read_to_string(&self.config).expect("the configuration");
        let changed = change(&text);
        assert_ne!(changed, text, "the configuration is changed");
        lay(&self.config, changed);
    }

    /// Has health and metrics told on `address`.
    pub fn tell_on(&self, address: &str) {
        self.reconfigure(|text| text.replace("listen = \"\"", &format!("listen = {address:?}")));
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("written");
    }

    /// Writes a file that nobody else may read.
    pub fn hold(&self, name: &str, secret: &str) {
        self.write(name, secret);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(self.path(name), mode).expect("closed to others");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("readable")
    }

    /// `longshore` with this configuration.
    pub fn command(&self, args: &[&str]) -> Command {
        process::command(&self.config, args)
    }

    pub fn start(&self, args: &[&str]) -> Daemon {
        Daemon::start(self.command(args), self.folder())
    }

    /// Starts `longshore run`.
    pub fn run(&self) -> Daemon {
        self.start(&["run"])
    }

    /// Runs `longshore` to its end, which is a good one, and returns what it printed.
    pub async fn say(&self, args: &[&str]) -> String {
        process::say(&self.config, args).await
    }

    /// Runs `longshore` to its end; how it ended, and what it printed.
    pub async fn try_say(&self, args: &[&str]) -> (ExitStatus, String) {
        process::try_say(&self.config, args).await
    }

    /// Runs `longshore` to its end; how it ended, and what it printed on either stream.
    pub async fn output(&self, args: &[&str]) -> Output {
        process::output(self.command(args)).await
    }

    /// What `longshore` says as JSON; its end is a good one.
    pub async fn json(&self, args: &[&str]) -> Value {
        let said = self.say(&[args, &["--json"]].concat()).await;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
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
            Err(_) => panic!("waited in vain until {what}: {:#?}\n{}", inbox.summary().await, self.logs()),
        }
    }

    /// Waits until `count` notices are finished.
    pub async fn wait_finished(&self, count: u64) -> Summary {
        self.wait(&format!("{count} notices are finished"), |summary| summary.notices.finished >= count).await
    }

    /// Waits until `daemon` has said that it is alive: from then on it knows what a signal means.
    pub async fn wait_alive(&self, daemon: &Daemon) {
        let id = daemon.id();
        let reports = |summary: &Summary| summary.daemons.iter().any(|daemon| daemon.alive && Some(daemon.pid) == id);
        self.wait("it reports", reports).await;
    }

    /// All notices, the first one first.
    pub async fn notices(&self) -> Vec<NoticeLine> {
        let all = Selector { limit: Some(1_000), ..Selector::default() };
        let mut notices = self.inbox().notices(all).await.expect("the notices");
        notices.reverse();
        notices
    }

    /// The last lines of what each daemon has logged.
    fn logs(&self) -> String {
        let is_log = |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-"));
        let told = |file: PathBuf| {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{}:\n{}\n", file.display(), lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n"))
        };
        files_in_sight(self.folder()).into_iter().filter(is_log).map(told).collect()
    }
}

/// Lets a test's own world be used as the place that it has.
#[macro_export]
macro_rules! is_a_place {
    ($world:ty, $place:tt) => {
        impl std::ops::Deref for $world {
            type Target = $crate::common::place::Place;

            fn deref(&self) -> &Self::Target {
                &self.$place
            }
        }
    };
}

/// Puts a file in its place whole, at once, as a careful sender or an editor does.
pub fn lay(path: &Path, content: impl AsRef<[u8]>) {
    let draft = path.with_file_name(".draft");
    std::fs::write(&draft, content).expect("written");
    std::fs::rename(&draft, path).expect("renamed");
}
