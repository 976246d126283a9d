//! The stable identity of a delivery and of its batches: the same on every try, on every machine.

use aws_lc_rs::digest::{Context, SHA256};

use crate::sink::DeliveryContext;

/// Bytes of the hash that are kept: 128 bits, so that no two deliveries ever meet.
const KEPT_BYTES: usize = 16;

/// Names a delivery by what the source said, not by the inbox's own numbers, so that it outlives an inbox: a hash of
/// feed, dedupe key, route, sink and run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryIdentity(String);

impl DeliveryIdentity {
    /// The identity of `delivery`.
    #[must_use]
    pub fn of(delivery: &DeliveryContext) -> Self {
        let run = delivery.run.0.to_string();
        Self(hash(&[
            delivery.notice.feed.as_str(),
            &delivery.notice.dedupe_key,
            delivery.target.route.as_str(),
            delivery.target.sink.as_str(),
            &run,
        ]))
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The idempotency key of the records `first` to `last` (their numbers in the payload): 32 hexadecimal digits.
    ///
    /// The end counts too: a receiver that knows the key does nothing, so a batch that has grown since (by another
    /// batch size in the configuration) must not go under the old key.
    #[must_use]
    pub fn batch_key(&self, first: u64, last: u64) -> String {
        hash(&[&self.0, &first.to_string(), &last.to_string()])
    }
}

/// Each part goes in with its length, so that no two lists of parts give the same bytes.
fn hash(parts: &[&str]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    hex(&context.finish().as_ref()[..KEPT_BYTES])
}

pub(in crate::sink) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The first `digits` hexadecimal digits of the hash of `text`.
pub(in crate::sink) fn short_hash(text: &str, digits: usize) -> String {
    let mut hash = hash(&[text]);
    hash.truncate(digits);
    hash
}

#[cfg(test)]
mod tests {
    use crate::inbox::RunId;
    use crate::sink::DeliveryIdentity;
    use crate::sink::test_support::delivery;

    #[test]
    fn the_same_delivery_has_the_same_identity_on_every_try() {
        let first = delivery("Gateway.Items");
        let mut second = first.clone();
        second.attempt = 7;
        assert_eq!(DeliveryIdentity::of(&first), DeliveryIdentity::of(&second));
        assert_eq!(DeliveryIdentity::of(&first).as_str().len(), 32);
    }

    #[test]
    fn another_run_or_batch_has_another_key() {
        let first = delivery("Gateway.Items");
        let mut replay = first.clone();
        replay.run = RunId(1);
        let (first, replay) = (DeliveryIdentity::of(&first), DeliveryIdentity::of(&replay));
        assert_ne!(first, replay);
        assert_ne!(first.batch_key(1, 10), replay.batch_key(1, 10));
        assert_ne!(first.batch_key(1, 10), first.batch_key(11, 20));
        assert_ne!(first.batch_key(1, 10), first.batch_key(1, 20));
    }
}
