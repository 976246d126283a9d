//! Files with accepted values, one a line, read anew when they are replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::secret::Secret;

/// While a secret is rotated two values are accepted; more than a few are a mistake.
pub(super) const VALUES_MAX: usize = 8;

/// A file of secrets is a few lines.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A file that could not be read is tried again for a wrong secret, but not more often than this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Which version of a file was read.
pub(super) type Stamp = (u64, i64, i64, u64);

/// What tells one version of a file from another. A file that is renamed into place is another inode.
///
/// # Errors
/// When the file cannot be looked at.
pub(super) fn stamp(path: &Path) -> std::io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path)?;
    Ok((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

/// The accepted values of a file.
///
/// # Errors
/// Why there is none, without showing any.
pub fn read(path: &Path) -> Result<Vec<Secret>, String> {
    let fail = |reason: &str| format!("the secrets in {} cannot be used: {reason}", path.display());
    let size = std::fs::metadata(path).map_err(|error| fail(&error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(fail("the file is too large"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(&error.to_string()))?;
    let values: Vec<Secret> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Secret::new).collect();
    match values.len() {
        0 => Err(fail("there is none in it; write one a line")),
        1..=VALUES_MAX => Ok(values),
        _ => Err(fail(&format!("there are more than {VALUES_MAX} lines"))),
    }
}

/// A file of secrets that is watched.
#[derive(Debug)]
pub(super) struct Watched<T> {
    path: PathBuf,
    make: fn(&Secret) -> T,
    loaded: ArcSwap<Loaded<T>>,
}

#[derive(Debug)]
struct Loaded<T> {
    stamp: Option<Stamp>,
    looked: Option<Instant>,
    values: Arc<Vec<T>>,
}

impl<T> Watched<T> {
    /// Nothing is read before the first [`Watched::refresh`]; until then nothing is accepted.
    pub(super) fn new(path: PathBuf, make: fn(&Secret) -> T) -> Self {
        let loaded = Loaded { stamp: None, looked: None, values: Arc::default() };
        Self { path, make, loaded: ArcSwap::from_pointee(loaded) }
    }

    /// What is accepted now.
    pub(super) fn values(&self) -> Arc<Vec<T>> {
        Arc::clone(&self.loaded.load().values)
    }

    /// Reads the file anew if it is another than before. What cannot be read leaves the earlier values in force.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn refresh(&self) -> Result<(), String> {
        let looked = Some(Instant::now());
        let found = stamp(&self.path).map_err(|error| format!("{} cannot be read: {error}", self.path.display()));
        let before = self.loaded.load();
        let found = match found {
            Ok(found) if before.stamp == Some(found) => {
                let values = Arc::clone(&before.values);
                self.loaded.store(Arc::new(Loaded { stamp: before.stamp, looked, values }));
                return Ok(());
            }
            found => found,
        };
        let read = found.and_then(|found| Ok((found, read(&self.path)?)));
        let (stamp, values, result) = match read {
            Ok((stamp, values)) => (Some(stamp), Arc::new(values.iter().map(self.make).collect()), Ok(())),
            Err(error) => (None, Arc::clone(&before.values), Err(error)),
        };
        self.loaded.store(Arc::new(Loaded { stamp, looked, values }));
        result
    }

    /// Whether `holds` of what is accepted. If it does not, the file may have been replaced since it was read, and a
    /// sender that shows a new value this early is accepted: each wrong value costs one look at the file's time, as
    /// compared with the version that it was held against, whoever reads the new one first.
    pub(super) fn accepts(&self, holds: impl Fn(&[T]) -> bool) -> bool {
        let before = self.loaded.load_full();
        if holds(&before.values) {
            return true;
        }
        match before.stamp {
            Some(seen) if stamp(&self.path).is_ok_and(|found| found == seen) => return false,
            None if before.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN) => {}
            // Why it cannot be read is told by the loop that reads it every so often.
            _ => drop(self.refresh()),
        }
        holds(&self.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_value_is_accepted_at_once_by_whoever_asks_first_and_by_all_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "old\n").expect("written");
        let watched = Watched::new(path.clone(), |secret| secret.expose().to_owned());
        watched.refresh().expect("read");
        let accepts = |shown: &str| watched.accepts(|values| values.iter().any(|value| value == shown));
        assert!(accepts("old") && !accepts("new"), "it was looked at a moment ago");
        std::fs::write(&path, "new\nold\n").expect("written");
        // Another one reads the file between the first comparison and the look of this one.
        let is_first = std::cell::Cell::new(true);
        let late = watched.accepts(|values| {
            if is_first.replace(false) {
                assert!(!values.iter().any(|value| value == "new") && accepts("new"));
                return false;
            }
            values.iter().any(|value| value == "new")
        });
        assert!(late && accepts("new") && accepts("old"));
    }

    #[test]
    fn a_replaced_file_is_read_anew_and_a_broken_one_leaves_the_old_values_in_force() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let watched = Watched::new(path.clone(), |secret| secret.expose().to_owned());
        assert!(watched.refresh().is_err());
        assert!(watched.values().is_empty());
        std::fs::write(&path, "one\n").expect("written");
        watched.refresh().expect("read");
        assert_eq!(*watched.values(), ["one"]);
        std::fs::write(&path, "two \r\n\n one\n").expect("written");
        watched.refresh().expect("read");
        assert_eq!(*watched.values(), ["two", "one"]);
        std::fs::write(&path, "\n").expect("written");
        assert!(watched.refresh().is_err());
        assert_eq!(*watched.values(), ["two", "one"]);
        // A broken file stays a trouble until it is mended.
        assert!(watched.refresh().is_err());
    }
}
