//! What can be asked of the service instead of an answer.

use serde::{Deserialize, Serialize};

/// What TenantService does instead of answering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantFault {
    /// The status of the answer: 403 for "permission not granted", 429, 500, 503 or another.
    pub status: u16,
    /// `Retry-After`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// For so many requests; absent until it is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
}
