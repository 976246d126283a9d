//! JSON pointers (RFC 6901) into the raw bytes of a record: found by skipping, without building the record's tree.

use std::borrow::Cow;
use std::fmt;

/// A JSON pointer such as `/status/isDeleted`; the empty pointer is the whole record.
///
/// Where an object holds a name twice, the first one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
    /// Whether a token could be an array's index, so that each step has to look at what it stands on.
    may_index: bool,
}

/// Why a text is not a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a JSON pointer: {reason}")]
pub struct PointerError {
    text: String,
    reason: &'static str,
}

impl PointerError {
    /// Why, without the text.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// When it neither is empty nor begins with `/`, or when a `~` is not followed by `0` or `1`.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let fail = |reason| PointerError { text: text.to_owned(), reason };
        let mut tokens = Vec::new();
        if !text.is_empty() {
            let rest = text.strip_prefix('/').ok_or_else(|| fail("it does not begin with `/`"))?;
            for token in rest.split('/') {
                let mut parts = token.split('~');
                parts.next();
                if parts.any(|after| !after.starts_with(['0', '1'])) {
                    return Err(fail("a `~` is written `~0`, and a `/` within a name `~1`"));
                }
                tokens.push(token.replace("~1", "/").replace("~0", "~"));
            }
        }
        let may_index = tokens.iter().any(|token| array_index(token).is_some());
        Ok(Self { text: text.to_owned(), tokens, may_index })
    }

    /// The raw JSON text of the value that it points to in `json`; `None` where there is none, also when the record
    /// is not an object or cannot be read up to there.
    #[must_use]
    pub fn find<'a>(&self, json: &'a [u8]) -> Option<&'a str> {
        if !self.may_index {
            return raw(sonic_rs::get_from_slice(json, self.tokens.iter().map(String::as_str)));
        }
        let mut at = std::str::from_utf8(json).ok()?;
        for token in &self.tokens {
            let is_array = at.bytes().find(|byte| !byte.is_ascii_whitespace()) == Some(b'[');
            at = raw(if is_array {
                sonic_rs::get_from_str(at, [array_index(token)?])
            } else {
                sonic_rs::get_from_str(at, [token.as_str()])
            })?;
        }
        Some(at)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn raw<'a>(found: sonic_rs::Result<sonic_rs::LazyValue<'a>>) -> Option<&'a str> {
    match found.ok()?.as_raw_cow() {
        Cow::Borrowed(text) => Some(text),
        // Only a value that was read from a shared string is owned, and these are read from a slice.
        Cow::Owned(_) => None,
    }
}

/// RFC 6901, section 4: an index has no leading zero.
fn array_index(token: &str) -> Option<usize> {
    let is_index = token == "0" || (token.starts_with(|c: char| ('1'..='9').contains(&c)));
    if is_index && token.bytes().all(|byte| byte.is_ascii_digit()) { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(pointer: &str, json: &'a str) -> Option<&'a str> {
        Pointer::parse(pointer).expect("test pointer").find(json.as_bytes())
    }

    #[test]
    fn the_examples_of_rfc_6901_are_found() {
        let json = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        assert_eq!(find("", json), Some(json));
        assert_eq!(find("/foo", json), Some(r#"["bar","baz"]"#));
        assert_eq!(find("/foo/0", json), Some(r#""bar""#));
        for (pointer, value) in [
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(find(pointer, json), Some(value), "{pointer}");
        }
    }

    #[test]
    fn a_digit_names_a_member_of_an_object_and_an_element_of_an_array() {
        assert_eq!(find("/0/1", r#" { "0" : [ 5 , {"x":1} ] }"#), Some(r#"{"x":1}"#));
        assert_eq!(find("/01", "[1,2]"), None);
        assert_eq!(find("/2", "[1,2]"), None);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for json in ["{}", "[]", "7", "null", r#""a""#, "", "{", r#"{"b":1}"#, r#"{"a"#] {
            assert_eq!(find("/a", json), None, "{json}");
            assert_eq!(find("/a/b", json), None, "{json}");
        }
    }

    #[test]
    fn an_escaped_name_is_the_same_name() {
        assert_eq!(find("/a", r#"{"\u0061":1}"#), Some("1"));
    }

    #[test]
    fn a_text_that_is_no_pointer_is_refused() {
        assert!(Pointer::parse("a").is_err());
        assert!(Pointer::parse("/a~2").is_err());
        assert!(Pointer::parse("/a~").is_err());
    }
}
