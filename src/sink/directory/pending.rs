//! A file in the making: hidden until it is whole, synced and renamed into place.
//!
//! Every step goes by directory handles and follows no symbolic link, so a link that somebody put into the folder
//! cannot lead a file out of it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::OwnedMutexGuard;

use crate::fail_point::{FailPoint, reach};
use crate::sink::directory::name::FilePlace;

/// Where files in the making lie, below the sink's folder. One place for all, so that what a crash left behind is
/// found again; on the same file system, so that a rename is atomic.
const INCOMING: &str = ".longshore";

/// How often a temporary file that vanishes between opening and locking is opened again.
const OPEN_TRIES: u32 = 5;

/// After how many seconds without a write a file in the making, which no process holds, is taken for abandoned.
const STALE_AFTER_SECONDS: i64 = 7 * 24 * 3_600;

/// Owner and group; the process's umask may take more away.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);
const FOLDER_MODE: u32 = 0o750;

/// A file in the making. Dropped before [`PendingFile::put_in_place`], it is removed.
pub(super) struct PendingFile {
    file: File,
    root: OwnedFd,
    incoming: OwnedFd,
    name: String,
    is_in_place: bool,
    /// Keeps a second attempt in this process waiting until this one is gone.
    _turn: OwnedMutexGuard<()>,
}

impl PendingFile {
    /// Starts the file of the delivery `identity` anew, whatever an earlier attempt left of it.
    ///
    /// # Errors
    /// `WouldBlock` when another process still writes it.
    pub(super) fn create(root: &Path, identity: &str, turn: OwnedMutexGuard<()>) -> io::Result<Self> {
        let root = open_root(root)?;
        let incoming = open_or_make_folder(&root, INCOMING)?;
        let name = format!("{identity}.part");
        for _ in 0..OPEN_TRIES {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::openat(&incoming, &name, flags, FILE_MODE)?);
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // Between opening and locking, the holder before us may have renamed this very file into place: what
            // is open then is the finished file, which must not be touched.
            if is_same_file(&file, &incoming, &name)? {
                file.set_len(0)?;
                return Ok(Self { file, root, incoming, name, is_in_place: false, _turn: turn });
            }
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "the temporary file keeps being replaced"))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes the file durable and gives it its name, in place of any file of that name.
    pub(super) fn put_in_place(mut self, place: &FilePlace) -> io::Result<()> {
        self.file.sync_all()?;
        let mut chain = vec![self.root.try_clone()?];
        for folder in &place.folders {
            let parent = chain.last().expect("the chain starts with the root");
            chain.push(open_or_make_folder(parent, folder)?);
        }
        let target = chain.last().expect("the chain starts with the root");
        reach(FailPoint::Renaming);
        rustix::fs::renameat(&self.incoming, &self.name, target, &place.file)?;
        self.is_in_place = true;
        reach(FailPoint::Renamed);
        // From the inside out: the file's own entry, then each folder's, which this or another delivery has just made.
        for folder in chain.iter().rev() {
            rustix::fs::fsync(folder)?;
        }
        Ok(())
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.is_in_place
            && let Err(error) = rustix::fs::unlinkat(&self.incoming, &self.name, AtFlags::empty())
        {
            // The next attempt takes the same name and starts it anew, so nothing piles up.
            tracing::debug!(file = %self.name, %error, "an unfinished file could not be removed");
        }
    }
}

/// Removes files in the making that no process holds and that nobody has written to for a week: their deliveries
/// were given up. Returns how many.
pub(super) fn remove_abandoned(root: &Path, now_seconds: i64) -> io::Result<usize> {
    let root = open_root(root)?;
    let incoming = open_or_make_folder(&root, INCOMING)?;
    let mut removed = 0;
    for entry in rustix::fs::Dir::read_from(&incoming)? {
        let entry = entry?;
        if !entry.file_name().to_bytes().ends_with(b".part") {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // What has gone or cannot be opened in the meantime is somebody else's.
        let Ok(file) = rustix::fs::openat(&incoming, entry.file_name(), flags, Mode::empty()) else { continue };
        let is_old = rustix::fs::fstat(&file)?.st_mtime < now_seconds - STALE_AFTER_SECONDS;
        if is_old && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            rustix::fs::unlinkat(&incoming, entry.file_name(), AtFlags::empty())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(root, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(root)?;
            if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
            Ok(rustix::fs::open(root, flags, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}

fn open_or_make_folder(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        opened => return Ok(opened?),
    }
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(FOLDER_MODE)) {
        // Another delivery may have made it in the meantime.
        Ok(()) | Err(Errno::EXIST) => Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?),
        Err(error) => Err(error.into()),
    }
}

fn is_same_file(file: &File, folder: &OwnedFd, name: &str) -> io::Result<bool> {
    let open = rustix::fs::fstat(file)?;
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((open.st_dev, open.st_ino) == (named.st_dev, named.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
