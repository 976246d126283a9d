//! The real program, started and ended by a test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::{net, wait};

/// No test waits longer for anything.
pub const LIMIT: Duration = Duration::from_secs(180);

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_longshore");

/// `longshore` with these arguments alone, whatever the environment of the tests says.
pub fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    for variable in ["CREDENTIALS_DIRECTORY", "LONGSHORE_LOG_LEVEL", "LONGSHORE_LOG_FORMAT"] {
        command.env_remove(variable);
    }
    command
}

/// `longshore` with the configuration `config`.
pub fn command(config: &Path, args: &[&str]) -> Command {
    let mut command = bare(&["--config"]);
    command.arg(config).args(args);
    command
}

/// Runs a command to its end.
pub async fn output(mut command: Command) -> Output {
    wait::in_time(&format!("{command:?} has ended"), command.output()).await.expect("it runs")
}

/// Runs `longshore` to its end, which is a good one, and returns what it printed.
pub async fn say(config: &Path, args: &[&str]) -> String {
    let output = output(command(config, args)).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "longshore {args:?} ended with {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Runs `longshore` to its end; how it ended, and what it printed.
pub async fn try_say(config: &Path, args: &[&str]) -> (ExitStatus, String) {
    let output = output(command(config, args)).await;
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (output.status, said.concat())
}

/// Sends a signal to a process that was not waited for.
pub fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    kill_process(pid, signal).expect("it is ours");
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

    pub fn signal(&self, which: Signal) {
        signal(&self.child, which);
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log")
    }

    /// What `waiting` comes to; where it comes to nothing, the log may say why.
    pub async fn in_time<T>(&self, what: &str, waiting: impl Future<Output = T>) -> T {
        let waited = tokio::time::timeout(LIMIT, waiting).await;
        waited.unwrap_or_else(|_| panic!("waited in vain until {what}; the log:\n{}", self.log()))
    }

    /// Waits until `is_so`.
    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        self.in_time(what, wait::looking(async || is_so())).await;
    }

    /// Waits until it has logged `text`.
    pub async fn says(&self, text: &str) {
        self.repeats(text, 1).await;
    }

    /// Waits until it has logged `text` so often.
    pub async fn repeats(&self, text: &str, times: usize) {
        let what = format!("it says {text:?}, {times} times");
        self.until(&what, || self.log().matches(text).count() >= times).await;
    }

    /// Waits until it listens on `address`.
    pub async fn listens(&self, address: SocketAddr) {
        self.in_time("it listens", net::listening(address)).await;
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
