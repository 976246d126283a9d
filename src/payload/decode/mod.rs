//! Undoing compression: from the pieces of a fetch to plain bytes, as a reader for the decoder's own thread.
//!
//! What always holds:
//!
//! 1. Every member of a gzip file and every frame of a zstd file is read; a truncated one, and anything that follows
//!    the last, is an error.
//! 2. The bytes decide what they are: a magic number outweighs the notice's `contentEncoding` (see [`encoding`]).
//! 3. Neither more bytes nor a larger ratio than the limits allow leave it.
//! 4. The blob's MD5 is compared before the end of the content is reported, and of a small blob before anything of it
//!    is: what was damaged on its way looks like another record, or like a file that cannot be read, and is neither.
//!
//! The codecs are those of `async-compression`, without its async part: decoding is work for a thread of its own, not
//! for the tasks that serve the network.

pub(super) mod encoding;
pub(super) mod text;

use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::{
    BrotliDecoder, DecodeV2, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder, zstd::params::DParameter,
};
use md5::{Digest as _, Md5};
use tokio::sync::mpsc;

use self::encoding::Encoding;
use super::fetch::Piece;
use super::{PayloadError, PayloadLimits};

/// The largest zstd window, as a power of two: 32 MiB. A frame may ask for up to 2 GiB of memory; `zstd` itself writes
/// more than 8 MiB only with `--ultra` or `--long`.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// From how many decompressed bytes the ratio is looked at: a short run of zeros compresses a thousandfold and harms
/// nobody.
const RATIO_LOOKED_AT_FROM: u64 = 1 << 20;

/// What was seen of the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Bytes as they lie in the store.
    pub compressed: u64,
    /// Bytes after decompression.
    pub decompressed: u64,
    /// What they were compressed with.
    pub encoding: Encoding,
}

/// The reader's end came before [`Piece::End`]: whoever reads the records has gone, and nobody hears of this error.
#[derive(Debug, thiserror::Error)]
#[error("the reader of the payload has gone")]
pub(super) struct Abandoned;

/// The pieces of a fetch, one after the other.
struct Pieces {
    channel: mpsc::Receiver<Result<Piece, PayloadError>>,
    current: Bytes,
    /// What was received ahead of `current`'s end, to be checked before it is read.
    held: VecDeque<Bytes>,
    is_ended: bool,
    /// The MD5 that the blob should have, and the one of what has arrived of it.
    md5: Option<([u8; 16], Md5)>,
    bytes: u64,
}

impl Pieces {
    fn new(channel: mpsc::Receiver<Result<Piece, PayloadError>>) -> Self {
        Self { channel, current: Bytes::new(), held: VecDeque::new(), is_ended: false, md5: None, bytes: 0 }
    }

