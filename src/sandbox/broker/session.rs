//! One session: its windows, its links, and the frames that are for them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fe2o3_amqp_types::definitions::{Error, Handle, Role};
use fe2o3_amqp_types::messaging::{Accepted, DeliveryState};
use fe2o3_amqp_types::performatives::{Begin, Detach, Disposition, Flow, Performative};

use super::context::{Context, Reply};
use super::link::{INCOMING_CREDIT, Link, LinkKind};
use super::lock_token::LockId;
use super::shared::count;
use super::tokens::Tokens;

/// How many transfer frames the client may send before it hears from us; told again when half are used.
const INCOMING_WINDOW: u32 = 4096;

/// A session, on the channel that the client chose.
#[derive(Debug)]
pub(super) struct Session {
    pub channel: u16,
    next_incoming_id: u32,
    incoming_left: u32,
    pub next_outgoing_id: u32,
    /// How many transfer frames the client still takes.
    pub remote_window: u32,
    pub links: BTreeMap<u32, Link>,
    pub next_delivery_id: u32,
    pub unsettled: BTreeMap<u32, Unsettled>,
    /// Frames of messages already taken from their queue, which the window holds back.
    pub backlog: VecDeque<Bytes>,
    /// Deliveries from the client to be accepted, as an unbroken range.
    accepted: Option<(u32, u32)>,
}

/// A delivery that the client has not settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsettled {
    pub handle: u32,
    pub lock: LockId,
}

impl Session {
    pub fn new(channel: u16, begin: &Begin) -> Self {
        Self {
            channel,
            next_incoming_id: begin.next_outgoing_id,
            incoming_left: INCOMING_WINDOW,
            next_outgoing_id: 0,
            remote_window: begin.incoming_window,
            links: BTreeMap::new(),
            next_delivery_id: 0,
            unsettled: BTreeMap::new(),
            backlog: VecDeque::new(),
            accepted: None,
        }
    }

    /// The begin that answers the client's.
    pub fn begin(&self) -> Begin {
        Begin {
            remote_channel: Some(self.channel),
            next_outgoing_id: self.next_outgoing_id,
            incoming_window: self.incoming_left,
            outgoing_window: OUTGOING_WINDOW,
            handle_max: Handle(HANDLE_MAX),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        }
    }

    /// Acts on a frame of this session.
    pub fn act(&mut self, context: &mut Context, performative: Performative, payload: Bytes) {
        match performative {
            Performative::Attach(attach) => self.attach(context, attach),
            Performative::Flow(flow) => self.flow(context, &flow),
            Performative::Transfer(transfer) => {
                self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
                self.incoming_left = self.incoming_left.saturating_sub(1);
                self.receive(context, &transfer, &payload);
                if self.incoming_left < INCOMING_WINDOW / 2 {
                    self.incoming_left = INCOMING_WINDOW;
                    let flow = self.session_flow();
                    context.send(self.channel, &flow);
                }
            }
            Performative::Disposition(disposition) => self.disposition(context, &disposition),
            Performative::Detach(detach) => {
                if self.drop_link(detach.handle.0) {
                    let reply = Detach { handle: detach.handle, closed: detach.closed, error: None };
                    context.send(self.channel, &reply);
                }
            }
            Performative::Open(_) | Performative::Close(_) | Performative::Begin(_) | Performative::End(_) => {
                unreachable!("the connection keeps these for itself")
            }
        }
    }

    /// Takes a link away; whether there was one. Its messages stay locked until their time is over.
    fn drop_link(&mut self, handle: u32) -> bool {
        let known = self.links.remove(&handle).is_some();
        if known {
            self.unsettled.retain(|_, unsettled| unsettled.handle != handle);
        }
        known
    }

    /// Detaches the links to entities for which `unwanted` says so.
    pub fn detach_where(&mut self, context: &mut Context, error: &Error, unwanted: &impl Fn(&Tokens, &str) -> bool) {
        let links = self.links.values().filter(|link| link.needs_token() && unwanted(&context.tokens, &link.path));
        let handles: Vec<u32> = links.map(|link| link.handle).collect();
        for handle in handles {
            self.drop_link(handle);
            count(&context.shared.counters.links_detached);
            let detach = Detach { handle: Handle(handle), closed: true, error: Some(error.clone()) };
            context.send(self.channel, &detach);
        }
        context.shared.changed();
    }

