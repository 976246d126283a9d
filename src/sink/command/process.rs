//! One run of a program: started in a process group of its own, fed, listened to, and ended in time.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

use crate::sink::CommandSettings;

/// Bytes of standard error that are kept: the last ones, where programs say why they gave up.
const LAST_WORDS_BYTES: usize = 2_048;
/// Lines of them that are shown.
const LAST_WORDS_LINES: usize = 5;

/// How long the output of a program that has ended is still read. It ends by itself then, unless the program left
/// another one behind that keeps it open.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// How long a killed program is waited for.
const KILLED_WAIT: Duration = Duration::from_secs(5);

/// How a program ended.
pub(super) enum Ended {
    Exited { status: ExitStatus, last_words: String },
    OutOfTime { last_words: String },
}

/// Runs the program on `lines`; when this is dropped, its process group is killed.
pub(super) async fn run(
    settings: &CommandSettings,
    variables: Vec<(&'static str, String)>,
    lines: Bytes,
) -> io::Result<Ended> {
    let mut command = Command::new(&settings.command[0]);
    command.args(&settings.command[1..]).env_clear();
    for name in ["PATH"].into_iter().chain(settings.environment.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(variables);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut group = Group::of(&child);
    let taken = "was asked for as a pipe, and is taken once";
    let (stdin, stdout, stderr) =
        (child.stdin.take().expect(taken), child.stdout.take().expect(taken), child.stderr.take().expect(taken));

    // All three streams move at the same time as the program: whichever it neglects, it cannot block on another.
    // They stop being served a moment after the program has ended, because what it left behind may hold them open.
    let mut last_words = Tail::default();
    let mut ended = None;
    let streams = async { tokio::join!(feed(stdin, lines), drain(stdout, None), drain(stderr, Some(&mut last_words))) };
    {
        tokio::pin!(streams);
        let mut streams_open = true;
        let timer = tokio::time::sleep(settings.timeout);
        tokio::pin!(timer);
        loop {
            tokio::select! {
                status = child.wait() => {
                    ended = Some(status?);
                    group.disarm();
                    break;
                }
                _ = &mut streams, if streams_open => streams_open = false,
                () = &mut timer => {
                    group.kill();
                    // It may have left the group. Where it cannot be ended at all, it is not waited for.
                    let _ = child.start_kill();
                    let _ = tokio::time::timeout(KILLED_WAIT, child.wait()).await;
                    group.disarm();
                    break;
                }
            }
        }
        if streams_open {
            // Whether or not they end in time, what was said until now is kept.
            let _ = tokio::time::timeout(LAST_WORDS_WAIT, &mut streams).await;
        }
    }
    let last_words = last_words.text();
    Ok(match ended {
        Some(status) => Ended::Exited { status, last_words },
        None => Ended::OutOfTime { last_words },
    })
}

async fn feed(mut stdin: ChildStdin, lines: Bytes) {
    // A program may end, or close its input, without reading all of it: its exit code says whether that is right.
    let _ = stdin.write_all(&lines).await;
    let _ = stdin.shutdown().await;
}

async fn drain(mut stream: impl AsyncRead + Unpin, mut keep: Option<&mut Tail>) {
    let mut buffer = [0; 8_192];
    // A pipe that fails to be read has ended as far as we are concerned.
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if let Some(tail) = &mut keep {
            tail.push(&buffer[..read]);
        }
    }
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(&bytes[bytes.len().saturating_sub(LAST_WORDS_BYTES)..]);
        let surplus = self.0.len().saturating_sub(LAST_WORDS_BYTES);
        self.0.drain(..surplus);
    }

    /// The last lines, on one line.
    fn text(mut self) -> String {
        let text = String::from_utf8_lossy(self.0.make_contiguous()).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LAST_WORDS_LINES)..].join(" | ");
        last.chars().filter(|c| !c.is_control()).collect()
    }
}

/// The process group of a child that has not been waited for: its number cannot belong to another yet.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            // Fails only when every process of the group is gone, which is what is wanted.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }

    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The file that starting `program` would run, if there is one.
pub(super) fn find_program(program: &str) -> Option<PathBuf> {
    let can_run = |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| can_run(path));
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| can_run(path))
}
