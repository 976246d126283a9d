//! Zip archives, opened by their central directory and looked through before anything of them is believed.
//!
//! A zip is written from front to back, and its directory comes last: one without a directory, or whose entries do not
//! fit to it, is still being written or was cut off. One that is whole and beyond a bound stays so, and is refused.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::columns;
use super::files::FileFilter;

/// Bounds of what a file may be.
#[derive(Clone, Debug)]
pub struct ArchiveLimits {
    /// The largest file that is taken, in bytes.
    pub file_bytes_max: u64,
    /// The most entries of one archive.
    pub entries_max: usize,
    /// The most bytes of one archive, unpacked.
    pub unpacked_bytes_max: u64,
    /// The largest ratio of an entry's unpacked to its packed bytes, looked at from 1 MiB on.
    pub ratio_max: u64,
}

/// What an archive was found to be.
#[derive(Debug)]
pub(super) enum Looked {
    /// Every entry was read to its end.
    Whole(Vec<Entry>),
    /// It has no end, or some entries are not what the directory says: it may still become whole. Holds the entries
    /// that can be told apart all the same.
    Broken { reason: String, entries: Vec<Entry> },
    /// It is beyond a bound, or of a kind that nobody sends in good faith.
    Refused(String),
}

/// A file in an archive.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name with its folders, decoded.
    pub(super) name: String,
    /// Its length, unpacked.
    pub(super) size: u64,
    /// The columns that its header line names, if it is CSV.
    pub(super) columns: Option<Vec<String>>,
    /// Why it cannot be delivered.
    pub(super) fault: Option<String>,
}

/// A ratio says nothing about small entries.
const RATIO_FROM_BYTES: u64 = 1 << 20;
/// Bytes of the directory that an entry may take on average; names and extra fields are some tens.
const DIRECTORY_BYTES_PER_ENTRY: u64 = 1 << 10;
const READ_BYTES: usize = 64 << 10;

/// Looks through a whole archive; blocks for as long as that takes.
pub(super) fn look<R: Read + Seek>(mut file: R, limits: &ArchiveLimits, files: &FileFilter) -> io::Result<Looked> {
    let Some(directory) = Directory::find(&mut file)? else {
        return Ok(broken("its end is missing, with the list of what is in it (its central directory)"));
    };
    let entries_max = limits.entries_max as u64;
    if directory.entries > entries_max {
        return Ok(Looked::Refused(format!(
            "it has {} entries, and no more than {entries_max} are taken (`entries_max`)",
            directory.entries
        )));
    }
    if directory.bytes > (entries_max + 64) * DIRECTORY_BYTES_PER_ENTRY {
        return Ok(Looked::Refused(format!("its directory has {} bytes, which no honest one needs", directory.bytes)));
    }
    let mut archive = match ZipArchive::new(io::BufReader::new(file)) {
        Ok(archive) => archive,
        Err(ZipError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        Err(error) => return Ok(broken(format!("its central directory is not whole: {error}"))),
    };
    if let Some(reason) = refusal(&mut archive, &directory, limits) {
        return Ok(Looked::Refused(reason));
    }
    let mut entries = Vec::new();
    let mut damage = None;
    let mut names = HashSet::new();
    for index in 0..archive.len() {
        let Some(entry) = read_entry(&mut archive, index, files, &mut damage) else { continue };
        if !names.insert(entry.name.clone()) {
            return Ok(Looked::Refused(format!("two of its entries are named {:?}", entry.name)));
        }
        entries.push(entry);
    }
    Ok(match damage {
        None => Looked::Whole(entries),
        Some(reason) => Looked::Broken { reason, entries },
    })
}

fn broken(reason: impl Into<String>) -> Looked {
    Looked::Broken { reason: reason.into(), entries: Vec::new() }
}

/// Why a whole archive is not taken, if so.
fn refusal<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    directory: &Directory,
    limits: &ArchiveLimits,
) -> Option<String> {
    if archive.has_duplicate_names() {
        return Some("two of its entries have the same name".to_owned());
    }
    if archive.len() as u64 != directory.entries {
        return Some(format!("it says that it has {} entries, and has {}", directory.entries, archive.len()));
    }
    let metadata = archive.metadata();
    let mut unpacked = 0_u64;
    for index in 0..metadata.len() {
        let Ok(entry) = metadata.entry(index) else { continue };
        let (size, packed) = (entry.size(), entry.compressed_size().max(1));
        if size > RATIO_FROM_BYTES && size / packed > limits.ratio_max {
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            return Some(format!(
                "its entry {name:?} unpacks to more than {} times its size, as a zip bomb does (`ratio_max` in [limits])",
                limits.ratio_max
            ));
        }
        unpacked = unpacked.saturating_add(size);
    }
    if unpacked > limits.unpacked_bytes_max {
        return Some(format!(
            "it unpacks to {unpacked} bytes, and no more than {} are taken (`unpacked_bytes_max`)",
            limits.unpacked_bytes_max
        ));
    }
    // What cannot be looked at here is damage, and is found when the entries are read.
    archive
        .has_overlapping_entries()
        .is_ok_and(|overlaps| overlaps)
        .then(|| "its entries overlap, as those of a zip bomb do".to_owned())
}

