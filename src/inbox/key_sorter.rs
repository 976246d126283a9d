//! Keys in the index's own order, more of them than memory should hold.
//!
//! Keys are hashes: in the order in which a file brings them, each lies on another page of the index, and each page would
//! be read and written for one key at a time. In order, a page is written once for all that go there.
//!
//! ```text
//! add ──> waiting, bounded ──full──> sorted run in a temporary file ─┐
//!             └──────────────────────────────────────────────────────┴──merge──> take, in order, each key once
//! ```
//!
//! The file has no name, so that it is gone with the process. Blocks while it sorts, writes and reads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::EntityKey;

/// Bytes of a key.
const KEY_BYTES: usize = size_of::<EntityKey>();

/// Keys in memory (32 MiB). With fewer, a hundred million would be merged from more runs than a disk likes to read.
const KEYS_MAX: usize = 2_000_000;

/// Keys that all runs together hold in memory while they are merged (8 MiB).
const MERGED_KEYS_MAX: usize = 512 * 1024;

/// Keys that one run reads at once: fewer cost more calls, and more gain nothing.
const READ_KEYS: std::ops::RangeInclusive<usize> = 64..=4_096;

/// Takes keys in any order.
#[derive(Debug)]
pub struct KeySorter {
    folder: PathBuf,
    keys_max: usize,
    waiting: Vec<EntityKey>,
    file: Option<File>,
    /// Where each run in the file ends, in keys.
    ends: Vec<u64>,
}

impl KeySorter {
    /// One that holds the first two million keys in memory, and more in a file in `folder`: 16 bytes a key.
    pub(super) fn new(folder: &Path) -> Self {
        Self::holding(folder, KEYS_MAX)
    }

    fn holding(folder: &Path, keys_max: usize) -> Self {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder }.to_owned();
        Self { folder, keys_max: keys_max.max(1), waiting: Vec::new(), file: None, ends: Vec::new() }
    }

    /// Takes keys, also twice.
    ///
    /// # Errors
    /// When the temporary file cannot be made or written.
    pub fn add(&mut self, keys: impl IntoIterator<Item = EntityKey>) -> io::Result<()> {
        for key in keys {
            if self.waiting.len() == self.keys_max {
                self.write_run()?;
            }
            self.waiting.push(key);
        }
        Ok(())
    }

    fn write_run(&mut self) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(&self.folder)?,
        };
        let file = self.file.insert(file);
        sort(&mut self.waiting);
        let mut at = self.ends.last().copied().unwrap_or(0);
        let mut bytes = Vec::with_capacity(READ_KEYS.end() * KEY_BYTES);
        for some in self.waiting.chunks(*READ_KEYS.end()) {
            bytes.clear();
            some.iter().for_each(|key| bytes.extend_from_slice(&key.0));
            file.write_all_at(&bytes, at * KEY_BYTES as u64)?;
            at += some.len() as u64;
        }
        self.ends.push(at);
        self.waiting.clear();
        Ok(())
    }

    /// All of them in order.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn sorted(mut self) -> io::Result<SortedKeys> {
        sort(&mut self.waiting);
        let many = (MERGED_KEYS_MAX / self.ends.len().max(1)).clamp(*READ_KEYS.start(), *READ_KEYS.end());
        let mut sorted = SortedKeys { file: self.file, read_keys: many, runs: Vec::new(), next: BinaryHeap::new() };
        let mut start = 0;
        for end in self.ends {
            sorted.open(Run { held: Vec::new().into_iter(), next: start, end })?;
            start = end;
        }
        sorted.open(Run { held: self.waiting.into_iter(), next: start, end: start })?;
        Ok(sorted)
    }
}

fn sort(keys: &mut Vec<EntityKey>) {
    keys.sort_unstable();
    keys.dedup();
}

/// Keys in order, each once.
#[derive(Debug)]
pub struct SortedKeys {
    file: Option<File>,
    read_keys: usize,
    runs: Vec<Run>,
    /// The next key of each run that has one.
    next: BinaryHeap<Reverse<(EntityKey, usize)>>,
}

/// Keys that are in order.
#[derive(Debug)]
struct Run {
    held: std::vec::IntoIter<EntityKey>,
    /// The place in the file of what follows those, and of the run's end, in keys.
    next: u64,
    end: u64,
}

impl SortedKeys {
    fn open(&mut self, run: Run) -> io::Result<()> {
        self.runs.push(run);
        self.advance(self.runs.len() - 1)
    }

