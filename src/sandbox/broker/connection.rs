//! One connection: headers, SASL, open and close, heartbeats, and handing frames to their session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use fe2o3_amqp_types::definitions::{AmqpError, ConnectionError, Error, ErrorCondition};
use fe2o3_amqp_types::performatives::{Begin, ChannelMax, Close, End, MaxFrameSize, Open, Performative};
use fe2o3_amqp_types::sasl::{SaslCode, SaslInit, SaslMechanisms, SaslOutcome};
use serde_amqp::primitives::{Array, Symbol};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::context::Context;
use super::control::{Orders, Signal, amqp_error, condition_error};
use super::duplex::Duplex;
use super::frame::{self, FrameError, HEADER_AMQP, HEADER_SASL, TYPE_SASL};
use super::session::Session;
use super::shared::Shared;
use super::tokens::Tokens;

/// Serves a connection until either side ends it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(shared: Arc<Shared>, stream: S) {
    let (id, signal) = shared.join();
    let mut peer = Peer::new(Arc::clone(&shared), id, signal);
    if let Err(error) = run(&mut Duplex::new(stream), &mut peer).await {
        tracing::debug!(connection = id, %error, "an AMQP connection to the sandbox broke off");
    }
    for queue in &peer.context.watched {
        queue.forget(id);
    }
    shared.leave(id);
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(duplex: &mut Duplex<S>, peer: &mut Peer) -> std::io::Result<()> {
    let signal = Arc::clone(&peer.signal);
    let shared = Arc::clone(&peer.context.shared);
    loop {
        let orders = signal.take_orders();
        if orders.drop {
            return Ok(());
        }
        if shared.is_stalled() {
            peer.keep_orders(orders);
            tokio::select! {
                () = signal.notify.notified() => continue,
                () = shared.stopping.cancelled() => return Ok(()),
            }
        }
        peer.obey(orders);
        peer.understand(&mut duplex.input);
        peer.deliver();
        peer.keep_time();
        if peer.phase == Phase::Closed {
            return tokio::select! {
                result = tokio::time::timeout(FAREWELL_MAX, duplex.finish(&peer.context.output)) => result?,
                () = shared.stopping.cancelled() => Ok(()),
            };
        }
        let due = tokio::time::sleep_until(peer.wake_at());
        tokio::select! {
            step = duplex.step(&mut peer.context.output) => {
                let step = step?;
                if step.read {
                    peer.heard = Instant::now();
                } else if step.ended {
                    return Ok(());
                }
            }
            () = signal.notify.notified() => {}
            () = due => {}
            () = shared.stopping.cancelled() => return Ok(()),
        }
    }
}

/// A peer that does not read our last frames within this time is cut off.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// What the peer may send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Header,
    Sasl,
    Frames,
    Closed,
}

struct Peer {
    context: Context,
    signal: Arc<Signal>,
    phase: Phase,
    sessions: BTreeMap<u16, Session>,
    /// When the peer last sent anything.
    heard: Instant,
    /// When anything was last written to the peer, and how often it wants that.
    spoke: Instant,
    beat: Option<Duration>,
    open: bool,
    kept_orders: Orders,
}

/// A peer that asks to hear from us more often than this is heard out at this pace only.
const BEAT_MIN: Duration = Duration::from_millis(50);

impl Peer {
    fn new(shared: Arc<Shared>, id: u64, signal: Arc<Signal>) -> Self {
        let now = Instant::now();
        let context = Context {
            shared,
            id,
            output: BytesMut::new(),
            scratch: BytesMut::new(),
            frame_max: 512,
            tokens: Tokens::default(),
            replies: Vec::new(),
            watched: Vec::new(),
            signal: Arc::clone(&signal),
        };
        Self {
            context,
            signal,
            phase: Phase::Header,
            sessions: BTreeMap::new(),
            heard: now,
            spoke: now,
            beat: None,
            open: false,
            kept_orders: Orders::default(),
        }
    }

    /// Orders that came while the broker is silent are obeyed when it speaks again.
    fn keep_orders(&mut self, orders: Orders) {
        let kept = &mut self.kept_orders;
        kept.detach = orders.detach.or(kept.detach.take());
        kept.check_tokens |= orders.check_tokens;
        kept.expire_tokens |= orders.expire_tokens;
    }

