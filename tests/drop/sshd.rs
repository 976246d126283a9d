//! OpenSSH's own server on loopback, with keys of its own; whoever runs the tests logs in.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::common::net::free_address;
use crate::common::peers::leave_out;
use crate::common::wait::in_time;

const PROGRAM: &str = "/usr/sbin/sshd";

pub struct Sshd {
    pub port: u16,
    /// The fingerprint of its key.
    pub fingerprint: String,
    folder: tempfile::TempDir,
    user: String,
    _child: Child,
}

impl Sshd {
    /// `None` where it is not installed: the test is left out, and says so.
    pub async fn start() -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            leave_out(&format!("{PROGRAM} is missing; install openssh-server"));
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("drop")).expect("a folder");
        for key in ["host", "user", "other"] {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path(key).display().to_string()]).await;
        }
        std::fs::copy(path("user.pub"), path("authorized")).expect("copied");
        let fingerprint = run("ssh-keygen", &["-lf", &path("host.pub").display().to_string()]).await;
        let fingerprint = fingerprint.split_whitespace().nth(1).expect("a fingerprint").to_owned();
        let user = run("id", &["-un"]).await.trim().to_owned();
        if user == "root" {
            std::fs::create_dir_all("/run/sshd").expect("a folder");
        }
        // sshd cannot choose a port by itself.
        let port = free_address().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             Subsystem sftp internal-sftp\nMaxStartups 100\n",
            path("host").display(),
            path("authorized").display()
        );
        std::fs::write(path("config"), config).expect("written");
        let mut child = Command::new(PROGRAM)
            .args(["-D", "-e", "-f"])
            .arg(path("config"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("sshd starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("readable") {
                if line.contains("Server listening") {
                    return;
                }
                eprintln!("sshd: {line}");
            }
            panic!("sshd ended before it listened");
        };
        in_time("sshd listens", listening).await;
        // A full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { port, fingerprint, folder, user, _child: child })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in the folder that is dropped into.
    pub fn drop(&self, name: &str) -> PathBuf {
        self.path("drop").join(name)
    }

    /// Its address by way of `port`.
    pub fn source(&self, port: u16) -> String {
        format!("sftp://{}@127.0.0.1:{port}{}", self.user, self.path("drop").display())
    }

    /// The keys of a feed that knows it, and `more`.
    pub fn keys(&self, more: &str) -> String {
        let key = self.path("user").display().to_string();
        format!("key_file = {key:?}\nhost_keys = [{:?}]\n{more}\n", self.fingerprint)
    }
}

async fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().await.expect("it runs");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
