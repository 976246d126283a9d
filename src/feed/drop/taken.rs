//! The journal of what was taken: which version of which file, so that a file that stays at the source is not taken
//! again, and one whose move or deletion was cut off is settled without another copy.
//!
//! One JSON object a line, each line synced; the last line of a name counts. A line that was cut off is the last one and
//! is dropped: its file is copied again and found to be a duplicate. Written anew when most of it is history.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::source::Stamp;

/// Lines beyond twice the names that are kept before the journal is written anew.
const HISTORY_LINES: usize = 1_000;

/// Where it is, in the spool.
const FILE: &str = "taken";

/// A file that is missing in so many listings one after the other is gone.
const MISSED_MAX: u32 = 3;

/// What was taken.
#[derive(Debug)]
pub(super) struct Taken {
    path: PathBuf,
    file: File,
    lines: usize,
    names: HashMap<String, Version>,
    /// In how many listings one after the other a name was missing.
    missed: HashMap<String, u32>,
}

/// The version of a file that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) stamp: Stamp,
    /// The SHA-256 of its content.
    pub(super) hash: String,
    /// Whether the source has been told, as far as it is to be told at all.
    pub(super) is_settled: bool,
}

#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    /// `None`: forget it.
    version: Option<Version>,
}

impl Taken {
    /// Reads the journal in `folder`; an absent one is empty.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let names = read(folder)?;
        // Anew, so that no half line is at the end.
        let file = rewrite(&path, &names)?;
        Ok(Self { path, file, lines: names.len(), names, missed: HashMap::new() })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Version> {
        self.names.get(name)
    }

    /// Remembers a version; on disk when this returns.
    pub(super) fn remember(&mut self, name: &str, version: Version) -> io::Result<()> {
        self.append(&Line { name: name.to_owned(), version: Some(version.clone()) })?;
        self.names.insert(name.to_owned(), version);
        Ok(())
    }

    /// Forgets a file that we took away: whatever has its name from now on is another one.
    pub(super) fn forget(&mut self, name: &str) -> io::Result<()> {
        self.append(&Line { name: name.to_owned(), version: None })?;
        self.names.remove(name);
        self.missed.remove(name);
        Ok(())
    }

    /// Forgets the files that the source has no more, so that the journal is no larger than its folder. Not at once: an
    /// FTP listing whose connection broke off looks like one of fewer files, and what is forgotten is taken again.
    pub(super) fn keep_only(&mut self, there: &HashSet<&str>) -> io::Result<()> {
        self.missed.retain(|name, _| !there.contains(name.as_str()));
        let missing: Vec<String> = self.names.keys().filter(|name| !there.contains(name.as_str())).cloned().collect();
        for name in missing {
            let missed = self.missed.entry(name.clone()).or_default();
            *missed += 1;
            if *missed >= MISSED_MAX {
                self.forget(&name)?;
            }
        }
        if self.lines > 2 * self.names.len() + HISTORY_LINES {
            self.file = rewrite(&self.path, &self.names)?;
            self.lines = self.names.len();
        }
        Ok(())
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.lines += 1;
        self.file.sync_data()
    }
}

/// What the journal in `folder` says, and nothing is changed; also while another process writes it. An absent one is
/// empty.
pub(super) fn read(folder: &Path) -> io::Result<HashMap<String, Version>> {
    let text = match std::fs::read(folder.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut names = HashMap::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
        match line.version {
            Some(version) => names.insert(line.name, version),
            None => names.remove(&line.name),
        };
    }
    Ok(names)
}

fn rewrite(path: &Path, names: &HashMap<String, Version>) -> io::Result<File> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    let mut text = Vec::new();
    for (name, version) in names {
        serde_json::to_writer(&mut text, &Line { name: name.clone(), version: Some(version.clone()) })?;
        text.push(b'\n');
    }
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(size: u64) -> Version {
        let stamp = Stamp { size, modified_ms: Some(1), tag: String::new() };
        Version { stamp, hash: "h".to_owned(), is_settled: true }
    }

    #[test]
    fn what_was_remembered_is_there_after_a_cut_off_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut taken = Taken::open(folder.path()).expect("a journal");
        taken.remember("a", version(1)).expect("written");
        taken.remember("a", version(2)).expect("written");
        taken.remember("b", version(3)).expect("written");
        taken.file.write_all(b"{\"name\":\"b\",\"ver").expect("half a line");
        let before = std::fs::read(folder.path().join(FILE)).expect("a journal");
        assert_eq!(read(folder.path()).expect("a journal").get("b"), Some(&version(3)));
        assert_eq!(std::fs::read(folder.path().join(FILE)).expect("a journal"), before, "to read is to change nothing");
        let mut taken = Taken::open(folder.path()).expect("a journal");
        assert_eq!(taken.get("a"), Some(&version(2)));
        taken.remember("c", version(4)).expect("written");
        let taken = Taken::open(folder.path()).expect("a journal");
        assert_eq!((taken.get("b"), taken.get("c")), (Some(&version(3)), Some(&version(4))));
    }

    #[test]
    fn the_journal_is_no_larger_than_the_folder_that_it_is_about() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut taken = Taken::open(folder.path()).expect("a journal");
        for n in 0..HISTORY_LINES {
            taken.remember(&n.to_string(), version(1)).expect("written");
        }
        for _ in 1..MISSED_MAX {
            taken.keep_only(&HashSet::from(["7"])).expect("written");
            assert!(taken.get("8").is_some(), "one listing may have been cut off");
        }
        taken.keep_only(&HashSet::from(["7"])).expect("written");
        assert!(taken.get("8").is_none());
        let text = std::fs::read_to_string(folder.path().join("taken")).expect("a journal");
        assert_eq!(text.lines().count(), 1);
        assert!(Taken::open(folder.path()).expect("a journal").get("7").is_some());
    }
}
