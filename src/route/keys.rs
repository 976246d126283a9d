//! Keys of entities, read from the raw bytes of a record.
//!
//! A value is compared as text: the number `123` and the text `"123"` are one key. What is `null`, empty, an object or
//! an array is no value, and a record that lacks one value of a key does not carry that key.

use std::borrow::Cow;

use crate::inbox::EntityKey;
use crate::pointer::{Pointer, PointerError};
use crate::route::KeySettings;

/// One key, ready for use.
#[derive(Clone, Debug)]
pub struct Key {
    name: String,
    pointers: Vec<Pointer>,
}

impl Key {
    /// # Errors
    /// When a pointer is not one.
    pub(super) fn new(settings: &KeySettings) -> Result<Self, PointerError> {
        let pointers = settings.pointers.iter().map(|text| Pointer::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { name: settings.name.clone(), pointers })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many values it has.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.pointers.len()
    }

    /// The key that the record `body` carries; `None` if it lacks a part of it. `scratch` is memory to work in.
    #[must_use]
    pub fn of(&self, body: &[u8], scratch: &mut Vec<u8>) -> Option<EntityKey> {
        match &self.pointers[..] {
            // The usual case needs no list.
            [pointer] => {
                let value = text(pointer.find(body)?)?;
                Some(EntityKey::of(scratch, &self.name, [value.as_ref()]))
            }
            _ => {
                let values = self.values(body)?;
                Some(EntityKey::of(scratch, &self.name, values.iter().map(AsRef::as_ref)))
            }
        }
    }

    /// The key as people read it, such as `sku=123` or `store/item=17/123`; `None` if the record does not carry it.
    #[must_use]
    pub fn show(&self, body: &[u8]) -> Option<String> {
        let values = self.values(body)?;
        Some(format!("{}={}", self.name, values.join("/").escape_debug()))
    }

    fn values<'a>(&self, body: &'a [u8]) -> Option<Vec<Cow<'a, str>>> {
        self.pointers.iter().map(|pointer| text(pointer.find(body)?)).collect()
    }
}

/// The text of a JSON value, where it has one.
fn text(raw: &str) -> Option<Cow<'_, str>> {
    let text = match raw.as_bytes().first()? {
        b'{' | b'[' | b'n' => return None,
        b'"' if raw.contains('\\') => Cow::Owned(serde_json::from_str::<String>(raw).ok()?),
        b'"' => Cow::Borrowed(raw.get(1..raw.len().checked_sub(1)?)?),
        _ => Cow::Borrowed(raw),
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pointers: &[&str]) -> Key {
        let pointers = pointers.iter().map(|text| (*text).to_owned()).collect();
        Key::new(&KeySettings { name: "sku".to_owned(), pointers }).expect("test pointers")
    }

    fn of(key: &Key, body: &str) -> Option<EntityKey> {
        key.of(body.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn a_value_is_one_key_however_it_is_written() {
        let key = key(&["/a"]);
        let plain = of(&key, r#"{"a":"12/3"}"#);
        assert!(plain.is_some());
        assert_eq!(plain, of(&key, r#"{"a":"12\/3"}"#));
        assert_eq!(of(&key, r#"{"a":"123"}"#), of(&key, r#"{"a":123}"#));
        assert_ne!(of(&key, r#"{"a":"123"}"#), of(&key, r#"{"a":"0123"}"#));
    }

    #[test]
    fn a_record_that_lacks_a_part_does_not_carry_the_key() {
        let two = key(&["/a", "/b"]);
        assert!(of(&two, r#"{"a":1,"b":2}"#).is_some());
        for body in
            [r#"{"a":1}"#, r#"{"a":1,"b":null}"#, r#"{"a":1,"b":""}"#, r#"{"a":1,"b":{}}"#, r#"{"a":1,"b":[2]}"#, "7"]
        {
            assert_eq!(of(&two, body), None, "{body}");
        }
        assert_ne!(of(&two, r#"{"a":1,"b":2}"#), of(&two, r#"{"a":2,"b":1}"#));
    }

    #[test]
    fn a_key_is_shown_on_one_line() {
        assert_eq!(key(&["/a", "/b"]).show(br#"{"a":"x\ny","b":2}"#).as_deref(), Some("sku=x\\ny/2"));
    }
}
