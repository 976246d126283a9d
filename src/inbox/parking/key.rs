//! Keys of entities, as the index holds them.

use aws_lc_rs::digest::{SHA256, digest};

/// A key of an entity: 128 bits of a hash over the key's name and its values.
///
/// The hash is SHA-256, cut: whoever publishes records may choose their keys, and two keys that meet would let a child
/// go without its parent. At 128 bits nobody finds such a pair, and a hundred million keys meet by chance with a
/// probability below 10^-22. A faster hash without that property would save some 50 ns a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey(pub [u8; 16]);

impl EntityKey {
    /// The key called `name` with these values, in the order of its pointers. Values are texts: the number 123 and
    /// the text "123" are one value. Each part goes in with its length, so that no two lists of parts give the same
    /// bytes; `scratch` is memory to work in.
    pub fn of<'a>(scratch: &mut Vec<u8>, name: &'a str, values: impl IntoIterator<Item = &'a str>) -> Self {
        scratch.clear();
        for part in std::iter::once(name).chain(values) {
            scratch.extend_from_slice(&(part.len() as u64).to_le_bytes());
            scratch.extend_from_slice(part.as_bytes());
        }
        let hash = digest(&SHA256, scratch);
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_ref()[..16]);
        Self(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, values: &[&str]) -> EntityKey {
        EntityKey::of(&mut Vec::new(), name, values.iter().copied())
    }

    #[test]
    fn parts_that_run_together_are_other_keys() {
        assert_eq!(key("sku", &["1", "2"]), key("sku", &["1", "2"]));
        let keys = [
            key("sku", &["1", "2"]),
            key("sku", &["12"]),
            key("sku", &["2", "1"]),
            key("sk", &["u1", "2"]),
            key("sku", &["1", "2", ""]),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(keys[at + 1..].iter().all(|other| other != one));
        }
    }
}
