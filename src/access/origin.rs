//! Where tokens come from: what is asked of an origin, and what it hands out.

use async_trait::async_trait;

use super::{AccessError, BlobAccess, ServiceBusAccess};
use crate::probe::Step;

/// Why tokens are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There are none yet.
    First,
    /// The earliest of them is about to expire.
    Expiring,
    /// A caller found one refused.
    Refused,
}

impl Why {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Expiring => "expiring",
            Self::Refused => "refused",
        }
    }
}

/// What an origin hands out.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub service_bus: ServiceBusAccess,
    pub blobs: Vec<BlobAccess>,
}

/// Where tokens come from.
#[async_trait]
pub(super) trait Origin: Send + Sync {
    /// Its name in texts for people, such as `TenantService at https://…`.
    fn name(&self) -> String;

    /// Asks for tokens, once.
    async fn fetch(&self, why: Why) -> Result<Answer, AccessError>;

    /// Walks the chain to the tokens, reporting each step; with the answer, where one was had.
    async fn probe(&self) -> (Vec<Step>, Option<Answer>);
}
