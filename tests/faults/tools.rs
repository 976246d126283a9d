//! A world whose inbox lies where the test wants it, a disk that the test can fill, and system calls that fail.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use longshore::ops::ask::{self, Told};
use longshore::ops::health::Condition;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::world::{Daemon, LIMIT, World};

/// Says what is left out; in CI nothing may be.
pub fn leave_out(why: &str) {
    eprintln!("LEFT OUT: {why}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "left out in CI: {why}");
}

/// A world whose daemon says on `listen` how it is.
pub struct Watched {
    pub world: World,
    listen: SocketAddr,
}

impl Watched {
    /// With the inbox in `folder`, or else beside the configuration.
    pub async fn new(folder: Option<&Path>, more: &str) -> Self {
        let world = World::new(more).await;
        // Free now, and not given out again soon: the system hands out others first.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = free.local_addr().expect("its address");
        let mut text = std::fs::read_to_string(&world.config).expect("the configuration");
        text = text.replace("listen = \"\"", &format!("listen = \"{listen}\""));
        if let Some(folder) = folder {
            text = text.replace("path = \"inbox.db\"", &format!("path = \"{}/inbox.db\"", folder.display()));
        }
        std::fs::write(&world.config, text).expect("the configuration");
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
        let mut last = None;
        let waiting = async {
            let mut looks = tokio::time::interval(Duration::from_millis(100));
            loop {
                looks.tick().await;
                last = ask::ask(self.listen).await;
                if last.as_ref().is_some_and(&is_so) {
                    return;
                }
            }
        };
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

fn mount(args: &[&str]) -> bool {
    Command::new("mount").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|end| end.success())
}

/// A mounted folder; unmounted when this is dropped.
pub struct Mounted {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Mounted {
    /// A small disk in memory. `None` where it may not be mounted.
    pub fn tmpfs(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        let size = format!("size={bytes}");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs", path.to_str()?]).then_some(Self { path, _folder: folder })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From here on nothing in it can be opened for writing.
    pub fn make_read_only(&self) {
        let path = self.path.to_str().expect("a path");
        assert!(mount(&["-o", "remount,ro", path]), "nobody has a file of it open");
    }

    /// Takes all the room that is left; the returned file gives it back.
    pub fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let path = self.path.join("filler");
        let mut file = std::fs::File::create(&path).expect("a file");
        for piece in [&[0_u8; 4096][..], &[0]] {
            while file.write_all(piece).is_ok() {}
        }
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a file of a daemon that is just ending may still be open.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
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
            let status = format!("/proc/{pid}/status");
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            loop {
                looks.tick().await;
                let status = std::fs::read_to_string(&status).unwrap_or_default();
                if status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")) {
                    return;
                }
            }
        };
        tokio::select! {
            _ = refused => None,
            attached = tokio::time::timeout(LIMIT, attached) => {
                attached.expect("strace attaches in time");
                Some(Self(strace))
            }
        }
    }

    /// Lets them succeed again.
    pub async fn end(mut self) {
        let pid = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        kill_process(pid, Signal::INT).expect("it is ours");
        tokio::time::timeout(LIMIT, self.0.wait()).await.expect("in time").expect("it ended");
    }
}
