//! Faults on request, and how orders reach the connections.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use fe2o3_amqp_types::definitions::{AmqpError, Error, ErrorCondition, Fields, LinkError};
use serde_amqp::Value;
use serde_amqp::primitives::Symbol;
use tokio::sync::Notify;

/// How an attach is refused on request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachFault {
    /// `com.microsoft:server-busy`: come back in some seconds.
    ServerBusy,
    /// `com.microsoft:timeout`.
    Timeout,
    /// `amqp:link:redirect` to another address.
    Redirect(SocketAddr),
    /// `amqp:not-found`.
    NotFound,
    /// `amqp:unauthorized-access`.
    Unauthorized,
}

impl AttachFault {
    pub(super) fn error(&self) -> Error {
        match self {
            Self::ServerBusy => condition_error(
                "com.microsoft:server-busy",
                "The request was terminated because the entity is being throttled. Please wait 4 seconds and try again.",
            ),
            Self::Timeout => condition_error("com.microsoft:timeout", "The operation did not complete in time."),
            Self::NotFound => amqp_error(AmqpError::NotFound, "The messaging entity could not be found."),
            Self::Unauthorized => amqp_error(AmqpError::UnauthorizedAccess, "Unauthorized access."),
            Self::Redirect(to) => {
                let mut info = Fields::new();
                let host = to.ip().to_string();
                info.insert(Symbol::from("hostname"), Value::String(host.clone()));
                info.insert(Symbol::from("network-host"), Value::String(host));
                info.insert(Symbol::from("port"), Value::Int(i32::from(to.port())));
                Error::new(LinkError::Redirect, Some("The link is served elsewhere.".to_owned()), Some(info))
            }
        }
    }
}

/// An error of any condition.
pub(super) fn condition_error(condition: &str, description: &str) -> Error {
    let condition = match (AmqpError::try_from(condition), LinkError::try_from(condition)) {
        (Ok(known), _) => known.into(),
        (_, Ok(known)) => known.into(),
        _ => ErrorCondition::Custom(Symbol::from(condition)),
    };
    amqp_error(condition, description)
}

/// An error with an empty map as its info: the Python SDK fails on an error of fewer than three fields.
pub(super) fn amqp_error(condition: impl Into<ErrorCondition>, description: &str) -> Error {
    Error::new(condition, Some(description.to_owned()), Some(Fields::new()))
}

/// What a connection was told to do since it last looked.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub detach: Option<String>,
    pub drop: bool,
    pub check_tokens: bool,
    pub expire_tokens: bool,
}

/// Wakes one connection: for new messages in a queue that it watches, or for orders.
#[derive(Debug, Default)]
pub(super) struct Signal {
    pub notify: Arc<Notify>,
    orders: Mutex<Orders>,
}

impl Signal {
    pub fn order(&self, order: impl FnOnce(&mut Orders)) {
        order(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        self.notify.notify_one();
    }

    pub fn take_orders(&self) -> Orders {
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
