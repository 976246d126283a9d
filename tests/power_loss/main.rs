//! Power loss: the disk as it would be with every write dropped that no fsync had covered, at many moments.
//!
//! ```text
//! longshore under strace ──> every write, fsync and rename ──> a disk that forgets ──> the power goes here, and here ─┐
//!           └──────────────> what it said to the broker    ──> what is settled by then                                │
//!                  the inbox that is left: sound, with every settled notice, and whole files behind each finished one <┘
//! ```

#![cfg(feature = "sandbox")]

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod settled;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::delivered::files_in_sight;
use common::peers::leave_out;
use common::process::{Daemon, LIMIT, PROGRAM};
use disk::Disk;
use fastrand::Rng;
use longshore::clock::SystemClock;
use longshore::inbox::ledger::{Ledger as _, NoticeState, Selector};
use longshore::inbox::{InboxSettings, SqliteInbox};
use longshore::sandbox::sample::{Compression, Kind, SampleSpec};
use longshore::sandbox::{PublishRequest, Sandbox, SandboxSettings};
use settled::Settled;
use tokio::process::Command;

/// Files, each announced by a message of its own.
const FILES: u32 = 120;
/// Announced in so many groups, so that commits of all sizes happen.
const GROUPS: u32 = 12;
const RECORDS: u64 = 20;
/// So many moments are tried, each once with nothing that was not synced and once with some of it.
const MOMENTS: usize = 150;

