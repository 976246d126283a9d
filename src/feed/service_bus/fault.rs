//! Why a connection ended, or could not be made: told to people, and asked what to do next.

use std::time::Duration;

use fe2o3_amqp::connection::{ConnectionStopReason, OpenError};
use fe2o3_amqp::link::{
    DetachError, IllegalLinkStateError, LinkStateError, ReceiverAttachError, RecvError, SendError, SenderAttachError,
    SessionStopReason,
};
use fe2o3_amqp::session::BeginError;
use fe2o3_amqp_types::definitions::{Error as AmqpError, ErrorCondition};
use fe2o3_amqp_types::primitives::Symbol;

use crate::access::AccessError;
use crate::error::{Class, Classify};
use crate::inbox::InboxError;
use crate::notice::HeardNotice;
use crate::secret::redact;

/// A busy Service Bus refuses whoever comes back sooner than this (the SDKs of Microsoft wait 4 s as well).
const BUSY_WAIT: Duration = Duration::from_secs(4);

/// Why a connection ended, or could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// There are no tokens for now.
    #[error("no access to Service Bus for now: {0}")]
    NoTokens(#[source] AccessError),
    /// The settings and the token contradict each other.
    #[error("{0}")]
    NotAllowed(String),
    /// A token of `generation` was refused.
    #[error("the token was refused: {said}")]
    Refused {
        /// The refused generation.
        generation: u64,
        /// The broker's words.
        said: String,
    },
    /// A step did not end in time.
    #[error("{step} took longer than {} s", limit.as_secs_f32())]
    TimedOut {
        /// What was tried.
        step: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A step failed.
    #[error("{step} failed: {said}")]
    Failed {
        /// What was tried.
        step: &'static str,
        /// What was said.
        said: String,
    },
    /// The broker asks for time.
    #[error("the broker is busy: {0}")]
    Busy(String),
    /// The broker points elsewhere. A token is never sent to another host, so that we come back to the same one.
    #[error("the broker points to another place ({0}); connecting again to the place that the token names")]
    Redirected(String),
    /// The subscription is not there.
    #[error("the subscription was not found: {0}; check with the vendor that the integration is set up")]
    NotFound(String),
    /// The broker detached the link because nothing was published for a while. Normal.
    #[error("the broker let the idle link go: {0}")]
    Idle(String),
    /// The link, its session or its connection ended otherwise.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// Nothing was heard, heartbeats included.
    #[error("nothing was heard for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// New tokens name another place.
    #[error("the vendor named another place to listen")]
    Moved,
    /// The inbox cannot store.
    #[error("{error}")]
    Inbox {
        /// Why.
        error: InboxError,
        /// A notice that could not be stored, to try the inbox with.
        notice: Box<HeardNotice>,
    },
    /// The feed is to stop.
    #[error("stopped")]
    Stopped,
}

impl Fault {
    /// The shortest wait that is of any use before the next attempt.
    pub(super) fn wait_min(&self) -> Duration {
        match self {
            Self::Busy(_) => BUSY_WAIT,
            Self::NoTokens(error) => error.retry_after().unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    /// Whether this is part of an ordinary day, and so not worth a warning.
    pub(super) fn is_ordinary(&self) -> bool {
        matches!(self, Self::Idle(_) | Self::Moved | Self::Stopped)
    }

    /// What a person can do about it.
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::NoTokens(_) => "see the steps of the access above",
            Self::NotAllowed(_) => "ask the vendor for a connection string with TLS",
            Self::Refused { .. } => "compare this machine's clock with a time server; if it is right, the token was rotated: try again",
            Self::NotFound(_) => "check with the vendor that the integration and its subscription exist",
            Self::Busy(_) => "wait; if it stays so, ask the vendor",
            Self::Inbox { .. } => "see the inbox",
            _ => "check that the firewall lets this machine out on port 5671, or set `transport = \"web-socket\"` to use port 443",
        }
        .to_owned()
    }

    /// The class of the fault.
    pub(super) fn class(&self) -> Class {
        match self {
            Self::NoTokens(error) => error.class(),
            Self::Refused { .. } => Class::Unauthorized,
            Self::Busy(_) => Class::Throttled,
            Self::NotAllowed(_) => Class::Permanent,
            Self::Inbox { error, .. } => error.class(),
            _ => Class::Transient,
        }
    }

    /// The fault behind what the broker said on a link, session or connection that used a token of `generation`.
    pub(super) fn of_amqp(error: &AmqpError, generation: u64) -> Self {
        let condition = symbol(&error.condition);
        let said = said(error);
        match condition.as_str() {
            "amqp:unauthorized-access" | "com.microsoft:auth-failed" => Self::Refused { generation, said },
            "com.microsoft:server-busy" | "com.microsoft:argument-throttled" => Self::Busy(said),
            "amqp:link:redirect" | "amqp:connection:redirect" | "com.microsoft:redirect" => Self::Redirected(said),
            "amqp:not-found" | "com.microsoft:entity-disabled" => Self::NotFound(said),
            "amqp:link:detach-forced" | "amqp:connection:forced" => Self::Idle(said),
            _ => Self::Lost(said),
        }
    }

    /// A step that failed with an error of a library.
    pub(super) fn failed(step: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Failed { step, said: redact(&crate::error::chain(error)) }
    }

    pub(super) fn of_open(error: &OpenError, generation: u64) -> Self {
        match error {
            OpenError::RemoteClosedWithError(said) => Self::of_amqp(said, generation),
            other => Self::failed("opening the AMQP connection", other),
        }
    }

    pub(super) fn of_begin(error: &BeginError, generation: u64) -> Self {
        match error {
            BeginError::RemoteEndedWithError(said) => Self::of_amqp(said, generation),
            BeginError::ConnectionStopped(reason) => Self::of_connection_stop(reason, generation),
            other => Self::failed("beginning the AMQP session", other),
        }
    }

    pub(super) fn of_recv(error: &RecvError, generation: u64) -> Self {
        match error {
            RecvError::LinkStateError(state) => Self::of_link_state(state, generation),
            other => Self::Lost(redact(&other.to_string())),
        }
    }

    pub(super) fn of_settle(error: &IllegalLinkStateError, generation: u64) -> Self {
        match error {
            IllegalLinkStateError::SessionStopped(reason) => Self::of_session_stop(reason, generation),
            IllegalLinkStateError::IllegalState => Self::Lost("the link is detached".to_owned()),
        }
    }

    pub(super) fn of_receiver_attach(error: &ReceiverAttachError, generation: u64) -> Self {
        match error {
            ReceiverAttachError::RemoteClosedWithError(said) => Self::of_amqp(said, generation),
            ReceiverAttachError::SessionStopped(reason) => Self::of_session_stop(reason, generation),
            other => Self::failed("attaching to the subscription", other),
        }
    }

    pub(super) fn of_sender_attach(error: &SenderAttachError, generation: u64) -> Self {
        match error {
            SenderAttachError::RemoteClosedWithError(said) => Self::of_amqp(said, generation),
            SenderAttachError::SessionStopped(reason) => Self::of_session_stop(reason, generation),
            other => Self::failed("attaching for a request", other),
        }
    }

    pub(super) fn of_send(step: &'static str, error: &SendError, generation: u64) -> Self {
        match error {
            SendError::LinkStateError(state) => Self::of_link_state(state, generation),
            SendError::Detached(
                DetachError::RemoteDetachedWithError(said) | DetachError::RemoteClosedWithError(said),
            ) => Self::of_amqp(said, generation),
            SendError::Detached(DetachError::SessionStopped(reason)) => Self::of_session_stop(reason, generation),
            other => Self::failed(step, other),
        }
    }

    fn of_link_state(state: &LinkStateError, generation: u64) -> Self {
        match state {
            LinkStateError::RemoteDetachedWithError(said) | LinkStateError::RemoteClosedWithError(said) => {
                Self::of_amqp(said, generation)
            }
            LinkStateError::SessionStopped(reason) => Self::of_session_stop(reason, generation),
            LinkStateError::RemoteDetached | LinkStateError::RemoteClosed => {
                Self::Idle("the link was detached without a reason".to_owned())
            }
            LinkStateError::IllegalState | LinkStateError::ExpectImmediateDetach => Self::Lost(state.to_string()),
        }
    }

    fn of_session_stop(reason: &SessionStopReason, generation: u64) -> Self {
        match reason {
            SessionStopReason::RemoteEndedWithError(said) => Self::of_amqp(said, generation),
            SessionStopReason::ConnectionStopped(reason) => Self::of_connection_stop(reason, generation),
            SessionStopReason::RemoteEnded => Self::Lost("the broker ended the session".to_owned()),
            SessionStopReason::Ended | SessionStopReason::EndedWithError(_) => {
                Self::Lost("the session ended".to_owned())
            }
        }
    }

    pub(super) fn of_connection_stop(reason: &ConnectionStopReason, generation: u64) -> Self {
        match reason {
            ConnectionStopReason::RemoteClosedWithError(said) => Self::of_amqp(said, generation),
            ConnectionStopReason::RemoteClosed => Self::Idle("the broker closed the connection".to_owned()),
            ConnectionStopReason::Closed | ConnectionStopReason::ClosedWithError(_) => {
                Self::Lost("the connection broke off".to_owned())
            }
        }
    }
}

/// The broker's own words, without secrets.
fn said(error: &AmqpError) -> String {
    let condition = symbol(&error.condition);
    match error.description.as_deref() {
        Some(description) if !description.is_empty() => redact(&format!("{}: {description}", condition.as_str())),
        _ => condition.as_str().to_owned(),
    }
}

fn symbol(condition: &ErrorCondition) -> Symbol {
    match condition {
        ErrorCondition::AmqpError(error) => Symbol::from(error),
        ErrorCondition::ConnectionError(error) => Symbol::from(error),
        ErrorCondition::SessionError(error) => Symbol::from(error),
        ErrorCondition::LinkError(error) => Symbol::from(error),
        ErrorCondition::Custom(symbol) => symbol.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(condition: &str) -> Fault {
        let condition: ErrorCondition = fe2o3_amqp_types::definitions::AmqpError::try_from(condition)
            .map_or_else(|_| ErrorCondition::Custom(Symbol::from(condition)), ErrorCondition::from);
        Fault::of_amqp(&AmqpError::new(condition, Some("Bearer abc said no".to_owned()), None), 3)
    }

    #[test]
    fn what_the_broker_says_decides_what_is_done() {
        assert!(matches!(of("amqp:unauthorized-access"), Fault::Refused { generation: 3, .. }));
        assert!(matches!(of("amqp:not-found"), Fault::NotFound(_)));
        assert!(matches!(of("amqp:link:redirect"), Fault::Redirected(_)));
        assert_eq!(of("com.microsoft:server-busy").wait_min(), BUSY_WAIT);
        assert_eq!(of("com.microsoft:server-busy").class(), Class::Throttled);
        assert!(of("amqp:link:detach-forced").is_ordinary());
        assert!(matches!(of("com.microsoft:anything-else"), Fault::Lost(_)));
    }

    #[test]
    fn a_secret_in_the_brokers_words_is_not_repeated() {
        assert_eq!(
            of("amqp:internal-error").to_string(),
            "the connection was lost: amqp:internal-error: Bearer [secret] said no"
        );
    }
}
