//! The whole program, as the real binary: the memory that it holds while idle and at most while it delivers one large
//! file, and the processor time that it takes while it has nothing to do.
//!
//! The vendor's side, the sandbox, runs in the benchmark's own process, all of it over TLS.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::clock::SystemClock;
use longshore::config::{Config, Files};
use longshore::inbox::ledger::{Ledger, Summary};
use longshore::inbox::{Inbox, SqliteInbox};
use longshore::ops::Condition;
use longshore::sandbox::sample::RepeatedSpec;
use longshore::sandbox::{FileSource, PublishRequest, Sandbox, SandboxSettings};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::Result;

/// Overrides how long the large file is, decompressed, in bytes.
const FILE_BYTES: &str = "LONGSHORE_BENCH_FILE_BYTES";
const FILE_BYTES_DEFAULT: u64 = 10_000_000_000;
const WORKERS: usize = 4;

/// For how long the idle daemon is watched: long enough for what it does every few seconds.
const IDLE: Duration = Duration::from_secs(20);
/// Connecting, and ending, take no longer.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// A delivery slower than this is given up.
const BYTES_PER_S_MIN: u64 = 10_000_000;
/// Linux shows times in this unit everywhere, whatever the kernel counts in (proc(5), `USER_HZ`).
const TICK_MS: f64 = 10.0;

pub struct Figures {
    /// With the Service Bus feed.
    pub idle_rss_mib: f64,
    /// With a bucket, a webhook and a drop as well.
    pub idle_four_feeds_rss_mib: f64,
    /// The part of it that is no page of the program's own file; the kernel can drop those at any time.
    pub idle_own_mib: f64,
    pub idle_cpu_ms_per_s: f64,
    pub file_mib: f64,
    pub mb_per_s: f64,
    pub big_file_rss_mib: f64,
    pub after_rss_mib: f64,
}

pub async fn figures() -> Result<Figures> {
    // Beside the target folder and not in the temporary one, which may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let settings = SandboxSettings { blob_tls: true, broker_tls: true, ..SandboxSettings::new(folder.path()) };
    let sandbox = Sandbox::start(settings).await?;
    let idle_four_feeds_rss_mib = idle_with_four_feeds(folder.path(), &sandbox).await?;
    let daemon = Daemon::start(folder.path(), &sandbox.configuration())?;

    daemon.wait("the feed is connected", STEP_LIMIT, is_connected).await?;
    let cpu_before = daemon.cpu_ms()?;
    tokio::time::sleep(IDLE).await;
    let idle_cpu_ms_per_s = (daemon.cpu_ms()? - cpu_before) / IDLE.as_secs_f64();
    let idle_rss_mib = daemon.status_mib("VmRSS")?;
    let idle_own_mib = daemon.status_mib("RssAnon")?;

    let file_bytes = file_bytes()?;
    let spec = RepeatedSpec { decompressed_bytes: file_bytes, ..RepeatedSpec::default() };
    let started = Instant::now();
    sandbox.publish(PublishRequest::new(FileSource::Repeated(spec))).await?;
    let limit = STEP_LIMIT + Duration::from_secs(file_bytes / BYTES_PER_S_MIN);
    let summary = daemon.wait("the file is delivered", limit, |summary| summary.notices.finished == 1).await?;
    let seconds = started.elapsed().as_secs_f64();
    let done = summary.last_day;
    if done.bytes < file_bytes || done.counts.delivered != done.counts.read {
        return Err(format!("the file was not delivered whole: {done:?}").into());
    }

    let figures = Figures {
        idle_rss_mib,
        idle_four_feeds_rss_mib,
        idle_own_mib,
        idle_cpu_ms_per_s,
        file_mib: mib(done.bytes),
        mb_per_s: done.bytes as f64 / 1e6 / seconds,
        big_file_rss_mib: daemon.status_mib("VmHWM")?,
        after_rss_mib: daemon.status_mib("VmRSS")?,
    };
    daemon.stop().await?;
    sandbox.stop().await;
    Ok(figures)
}