    fn advance(&mut self, place: usize) -> io::Result<()> {
        let run = &mut self.runs[place];
        if run.held.len() == 0 && run.next < run.end {
            let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
            let many = usize::try_from(run.end - run.next).map_or(self.read_keys, |left| left.min(self.read_keys));
            let mut bytes = vec![0; many * KEY_BYTES];
            file.read_exact_at(&mut bytes, run.next * KEY_BYTES as u64)?;
            let (keys, _) = bytes.as_chunks::<KEY_BYTES>();
            run.held = keys.iter().copied().map(EntityKey).collect::<Vec<_>>().into_iter();
            run.next += many as u64;
        }
        if let Some(key) = run.held.next() {
            self.next.push(Reverse((key, place)));
        }
        Ok(())
    }

    /// The next keys, as many as asked for; fewer at the end, and none after it.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn take(&mut self, many: usize) -> io::Result<Vec<EntityKey>> {
        let mut taken: Vec<EntityKey> = Vec::with_capacity(many);
        while let Some(Reverse((key, place))) = self.next.peek().copied() {
            let is_same = taken.last() == Some(&key);
            if taken.len() == many && !is_same {
                break;
            }
            self.next.pop();
            self.advance(place)?;
            if !is_same {
                taken.push(key);
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> EntityKey {
        EntityKey::of(&mut Vec::new(), "sku", [number.to_string().as_str()])
    }

    /// Puts `many` keys in twice, with `keys_max` of them in memory, and takes them out in pieces.
    fn sorted(many: u32, keys_max: usize, piece: usize) -> Vec<EntityKey> {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = KeySorter::holding(folder.path(), keys_max);
        sorter.add((0..many).map(key)).unwrap();
        sorter.add((0..many).rev().map(key)).unwrap();
        assert!(sorter.waiting.len() <= keys_max, "no more in memory than allowed");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        let mut sorted = sorter.sorted().unwrap();
        let mut all = Vec::new();
        loop {
            let some = sorted.take(piece).unwrap();
            if some.is_empty() {
                return all;
            }
            assert!(some.len() <= piece);
            all.extend(some);
        }
    }

    #[test]
    fn keys_come_out_in_order_and_once_however_many_memory_holds() {
        for many in [0, 1, 2, 1_000, 20_000] {
            let mut expected: Vec<_> = (0..many).map(key).collect();
            expected.sort_unstable();
            for (keys_max, piece) in [(1_000_000, 7), (300, 1), (300, 1_000), (5_000, 4_999), (20_000, 50_000)] {
                assert_eq!(sorted(many, keys_max, piece), expected, "{many} keys, {keys_max} in memory, by {piece}");
            }
        }
    }

    #[test]
    fn a_key_that_is_in_every_run_comes_out_once_also_between_two_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let mut keys: Vec<_> = (0..10).map(key).collect();
        for piece in [1, 2, 3, 10] {
            let mut sorter = KeySorter::holding(folder.path(), 10);
            for _ in 0..7 {
                keys.reverse();
                sorter.add(keys.iter().copied()).unwrap();
            }
            assert_eq!(sorter.ends.len(), 6);
            let mut sorted = sorter.sorted().unwrap();
            let mut all = Vec::new();
            while let Some(some) = Some(sorted.take(piece).unwrap()).filter(|some| !some.is_empty()) {
                all.extend(some);
            }
            keys.sort_unstable();
            assert_eq!(all, keys, "by {piece}");
        }
    }

    #[test]
    fn a_disk_that_is_full_is_an_error_and_once_there_is_room_nothing_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = KeySorter::holding(folder.path(), 100);
        // The system's own full disk.
        sorter.file = Some(File::options().write(true).open("/dev/full").unwrap());
        sorter.add((0..100).map(key)).unwrap();
        let error = sorter.add([key(100)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!((sorter.ends.len(), sorter.waiting.len()), (0, 100), "no run is said to be where none is");
        sorter.file = None;
        sorter.add((100..250).map(key)).unwrap();
        let mut expected: Vec<_> = (0..250).map(key).collect();
        expected.sort_unstable();
        assert_eq!(sorter.sorted().unwrap().take(1_000).unwrap(), expected);
    }

    #[test]
    fn a_file_that_lost_its_end_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = KeySorter::holding(folder.path(), 100);
        sorter.add((0..250).map(key)).unwrap();
        sorter.file.as_ref().unwrap().set_len(199 * KEY_BYTES as u64).unwrap();
        assert_eq!(sorter.sorted().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_folder_that_takes_no_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = KeySorter::holding(&folder.path().join("none"), 2);
        assert!(sorter.add((0..3).map(key)).is_err());
    }
}
