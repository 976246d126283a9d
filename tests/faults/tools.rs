//! A world whose inbox lies where the test wants it, and system calls that fail.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use longshore::ops::ask::{self, Told};
use longshore::ops::health::Condition;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::common::net::free_address;
use crate::common::process::{self, Daemon, LIMIT};
use crate::common::vendor::World;
use crate::common::wait::{in_time, looking};

/// A world whose daemon says on `listen` how it is.
pub struct Watched {
    pub world: World,
    listen: SocketAddr,
}

impl Watched {
    /// With the inbox in `folder`, or else beside the configuration.
    pub async fn new(folder: Option<&Path>, more: &str) -> Self {
        let world = World::new(more).await;
        let listen = free_address();
        world.tell_on(&listen.to_string());
        if let Some(folder) = folder {
            let path = format!("path = \"{}/inbox.db\"", folder.display());
            world.reconfigure(|text| text.replace("path = \"inbox.db\"", &path));
        }
        Self { world, listen }
    }

    /// Waits until the daemon says that a part of it is degraded for `reason`.
    pub async fn wait_degraded(&self, daemon: &Daemon, reason: &str) {
        let is_so = |told: &Told| {
            let parts = told.parts.iter();
            parts.into_iter().any(|part| match &part.condition {
                Condition::Degraded { reason: said } => said.contains(reason),
                _ => false,
            })
        };
        self.wait_told(daemon, reason, is_so).await;
    }

    /// Waits until the daemon says of no part that it is degraded.
    pub async fn wait_good(&self, daemon: &Daemon) {
        let is_good = |told: &Told| told.parts.iter().all(|part| !matches!(part.condition, Condition::Degraded { .. }));
        self.wait_told(daemon, "all is well", is_good).await;
    }

    async fn wait_told(&self, daemon: &Daemon, what: &str, is_so: impl Fn(&Told) -> bool) {
        let last = RefCell::new(None);
        let waiting = looking(async || {
            let told = ask::ask(self.listen).await;
            let is_there = told.as_ref().is_some_and(&is_so);
            *last.borrow_mut() = told;
            is_there
        });
        if tokio::time::timeout(LIMIT, waiting).await.is_err() {
            panic!("waited in vain until {what}: {last:#?}\n{}", daemon.log());
        }
    }

    /// How many messages the broker was told of.
    pub async fn wait_settled(&self, count: u64) {
        let words = format!("completed: {count}");
        let settled = move |state: &longshore::sandbox::broker::BrokerState| format!("{state:?}").contains(&words);
        self.world.sandbox.broker().wait_until(LIMIT, settled).await.expect("settled in time");
    }
}

/// Whether each thread of the process is traced: they are attached one by one.
fn is_traced(pid: &str) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let statuses = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
    let is_traced =
        |status: String| status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"));
    statuses.map(is_traced).reduce(|all, one| all && one).unwrap_or(false)
}

/// System calls of a daemon that fail, by `strace`.
pub struct Failing(tokio::process::Child);

impl Failing {
    /// Lets `calls` of `daemon` fail with `error`. `None` where that cannot be done.
    pub async fn start(daemon: &Daemon, calls: &str, error: &str) -> Option<Self> {
        let pid = daemon.id().expect("it runs").to_string();
        let mut strace = tokio::process::Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("trace={calls}"))
            .arg("-e")
            .arg(format!("inject={calls}:error={error}"))
            .args(["-p", &pid])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let mut said = BufReader::new(strace.stderr.take().expect("piped")).lines();
        // With -qq it says nothing when it is attached; a refusal ends it.
        let refused = async { said.next_line().await.ok().flatten() };
        let attached = async {
            looking(async || is_traced(&pid)).await;
        };
        tokio::select! {
            _ = refused => None,
            () = in_time("strace is attached", attached) => Some(Self(strace)),
        }
    }

    /// Lets them succeed again.
    pub async fn end(mut self) {
        process::signal(&self.0, Signal::INT);
        in_time("strace has ended", self.0.wait()).await.expect("it ended");
    }
}