    fn flow(&mut self, context: &mut Context, flow: &Flow) {
        let window = flow.next_incoming_id.unwrap_or(0).wrapping_add(flow.incoming_window);
        let left = window.wrapping_sub(self.next_outgoing_id);
        // A distance of more than half the circle is a negative one.
        self.remote_window = if left > u32::MAX / 2 { 0 } else { left };
        let Some(handle) = &flow.handle else {
            if flow.echo {
                context.send(self.channel, &self.session_flow());
            }
            return;
        };
        let Some(link) = self.links.get_mut(&handle.0) else { return };
        if !matches!(link.kind, LinkKind::Incoming(_)) {
            if let Some(credit) = flow.link_credit {
                let until = flow.delivery_count.unwrap_or(0).wrapping_add(credit);
                let left = until.wrapping_sub(link.delivery_count);
                link.credit = if left > u32::MAX / 2 { 0 } else { left };
            }
            link.drain = flow.drain;
        }
        if flow.echo {
            let handle = handle.0;
            self.send_link_flow(context, handle, false);
        }
    }

    /// A flow about the session alone.
    fn session_flow(&self) -> Flow {
        Flow {
            next_incoming_id: Some(self.next_incoming_id),
            incoming_window: self.incoming_left,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: OUTGOING_WINDOW,
            handle: None,
            delivery_count: None,
            link_credit: None,
            available: None,
            drain: false,
            echo: false,
            properties: None,
        }
    }

    /// Tells the state of a link.
    pub fn send_link_flow(&self, context: &mut Context, handle: u32, drain: bool) {
        let Some(link) = self.links.get(&handle) else { return };
        let flow = Flow {
            handle: Some(Handle(handle)),
            delivery_count: Some(link.delivery_count),
            link_credit: Some(link.credit),
            drain,
            ..self.session_flow()
        };
        context.send(self.channel, &flow);
    }

    /// Lets the client send more on a link.
    pub fn grant_credit(&mut self, context: &mut Context, handle: u32) {
        if let Some(link) = self.links.get_mut(&handle) {
            link.credit = INCOMING_CREDIT;
            self.send_link_flow(context, handle, false);
        }
    }

    /// The link on which the client waits for an answer.
    pub fn reply_link(&self, reply: &Reply) -> Option<u32> {
        let candidates =
            self.links.values().filter(|link| link.path == reply.node && matches!(link.kind, LinkKind::Replies { .. }));
        let named = |link: &&Link| {
            let to = reply.reply_to.as_deref();
            to.is_some() && (to == Some(link.name.as_str()) || to == link.client_address.as_deref())
        };
        let mut any = None;
        for link in candidates {
            if named(&link) {
                return Some(link.handle);
            }
            any = Some(link.handle);
        }
        any
    }

    /// A delivery from the client is accepted; told with its neighbours in one frame.
    pub fn accept(&mut self, context: &mut Context, delivery_id: u32) {
        match &mut self.accepted {
            Some((_, last)) if last.wrapping_add(1) == delivery_id => *last = delivery_id,
            _ => {
                self.flush_settled(context);
                self.accepted = Some((delivery_id, delivery_id));
            }
        }
    }

    /// Tells the client which of its deliveries were accepted.
    pub fn flush_settled(&mut self, context: &mut Context) {
        if let Some((first, last)) = self.accepted.take() {
            self.send_disposition(context, Role::Receiver, (first, last), DeliveryState::Accepted(Accepted {}));
        }
    }

    /// Settles a range of deliveries.
    pub fn send_disposition(&self, context: &mut Context, role: Role, range: (u32, u32), state: DeliveryState) {
        let (first, last) = range;
        let disposition =
            Disposition { role, first, last: Some(last), settled: true, state: Some(state), batchable: false };
        context.send(self.channel, &disposition);
    }
}

/// What the client is told about our side; nothing depends on it.
const OUTGOING_WINDOW: u32 = 4096;
/// Links on one session.
const HANDLE_MAX: u32 = 255;
