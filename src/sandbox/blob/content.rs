//! What a blob holds: bytes, a file, or one block repeated, so that ten gigabytes need neither memory nor disk.

use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use md5::{Digest, Md5};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// One piece of a body; the size in which bodies are handed to the network.
const PIECE: u64 = 64 * 1024;

/// The content of a blob.
#[derive(Clone, Debug)]
pub enum Content {
    /// Held in memory.
    Bytes(Bytes),
    /// Read from disk while it is served.
    File {
        /// Where it lies.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// `head`, then `unit` so many `times`, then `tail`.
    Repeated {
        /// What stands first.
        head: Bytes,
        /// What is repeated.
        unit: Bytes,
        /// How often.
        times: u64,
        /// What stands last.
        tail: Bytes,
    },
}

impl Content {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
            Self::Repeated { head, unit, times, tail } => {
                head.len() as u64 + unit.len() as u64 * times + tail.len() as u64
            }
        }
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its MD5, where that is cheap to have: as in Azure, very large blobs have none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn md5(&self) -> std::io::Result<Option<[u8; 16]>> {
        let mut hasher = Md5::new();
        match self {
            Self::Bytes(bytes) => hasher.update(bytes),
            Self::File { path, .. } => {
                let mut file = std::fs::File::open(path)?;
                let mut piece = vec![0; PIECE as usize];
                loop {
                    let read = std::io::Read::read(&mut file, &mut piece)?;
                    if read == 0 {
                        break;
                    }
                    hasher.update(&piece[..read]);
                }
            }
            Self::Repeated { .. } => return Ok(None),
        }
        Ok(Some(hasher.finalize().into()))
    }

    /// The bytes of `range`, which lies within the content, piece by piece as they are asked for.
    pub(in crate::sandbox) fn read(&self, range: Range<u64>) -> BoxStream<'static, std::io::Result<Bytes>> {
        match self {
            Self::Bytes(bytes) => {
                let (start, end) = (range.start as usize, range.end as usize);
                pieces(range.clone(), {
                    let bytes = bytes.slice(start..end);
                    move |at, most| {
                        let from = at as usize - start;
                        bytes.slice(from..from + most.min((bytes.len() - from) as u64) as usize)
                    }
                })
            }
            Self::Repeated { head, unit, tail, .. } => {
                let (head, unit, tail) = (head.clone(), unit.clone(), tail.clone());
                let tail_start = self.len() - tail.len() as u64;
                pieces(range, move |at, most| {
                    let (part, from) = if at < head.len() as u64 {
                        (&head, at)
                    } else if at < tail_start {
                        (&unit, (at - head.len() as u64) % unit.len() as u64)
                    } else {
                        (&tail, at - tail_start)
                    };
                    let end = (from + most).min(part.len() as u64);
                    part.slice(from as usize..end as usize)
                })
            }
            Self::File { path, .. } => {
                let path = path.clone();
                stream::once(async move {
                    let mut file = tokio::fs::File::open(path).await?;
                    file.seek(std::io::SeekFrom::Start(range.start)).await?;
                    Ok::<_, std::io::Error>(ReaderStream::with_capacity(
                        file.take(range.end - range.start),
                        PIECE as usize,
                    ))
                })
                .map(|opened| match opened {
                    Ok(reader) => reader.boxed(),
                    Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
                })
                .flatten()
                .boxed()
            }
        }
    }
}

/// `piece(at, most)` gives at least one byte from `at` on, and at most `most`.
fn pieces(
    range: Range<u64>,
    piece: impl Fn(u64, u64) -> Bytes + Send + 'static,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    stream::unfold((range.start, piece), move |(at, piece)| {
        let next = (at < range.end).then(|| {
            let bytes = piece(at, PIECE.min(range.end - at));
            let at = at + bytes.len() as u64;
            (Ok(bytes), (at, piece))
        });
        std::future::ready(next)
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt as _;

    async fn read(content: &Content, range: Range<u64>) -> Vec<u8> {
        let parts: Vec<Bytes> = content.read(range).try_collect().await.expect("readable");
        parts.concat()
    }

    #[tokio::test]
    async fn every_range_of_every_kind_is_the_same_bytes() {
        let whole = b"HEADunitunitunitunittail!".to_vec();
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), &whole).expect("written");
        let kinds = [
            Content::Bytes(Bytes::from(whole.clone())),
            Content::File { path: file.path().to_owned(), len: whole.len() as u64 },
            Content::Repeated {
                head: Bytes::from_static(b"HEAD"),
                unit: Bytes::from_static(b"unit"),
                times: 4,
                tail: Bytes::from_static(b"tail!"),
            },
        ];
        for content in &kinds {
            assert_eq!(content.len(), whole.len() as u64);
            for start in 0..=whole.len() {
                for end in start..=whole.len() {
                    assert_eq!(read(content, start as u64..end as u64).await, &whole[start..end], "{start}..{end}");
                }
            }
        }
    }
}
