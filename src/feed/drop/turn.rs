//! Whose turn it is at a spool: the daemon's, or that of somebody who takes a file by hand beside it.
//!
//! ```text
//! turn      held while anything of the spool is changed; its content counts the turns that were taken by hand
//! wanted    held by who takes by hand, from the wait for the turn to its end
//! ```
//!
//! 1. The journal and what else is remembered in a spool is read and changed by one process at a time.
//! 2. By hand goes first: the daemon looks at `wanted` between two files, and begins no turn while that is held. Without
//!    it, a daemon with much to do would take the turn again in the moment in which it lets go of it.
//! 3. Whoever finds that a turn was taken by hand since its own last one reads everything anew.
//!
//! The kernel lets go of both when a process ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::time::Instant;

/// Between two looks whether the turn is free: short beside a copy, and some system calls a second.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// The turns at one spool.
#[derive(Debug)]
pub(super) struct Turns {
    turn: Arc<File>,
    wanted: Arc<File>,
    /// The turns taken by hand that this one knows of.
    known: Option<u64>,
}

/// A turn. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    /// Whether what is remembered has to be read anew.
    pub(super) is_news: bool,
    _turn: Locked,
    _wanted: Option<Locked>,
}

/// A lock on a file.
#[derive(Debug)]
struct Locked(Arc<File>);

impl Locked {
    /// The lock, unless another has it.
    fn try_new(file: &Arc<File>) -> io::Result<Option<Self>> {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(Arc::clone(file)))),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // What cannot be unlocked ends with the process.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl Turns {
    /// The turns at the spool in `folder`, which is there.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(folder.join(name))
                .map(Arc::new)
        };
        Ok(Self { turn: open("turn")?, wanted: open("wanted")?, known: None })
    }

    /// Whether somebody waits to take a file by hand, or is at it.
    pub(super) fn is_wanted(&self) -> io::Result<bool> {
        Ok(Locked::try_new(&self.wanted)?.is_none())
    }

    /// The daemon's turn, as soon as nobody else has it or wants it.
    pub(super) async fn wait(&mut self) -> io::Result<Turn> {
        loop {
            if !self.is_wanted()?
                && let Some(turn) = Locked::try_new(&self.turn)?
            {
                let by_hand = self.by_hand()?;
                let is_news = self.known.replace(by_hand) != Some(by_hand);
                return Ok(Turn { is_news, _turn: turn, _wanted: None });
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// A turn by hand, as soon as the daemon has ended the file that it is at; `None` if that takes longer than `limit`.
    pub(super) async fn wait_by_hand(&mut self, limit: Duration) -> io::Result<Option<Turn>> {
        let until = Instant::now() + limit;
        let mut wanted = None;
        loop {
            if wanted.is_none() {
                wanted = Locked::try_new(&self.wanted)?;
            }
            if wanted.is_some()
                && let Some(turn) = Locked::try_new(&self.turn)?
            {
                // Before anything is changed: also if we are cut off, the daemon knows.
                let by_hand = self.by_hand()? + 1;
                self.turn.write_all_at(&by_hand.to_le_bytes(), 0)?;
                return Ok(Some(Turn { is_news: true, _turn: turn, _wanted: wanted }));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// How many turns were taken by hand.
    fn by_hand(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        match self.turn.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(u64::from_le_bytes(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn by_hand_goes_before_the_daemon_and_the_daemon_knows_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut daemon, mut hand) =
            (Turns::open(folder.path()).expect("ours"), Turns::open(folder.path()).expect("ours"));
        let turn = daemon.wait().await.expect("free");
        assert!(turn.is_news, "nothing is known before the first turn");
        let waiting = tokio::spawn(async move { hand.wait_by_hand(LIMIT).await });
        // Whoever waits is seen, and has the turn as soon as it ends, however soon the daemon wants the next one.
        while !daemon.is_wanted().expect("ours") {
            tokio::task::yield_now().await;
        }
        drop(turn);
        let mut next = Box::pin(daemon.wait());
        assert!(futures::poll!(next.as_mut()).is_pending());
        let by_hand = waiting.await.expect("it ends").expect("ours").expect("its turn");
        assert!(futures::poll!(next.as_mut()).is_pending());
        drop(by_hand);
        assert!(next.as_mut().await.expect("free").is_news);
        drop(next);
        assert!(!daemon.wait().await.expect("free").is_news, "once is enough");
    }

    #[tokio::test]
    async fn two_by_hand_wait_for_each_other_and_not_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut one, mut two) = (Turns::open(folder.path()).expect("ours"), Turns::open(folder.path()).expect("ours"));
        let turn = one.wait_by_hand(LIMIT).await.expect("ours").expect("free");
        assert!(two.wait_by_hand(Duration::ZERO).await.expect("ours").is_none());
        drop(turn);
        assert!(two.wait_by_hand(LIMIT).await.expect("ours").is_some());
    }
}