    /// Makes `current` not empty, unless the content has ended: then `false`.
    fn fill(&mut self) -> io::Result<bool> {
        while self.current.is_empty() {
            match self.next()? {
                Some(bytes) => self.current = bytes,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The next bytes; `None` at the end of the content.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(bytes) = self.held.pop_front() {
            return Ok(Some(bytes));
        }
        while !self.is_ended {
            if let Some(bytes) = self.receive()? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Takes a piece from the fetch; `None` when it was not one of bytes.
    fn receive(&mut self) -> io::Result<Option<Bytes>> {
        match self.channel.blocking_recv() {
            Some(Ok(Piece::Bytes(bytes))) => {
                if let Some((_, hash)) = &mut self.md5 {
                    hash.update(&bytes);
                }
                self.bytes += bytes.len() as u64;
                Ok(Some(bytes))
            }
            // Again for every answer from the first byte on; nothing was read yet.
            Some(Ok(Piece::Md5(promised))) => {
                self.md5 = Some((promised, Md5::new()));
                Ok(None)
            }
            Some(Ok(Piece::End)) => {
                self.is_ended = true;
                Ok(None)
            }
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Err(io::Error::other(Abandoned)),
        }
    }

    /// Receives all of a blob that has an MD5 and no more than `bytes_max` bytes, and compares it. Of a larger one, that
    /// much is held and the rest comes as it is read.
    fn check_first(&mut self, bytes_max: usize, object: &str) -> io::Result<()> {
        let mut held_bytes = 0;
        while !self.is_ended && held_bytes <= bytes_max {
            if let Some(bytes) = self.receive()? {
                held_bytes += bytes.len();
                self.held.push_back(bytes);
            }
            // It comes before any bytes.
            if self.md5.is_none() {
                return Ok(());
            }
        }
        if self.is_ended { self.check_md5(object) } else { Ok(()) }
    }

    fn check_md5(&mut self, object: &str) -> io::Result<()> {
        let Some((promised, hash)) = self.md5.take() else {
            return Ok(());
        };
        let found: [u8; 16] = hash.finalize().into();
        if found == promised {
            return Ok(());
        }
        Err(io::Error::other(PayloadError::Damaged {
            object: object.to_owned(),
            reason: format!("its MD5 is {} and should be {}", hex(&found), hex(&promised)),
        }))
    }

    /// For content that cannot be read: reads it to its end and compares its MD5. Returns the error that counts then:
    /// bytes that were damaged on their way say nothing about the blob.
    fn damage(&mut self, object: &str) -> Option<io::Error> {
        self.md5.as_ref()?;
        loop {
            match self.next() {
                Ok(Some(_)) => {}
                Ok(None) => return self.check_md5(object).err(),
                Err(error) => return Some(error),
            }
        }
    }

    /// The first bytes, `count` of them unless the content is shorter.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.current.len() < count
            && let Some(bytes) = self.next()?
        {
            self.current =
                if self.current.is_empty() { bytes } else { [&self.current[..], &bytes[..]].concat().into() };
        }
        Ok(&self.current[..self.current.len().min(count)])
    }
}

/// Where the decoder stands in the compressed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Within a member or frame.
    Inside,
    /// After one: another may follow.
    Between,
    /// After everything.
    Ended,
}

/// A payload's plain bytes.
pub(super) struct Decompressor {
    pieces: Pieces,
    codec: Option<Box<dyn DecodeV2>>,
    encoding: Encoding,
    stage: Stage,
    /// The codec may hold output that did not fit into the last buffer.
    may_hold: bool,
    object: String,
    limits: PayloadLimits,
    decompressed: u64,
}

impl Decompressor {
    /// Looks at the first bytes and chooses the codec. `claimed` is the notice's `contentEncoding`.
    pub fn open(
        channel: mpsc::Receiver<Result<Piece, PayloadError>>,
        claimed: Option<&str>,
        object: &str,
        limits: PayloadLimits,
    ) -> Result<Self, io::Error> {
        let mut pieces = Pieces::new(channel);
        pieces.check_first(limits.checked_first_bytes_max, object)?;
        let start = pieces.peek(encoding::START_BYTES)?;
        let found = match encoding::detect(claimed, start) {
            Ok(found) => found,
            Err(encoding::Refusal::Empty) => {
                return Err(io::Error::other(PayloadError::Missing {
                    object: object.to_owned(),
                    said: format!("it has no bytes, not even those of an empty {} file", claimed.unwrap_or_default()),
                }));
            }
            Err(encoding::Refusal::Unknown(reason)) => {
                let unreadable = PayloadError::Unreadable { object: object.to_owned(), reason };
                return Err(pieces.damage(object).unwrap_or_else(|| io::Error::other(unreadable)));
            }
        };
        let codec: Option<Box<dyn DecodeV2>> = match found {
            Encoding::Identity => None,
            Encoding::Gzip => Some(Box::new(GzipDecoder::new())),
            Encoding::Zlib => Some(Box::new(ZlibDecoder::new())),
            Encoding::Deflate => Some(Box::new(DeflateDecoder::new())),
            Encoding::Brotli => Some(Box::new(BrotliDecoder::new())),
            Encoding::Zstd => {
                Some(Box::new(ZstdDecoder::new_with_params(&[DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)])))
            }
        };
        Ok(Self {
            pieces,
            codec,
            encoding: found,
            stage: Stage::Inside,
            may_hold: false,
            object: object.to_owned(),
            limits,
            decompressed: 0,
        })
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        Seen { compressed: self.pieces.bytes, decompressed: self.decompressed, encoding: self.encoding }
    }

    fn unreadable(&self, reason: impl std::fmt::Display) -> io::Error {
        io::Error::other(PayloadError::Unreadable {
            object: self.object.clone(),
            reason: format!("{reason} (after {} decompressed bytes)", self.decompressed),
        })
    }

    fn read_plain(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.pieces.fill()? {
            return Ok(0);
        }
        let count = out.len().min(self.pieces.current.len());
        self.pieces.current.copy_to_slice(&mut out[..count]);
        Ok(count)
    }

    fn read_compressed(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let name = self.encoding.as_str();
        loop {
            let Some(codec) = self.codec.as_mut() else {
                return Ok(0);
            };
            let mut output = WriteBuffer::new_initialized(out);
            if self.pieces.current.is_empty() && self.may_hold && self.stage == Stage::Inside {
                let is_drained = codec
                    .flush(&mut output)
                    .map_err(|e| self.unreadable(format!("the {name} data is corrupt: {e}")))?;
                self.may_hold = !is_drained;
                let count = output.written_len();
                if count > 0 {
                    return Ok(count);
                }
                continue;
            }
            if self.stage == Stage::Ended || !self.pieces.fill()? {
                if self.stage == Stage::Inside {
                    let is_whole = codec.finish(&mut output);
                    let count = output.written_len();
                    if !matches!(is_whole, Ok(true)) {
                        return Err(self.unreadable(format!("the {name} data is cut off")));
                    }
                    self.stage = Stage::Ended;
                    return Ok(count);
                }
                return Ok(0);
            }
            if self.stage == Stage::Between {
                let next = self.pieces.peek(encoding::MEMBER_START_BYTES)?;
                if !self.encoding.has_members() || !self.encoding.starts_member(next) {
                    return Err(self.unreadable(format!("something that is not {name} follows the {name} data")));
                }
                codec.reinit().map_err(io::Error::other)?;
                self.stage = Stage::Inside;
            }
            let mut input = PartialBuffer::new(&self.pieces.current[..]);
            let is_end = codec.decode(&mut input, &mut output);
            let (consumed, produced, is_full) =
                (input.written_len(), output.written_len(), output.has_no_spare_space());
            let is_end = is_end.map_err(|e| self.unreadable(format!("the {name} data is corrupt: {e}")))?;
            self.pieces.current.advance(consumed);
            self.may_hold = is_full;
            if is_end {
                self.stage = Stage::Between;
                self.may_hold = false;
            }
            if produced > 0 {
                return Ok(produced);
            }
        }
    }

    fn check_bounds(&mut self) -> io::Result<()> {
        let checked = self.within_bounds();
        if checked.is_err() {
            // A bomb is not fetched to its end, whatever its MD5 is.
            self.pieces.md5 = None;
        }
        checked
    }

    fn within_bounds(&self) -> io::Result<()> {
        let limits = &self.limits;
        if self.decompressed > limits.decompressed_bytes_max {
            return Err(self.unreadable(format!(
                "it is larger than {} decompressed bytes; raise `decompressed_bytes_max` if that is right",
                limits.decompressed_bytes_max
            )));
        }
        let allowed = self.pieces.bytes.saturating_mul(limits.ratio_max);
        if self.decompressed >= RATIO_LOOKED_AT_FROM && self.decompressed > allowed {
            return Err(self.unreadable(format!(
                "it expands more than {} times; raise `ratio_max` if that is right",
                limits.ratio_max
            )));
        }
        Ok(())
    }

    /// For content that cannot be read: the error that counts, if the bytes that came are not the blob's.
    pub fn damage(&mut self) -> Option<io::Error> {
        self.pieces.damage(&self.object)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Read for Decompressor {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let count = if self.codec.is_some() { self.read_compressed(out)? } else { self.read_plain(out)? };
        if count == 0 {
            self.pieces.check_md5(&self.object)?;
        }
        self.decompressed += count as u64;
        self.check_bounds()?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
