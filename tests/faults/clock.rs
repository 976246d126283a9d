//! A clock that is set by a day, either way, while the daemon runs and between two runs. The daemon's own view of the
//! time of day is moved by libfaketime; the machine's uptime is not.

use std::path::PathBuf;

use crate::common::peers::leave_out;
use crate::common::place::{Place, lay};
use crate::common::process::Daemon;

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The library of the Debian package `libfaketime`, in the folder of this machine's architecture.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    folders.filter_map(|folder| Some(folder.ok()?.path().join(LIBRARY))).find(|path| path.exists())
}

/// A folder that files are dropped into, and a sink that fails as long as there is no file `open`, and hangs while there
/// is a file `hang`; having hung it takes nothing, for its daemon may be gone.
struct World {
    place: Place,
    library: PathBuf,
}

crate::is_a_place!(World, place);

impl World {
    fn new() -> Option<Self> {
        let world = Self { place: Place::new(), library: library()? };
        std::fs::create_dir(world.path("drop")).expect("a folder");
        let script = format!(
            "cd {} && if [ -e hang ]; then touch hangs; while [ -e hang ]; do sleep 0.05; done; exit 1; fi; [ -e open ] && cat >> out",
            world.folder().display()
        );
        let text = format!(
            "[[feed]]\nname = \"f\"\ntype = \"drop\"\nsource = \"drop\"\npoll = \"100ms\"\nstable_for = \"100ms\"\n\
             [[route]]\nname = \"all\"\nblob_types = [\"*\"]\nsinks = [\"out\"]\n\
             [[sink]]\nname = \"out\"\ntype = \"command\"\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\n\
             [inbox]\npath = \"inbox.db\"\nretention_age = \"2h\"\n\
             [work]\nlease = \"15s\"\nretry_min = \"2s\"\n"
        );
        world.configure(&text);
        world.set("+0");
        Some(world)
    }

    /// Sets the daemon's clock.
    fn set(&self, offset: &str) {
        lay(&self.path("offset"), offset);
    }

    /// Starts the daemon under that clock.
    fn run(&self) -> Daemon {
        let mut command = self.command(&["run"]);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.path("offset"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        Daemon::start(command, self.folder())
    }

    fn drop_file(&self, number: u32) {
        // Whole at once: half of it could be taken for a file.
        lay(&self.path(&format!("drop/file {number}.csv")), format!("id\n{number}\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_by_a_day_holds_nothing_up_and_ends_nothing_early() {
    let Some(world) = World::new() else { return leave_out("libfaketime is not installed") };
    // While it runs: a retry that waits does not wait the day out.
    world.drop_file(1);
    let daemon = world.run();
    daemon.says("it is tried again").await;
    world.set("-1d");
    daemon.says("was set back by about 24 h").await;
    world.write("open", "");
    world.wait("the first is delivered", |summary| summary.notices.finished == 1).await;

    // Between two runs: nor does the delivery of a process that died.
    world.write("hang", "");
    world.drop_file(2);
    daemon.until("the sink hangs", || world.path("hangs").exists()).await;
    daemon.kill().await;
    std::fs::remove_file(world.path("hang")).expect("removed");
    world.set("-2d");
    let daemon = world.run();
    world.wait("the second is delivered", |summary| summary.notices.finished == 2).await;
    daemon.says("was set back by about 48 h").await;
    daemon.stop().await;

    // Forward: nothing is old enough to be forgotten, though it is of a day ago by the clock.
    world.set("+1d");
    let daemon = world.run();
    daemon.says("was set forward by about 24 h").await;
    world.drop_file(3);
    world.wait("the third is delivered", |summary| summary.notices.finished == 3).await;
    let log = daemon.stop().await;
    assert!(!log.contains("pruned"), "{log}");
    let out = std::fs::read_to_string(world.path("out")).expect("what was delivered");
    let mut ids: Vec<_> = out.lines().filter(|line| line.contains("\"id\"")).collect();
    ids.sort_unstable();
    assert_eq!(ids.len(), 3, "each once: {out}");
}
