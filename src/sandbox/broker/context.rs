//! What the parts of a connection share.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::control::Signal;
use super::frame::{self, TYPE_AMQP};
use super::queue::Queue;
use super::shared::Shared;
use super::tokens::Tokens;

/// What they share.
#[derive(Debug)]
pub(super) struct Context {
    pub shared: Arc<Shared>,
    pub id: u64,
    /// What will be written next; many frames go out in one write.
    pub output: BytesMut,
    /// Room for the changing part of a message, used again for each.
    pub scratch: BytesMut,
    /// The longest frame that the peer takes.
    pub frame_max: usize,
    pub tokens: Tokens,
    /// Answers that wait to be given to the link that they are for.
    pub replies: Vec<Reply>,
    /// The queues that wake this connection.
    pub watched: Vec<Arc<Queue>>,
    pub signal: Arc<Signal>,
}

/// An answer of `$cbs` or `$management`.
#[derive(Debug)]
pub(super) struct Reply {
    /// The node that answers, as a path in lower case.
    pub node: String,
    /// Where the request wants it: the name or the target address of a link.
    pub reply_to: Option<String>,
    pub message: Bytes,
}

impl Context {
    /// Writes a frame with one performative.
    pub fn send<T: Serialize>(&mut self, channel: u16, performative: &T) {
        frame::put_frame(&mut self.output, TYPE_AMQP, channel, performative)
            .expect("what the broker itself builds can be encoded");
    }

    /// This connection is woken when the queue has messages.
    pub fn watch(&mut self, queue: &Arc<Queue>) {
        if !self.watched.iter().any(|watched| Arc::ptr_eq(watched, queue)) {
            queue.watch(self.id, &self.signal.notify);
            self.watched.push(Arc::clone(queue));
        }
    }
}
