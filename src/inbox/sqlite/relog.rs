//! Writing the write-ahead log over onto itself, once it is not known what of it is on disk.
//!
//! After an fsync has failed, Linux holds the pages that it could not write for clean: it may give them up, and the next
//! fsync reports success for them (<https://wiki.postgresql.org/wiki/Fsync_Errors>). A process that starts later finds
//! them in memory, or finds what the disk held before. So the log is read, checked by the sums that chain its frames, and
//! the very bytes that were checked are written again, which has the kernel bring them to disk; only then does an fsync
//! say something about them. SQLite itself checks the sums when it opens a log that nobody else has open, and never
//! again: a checkpoint takes over whatever it reads.
//!
//! The format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>. Nobody may append to the log or start it
//! over meanwhile, so the caller holds SQLite's write lock. SQLite has no locks on the log's file that closing it here
//! could take away.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The two magic numbers differ in the last bit: whether the sums are of big-endian words.
const MAGIC: u32 = 0x377f_0682;
const FORMAT: u32 = 3_007_000;

/// Frames that are read and written at once: 263 kB.
const FRAMES_AT_ONCE: usize = 64;

/// Writes the first `frames` frames of the log at `path` again and brings them to disk. Returns how many of them were
/// whole; what stands behind those is not touched.
///
/// # Errors
/// When the log cannot be read, written or synced; what of it is on disk is not known then.
pub(super) fn write_over(path: &Path, frames: u64) -> io::Result<u64> {
    let log = File::options().read(true).write(true).open(path)?;
    let mut header = [0; HEADER_BYTES];
    if read_at(&log, &mut header, 0)? < HEADER_BYTES {
        return Ok(0);
    }
    let Some(mut chain) = Chain::begin(&header) else { return Ok(0) };
    log.write_all_at(&header, 0)?;
    let frame_bytes = FRAME_HEADER_BYTES + chain.page_bytes;
    let mut buffer = vec![0; frame_bytes * FRAMES_AT_ONCE];
    let mut whole = 0;
    while whole < frames {
        let wanted = (frames - whole).min(FRAMES_AT_ONCE as u64) as usize;
        let at = HEADER_BYTES as u64 + whole * frame_bytes as u64;
        let read = read_at(&log, &mut buffer[..wanted * frame_bytes], at)?;
        let valid = buffer[..read].chunks_exact(frame_bytes).take_while(|frame| chain.goes_on_with(frame)).count();
        log.write_all_at(&buffer[..valid * frame_bytes], at)?;
        whole += valid as u64;
        if valid < wanted {
            break;
        }
    }
    log.sync_data()?;
    Ok(whole)
}

/// Fills `buffer` as far as the file reaches.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The sums up to some frame. Each frame's go on from the one before, so that one which is missing shows in all behind it.
struct Chain {
    page_bytes: usize,
    salts: [u8; 8],
    is_big_endian: bool,
    sums: [u32; 2],
}

impl Chain {
    fn begin(header: &[u8; HEADER_BYTES]) -> Option<Self> {
        let magic = big_endian(header, 0);
        let page_bytes = big_endian(header, 8) as usize;
        if magic & !1 != MAGIC || big_endian(header, 4) != FORMAT || !(512..=65_536).contains(&page_bytes) {
            return None;
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        let mut chain = Self { page_bytes, salts, is_big_endian: magic & 1 == 1, sums: [0, 0] };
        chain.sums = chain.added(chain.sums, &header[..24]);
        (chain.sums == [big_endian(header, 24), big_endian(header, 28)]).then_some(chain)
    }

    fn goes_on_with(&mut self, frame: &[u8]) -> bool {
        let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
        let sums = self.added(self.added(self.sums, &head[..8]), page);
        let is_next = head[8..16] == self.salts && sums == [big_endian(head, 16), big_endian(head, 20)];
        if is_next {
            self.sums = sums;
        }
        is_next
    }

    fn added(&self, [mut one, mut two]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
        let (words, _) = bytes.as_chunks::<4>();
        let (pairs, _) = words.as_chunks::<2>();
        let word = if self.is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        for [first, second] in pairs {
            one = one.wrapping_add(word(*first)).wrapping_add(two);
            two = two.wrapping_add(word(*second)).wrapping_add(one);
        }
        [one, two]
    }
}

fn big_endian(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::checkpoint::log_path;
    use super::super::mover::frames;
    use super::super::schema;
    use super::*;

    /// An inbox that is open, its log, and how many frames that has.
    fn with_log() -> (rusqlite::Connection, tempfile::TempDir, PathBuf, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inbox.db");
        let connection = schema::prepare(&path).unwrap();
        for _ in 0..3 {
            connection.execute("INSERT INTO runs (started, selector) VALUES (1, hex(randomblob(200000)))", []).unwrap();
        }
        let frames = frames(&connection).unwrap().all;
        assert!(frames > 2 * FRAMES_AT_ONCE as u64, "{frames}");
        (connection, folder, log_path(&path), frames)
    }

    #[test]
    fn a_whole_log_is_found_whole_and_is_the_same_afterwards() {
        let (connection, _folder, log, frames) = with_log();
        let before = std::fs::read(&log).unwrap();
        let long_ago = std::time::UNIX_EPOCH;
        File::options().write(true).open(&log).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(write_over(&log, frames).unwrap(), frames);
        let modified = std::fs::metadata(&log).unwrap().modified().unwrap();
        assert!(modified > long_ago, "it is written, and not just looked at");
        assert!(std::fs::read(&log).unwrap() == before);
        assert_eq!(write_over(&log, frames + 1).unwrap(), frames, "no more than there are");
        drop(connection);
    }

    #[test]
    fn whatever_byte_of_a_frame_is_another_the_log_ends_before_it() {
        let (connection, _folder, log, frames) = with_log();
        let sound = std::fs::read(&log).unwrap();
        let frame_bytes = FRAME_HEADER_BYTES + 4096;
        // Of the first frame, one at the end of what is read at once, the one behind it, and the last.
        for frame in [0, FRAMES_AT_ONCE - 1, FRAMES_AT_ONCE, frames as usize - 1] {
            for byte in (0..FRAME_HEADER_BYTES).chain([FRAME_HEADER_BYTES, 2_000, frame_bytes - 1]) {
                let mut damaged = sound.clone();
                damaged[HEADER_BYTES + frame * frame_bytes + byte] ^= 1;
                std::fs::write(&log, &damaged).unwrap();
                assert_eq!(write_over(&log, frames).unwrap(), frame as u64, "byte {byte}");
                assert!(std::fs::read(&log).unwrap() == damaged, "and nothing is changed");
            }
        }
        for byte in 0..HEADER_BYTES {
            let mut damaged = sound.clone();
            damaged[byte] ^= 1;
            std::fs::write(&log, &damaged).unwrap();
            assert_eq!(write_over(&log, frames).unwrap(), 0, "byte {byte} of the header");
        }
        for length in [0, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + frame_bytes - 1] {
            std::fs::write(&log, &sound[..length]).unwrap();
            assert_eq!(write_over(&log, frames).unwrap(), 0, "{length} bytes are left");
        }
        std::fs::write(&log, &sound).unwrap();
        drop(connection);
    }
}
