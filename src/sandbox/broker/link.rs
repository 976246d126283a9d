//! Links: what kinds there are.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::entities::{Entity, TOKEN_SERVICE};
use super::queue::Queue;

/// One link of a client.
#[derive(Debug)]
pub(super) struct Link {
    pub name: String,
    pub handle: u32,
    /// The entity's path in lower case.
    pub path: String,
    /// The client's end, where it named one; answers are addressed to it.
    pub client_address: Option<String>,
    pub credit: u32,
    pub delivery_count: u32,
    pub drain: bool,
    pub kind: LinkKind,
}

/// What goes over a link.
#[derive(Debug)]
pub(super) enum LinkKind {
    /// Messages of a queue, to the client.
    Messages { queue: Arc<Queue>, locks: bool },
    /// Answers of `$cbs` or `$management`, to the client.
    Replies { pending: VecDeque<Bytes> },
    /// Messages or requests, from the client.
    Incoming(Incoming),
}

/// The receiving end of a client's sender.
#[derive(Debug)]
pub(super) struct Incoming {
    pub entity: Entity,
    /// The delivery that is arriving, over as many frames as it takes.
    pub partial: BytesMut,
    pub delivery_id: u32,
    pub format: u32,
    pub settled: bool,
}

/// A client may send this many messages before it must be told to go on.
pub(super) const INCOMING_CREDIT: u32 = 1000;

/// Answers that wait for credit on one link; a client that asks more than that without reading loses the oldest.
const REPLIES_MAX: usize = 1000;

impl Link {
    pub fn queue_reply(&mut self, message: Bytes) {
        if let LinkKind::Replies { pending } = &mut self.kind {
            if pending.len() == REPLIES_MAX {
                pending.pop_front();
            }
            pending.push_back(message);
        }
    }

    /// Whether the link is to an entity that needs a token.
    pub fn needs_token(&self) -> bool {
        self.path != TOKEN_SERVICE
    }
}
