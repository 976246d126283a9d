//! Fuzz target over archives.

use std::io::Cursor;

use super::archive::{ArchiveLimits, Looked, look, read_from};
use super::files::FileFilter;

/// An archive is looked through, or refused or found broken with a reason; what is whole reads back as it was announced,
/// and no entry that is delivered has a name that leads anywhere.
pub fn zip(data: &[u8]) {
    let limits = ArchiveLimits { file_bytes_max: 1 << 20, entries_max: 8, unpacked_bytes_max: 1 << 18, ratio_max: 100 };
    let files = FileFilter::new(&["*".to_owned()], &["*.part".to_owned()]).expect("globs");
    match look(Cursor::new(data), &limits, &files) {
        Ok(Looked::Whole(entries)) => {
            assert!(entries.len() <= limits.entries_max, "{} entries", entries.len());
            assert!(entries.iter().map(|entry| entry.size).sum::<u64>() <= limits.unpacked_bytes_max);
            for entry in entries.iter().filter(|entry| entry.fault.is_none()) {
                assert!(!entry.name.split(['/', '\\']).any(|part| part == ".."), "{:?}", entry.name);
                assert!(!entry.name.starts_with('/') && !entry.name.chars().any(char::is_control), "{:?}", entry.name);
                let mut read = 0;
                let mut count = |piece: &[u8]| {
                    read += piece.len() as u64;
                    true
                };
                read_from(Cursor::new(data), &entry.name, 0, &mut count).expect("it was read before");
                assert_eq!(read, entry.size, "{:?} reads back whole", entry.name);
            }
        }
        Ok(Looked::Broken { reason, .. } | Looked::Refused(reason)) => assert!(!reason.is_empty()),
        // A reader of bytes fails at their end alone.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
