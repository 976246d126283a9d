//! How a link is attached.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use fe2o3_amqp_types::definitions::{AmqpError, Error, Handle, ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::TargetArchetype;
use fe2o3_amqp_types::performatives::{Attach, Detach};

use super::context::Context;
use super::control::amqp_error;
use super::entities::{Entity, TOKEN_SERVICE, path_of_address};
use super::link::{Incoming, Link, LinkKind};
use super::session::Session;
use super::shared::count;

impl Session {
    /// Answers an attach: with a link, or with a refusal.
    pub fn attach(&mut self, context: &mut Context, attach: Attach) {
        let sends = attach.role == Role::Receiver;
        let target_address =
            attach.target.as_deref().and_then(|TargetArchetype::Target(target)| target.address.clone());
        let source_address = attach.source.as_deref().and_then(|source| source.address.clone());
        let (own, client_address) =
            if sends { (source_address, target_address) } else { (target_address, source_address) };
        let path = path_of_address(own.as_deref().unwrap_or_default());
        match open_link(context, &attach, &path, sends) {
            Ok(kind) => {
                if let LinkKind::Messages { queue, .. } = &kind {
                    context.watch(queue);
                }
                let incoming = matches!(kind, LinkKind::Incoming(_));
                context.send(self.channel, &accepting(&attach, context.shared.settings.message_bytes_max));
                if path != TOKEN_SERVICE {
                    count(&context.shared.counters.links_attached);
                    context.shared.changed();
                }
                let link = Link {
                    name: attach.name,
                    handle: attach.handle.0,
                    path,
                    client_address,
                    credit: 0,
                    delivery_count: attach.initial_delivery_count.filter(|_| incoming).unwrap_or(0),
                    drain: false,
                    kind,
                };
                let handle = link.handle;
                self.links.insert(handle, link);
                if incoming {
                    self.grant_credit(context, handle);
                }
            }
            Err(error) => {
                count(&context.shared.counters.links_refused);
                context.shared.changed();
                // A refused link is first attached without its terminus (AMQP 1.0 part 2, section 2.6.3).
                let mut reply = accepting(&attach, 0);
                if sends {
                    reply.source = None
                } else {
                    reply.target = None
                }
                context.send(self.channel, &reply);
                let detach = Detach { handle: attach.handle, closed: true, error: Some(error) };
                context.send(self.channel, &detach);
            }
        }
    }
}

fn open_link(context: &Context, attach: &Attach, path: &str, sends: bool) -> Result<LinkKind, Error> {
    let not_found = || {
        let text = format!("The messaging entity '{path}' could not be found.");
        amqp_error(AmqpError::NotFound, &text)
    };
    let entity = context.shared.entities.find(path).ok_or_else(not_found)?;
    if path != TOKEN_SERVICE && !context.tokens.cover(path) {
        let text = format!(
            "Unauthorized access. 'Listen' or 'Send' claim(s) are required to perform this operation. Resource: '{path}'."
        );
        return Err(amqp_error(AmqpError::UnauthorizedAccess, &text));
    }
    if matches!(entity, Entity::Topic(_) | Entity::Queue { .. })
        && let Some(fault) = context.shared.next_attach_fault()
    {
        return Err(fault.error());
    }
    let filter = attach.source.as_deref().and_then(|source| source.filter.as_ref());
    if filter.is_some_and(|filter| filter.iter().any(|(name, _)| name.as_str() == "com.microsoft:session-filter")) {
        return Err(amqp_error(AmqpError::NotImplemented, "The sandbox does not serve message sessions."));
    }
    match (entity, sends) {
        (Entity::Queue { queue, .. }, true) => {
            let locks = attach.snd_settle_mode != SenderSettleMode::Settled;
            Ok(LinkKind::Messages { queue: Arc::clone(queue), locks })
        }
        (Entity::Management(_) | Entity::TokenService, true) => Ok(LinkKind::Replies { pending: VecDeque::new() }),
        (Entity::Topic(_), true) | (Entity::Queue { takes: false, .. }, false) => {
            let text = format!("The entity '{path}' does not allow this direction.");
            Err(amqp_error(AmqpError::NotAllowed, &text))
        }
        (entity, false) => Ok(LinkKind::Incoming(Incoming {
            entity: entity.clone(),
            partial: BytesMut::new(),
            delivery_id: 0,
            format: 0,
            settled: false,
        })),
    }
}

/// The attach that answers one, with the client's handle and modes.
fn accepting(attach: &Attach, message_bytes_max: u64) -> Attach {
    let sends = attach.role == Role::Receiver;
    Attach {
        name: attach.name.clone(),
        handle: Handle(attach.handle.0),
        role: if sends { Role::Sender } else { Role::Receiver },
        snd_settle_mode: attach.snd_settle_mode.clone(),
        rcv_settle_mode: if sends { attach.rcv_settle_mode.clone() } else { ReceiverSettleMode::First },
        source: attach.source.clone(),
        target: attach.target.clone(),
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: sends.then_some(0),
        max_message_size: Some(message_bytes_max),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}
