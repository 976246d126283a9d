//! Stands between the wire and the AMQP library, and lets nothing through that ends the process.
//!
//! The library's decoder calls itself for each level of a value, and makes room for whatever length is claimed: a message
//! of 90 KB can overflow its stack, one of 20 bytes can ask for 4 GiB. So every frame is looked at before, by a walk
//! without recursion (`scan`), and a message in several frames is held until it is complete.
//!
//! What always holds:
//!
//! 1. No value reaches the library whose lengths and numbers of items are not true, or that is nested deeper than 32.
//! 2. No more than `message_bytes_max` is held on a channel, and on few channels.
//! 3. No message reaches the library that it could not decode: it would drop the bytes. What `plain` does not know is decoded
//!    on trial.
//! 4. As many frames go out as came in, in the order of their channel: both sides count transfers to know their credit.
//!
//! A message that is refused does not end the connection: the broker would send it again, and it would hold up all that
//! come after it. Another message takes its place in the same frames (`harmless`): it keeps the identity and the first
//! bytes, and says what was wrong. The feed stores it as a notice in quarantine, and completes it. A performative comes
//! from the broker alone; one that is refused ends the connection.
//!
//! ```text
//! TLS or WebSocket ──bytes──> Guard: frame ──> performative walked ──> held until the last frame ──> message walked ──> library
//!                                                                                                 └─> or replaced ──┘
//! ```

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

mod deliveries;
mod harmless;
mod plain;
mod scan;
#[cfg(test)]
mod tests;

use deliveries::Deliveries;
pub(super) use harmless::{Mark, Refused};

/// The frames of Service Bus are at most 64 KiB long; no longer ones are agreed to.
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Read at a time, and looked at before anything is given on.
const READ_BYTES: usize = 16 * 1024;
const HEAD_BYTES: usize = 8;
const TYPE_AMQP: u8 = 0;
const TYPE_SASL: u8 = 1;

/// Whether a message is given on without a trial.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn is_certain(message: &[u8]) -> bool {
    scan::message(message).is_ok() && plain::is_plain(message)
}

/// What the broker may not say; the connection ends.
fn wrong(what: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the broker sent what is not AMQP: {what}"))
}

/// Bytes in, bytes out: what the guard does, without the stream.
pub(super) struct Filter {
    input: BytesMut,
    deliveries: Deliveries,
}

impl Filter {
    pub(super) fn new(mark: Mark, message_bytes_max: usize) -> Self {
        Self { input: BytesMut::new(), deliveries: Deliveries::new(mark, message_bytes_max) }
    }

    /// Appends to `out` what may be given on of all that is there.
    pub(super) fn run(&mut self, out: &mut BytesMut) -> io::Result<()> {
        while out.len() < FRAME_BYTES_MAX && self.step(out)? {}
        Ok(())
    }

    /// Goes on by a frame or a protocol header; `false` if neither is there as a whole.
    fn step(&mut self, out: &mut BytesMut) -> io::Result<bool> {
        let Some(head) = self.input.first_chunk::<HEAD_BYTES>() else {
            return Ok(false);
        };
        if head.starts_with(b"AMQP") {
            out.put_slice(head);
            self.input.advance(HEAD_BYTES);
            return Ok(true);
        }
        let [a, b, c, d, offset, kind, ..] = *head;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if !(HEAD_BYTES..=FRAME_BYTES_MAX).contains(&len) {
            return Err(wrong(format_args!("a frame of {len} bytes; {FRAME_BYTES_MAX} were agreed to")));
        }
        // More than the head may stand before the body, for a use that nobody has found. The library refuses it as well.
        if offset != 2 {
            return Err(wrong("a frame with an extended header"));
        }
        if self.input.len() < len {
            self.input.reserve(len - self.input.len());
            return Ok(false);
        }
        let frame = self.input.split_to(len).freeze();
        match kind {
            TYPE_AMQP => self.deliveries.take(frame, out)?,
            TYPE_SASL => {
                scan::value_len(&frame[HEAD_BYTES..]).map_err(wrong)?;
                out.put_slice(&frame);
            }
            _ => return Err(wrong(format_args!("a frame of type {kind}"))),
        }
        Ok(true)
    }

    /// The bytes that are held back.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held_bytes(&self) -> usize {
        self.input.len() + self.deliveries.held_bytes()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.input.put_slice(bytes);
    }
}

/// A stream whose reader sees only what the filter lets through. What is written goes through as it is.
pub(super) struct Guard<S> {
    stream: S,
    filter: Filter,
    out: BytesMut,
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, mark: Mark, message_bytes_max: usize) -> Self {
        Self { stream, filter: Filter::new(mark, message_bytes_max), out: BytesMut::new() }
    }
}

impl<S> fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.out.is_empty() {
            this.filter.run(&mut this.out)?;
            if !this.out.is_empty() {
                break;
            }
            this.filter.input.reserve(READ_BYTES);
            if ready!(poll_read_buf(Pin::new(&mut this.stream), cx, &mut this.filter.input))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let len = buf.remaining().min(this.out.len());
        buf.put_slice(&this.out[..len]);
        this.out.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
