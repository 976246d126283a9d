//! TenantService: hands out the temporary tokens to whoever brings an access token of the authority.
//!
//! The shape of the request and the answer is the one that the vendor's public client writes and reads.

mod fault;
mod serve;

pub use fault::TenantFault;
pub(super) use serve::router;
