//! Lock tokens: what a client calls a lock.

/// The name of a lock: unique in its queue, written into delivery tags as part of a `LockToken`.
pub(super) type LockId = u64;

/// The lock tokens of one queue. Those of another differ.
#[derive(Debug)]
pub(super) struct LockTokens {
    salt: u64,
}

/// The variant bits of a UUID.
const TOKEN_VARIANT: u64 = 1 << 63;

impl LockTokens {
    pub fn random() -> Self {
        // The fixed bits make each token a well-formed version 4 UUID.
        Self { salt: (fastrand::u64(..) & !0xf000) | 0x4000 }
    }

    /// The token of a lock, as a GUID is written: the queue's salt, then the lock.
    pub fn of(&self, lock: LockId) -> [u8; 16] {
        let mut token = [0; 16];
        token[..8].copy_from_slice(&self.salt.to_be_bytes());
        token[8..].copy_from_slice(&(lock | TOKEN_VARIANT).to_be_bytes());
        token
    }

    /// The lock that a token of this queue names.
    pub fn lock_of(&self, token: [u8; 16]) -> Option<LockId> {
        let (salt, lock) = token.split_at(8);
        let lock = u64::from_be_bytes(lock.try_into().ok()?);
        (salt == self.salt.to_be_bytes()).then_some(lock & !TOKEN_VARIANT)
    }
}

/// A GUID between its written order and the order of .NET's `Guid.ToByteArray`, in which delivery tags are: the first
/// three groups are little-endian. The same step leads both ways.
pub(super) fn swap_guid_order(mut guid: [u8; 16]) -> [u8; 16] {
    guid[..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    guid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_lock_in_its_own_queue_only() {
        let (own, other) = (LockTokens::random(), LockTokens::random());
        let token = own.of(77);
        assert_eq!(own.lock_of(token), Some(77));
        assert_eq!(other.lock_of(token), None);
        assert_eq!(swap_guid_order(swap_guid_order(token)), token);
        assert_eq!(token[6] >> 4, 4, "a version 4 UUID");
    }
}
