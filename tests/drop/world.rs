//! A folder that files are dropped into, a configuration, and what was delivered.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore::clock::SystemClock;
use longshore::config::{Config, Files};
use longshore::inbox::ledger::{Ledger, NoticeLine, Selector, Summary};
use longshore::inbox::{Inbox, SqliteInbox};
use zip::write::{SimpleFileOptions, ZipWriter};

#[path = "../common/process.rs"]
mod process;

pub use process::{Daemon, LIMIT, say, try_say};

pub struct World {
    pub config: PathBuf,
    folder: tempfile::TempDir,
}

impl World {
    /// A world whose feed takes from `source`, with further keys.
    pub fn new(source: &str, keys: &str) -> Self {
        Self::within(tempfile::tempdir().expect("a folder"), source, keys)
    }

    /// A world whose feed takes from its own folder `drop`.
    pub fn of_folder(keys: &str) -> Self {
        Self::new("drop", keys)
    }

    pub fn within(folder: tempfile::TempDir, source: &str, keys: &str) -> Self {
        let drop = folder.path().join("drop");
        if !drop.exists() {
            std::fs::create_dir(&drop).expect("a folder");
        }
        let config = folder.path().join("longshore.toml");
        let world = Self { config, folder };
        world.configure(source, keys);
        world
    }

    pub fn configure(&self, source: &str, keys: &str) {
        let text = format!(
            "[[feed]]\nname = \"netcore\"\ntype = \"drop\"\nsource = {source:?}\npoll = \"100ms\"\nstable_for = \"100ms\"\n\
             {keys}\n[[route]]\nname = \"all\"\nblob_types = [\"*\"]\nsinks = [\"files\"]\n\
             [[sink]]\nname = \"files\"\ntype = \"directory\"\npath = \"out\"\n\
             [inbox]\npath = \"inbox.db\"\n[work]\nlease = \"5s\"\n[ops]\nlisten = \"\"\n"
        );
        std::fs::write(&self.config, text).expect("the configuration");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in the folder that is dropped into.
    pub fn drop(&self, name: &str) -> PathBuf {
        self.path("drop").join(name)
    }

    pub fn start(&self) -> Daemon {
        Daemon::start(process::command(&self.config, &["run"]), self.folder.path())
    }

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

    pub async fn wait_finished(&self, count: u64) {
        self.wait(&format!("{count} notices are finished"), |summary| summary.notices.finished >= count).await;
    }

    pub async fn notices(&self) -> Vec<NoticeLine> {
        let mut notices = self.inbox().notices(Selector::default()).await.expect("the inbox");
        notices.reverse();
        notices
    }

    /// Every delivered event's id, and how often it lies in the output.
    pub fn delivered(&self) -> BTreeMap<String, u32> {
        let mut events = BTreeMap::new();
        for file in process::files_in_sight(&self.path("out")) {
            for line in std::fs::read_to_string(&file).expect("a delivered file").lines() {
                let record: serde_json::Value = serde_json::from_str(line).expect("a record");
                let event = record["eventId"].as_str().expect("an event");
                *events.entry(event.to_owned()).or_default() += 1;
            }
        }
        events
    }

    /// Holds that the events of these days were delivered, each once, and no others.
    pub fn assert_each_once(&self, days: impl IntoIterator<Item = u32>) {
        let expected: BTreeMap<String, u32> =
            days.into_iter().flat_map(|day| (0..2 * EVENTS).map(move |n| (event(day, n), 1))).collect();
        assert_eq!(self.delivered(), expected);
    }
}

/// Waits until `is_so`.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        while !is_so() {
            look.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// Events in each of the two files of a day's zip.
const EVENTS: u32 = 500;

fn event(day: u32, n: u32) -> String {
    format!("{day}-{n}")
}

/// A day's zip in the vendor's manner: two files of events, none of which is in another day's.
pub fn day(day: u32) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (at, name) in ["add to cart", "product purchase"].into_iter().enumerate() {
        writer.start_file(format!("{name}_{:02}012022.csv", day % 28 + 1), stored).expect("an entry");
        let mut text = "eventId,Identity,Payload.note\n".to_owned();
        for n in 0..EVENTS {
            let id = event(day, u32::try_from(at).expect("few") * EVENTS + n);
            text.push_str(&format!("{id},person {n},\"{}\"\n", "a note, quoted".repeat(20)));
        }
        writer.write_all(text.as_bytes()).expect("written");
    }
    writer.finish().expect("an archive").into_inner()
}

/// Lays down a file as a careful sender does: whole, at once.
pub fn lay(path: &Path, content: &[u8]) {
    let draft = path.with_file_name(".draft");
    std::fs::write(&draft, content).expect("written");
    std::fs::rename(&draft, path).expect("renamed");
}
