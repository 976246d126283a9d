//! A clock that is set by a day, either way, while the daemon runs and between two runs. The daemon's own view of the
//! time of day is moved by libfaketime; the machine's uptime is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore::clock::SystemClock;
use longshore::config::{Config, Files};
use longshore::inbox::ledger::{Ledger as _, Summary};
use longshore::inbox::{Inbox as _, SqliteInbox};

use crate::tools::leave_out;
use crate::world::{Daemon, LIMIT, process};

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The library of the Debian package `libfaketime`, in the folder of this machine's architecture.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    folders.filter_map(|folder| Some(folder.ok()?.path().join(LIBRARY))).find(|path| path.exists())
}

/// A folder that files are dropped into, and a sink that fails as long as there is no file `open`, and hangs while there
/// is a file `hang`; having hung it takes nothing, for its daemon may be gone.
struct World {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl World {
    fn new() -> Option<Self> {
        let world = Self { folder: tempfile::tempdir().expect("a folder"), library: library()? };
        std::fs::create_dir(world.path("drop")).expect("a folder");
        let script = format!(
            "cd {} && if [ -e hang ]; then touch hangs; while [ -e hang ]; do sleep 0.05; done; exit 1; fi; [ -e open ] && cat >> out",
            world.folder.path().display()
        );
        let text = format!(
            "[[feed]]\nname = \"f\"\ntype = \"drop\"\nsource = \"drop\"\npoll = \"100ms\"\nstable_for = \"100ms\"\n\
             [[route]]\nname = \"all\"\nblob_types = [\"*\"]\nsinks = [\"out\"]\n\
             [[sink]]\nname = \"out\"\ntype = \"command\"\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\n\
             [inbox]\npath = \"inbox.db\"\nretention_age = \"2h\"\n\
             [work]\nlease = \"5s\"\nretry_min = \"2s\"\n[ops]\nlisten = \"\"\n"
        );
        std::fs::write(world.config(), text).expect("the configuration");
        world.set("+0");
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("longshore.toml")
    }

    /// Sets the daemon's clock.
    fn set(&self, offset: &str) {
        std::fs::write(self.path("draft"), offset).expect("written");
        std::fs::rename(self.path("draft"), self.path("offset")).expect("in its place");
    }

    fn start(&self) -> Daemon {
        let mut command = process::command(&self.config(), &["run"]);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.path("offset"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        Daemon::start(command, self.folder.path())
    }

    fn drop_file(&self, number: u32) {
        let path = self.path("drop").join(format!("file {number}.csv"));
        std::fs::write(path, format!("id\n{number}\n")).expect("dropped");
    }

    async fn wait(&self, daemon: &Daemon, what: &str, reached: impl Fn(&Summary) -> bool) {
        let config = Config::load(&self.config(), Files::Checked).expect("a good configuration");
        let inbox = SqliteInbox::open(&config.inbox, Arc::new(SystemClock)).expect("the inbox");
        let waiting = async {
            while !reached(&inbox.summary().await.expect("a summary")) {
                inbox.changed().await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, waiting).await;
        assert!(waited.is_ok(), "waited in vain until {what}; the log:\n{}", daemon.log());
    }
}

async fn until(what: &str, daemon: &Daemon, is_so: impl Fn() -> bool) {
    let waiting = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !is_so() {
            looks.tick().await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, waiting).await;
    assert!(waited.is_ok(), "waited in vain until {what}; the log:\n{}", daemon.log());
}

fn touch(path: &Path) {
    std::fs::write(path, b"").expect("a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_by_a_day_holds_nothing_up_and_ends_nothing_early() {
    let Some(world) = World::new() else { return leave_out("libfaketime is not installed") };
    // While it runs: a retry that waits does not wait the day out.
    world.drop_file(1);
    let daemon = world.start();
    until("a delivery failed", &daemon, || daemon.log().contains("it is tried again")).await;
    world.set("-1d");
    until("the jump is said", &daemon, || daemon.log().contains("was set back by about 24 h")).await;
    touch(&world.path("open"));
    world.wait(&daemon, "the first is delivered", |summary| summary.notices.finished == 1).await;

    // Between two runs: nor does the delivery of a process that died.
    touch(&world.path("hang"));
    world.drop_file(2);
    until("the sink hangs", &daemon, || world.path("hangs").exists()).await;
    daemon.kill().await;
    std::fs::remove_file(world.path("hang")).expect("removed");
    world.set("-2d");
    let daemon = world.start();
    world.wait(&daemon, "the second is delivered", |summary| summary.notices.finished == 2).await;
    until("the jump is said", &daemon, || daemon.log().contains("was set back by about 48 h")).await;
    daemon.stop().await;

    // Forward: nothing is old enough to be forgotten, though it is of a day ago by the clock.
    world.set("+1d");
    let daemon = world.start();
    until("the jump is said", &daemon, || daemon.log().contains("was set forward by about 24 h")).await;
    world.drop_file(3);
    world.wait(&daemon, "the third is delivered", |summary| summary.notices.finished == 3).await;
    let log = daemon.stop().await;
    assert!(!log.contains("pruned"), "{log}");
    let out = std::fs::read_to_string(world.path("out")).expect("what was delivered");
    let mut ids: Vec<_> = out.lines().filter(|line| line.contains("\"id\"")).collect();
    ids.sort_unstable();
    assert_eq!(ids.len(), 3, "each once: {out}");
}
