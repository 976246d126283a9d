//! The servers of `tests/peers`: scripts for Python libraries that we did not write.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::peers::{package, peer};
use super::wait::in_time;

/// A running script; it is killed when this is dropped.
pub struct Script {
    /// The first line that it printed: it listens.
    pub first: String,
    more: watch::Receiver<Vec<String>>,
    _child: Child,
}

impl Script {
    /// `None` where the library is not installed.
    pub async fn start(script: &str, library: &str, args: &[&OsStr]) -> Option<Self> {
        let python = peer("venv/bin/python")?;
        package(library)?;
        let mut child = Command::new(python)
            .arg(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers")).join(script))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = in_time("the script listens", lines.next_line()).await.expect("readable").expect("it listens");
        // Read to the end: a full pipe would stop it.
        let (sender, more) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|lines| lines.push(line));
            }
        });
        Some(Self { first, more, _child: child })
    }

    /// Waits until it has printed this line.
    pub async fn says(&self, line: &str) {
        let mut more = self.more.clone();
        let said = more.wait_for(|lines| lines.iter().any(|said| said == line));
        drop(in_time(&format!("the script says {line:?}"), said).await.expect("it runs"));
    }
}

/// asyncssh's SFTP server, which lets in by a password; OpenSSH's own looks at the machine's users.
pub struct Sftp {
    pub port: u16,
    pub fingerprint: String,
    folder: tempfile::TempDir,
    script: Script,
}

impl Sftp {
    /// `manner` is how it asks for the password, or treats it.
    pub async fn start(manner: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let script = Script::start("python_sftp.py", "asyncssh", &[folder.path().as_ref(), manner.as_ref()]).await?;
        let (port, fingerprint) = script.first.split_once(' ').expect("a port and a fingerprint");
        Some(Self { port: port.parse().expect("a port"), fingerprint: fingerprint.to_owned(), folder, script })
    }

    /// A file in its folder.
    pub fn drop(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until a password was shown to it.
    pub async fn asked(&self) {
        self.script.says("asked").await;
    }
}
