//! The tokens of one connection.

use super::shared::Shared;
use crate::clock::UnixMs;
use crate::sandbox::sas::{self, Grant};
use crate::secret::Secret;

/// The tokens in force on a connection. A token put again for the same audience takes the place of the old one.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<(Grant, Secret)>);

/// The most audiences that one connection may hold tokens for.
const TOKENS_MAX: usize = 256;

impl Tokens {
    pub fn put(&mut self, grant: Grant, token: Secret) {
        self.0.retain(|(old, _)| old.audience != grant.audience);
        if self.0.len() == TOKENS_MAX {
            self.0.remove(0);
        }
        self.0.push((grant, token));
    }

    /// Whether any token grants the entity at `path`.
    pub fn cover(&self, path: &str) -> bool {
        self.0.iter().any(|(grant, _)| grant.audience.covers_path(path))
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Drops tokens whose time is over; whether there were any.
    pub fn drop_expired(&mut self, now: UnixMs) -> bool {
        let before = self.0.len();
        self.0.retain(|(grant, _)| grant.expires > now);
        self.0.len() < before
    }

    /// Drops tokens that the keys in force did not sign; whether there were any.
    pub fn drop_refused(&mut self, shared: &Shared) -> bool {
        let (before, keys, now) = (self.0.len(), shared.keys(), shared.now());
        self.0.retain(|(_, token)| sas::verify(token.expose(), &keys, now).is_ok());
        self.0.len() < before
    }

    pub fn first_expiry(&self) -> Option<UnixMs> {
        self.0.iter().map(|(grant, _)| grant.expires).min()
    }
}