    fn obey(&mut self, orders: Orders) {
        self.keep_orders(orders);
        let orders = std::mem::take(&mut self.kept_orders);
        if let Some(condition) = orders.detach {
            let error = condition_error(&condition, "The link was detached by the sandbox on request.");
            self.detach_where(&error, |_, _| true);
        }
        if orders.expire_tokens {
            self.context.tokens.clear();
        }
        let tokens = &mut self.context.tokens;
        let now = self.context.shared.now();
        let fewer = tokens.drop_expired(now) | (orders.check_tokens && tokens.drop_refused(&self.context.shared));
        if orders.expire_tokens || fewer {
            let text = "Unauthorized access. The token has expired or its key was changed.";
            let error = amqp_error(AmqpError::UnauthorizedAccess, text);
            self.detach_where(&error, |tokens, path| !tokens.cover(path));
        }
    }

    fn detach_where(&mut self, error: &Error, unwanted: impl Fn(&Tokens, &str) -> bool) {
        for session in self.sessions.values_mut() {
            session.detach_where(&mut self.context, error, &unwanted);
        }
    }

    /// Acts on all whole frames in `input`.
    fn understand(&mut self, input: &mut BytesMut) {
        let result = loop {
            match self.understand_next(input) {
                Ok(true) if self.phase != Phase::Closed => {}
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = result {
            let condition: ErrorCondition = match error {
                FrameError::Body(_) => AmqpError::DecodeError.into(),
                FrameError::TooLong { .. } | FrameError::Head(_) => ConnectionError::FramingError.into(),
            };
            self.close(Some(amqp_error(condition, &error.to_string())));
        }
        for session in self.sessions.values_mut() {
            session.flush_settled(&mut self.context);
        }
    }

    /// Acts on the next piece of `input`; false when it is not whole yet.
    fn understand_next(&mut self, input: &mut BytesMut) -> Result<bool, FrameError> {
        let size_max = self.context.shared.settings.frame_bytes_max as usize;
        match self.phase {
            Phase::Header => {
                let Some(header) = input.first_chunk::<8>() else { return Ok(false) };
                let header = *header;
                input.advance(8);
                self.greet(header)?;
                Ok(true)
            }
            Phase::Sasl => {
                let Some(frame) = frame::next_frame(input, size_max)? else { return Ok(false) };
                if frame.kind != TYPE_SASL {
                    return Err(FrameError::Head("an AMQP frame came before SASL was done"));
                }
                let (init, _) = frame::decode_prefix::<SaslInit>(&frame.body)?;
                self.authenticate(&init)?;
                Ok(true)
            }
            Phase::Frames => {
                let Some(frame) = frame::next_frame(input, size_max)? else { return Ok(false) };
                let channel = frame.channel;
                if let Some((performative, payload)) = frame.performative()? {
                    self.act(channel, performative, payload)?;
                }
                Ok(true)
            }
            Phase::Closed => Ok(false),
        }
    }

    fn greet(&mut self, header: [u8; 8]) -> Result<(), FrameError> {
        match header {
            HEADER_SASL => {
                self.context.output.extend_from_slice(&HEADER_SASL);
                let names = MECHANISMS.iter().map(|&name| Symbol::from(name)).collect::<Vec<_>>();
                let mechanisms = SaslMechanisms { sasl_server_mechanisms: Array::from(names) };
                self.phase = Phase::Sasl;
                frame::put_frame(&mut self.context.output, TYPE_SASL, 0, &mechanisms)
            }
            HEADER_AMQP => {
                self.context.output.extend_from_slice(&HEADER_AMQP);
                self.phase = Phase::Frames;
                Ok(())
            }
            _ => {
                // A peer of another protocol is told ours, and the connection ends (part 2, section 2.2).
                self.context.output.extend_from_slice(&HEADER_SASL);
                self.phase = Phase::Closed;
                Ok(())
            }
        }
    }

    fn authenticate(&mut self, init: &SaslInit) -> Result<(), FrameError> {
        let known = MECHANISMS.contains(&init.mechanism.as_str());
        let code = if known { SaslCode::Ok } else { SaslCode::Auth };
        self.phase = if known { Phase::Header } else { Phase::Closed };
        let outcome = SaslOutcome { code, additional_data: None };
        frame::put_frame(&mut self.context.output, TYPE_SASL, 0, &outcome)
    }

    fn act(&mut self, channel: u16, performative: Performative, payload: Bytes) -> Result<(), FrameError> {
        match performative {
            Performative::Open(open) => self.opened(open),
            Performative::Close(_) => self.close(None),
            Performative::Begin(begin) => self.begun(channel, &begin),
            Performative::End(end) => {
                if let Some(error) = &end.error {
                    tracing::debug!(connection = self.context.id, %error, "a client ended its session");
                }
                if self.sessions.remove(&channel).is_some() {
                    self.context.send(channel, &End { error: None });
                }
            }
            other => {
                let Some(session) = self.sessions.get_mut(&channel) else {
                    // The session was ended a moment ago, or never begun; either way nobody waits for an answer.
                    return Ok(());
                };
                session.act(&mut self.context, other, payload);
                self.pass_replies(channel);
            }
        }
        Ok(())
    }

    fn opened(&mut self, open: Open) {
        let settings = &self.context.shared.settings;
        // 512 bytes is the least that a peer must take (part 2, section 2.8.19).
        self.context.frame_max = usize::from(open.max_frame_size).clamp(512, settings.frame_bytes_max as usize);
        let idle = open.idle_time_out.filter(|&ms| ms > 0).map(|ms| Duration::from_millis(ms.into()));
        self.beat = idle.map(|idle| (idle / 2).max(BEAT_MIN));
        self.open = true;
        let reply = Open {
            container_id: "longshore-sandbox".to_owned(),
            hostname: None,
            max_frame_size: MaxFrameSize(settings.frame_bytes_max),
            channel_max: ChannelMax(CHANNEL_MAX.min(open.channel_max.0)),
            idle_time_out: u32::try_from(settings.idle_timeout.as_millis()).ok(),
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.context.send(0, &reply);
    }

    fn begun(&mut self, channel: u16, begin: &Begin) {
        if channel > CHANNEL_MAX {
            let text = format!("channel {channel} is above the agreed {CHANNEL_MAX}");
            return self.close(Some(amqp_error(ConnectionError::FramingError, &text)));
        }
        let session = Session::new(channel, begin);
        self.context.send(channel, &session.begin());
        self.sessions.insert(channel, session);
    }

    /// Gives each answer to the link that it is for: one of the same session if there is any.
    fn pass_replies(&mut self, channel: u16) {
        for reply in std::mem::take(&mut self.context.replies) {
            let own = self.sessions.get_mut(&channel).and_then(|session| session.reply_link(&reply));
            let link = match own {
                Some(handle) => Some((channel, handle)),
                None => self.sessions.iter().find_map(|(&at, session)| Some((at, session.reply_link(&reply)?))),
            };
            match link.and_then(|(at, handle)| self.sessions.get_mut(&at)?.links.get_mut(&handle)) {
                Some(link) => link.queue_reply(reply.message),
                None => tracing::debug!(node = reply.node, "a request came without a link for its answer"),
            }
        }
    }

    fn close(&mut self, error: Option<Error>) {
        if self.open {
            self.context.send(0, &Close { error });
        }
        self.phase = Phase::Closed;
    }

    fn deliver(&mut self) {
        for session in self.sessions.values_mut() {
            session.deliver(&mut self.context);
        }
    }

    /// Sends a heartbeat if it is time, and gives a silent peer up.
    fn keep_time(&mut self) {
        let now = Instant::now();
        if !self.context.output.is_empty() {
            self.spoke = now;
        } else if self.open && self.beat.is_some_and(|beat| now >= self.spoke + beat) {
            frame::put_heartbeat(&mut self.context.output);
            self.spoke = now;
        }
        if now >= self.heard + self.context.shared.settings.idle_timeout * 2 {
            let text = "nothing was heard for twice the idle time";
            self.close(Some(amqp_error(AmqpError::ResourceLimitExceeded, text)));
        }
    }

    /// When something is due even if nothing happens.
    fn wake_at(&self) -> Instant {
        let shared = &self.context.shared;
        let silent = self.heard + shared.settings.idle_timeout * 2;
        let beat = self.beat.filter(|_| self.open).map(|beat| self.spoke + beat);
        let expiry = self.context.tokens.first_expiry().map(|expiry| Instant::now() + expiry.since(shared.now()));
        [Some(silent), beat, expiry].into_iter().flatten().min().unwrap_or(silent)
    }
}

/// Sessions on one connection.
const CHANNEL_MAX: u16 = 255;

/// The mechanisms that are offered. None of them proves anything: tokens do.
const MECHANISMS: [&str; 3] = ["MSSBCBS", "ANONYMOUS", "PLAIN"];
