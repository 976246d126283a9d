//! Why a payload could not be had or read.

use std::time::Duration;

use crate::error::{Class, Classify};

/// Why a payload could not be fetched, opened or split. `object` is the blob's address without its query, or the
/// notice that carries the body.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PayloadError {
    /// The content is not there.
    #[error("{object} is not there ({said}); it may be late, or gone")]
    Missing {
        /// The blob.
        object: String,
        /// What was seen.
        said: String,
    },
    /// Tokens that were fetched afresh were refused as well.
    #[error(
        "{object} is refused (HTTP {status}) though the token is fresh; ask the vendor whether it may still be read"
    )]
    Refused {
        /// The blob.
        object: String,
        /// The status of the last answer.
        status: u16,
    },
    /// The blob store asks for time.
    #[error("{object}: the blob store asks for time (HTTP {status})")]
    Throttled {
        /// The blob.
        object: String,
        /// The status of the answer.
        status: u16,
        /// How long it asks us to wait, if it says so.
        wait: Option<Duration>,
    },
    /// The blob was written anew while it was read.
    #[error("{object} changed while it was read; it is read again from its start")]
    Changed {
        /// The blob.
        object: String,
    },
    /// The blob was written anew before it was read, and what it is now is a notice of its own.
    #[error("{object} was rewritten before it was read; its new version is a notice of its own")]
    Superseded {
        /// The blob.
        object: String,
    },
    /// The network or the store failed in a way that may pass.
    #[error("{object} cannot be fetched for now: {reason}")]
    Broken {
        /// The blob.
        object: String,
        /// What happened, redacted.
        reason: String,
    },
    /// The bytes arrived, but are not those that the store promised.
    #[error("{object} did not arrive as the store promised it: {reason}")]
    Damaged {
        /// The blob.
        object: String,
        /// What differs.
        reason: String,
    },
    /// The content cannot be read, and would not be the next time.
    #[error("{object} cannot be read: {reason}")]
    Unreadable {
        /// The blob.
        object: String,
        /// What is wrong with the bytes, and where.
        reason: String,
    },
    /// The content is of a type that is not split into records.
    #[error("{object} has the content type {media_type:?}, which has no records; send it to a sink that takes files")]
    Opaque {
        /// The blob.
        object: String,
        /// The content type as the vendor wrote it.
        media_type: String,
    },
    /// It cannot be fetched at all as things are configured.
    #[error("{object} is not fetched: {reason}")]
    Forbidden {
        /// The blob.
        object: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Its address is refused: it is untrusted input, and reaches only what came with the vendor's tokens.
    #[error("{object} is not fetched: {source}")]
    Address {
        /// The blob.
        object: String,
        /// Which rule it breaks.
        source: crate::access::AddressError,
    },
    /// There were no tokens to be had.
    #[error("{object} cannot be fetched without a token: {source}")]
    Access {
        /// The blob.
        object: String,
        /// Why not.
        source: crate::access::AccessError,
    },
}

impl Classify for PayloadError {
    fn class(&self) -> Class {
        match self {
            Self::Missing { .. } => Class::MissingObject,
            Self::Throttled { .. } => Class::Throttled,
            // A fresh token that is refused says more about the blob than about us: it costs an attempt, so that the
            // notice does not wait for ever.
            Self::Refused { .. } | Self::Changed { .. } | Self::Broken { .. } | Self::Damaged { .. } => {
                Class::Transient
            }
            Self::Unreadable { .. } | Self::Opaque { .. } => Class::Poison,
            // The worker ends such a delivery well, see `worker::run`.
            Self::Forbidden { .. } | Self::Address { .. } | Self::Superseded { .. } => Class::Permanent,
            Self::Access { source, .. } => source.class(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { wait, .. } => *wait,
            Self::Access { source, .. } => source.retry_after(),
            _ => None,
        }
    }
}
