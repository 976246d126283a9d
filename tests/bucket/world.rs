//! A configuration over a bucket, daemons on it, and what was delivered.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{ToSpan as _, Zoned};
use longshore::clock::SystemClock;
use longshore::config::{Config, Files};
use longshore::inbox::ledger::{Ledger, NoticeLine, Selector, Summary};
use longshore::inbox::{Inbox, SqliteInbox};

#[path = "../common/process.rs"]
mod process;

pub use process::{Daemon, LIMIT, say, try_say};

pub struct World {
    pub config: PathBuf,
    folder: tempfile::TempDir,
}

/// A route that takes everything.
pub const ALL: &str = "[[route]]\nname = \"all\"\nblob_types = [\"*\"]\nsinks = [\"files\"]\n\
     [[sink]]\nname = \"files\"\ntype = \"directory\"\npath = \"out\"\n";

impl World {
    /// A world whose feed `export` has these keys, and whose routes and sinks are `more`; `{folder}` is its folder.
    pub fn new(feed: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("longshore.toml");
        let text = format!(
            "[[feed]]\nname = \"export\"\ntype = \"bucket\"\nbucket = \"exports\"\ncontent_type = \"application/x-jsonlines\"\n\
             poll = \"1s\"\nretry_min = \"100ms\"\nretry_max = \"200ms\"\n{feed}\n{more}\n\
             [inbox]\npath = \"inbox.db\"\n[work]\nlease = \"5s\"\nretry_min = \"100ms\"\nretry_max = \"200ms\"\n\
             [ops]\nlisten = \"\"\n"
        );
        let text = text.replace("{folder}", &folder.path().display().to_string());
        std::fs::write(&config, text).expect("the configuration");
        Self { config, folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn start(&self) -> Daemon {
        self.spawn("run")
    }

    /// Starts `longshore` with another command than `run`.
    pub fn spawn(&self, command: &str) -> Daemon {
        Daemon::start(process::command(&self.config, &[command]), self.folder.path())
    }

    pub fn inbox(&self) -> SqliteInbox {
        let config = Config::load(&self.config, Files::Checked).expect("a good configuration");
        SqliteInbox::open(&config.inbox, Arc::new(SystemClock)).expect("the inbox")
    }

    /// Waits until `reached` holds of the inbox.
    pub async fn wait(&self, what: &str, mut reached: impl FnMut(&Summary) -> bool) {
        let inbox = self.inbox();
        let waiting = async {
            while !reached(&inbox.summary().await.expect("a summary")) {
                inbox.changed().await;
            }
        };
        if tokio::time::timeout(LIMIT, waiting).await.is_err() {
            panic!("waited in vain until {what}: {:#?}", inbox.summary().await);
        }
    }

    pub async fn wait_finished(&self, count: u64) {
        self.wait(&format!("{count} notices are finished"), |summary| summary.notices.finished >= count).await;
    }

    /// All notices, the first one first.
    pub async fn notices(&self) -> Vec<NoticeLine> {
        let mut notices = self.inbox().notices(Selector::default()).await.expect("the inbox");
        notices.reverse();
        notices
    }

    /// Every record that was delivered.
    pub fn lines(&self) -> Vec<String> {
        let files = process::files_in_sight(&self.path("out")).into_iter();
        files
            .flat_map(|file| {
                std::fs::read_to_string(file).expect("a delivered file").lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect()
    }

    /// How often each record's id lies in the output.
    pub fn delivered(&self) -> BTreeMap<String, u32> {
        let mut ids = BTreeMap::new();
        for file in process::files_in_sight(&self.path("out")) {
            for line in std::fs::read_to_string(&file).expect("a delivered file").lines() {
                let record: serde_json::Value = serde_json::from_str(line).expect("a record");
                let id = record["id"].as_str().expect("an id");
                *ids.entry(id.to_owned()).or_default() += 1;
            }
        }
        ids
    }

    /// Holds that the records of these files were delivered, each once, and no others.
    pub fn assert_each_once(&self, files: &[&str]) {
        let expected: BTreeMap<String, u32> =
            files.iter().flat_map(|file| (0..RECORDS).map(move |n| (format!("{file}-{n}"), 1))).collect();
        assert_eq!(self.delivered(), expected);
    }
}

/// Records in a file.
const RECORDS: u32 = 400;

/// The file of that name: gzip of lines that can hardly be packed, some 20 kB.
pub fn file(name: &str) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let lines = (0..RECORDS).map(|n| {
        let note: String = (0..40).map(|_| random.alphanumeric()).collect();
        format!("{{\"id\":\"{name}-{n}\",\"note\":\"{note}\"}}\n")
    });
    gzip(&lines.collect::<String>())
}

pub fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).expect("written");
    packed.finish().expect("packed")
}

/// The folder of a day, so many days before today.
pub fn days_ago(days: i64) -> String {
    let day = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date().saturating_sub(days.days());
    day.strftime("%Y-%m-%d").to_string()
}
