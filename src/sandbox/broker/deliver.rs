//! Sending: from the queues and the answers into the output buffer, as far as credit, windows and the buffer allow.

use bytes::BufMut;

use super::context::Context;
use super::frame::{self, TransferHead};
use super::link::{Link, LinkKind};
use super::lock_token::swap_guid_order;
use super::queue::Delivery;
use super::session::{Session, Unsettled};

/// No more is taken from the queues while this much waits to be written. Larger means fewer and longer writes, and
/// more messages under lock that have not left yet.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// The most messages taken from a queue at once.
const BATCH_MAX: usize = 256;

impl Session {
    /// Sends what can be sent now.
    pub fn deliver(&mut self, context: &mut Context) {
        self.send_backlog(context);
        let handles: Vec<u32> = self.links.values().filter(|link| link.credit > 0).map(|link| link.handle).collect();
        for handle in handles {
            let Some(mut link) = self.links.remove(&handle) else { continue };
            let exhausted = match link.kind {
                LinkKind::Messages { .. } => self.deliver_messages(context, &mut link),
                LinkKind::Replies { .. } => self.deliver_replies(context, &mut link),
                LinkKind::Incoming(_) => false,
            };
            let drained = link.drain && exhausted && link.credit > 0;
            if drained {
                link.delivery_count = link.delivery_count.wrapping_add(link.credit);
                link.credit = 0;
                link.drain = false;
            }
            self.links.insert(handle, link);
            if drained {
                self.send_link_flow(context, handle, true);
            }
        }
    }

    fn send_backlog(&mut self, context: &mut Context) {
        while self.remote_window > 0
            && context.output.len() < OUTPUT_BYTES_MAX
            && let Some(frame) = self.backlog.pop_front()
        {
            context.output.put_slice(&frame);
            self.count_frame();
        }
    }

    fn count_frame(&mut self) {
        self.remote_window -= 1;
        self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
    }

    fn may_send(&self, context: &Context) -> bool {
        self.remote_window > 0 && self.backlog.is_empty() && context.output.len() < OUTPUT_BYTES_MAX
    }

    /// Whether the queue had no more than was sent.
    fn deliver_messages(&mut self, context: &mut Context, link: &mut Link) -> bool {
        let LinkKind::Messages { queue, locks } = &link.kind else { return false };
        let (queue, locks) = (std::sync::Arc::clone(queue), *locks);
        let mut batch: Vec<Delivery> = Vec::new();
        let mut any = false;
        let mut exhausted = false;
        while link.credit > 0 && !exhausted && self.may_send(context) {
            let wanted = BATCH_MAX.min(link.credit as usize).min(self.remote_window as usize);
            let bytes = OUTPUT_BYTES_MAX - context.output.len();
            batch.clear();
            if locks {
                queue.lock(wanted, bytes, context.shared.moment(), &mut batch);
            } else {
                queue.take(wanted, bytes, &mut batch);
            }
            exhausted = batch.is_empty();
            any |= !batch.is_empty();
            for delivery in &batch {
                link.credit -= 1;
                link.delivery_count = link.delivery_count.wrapping_add(1);
                let delivery_id = self.next_delivery_id;
                if locks {
                    self.unsettled.insert(delivery_id, Unsettled { handle: link.handle, lock: delivery.lock });
                }
                let tag = swap_guid_order(queue.lock_tokens.of(delivery.lock));
                let mut scratch = std::mem::take(&mut context.scratch);
                scratch.clear();
                delivery.envelope.put_head(&mut scratch);
                self.transfer(context, link.handle, &tag, !locks, &scratch, delivery.envelope.content.tail());
                context.scratch = scratch;
            }
        }
        if any {
            context.shared.lock_taken();
            context.shared.changed();
        }
        exhausted
    }

    /// Answers are sent settled: the Python SDK never settles them.
    fn deliver_replies(&mut self, context: &mut Context, link: &mut Link) -> bool {
        let LinkKind::Replies { pending } = &mut link.kind else { return false };
        while link.credit > 0 && self.may_send(context) {
            let Some(message) = pending.pop_front() else { return true };
            link.credit -= 1;
            link.delivery_count = link.delivery_count.wrapping_add(1);
            let tag = self.next_delivery_id.to_be_bytes();
            self.transfer(context, link.handle, &tag, true, &message, &[]);
        }
        pending.is_empty()
    }

    /// Sends one message, in one frame or several; what the window does not let through waits in the backlog.
    fn transfer(&mut self, context: &mut Context, handle: u32, tag: &[u8], settled: bool, first: &[u8], rest: &[u8]) {
        let delivery_id = self.next_delivery_id;
        self.next_delivery_id = delivery_id.wrapping_add(1);
        let head = TransferHead { channel: self.channel, handle, delivery_id, tag, settled };
        let one_frame = frame::fits_one_frame(first.len() + rest.len(), context.frame_max);
        if one_frame && self.backlog.is_empty() && self.remote_window > 0 {
            frame::put_transfer(&mut context.output, head, first, rest);
            self.count_frame();
        } else {
            let whole = [first, rest].concat();
            self.backlog.extend(frame::split_transfer(head, &whole, context.frame_max));
            self.send_backlog(context);
        }
    }
}
