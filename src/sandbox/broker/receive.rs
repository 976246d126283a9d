//! Receiving: messages to publish, and requests to `$cbs` and `$management`.

use std::sync::Arc;

use bytes::Bytes;
use fe2o3_amqp_types::definitions::{AmqpError, Handle, LinkError, Role};
use fe2o3_amqp_types::messaging::{DeliveryState, Rejected};
use fe2o3_amqp_types::performatives::{Detach, Transfer};

use super::context::Context;
use super::control::amqp_error;
use super::entities::Entity;
use super::link::{INCOMING_CREDIT, LinkKind};
use super::message::{Content, MessageError};
use super::session::Session;
use super::{cbs, management};

/// The message format in which several messages travel as one: each data section holds an encoded message.
const BATCH_FORMAT: u32 = 0x8001_3700;

impl Session {
    /// Takes one transfer frame, and acts on the message when it is whole.
    pub fn receive(&mut self, context: &mut Context, transfer: &Transfer, payload: &Bytes) {
        let handle = transfer.handle.0;
        let Some(link) = self.links.get_mut(&handle) else { return };
        let LinkKind::Incoming(incoming) = &mut link.kind else { return };
        if let Some(id) = transfer.delivery_id {
            incoming.delivery_id = id;
        }
        if let Some(format) = transfer.message_format {
            incoming.format = format;
        }
        incoming.settled |= transfer.settled.unwrap_or(false);
        if !transfer.aborted {
            incoming.partial.extend_from_slice(payload);
        }
        if incoming.partial.len() as u64 > context.shared.settings.message_bytes_max {
            self.links.remove(&handle);
            let error = amqp_error(LinkError::MessageSizeExceeded, "The message is longer than the link allows.");
            return context.send(self.channel, &Detach { handle: Handle(handle), closed: true, error: Some(error) });
        }
        if transfer.more && !transfer.aborted {
            return;
        }
        let message = incoming.partial.split().freeze();
        let (id, format, settled) = (incoming.delivery_id, incoming.format, incoming.settled);
        (incoming.format, incoming.settled) = (0, false);
        let entity = incoming.entity.clone();
        link.credit = link.credit.saturating_sub(1);
        link.delivery_count = link.delivery_count.wrapping_add(1);
        let (credit, path) = (link.credit, link.path.clone());
        if !transfer.aborted {
            let result = accept(context, &entity, &path, message, format);
            match result {
                _ if settled => {}
                Ok(()) => self.accept(context, id),
                Err(error) => {
                    let error = Some(amqp_error(AmqpError::DecodeError, &error.to_string()));
                    let state = DeliveryState::Rejected(Rejected { error });
                    self.send_disposition(context, Role::Receiver, (id, id), state);
                }
            }
        }
        if credit < INCOMING_CREDIT / 2 {
            self.grant_credit(context, handle);
        }
    }
}

fn accept(context: &mut Context, entity: &Entity, path: &str, message: Bytes, format: u32) -> Result<(), MessageError> {
    match entity {
        Entity::Topic(_) | Entity::Queue { .. } => {
            let content = Content::parse(message)?;
            let contents = if format == BATCH_FORMAT { content.batched()? } else { vec![content] };
            let contents: Vec<Arc<Content>> = contents.into_iter().map(Arc::new).collect();
            context.shared.publish(entity, &contents);
        }
        Entity::TokenService => cbs::answer(context, &message)?,
        Entity::Management(queue) => management::answer(context, path, queue.as_ref(), &message)?,
    }
    Ok(())
}
