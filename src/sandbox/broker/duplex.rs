//! Reading and writing one stream from one task, whichever is possible.
//!
//! A broker that only wrote until all was written would wait for ever for a client that does the same.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

/// A stream with what was read from it and not yet understood.
#[derive(Debug)]
pub(super) struct Duplex<S> {
    stream: S,
    pub input: BytesMut,
    flush_due: bool,
    ended: bool,
}

/// Reading goes on while less than this is waiting to be understood.
const INPUT_BYTES_MAX: usize = 256 * 1024;
/// How much room each read has.
const READ_BYTES: usize = 64 * 1024;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub read: bool,
    pub ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, input: BytesMut::new(), flush_due: false, ended: false }
    }

    /// Waits until something was read, or written from `output`. Cancel safe: nothing is lost when it is dropped.
    pub async fn step(&mut self, output: &mut BytesMut) -> io::Result<Step> {
        poll_fn(|context| {
            let (mut read, mut wrote) = (false, false);
            while !output.is_empty() {
                match Pin::new(&mut self.stream).poll_write(context, output)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(count) => {
                        output.advance(count);
                        self.flush_due = true;
                        wrote = true;
                    }
                    Poll::Pending => break,
                }
            }
            if output.is_empty() && self.flush_due && Pin::new(&mut self.stream).poll_flush(context)?.is_ready() {
                self.flush_due = false;
                wrote = true;
            }
            while !self.ended && self.input.len() < INPUT_BYTES_MAX {
                self.input.reserve(READ_BYTES);
                match poll_read_buf(Pin::new(&mut self.stream), context, &mut self.input)? {
                    Poll::Ready(0) => self.ended = true,
                    Poll::Ready(_) => read = true,
                    Poll::Pending => break,
                }
            }
            let step = Step { read, ended: self.ended };
            if read || wrote || self.ended { Poll::Ready(Ok(step)) } else { Poll::Pending }
        })
        .await
    }

    /// Writes what is left and closes the stream.
    pub async fn finish(&mut self, output: &[u8]) -> io::Result<()> {
        use tokio::io::AsyncWriteExt as _;
        self.stream.write_all(output).await?;
        self.stream.shutdown().await
    }
}
