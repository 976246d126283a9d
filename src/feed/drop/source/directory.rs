//! A folder of this machine as a source. Links are not followed out of it: a dropped link is no file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::Access;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::contract::{Goal, Listed, ReadEnd, Receive, Source, SourceError, Stamp};
use crate::probe::{Finding, Step};

const READ_BYTES: usize = 256 << 10;

/// An open folder.
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Sees that the folder is there.
    pub(super) async fn open(path: &Path) -> Result<Self, SourceError> {
        let found = tokio::fs::metadata(path).await.map_err(|error| of_io(path, &error))?;
        if !found.is_dir() {
            return Err(SourceError::trouble(path.display().to_string(), "it is no folder"));
        }
        Ok(Self { path: path.to_owned() })
    }
}

fn of_io(path: &Path, error: &io::Error) -> SourceError {
    let object = path.display().to_string();
    if error.kind() == io::ErrorKind::PermissionDenied {
        let remedy = "let the user who runs Longshore read it, and write its folder if files are moved or deleted";
        return SourceError::Refused { object, reason: error.to_string(), remedy: remedy.to_owned() };
    }
    SourceError::trouble(object, error)
}

/// Inode and change time tell a file that was put in another's place with its size and time.
fn stamp(found: &std::fs::Metadata) -> Stamp {
    Stamp {
        size: found.len(),
        modified_ms: Some(found.mtime() * 1_000 + found.mtime_nsec() / 1_000_000),
        tag: format!("{:x}-{:x}.{:x}", found.ino(), found.mtime(), found.mtime_nsec()),
    }
}

#[async_trait]
impl Source for Directory {
    async fn list(&mut self, files_max: usize) -> Result<Vec<Listed>, SourceError> {
        let fail = |error: io::Error| of_io(&self.path, &error);
        let mut listed = Vec::new();
        let mut folder = tokio::fs::read_dir(&self.path).await.map_err(fail)?;
        while let Some(entry) = folder.next_entry().await.map_err(fail)? {
            if listed.len() == files_max {
                break;
            }
            // A name that is no text cannot be told to anybody; the sender is to choose another.
            let Ok(name) = entry.file_name().into_string() else {
                tracing::warn!(folder = %self.path.display(), name = ?entry.file_name(), "a file's name is not UTF-8");
                continue;
            };
            match tokio::fs::symlink_metadata(entry.path()).await {
                Ok(found) if found.is_file() => listed.push(Listed { name, stamp: stamp(&found) }),
                Ok(_) => {}
                // Renamed or deleted between the two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(of_io(&entry.path(), &error)),
            }
        }
        Ok(listed)
    }

    async fn stat(&mut self, name: &str) -> Result<Option<Stamp>, SourceError> {
        let path = self.path.join(name);
        match tokio::fs::symlink_metadata(&path).await {
            Ok(found) => Ok(found.is_file().then(|| stamp(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(of_io(&path, &error)),
        }
    }

    async fn read(&mut self, file: &Listed, into: &mut dyn Receive) -> Result<ReadEnd, SourceError> {
        let path = self.path.join(&file.name);
        let fail = |error: io::Error| of_io(&path, &error);
        let mut file = tokio::fs::OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .await
            .map_err(fail)?;
        let mut piece = vec![0; READ_BYTES];
        loop {
            let count = file.read(&mut piece).await.map_err(fail)?;
            if count == 0 {
                return Ok(ReadEnd::Whole);
            }
            into.take(&piece[..count]).await?;
        }
    }

    async fn delete(&mut self, name: &str) -> Result<(), SourceError> {
        let path = self.path.join(name);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(of_io(&path, &error)),
            _ => Ok(()),
        }
    }

    async fn move_to(&mut self, name: &str, goal: &Goal<'_>) -> Result<(), SourceError> {
        let Goal { folder, other, .. } = *goal;
        let from = self.path.join(name);
        let folder = self.path.join(folder);
        tokio::fs::create_dir_all(&folder).await.map_err(|error| of_io(&folder, &error))?;
        for to in [folder.join(name), folder.join(other)] {
            let (from, goal) = (from.clone(), to.clone());
            // Without replacing: what an earlier day left there stays.
            let moved = tokio::task::spawn_blocking(move || {
                let here = rustix::fs::CWD;
                rustix::fs::renameat_with(here, &from, here, &goal, rustix::fs::RenameFlags::NOREPLACE)
            });
            match moved.await.map_err(|error| SourceError::trouble(name, error))? {
                Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(of_io(&to, &error.into())),
            }
        }
        // Both names are taken, the second by the same content: an earlier move was cut off after it.
        self.delete(name).await
    }
}

/// Whether the folder can be read, and if `writes`, whether files can be taken out of it.
pub(super) async fn probe(path: &Path, writes: bool) -> Vec<Step> {
    let began = Instant::now();
    let path = path.to_owned();
    let look = move || -> Vec<Step> {
        let mut steps = vec![step("folder readable", began.elapsed(), readable(&path))];
        if writes {
            let access = rustix::fs::access(&path, Access::WRITE_OK | Access::EXEC_OK);
            let finding = match access {
                Ok(()) => Finding::Good { seen: "files can be moved and deleted".to_owned() },
                Err(error) => Finding::Bad {
                    error: format!("{}: {error}", path.display()),
                    remedy: "let the user who runs Longshore write the folder, or set after = \"leave\"".to_owned(),
                },
            };
            steps.push(step("folder writable", began.elapsed(), finding));
        }
        steps
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

fn readable(path: &Path) -> Finding {
    let count = || -> io::Result<usize> {
        rustix::fs::access(path, Access::READ_OK | Access::EXEC_OK)?;
        Ok(std::fs::read_dir(path)?.count())
    };
    match count() {
        Ok(count) => Finding::Good { seen: format!("{}, {count} names in it", path.display()) },
        Err(error) => Finding::Bad {
            error: format!("{}: {error}", path.display()),
            remedy: "make the folder, and let the user who runs Longshore read it".to_owned(),
        },
    }
}

fn step(name: &str, took: Duration, finding: Finding) -> Step {
    Step { name: name.to_owned(), took, finding }
}