/// Reads one entry to its end, which checks its sum; `None` for a folder and for what is ignored.
fn read_entry<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    index: usize,
    files: &FileFilter,
    damage: &mut Option<String>,
) -> Option<Entry> {
    let metadata = archive.metadata();
    let found = match metadata.entry(index) {
        Ok(found) => found,
        Err(error) => {
            *damage = Some(error.to_string());
            return None;
        }
    };
    let size = found.size();
    let name = match found.name() {
        Ok(name) => name.into_owned(),
        Err(_) => String::from_utf8_lossy(found.name_raw()).into_owned(),
    };
    if found.is_dir() || files.ignores(&name) || name.starts_with("__MACOSX/") {
        return None;
    }
    let entry = |columns, fault| Some(Entry { name: name.clone(), size, columns, fault });
    if let Some(fault) = name_fault(&name) {
        return entry(None, Some(fault.to_owned()));
    }
    if found.encrypted() {
        return entry(None, Some("it is encrypted, and there is no key for it".to_owned()));
    }
    if found.is_symlink() {
        return entry(None, Some("it is a link, not a file".to_owned()));
    }
    if !matches!(found.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        let method = found.compression();
        return entry(None, Some(format!("it is packed by {method}; only deflate and none can be unpacked")));
    }
    match read_through(archive, index, size) {
        Ok(head) => entry(columns::is_csv(&name).then(|| columns::of(&head)), None),
        Err(ZipError::UnsupportedArchive(what)) => entry(None, Some(format!("it cannot be unpacked: {what}"))),
        Err(error) => {
            let reason = format!("it does not unpack to what the directory says: {error}");
            damage.get_or_insert_with(|| format!("entry {name:?}: {reason}"));
            entry(None, Some(reason))
        }
    }
}

/// Reads an entry whole and returns how it begins.
fn read_through<R: Read + Seek>(archive: &mut ZipArchive<R>, index: usize, size: u64) -> Result<Vec<u8>, ZipError> {
    let mut content = archive.by_index(index)?;
    let mut head = Vec::new();
    let mut piece = vec![0; READ_BYTES];
    let mut read = 0_u64;
    loop {
        let count = content.read(&mut piece)?;
        if count == 0 {
            break;
        }
        read += count as u64;
        if read > size {
            return Err(ZipError::InvalidArchive("it is longer than the directory says".into()));
        }
        let room = columns::HEAD_BYTES.saturating_sub(head.len()).min(count);
        head.extend_from_slice(&piece[..room]);
    }
    if read < size {
        return Err(ZipError::InvalidArchive("it is shorter than the directory says".into()));
    }
    Ok(head)
}

/// What is wrong with an entry's name. We write no file under it, but others that are told it might.
fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return Some("its name is empty or has a control character in it");
    }
    if name.contains('\\') {
        return Some("its name has a backslash in it");
    }
    if name.starts_with('/') || name.as_bytes().get(1) == Some(&b':') {
        return Some("its name is an absolute path");
    }
    name.split('/').any(|part| part == ".." || part == ".").then_some("its name leads out of its folder")
}

/// Opens the entry of that name, from byte `from` of its content on, and hands its pieces to `give` until that says no.
pub(super) fn read_from<R: Read + Seek>(
    file: R,
    name: &str,
    from: u64,
    give: &mut dyn FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    let mut archive = ZipArchive::new(io::BufReader::new(file)).map_err(io::Error::from)?;
    let index = archive.file_names().position(|found| found.is_ok_and(|found| found == name));
    let index = index.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such entry in it"))?;
    let mut content = archive.by_index(index).map_err(io::Error::from)?;
    io::copy(&mut (&mut content).take(from), &mut io::sink())?;
    let mut piece = vec![0; READ_BYTES];
    loop {
        let count = content.read(&mut piece)?;
        if count == 0 || !give(&piece[..count]) {
            return Ok(());
        }
    }
}

/// What the end of an archive says about its directory.
struct Directory {
    entries: u64,
    bytes: u64,
}

impl Directory {
    /// Looks for the end record, so that a directory is measured before it is read into memory. `None` if there is none.
    fn find(file: &mut (impl Read + Seek)) -> io::Result<Option<Self>> {
        /// The record's own length; a comment of up to 64 KiB follows it.
        const END: usize = 22;
        const LOCATOR: usize = 20;
        let length = file.seek(SeekFrom::End(0))?;
        let tail_length = length.min((END + LOCATOR + 0xffff) as u64);
        file.seek(SeekFrom::Start(length - tail_length))?;
        let mut tail = Vec::new();
        file.take(tail_length).read_to_end(&mut tail)?;
        let number = |at: usize, bytes: usize| {
            let mut value = [0_u8; 8];
            value[..bytes].copy_from_slice(tail.get(at..at + bytes)?);
            Some(u64::from_le_bytes(value))
        };
        let end = (0..=tail.len().saturating_sub(END)).rev().find(|at| tail[*at..].starts_with(b"PK\x05\x06"));
        let Some(end) = end.filter(|at| at + END <= tail.len()) else { return Ok(None) };
        let (Some(entries), Some(bytes)) = (number(end + 10, 2), number(end + 12, 4)) else { return Ok(None) };
        let locator = end.checked_sub(LOCATOR).filter(|at| tail[*at..].starts_with(b"PK\x06\x07"));
        let Some(place) = locator.and_then(|at| number(at + 8, 8)) else {
            return Ok(Some(Self { entries, bytes }));
        };
        let mut record = [0; 56];
        file.seek(SeekFrom::Start(place))?;
        match file.read_exact(&mut record) {
            Ok(()) if record.starts_with(b"PK\x06\x06") => {}
            Ok(()) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
        Ok(Some(Self { entries: number(32), bytes: number(40) }))
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