async fn idle_with_four_feeds(folder: &Path, sandbox: &Sandbox) -> Result<f64> {
    let more = [sandbox.configuration_of_bucket(), sandbox.configuration_of_webhook(), sandbox.configuration_of_drop()];
    let more = format!("{}\n[[route]]", more.join("\n"));
    let text = sandbox.configuration().replace("\"inbox.db\"", "\"four.db\"").replace("[[route]]", &more);
    let daemon = Daemon::start(folder, &text)?;
    daemon.wait("a feed is connected", STEP_LIMIT, is_connected).await?;
    tokio::time::sleep(IDLE).await;
    let rss_mib = daemon.status_mib("VmRSS")?;
    daemon.stop().await?;
    Ok(rss_mib)
}

fn file_bytes() -> Result<u64> {
    match std::env::var(FILE_BYTES) {
        Ok(text) => text.parse().map_err(|error| format!("{FILE_BYTES} is {text:?}: {error}").into()),
        Err(_) => Ok(FILE_BYTES_DEFAULT),
    }
}

fn is_connected(summary: &Summary) -> bool {
    let parts = summary.daemons.iter().flat_map(|daemon| &daemon.parts);
    let mut feeds = parts.filter(|part| part.name.starts_with("feed"));
    feeds.any(|part| matches!(part.condition, Condition::Good { .. }))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// `longshore run` in a process of its own.
struct Daemon {
    child: Child,
    pid: Pid,
    config: PathBuf,
    log: PathBuf,
}

impl Daemon {
    fn start(folder: &Path, text: &str) -> Result<Self> {
        let (config, log) = (folder.join("daemon.toml"), folder.join("daemon.log"));
        let more = format!("[work]\nworkers = {WORKERS}\n\n[ops]\nlisten = \"127.0.0.1:0\"\n");
        std::fs::write(&config, format!("{text}\n{more}"))?;
        let child = Command::new(env!("CARGO_BIN_EXE_longshore"))
            .arg("--config")
            .arg(&config)
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).ok_or("the daemon ended at once")?;
        Ok(Self { child, pid, config, log })
    }

    /// Waits until `reached` holds of the inbox, which is let go afterwards.
    async fn wait(&self, what: &str, limit: Duration, reached: impl Fn(&Summary) -> bool) -> Result<Summary> {
        let config = Config::load(&self.config, Files::Checked)?;
        let inbox = SqliteInbox::open(&config.inbox, Arc::new(SystemClock))?;
        let waiting = async {
            loop {
                let summary = inbox.summary().await?;
                if reached(&summary) {
                    return Ok(summary);
                }
                inbox.changed().await;
            }
        };
        match tokio::time::timeout(limit, waiting).await {
            Ok(summary) => summary,
            Err(_) => Err(format!("waited in vain until {what}; the daemon's log:\n{}", self.log()).into()),
        }
    }

    /// A line of `/proc/PID/status`, which gives memory in KiB.
    fn status_mib(&self, key: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib =
            line.and_then(|line| line.split_whitespace().next()).ok_or_else(|| format!("no {key} in {status}"))?;
        Ok(mib(kib.parse::<u64>()? << 10))
    }

    /// The processor time that it has taken so far, in its own code and in the kernel's.
    fn cpu_ms(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero()))?;
        // The second field is the name in parentheses, which may hold anything; utime is the fourteenth, stime the next.
        let after_name = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?.1;
        let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(ticks.sum::<std::result::Result<u64, _>>()? as f64 * TICK_MS)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_else(|error| format!("the log cannot be read: {error}"))
    }

    async fn stop(mut self) -> Result<()> {
        kill_process(self.pid, Signal::TERM)?;
        let status = tokio::time::timeout(STEP_LIMIT, self.child.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("the daemon ended with {status}:\n{}", self.log()).into()) }
    }
}
