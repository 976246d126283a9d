//! The real program, started and ended by a test, and the files that it delivered.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// No test waits longer for anything.
pub const LIMIT: Duration = Duration::from_secs(90);

/// `longshore` with the configuration `config`.
pub fn command(config: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.arg("--config").arg(config).args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs `longshore` to its end and returns what it printed.
pub async fn say(config: &Path, args: &[&str]) -> String {
    let output = tokio::time::timeout(LIMIT, command(config, args).output()).await.expect("in time").expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "longshore {args:?} ended with {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Runs `longshore` to its end; how it ended, and what it printed.
pub async fn try_say(config: &Path, args: &[&str]) -> (ExitStatus, String) {
    let output = tokio::time::timeout(LIMIT, command(config, args).output()).await.expect("in time").expect("it runs");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (output.status, said.concat())
}

/// Every file below `folder` that is in sight, in order; those that begin with a dot are not.
pub fn files_in_sight(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// A running `longshore`.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, whose log goes to a file in `folder`.
    pub fn start(mut command: Command, folder: &Path) -> Self {
        let (file, log) = tempfile::Builder::new()
            .prefix("log-")
            .tempfile_in(folder)
            .expect("a log")
            .keep()
            .expect("the log stays as long as its folder");
        let child = command.stdout(Stdio::null()).stderr(file).spawn().expect("the daemon starts");
        Self { child, log }
    }

    /// Its process; none once it was waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        kill_process(pid, signal).expect("it is ours");
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log")
    }

    /// Waits until it has logged `text`.
    pub async fn says(&self, text: &str) {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let waiting = async {
            while !self.log().contains(text) {
                looks.tick().await;
            }
        };
        if tokio::time::timeout(LIMIT, waiting).await.is_err() {
            panic!("it does not say {text:?}; its log:\n{}", self.log());
        }
    }

    /// Waits for its end.
    pub async fn end(mut self) -> (ExitStatus, String) {
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await;
        let log = self.log();
        let status = status.unwrap_or_else(|_| panic!("it does not end; its log:\n{log}")).expect("it ended");
        (status, log)
    }

    /// Asks it to stop, and holds that it ends well.
    pub async fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, log) = self.end().await;
        assert!(status.success(), "ended with {status}:\n{log}");
        log
    }

    /// Ends it without any notice.
    pub async fn kill(self) {
        self.signal(Signal::KILL);
        self.end().await;
    }
}