/// A run that was watched.
struct Watched {
    folder: tempfile::TempDir,
    trace: String,
    broker_port: u16,
    /// By correlation id, in the order of the messages, what the file holds.
    published: Vec<(String, Vec<u8>)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_power_goes_what_was_settled_is_there_and_what_was_delivered_is_whole() {
    if !has_strace() {
        return;
    }
    let watched = watch().await;
    let seed = std::env::var("LONGSHORE_POWER_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    let mut rng = Rng::with_seed(seed);
    let chosen = choose(&watched, &mut rng);

    let mut disk = Disk::new(watched.folder.path());
    let mut settled = Settled::new(watched.broker_port);
    let mut moments = Vec::new();
    let mut number = 0;
    let mut pictures = Vec::new();
    trace::follow(&watched.trace, |moment| {
        // What is being sent counts before it has gone: the power may go just then.
        let (_, _) = (settled.see(&moment), disk.see(&moment));
        if chosen.contains(&number) {
            for chance in [false, true] {
                let picture = tempfile::tempdir().expect("a folder");
                disk.recover(picture.path(), chance.then_some(&mut rng));
                pictures.push((number, picture, settled.messages.clone()));
            }
            moments.push(number);
        }
        number += 1;
    });
    assert_eq!(settled.messages.len(), FILES as usize, "the trace shows every settlement");
    let mut found = 0;
    for (number, picture, settled) in pictures {
        if let Err(problem) = look(picture.path(), &settled, &watched.published).await {
            let left = picture.keep();
            std::fs::write(left.join("trace"), &watched.trace).expect("the trace is kept");
            panic!(
                "LONGSHORE_POWER_SEED={seed}: the power goes at moment {number}: {problem}; \
                 what is left of the disk, and the trace, are in {}",
                left.display()
            );
        }
        found += settled.len();
    }
    let said = format!(
        "\n{} moments of power loss, each twice; {} writes, {} syncs; {found} settled notices looked for and found\n",
        moments.len(),
        disk.writes,
        disk.syncs
    );
    std::io::stdout().write_all(said.as_bytes()).expect("standard output");
}

/// The moments at which the power goes: at the edges, where more is durable or settled than before, and at random.
fn choose(watched: &Watched, rng: &mut Rng) -> BTreeSet<usize> {
    let mut disk = Disk::new(watched.folder.path());
    let mut settled = Settled::new(watched.broker_port);
    let (mut edges, mut count) = (Vec::<usize>::new(), 0);
    trace::follow(&watched.trace, |moment| {
        let (is_settled, is_durable) = (settled.see(&moment), disk.see(&moment));
        if is_settled || is_durable {
            edges.push(count);
        }
        count += 1;
    });
    // The log goes into the database at the end.
    let last = edges.split_off(edges.len().saturating_sub(12));
    rng.shuffle(&mut edges);
    edges.truncate(MOMENTS / 3);
    edges.extend(last);
    let before: Vec<usize> = edges.iter().map(|edge| edge.saturating_sub(1)).collect();
    let anywhere: Vec<usize> = (0..MOMENTS / 3).map(|_| rng.usize(..count)).collect();
    edges.into_iter().chain(before).chain(anywhere).collect()
}

/// Looks at what the power left.
async fn look(folder: &Path, settled: &BTreeSet<u32>, published: &[(String, Vec<u8>)]) -> Result<(), String> {
    let path = folder.join("inbox.db");
    let settings = InboxSettings {
        path: path.clone(),
        retention_age: Duration::from_secs(3_600),
        retention_bytes: None,
        dedupe_age: Duration::from_secs(3_600),
        commit_notices_max: 1_000,
        parking: longshore::inbox::ParkingBounds::default(),
    };
    let inbox =
        SqliteInbox::open(&settings, Arc::new(SystemClock)).map_err(|e| format!("the inbox does not open: {e}"))?;
    let check: String = rusqlite::Connection::open(&path)
        .and_then(|connection| connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
        .map_err(|e| e.to_string())?;
    if check != "ok" {
        return Err(format!("the inbox is not sound: {check}"));
    }
    let notices = inbox.notices(Selector::default()).await.map_err(|e| e.to_string())?;
    let by_correlation: BTreeMap<&str, _> =
        notices.iter().filter_map(|notice| Some((notice.correlation_id.as_deref()?, notice))).collect();
    for message in settled {
        let (correlation_id, _) = &published[*message as usize];
        if !by_correlation.contains_key(correlation_id.as_str()) {
            return Err(format!("message {message} was settled, and its notice {correlation_id} is gone"));
        }
    }
    for (correlation_id, content) in published {
        let Some(notice) = by_correlation.get(correlation_id.as_str()) else { continue };
        if notice.state != NoticeState::Finished {
            continue;
        }
        let file = folder.join(format!("delivered/{}.0.jsonl", notice.id));
        match std::fs::read(&file) {
            Ok(found) if found == *content => {}
            Ok(found) => return Err(format!("{} has {} of {} bytes", file.display(), found.len(), content.len())),
            Err(error) => return Err(format!("notice {} is finished, and {}: {error}", notice.id, file.display())),
        }
    }
    Ok(())
}

/// Runs the daemon under strace until everything is delivered.
async fn watch() -> Watched {
    let folder = tempfile::tempdir().expect("a folder");
    let vendor = tempfile::tempdir().expect("a folder");
    let sandbox = Sandbox::start(SandboxSettings::new(vendor.path())).await.expect("the sandbox");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let text = sandbox
        .configuration()
        .replace(
            "path = \"delivered\"",
            &format!("path = {:?}\npattern = \"{{notice}}.{{run}}.{{ext}}\"", at("delivered")),
        )
        .replace("path = \"inbox.db\"", &format!("path = {:?}", at("inbox.db")));
    let config = vendor.path().join("daemon.toml");
    std::fs::write(&config, format!("{text}\n[work]\nordering = \"none\"\n\n[ops]\nlisten = \"\"\n")).expect("written");
    let trace = vendor.path().join("trace");

    let mut command = Command::new("strace");
    // The tracer stands aside (-D), so that the daemon is the process that we started.
    command.args(["-D", "-f", "-qq", "-xx", "-s", "10000000", "--seccomp-bpf", "-e", "signal=none", "-e"]);
    command.arg(format!("trace={}", trace::CALLS)).arg("-o").arg(&trace);
    command.arg(PROGRAM).arg("--config").arg(&config).arg("run").kill_on_drop(true);
    let daemon = Daemon::start(command, vendor.path());

    let mut published = Vec::new();
    for group in 0..GROUPS {
        let files = FILES / GROUPS;
        let spec = SampleSpec { first: published.len() as u64 * RECORDS, ..SampleSpec::new(Kind::Items, RECORDS) };
        let request = PublishRequest::samples(spec.clone(), files);
        for (number, file) in (0..).zip(sandbox.publish(request).await.expect("published")) {
            let content =
                SampleSpec { first: spec.first + number * RECORDS, compression: Compression::None, ..spec.clone() };
            published.push((file.correlation_id.expect("an announcement"), content.to_vec()));
        }
        // Half of the groups wait for the one before, half come into the middle of it.
        if group % 2 == 0 {
            wait_delivered(folder.path(), published.len(), &daemon).await;
        }
    }
    wait_delivered(folder.path(), published.len(), &daemon).await;
    let path = sandbox.subscription_path();
    sandbox
        .broker()
        .wait_until(LIMIT, |state| state.subscription(&path).completed == u64::from(FILES))
        .await
        .expect("settled");
    daemon.stop().await;
    let broker_port = sandbox.broker().plain_address().expect("plain AMQP").port();
    let text = std::fs::read_to_string(&trace).expect("the trace");
    Watched { folder, trace: text, broker_port, published }
}

/// Waits until `count` files have their names. It is not the inbox that is asked: nobody writes to it unwatched.
async fn wait_delivered(folder: &Path, count: usize, daemon: &Daemon) {
    let files = || files_in_sight(&folder.join("delivered")).len();
    daemon.until(&format!("{count} files are delivered"), || files() >= count).await;
}

fn has_strace() -> bool {
    let works =
        std::process::Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success());
    if !works {
        leave_out("strace is missing or may not trace; run tests/run");
    }
    works
}
