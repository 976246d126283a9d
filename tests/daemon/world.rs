//! A vendor, a folder, a configuration, and daemons that are started and ended by the tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use longshore::clock::SystemClock;
use longshore::config::{Config, Files};
use longshore::inbox::ledger::{Ledger, Summary};
use longshore::inbox::{Inbox, SqliteInbox};
use longshore::sandbox::sample::{Kind, SampleSpec};
use longshore::sandbox::{PublishRequest, Sandbox, SandboxSettings};

#[path = "../common/process.rs"]
pub mod process;

pub use process::{Daemon, LIMIT};

/// A vendor and a folder to deliver into.
pub struct World {
    pub sandbox: Sandbox,
    pub config: PathBuf,
    folder: tempfile::TempDir,
    published: u64,
}

impl World {
    /// A world whose configuration ends in `more`.
    pub async fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let sandbox = Sandbox::start(SandboxSettings::new(folder.path())).await.expect("the sandbox");
        let config = folder.path().join("daemon.toml");
        let text = format!("{}\n[ops]\nlisten = \"\"\n\n{more}", sandbox.configuration());
        std::fs::write(&config, text).expect("the configuration");
        Self { sandbox, config, folder, published: 0 }
    }

    /// Publishes `files` files of `records` items each; no two records are the same.
    pub async fn publish(&mut self, files: u32, records: u64) {
        let spec = SampleSpec { first: self.published, ..SampleSpec::new(Kind::Items, records) };
        self.sandbox.publish(PublishRequest::samples(spec, files)).await.expect("published");
        self.published += u64::from(files) * records;
    }

    /// Starts `longshore` with this world's configuration.
    pub fn start(&self, args: &[&str]) -> Daemon {
        Daemon::start(process::command(&self.config, args), self.folder.path())
    }

    /// Runs `longshore` to its end and returns what it printed.
    pub async fn say(&self, args: &[&str]) -> String {
        process::say(&self.config, args).await
    }

    /// Runs `longshore` to its end; how it ended, and what it printed.
    pub async fn try_say(&self, args: &[&str]) -> (ExitStatus, String) {
        process::try_say(&self.config, args).await
    }

    /// Where everything lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
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

    /// Every delivered record's SKU, and how often it lies in the output.
    pub fn delivered(&self) -> BTreeMap<String, u32> {
        let mut skus = BTreeMap::new();
        for file in self.files() {
            for line in std::fs::read_to_string(&file).expect("a delivered file").lines() {
                let record: serde_json::Value = serde_json::from_str(line).expect("a record");
                let sku = record.pointer("/identifier/sku").and_then(|sku| sku.as_str()).expect("an item");
                *skus.entry(sku.to_owned()).or_default() += 1;
            }
        }
        skus
    }

    /// Every delivered file in sight.
    pub fn files(&self) -> Vec<PathBuf> {
        process::files_in_sight(&self.folder.path().join("delivered"))
    }

    /// Holds what was delivered against what was published: each record once.
    pub fn assert_each_record_once(&self) {
        let delivered = self.delivered();
        let doubled: Vec<_> = delivered.iter().filter(|(_, times)| **times != 1).collect();
        assert!(doubled.is_empty(), "doubled: {doubled:?}");
        assert_eq!(delivered.len() as u64, self.published, "records delivered");
    }
}
