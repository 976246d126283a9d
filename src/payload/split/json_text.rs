//! Checking that a text is one JSON value, strictly and within a depth.
//!
//! The hottest loop of the daemon, and so our own: `serde_json`, which skips a value without looking at UTF-8 or the depth,
//! did 1.4 GB/s of item lines in the run in which this, which looks at both, did 1.8 (eight bytes at a time, without
//! vector registers, 1.5). A property test holds it to what `serde_json` takes.

use memchr::memchr2;
use serde::de::IgnoredAny;
use wide::u8x16;

/// Bytes that are looked at together: what one register of every x86-64 and aarch64 processor holds.
const LANES: usize = 16;

/// Checks one text after the other; keeps its room between them.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// The brackets that are open.
    open: Vec<u8>,
    at: usize,
    /// Not 0 when any byte of a string is not ASCII.
    not_ascii: u32,
}

/// Why a text is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    NotJson,
    TooDeep,
}

impl Checker {
    /// Checks `text`: UTF-8, one JSON value (RFC 8259), nothing after it, no half of a surrogate pair, nested at most
    /// `depth_max` deep. The error says what is wrong and at which byte.
    pub fn check(&mut self, text: &[u8], depth_max: usize) -> Result<(), String> {
        self.open.clear();
        self.at = 0;
        self.not_ascii = 0;
        let is_json = self.value(text, depth_max);
        if self.not_ascii != 0 || is_json.is_err() {
            std::str::from_utf8(text)
                .map_err(|error| format!("it is not UTF-8 at byte {}", error.valid_up_to() + 1))?;
        }
        is_json.map_err(|fault| match fault {
            Fault::TooDeep => format!("it is nested deeper than {depth_max}"),
            Fault::NotJson => self.describe(text),
        })
    }

    /// What is wrong, in the words of `serde_json` where it sees it, too.
    #[cold]
    fn describe(&self, text: &[u8]) -> String {
        match serde_json::from_slice::<IgnoredAny>(text) {
            Err(error) => format!("it is not JSON: {}", without_line(&error)),
            Ok(_) => format!("it is not JSON: half of a surrogate pair at byte {}", self.at + 1),
        }
    }

    fn value(&mut self, text: &[u8], depth_max: usize) -> Result<(), Fault> {
        loop {
            match self.peek(text) {
                Some(b'"') => self.string(text)?,
                Some(bracket @ (b'{' | b'[')) => {
                    if self.open.len() >= depth_max {
                        return Err(Fault::TooDeep);
                    }
                    self.at += 1;
                    // In ASCII, both kinds of brackets close two after they open.
                    if self.peek(text) == Some(bracket + 2) {
                        self.at += 1;
                    } else {
                        self.open.push(bracket);
                        if bracket == b'{' {
                            self.key(text)?;
                        }
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number(text)?,
                Some(b't') => self.literal(text, b"true")?,
                Some(b'f') => self.literal(text, b"false")?,
                Some(b'n') => self.literal(text, b"null")?,
                _ => return Err(Fault::NotJson),
            }
            // What may follow a value: brackets that close, then a comma, or the end.
            loop {
                let next = self.peek(text);
                match (self.open.last(), next) {
                    (None, None) => return Ok(()),
                    (Some(b'{'), Some(b',')) => {
                        self.at += 1;
                        self.key(text)?;
                        break;
                    }
                    (Some(b'['), Some(b',')) => {
                        self.at += 1;
                        break;
                    }
                    (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) => {
                        self.at += 1;
                        self.open.pop();
                    }
                    _ => return Err(Fault::NotJson),
                }
            }
        }
    }

    /// The next byte that is not white space.
    #[inline(always)]
    fn peek(&mut self, text: &[u8]) -> Option<u8> {
        loop {
            let byte = *text.get(self.at)?;
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// A member's name and its colon.
    #[inline(always)]
    fn key(&mut self, text: &[u8]) -> Result<(), Fault> {
        if self.peek(text) != Some(b'"') {
            return Err(Fault::NotJson);
        }
        self.string(text)?;
        if self.peek(text) != Some(b':') {
            return Err(Fault::NotJson);
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, text: &[u8], word: &[u8]) -> Result<(), Fault> {
        if !text[self.at..].starts_with(word) {
            return Err(Fault::NotJson);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self, text: &[u8]) -> Result<(), Fault> {
        self.skip_if(text, b"-");
        if !self.skip_if(text, b"0") {
            self.digits(text)?;
        }
        if self.skip_if(text, b".") {
            self.digits(text)?;
        }
        if self.skip_if(text, b"eE") {
            self.skip_if(text, b"+-");
            self.digits(text)?;
        }
        Ok(())
    }

    fn skip_if(&mut self, text: &[u8], any: &[u8]) -> bool {
        let is_any = text.get(self.at).is_some_and(|byte| any.contains(byte));
        self.at += usize::from(is_any);
        is_any
    }

    fn digits(&mut self, text: &[u8]) -> Result<(), Fault> {
        let from = self.at;
        while text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(Fault::NotJson) }
    }

    /// A string, from its opening quotation mark.
    #[inline(always)]
    fn string(&mut self, text: &[u8]) -> Result<(), Fault> {
        self.at += 1;
        loop {
            while let Some(Ok(sixteen)) = text.get(self.at..self.at + LANES).map(<[u8; LANES]>::try_from) {
                let bytes = u8x16::from(sixteen);
                self.not_ascii |= bytes.to_bitmask();
                let special = special(bytes);
                if special != 0 {
                    self.at += special.trailing_zeros() as usize;
                    break;
                }
                self.at += LANES;
            }
            match text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape(text)?,
                None | Some(0..0x20) => return Err(Fault::NotJson),
                // Fewer than sixteen bytes are left.
                Some(byte) => {
                    self.not_ascii |= u32::from(*byte >> 7);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, text: &[u8]) -> Result<(), Fault> {
        match text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let first = hex(text, self.at + 2)?;
                let bytes = match first {
                    0xdc00..0xe000 => return Err(Fault::NotJson),
                    0xd800..0xdc00 => {
                        let is_pair = text.get(self.at + 6..self.at + 8) == Some(b"\\u")
                            && (0xdc00..0xe000).contains(&hex(text, self.at + 8)?);
                        if !is_pair {
                            return Err(Fault::NotJson);
                        }
                        12
                    }
                    _ => 6,
                };
                self.at += bytes;
                Ok(())
            }
            _ => Err(Fault::NotJson),
        }
    }
}

/// Marks, by a bit each, the quotation marks, backslashes and control characters.
#[inline(always)]
fn special(bytes: u8x16) -> u32 {
    let is_quote = bytes.simd_eq(u8x16::splat(b'"'));
    let is_escape = bytes.simd_eq(u8x16::splat(b'\\'));
    let is_control = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
    (is_quote | is_escape | is_control).to_bitmask()
}

fn hex(text: &[u8], at: usize) -> Result<u32, Fault> {
    let digits = text.get(at..at + 4).ok_or(Fault::NotJson)?;
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(Fault::NotJson)?;
        Ok(value << 4 | digit)
    })
}

/// Takes the white space out of `text`, a JSON value, if it stands on several lines.
pub(super) fn put_on_one_line(text: &mut Vec<u8>) {
    if memchr2(b'\n', b'\r', text).is_none() {
        return;
    }
    let (mut is_string, mut is_escaped) = (false, false);
    text.retain(|byte| {
        if is_escaped {
            is_escaped = false;
        } else if *byte == b'"' {
            is_string = !is_string;
        } else if *byte == b'\\' {
            is_escaped = is_string;
        }
        is_string || !byte.is_ascii_whitespace()
    });
}

/// The error without `line 1`, which is true of every record.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace("line 1 column", "byte")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &[u8], depth_max: usize) -> Result<(), String> {
        Checker::default().check(text, depth_max)
    }

    #[test]
    fn one_value_and_nothing_else_is_json() {
        for good in [r#"{"a":[1,2.5e3,null,true,"\u00e6\n"]}"#, "1", "\"x\"", " [ ] ", "null"] {
            assert_eq!(check(good.as_bytes(), 8), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "{}{}",
            "{} x",
            "{\"a\":1,}",
            "[1 2]",
            "01",
            "nul",
            "{'a':1}",
            "\"\x01\"",
            "\"\\x\"",
            "NaN",
            "[",
            "\"a",
        ] {
            assert!(check(bad.as_bytes(), 8).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_on_several_lines_comes_to_stand_on_one() {
        let mut text = b"{\n  \"a b\" : \"c \\\" \\\\\",\r\n\t\"d\": [1, 2]\n}".to_vec();
        put_on_one_line(&mut text);
        assert_eq!(String::from_utf8(text).unwrap(), r#"{"a b":"c \" \\","d":[1,2]}"#);
    }

    #[test]
    fn nesting_is_counted_outside_of_strings_only() {
        assert_eq!(check(b"[[[1]]]", 3), Ok(()));
        assert_eq!(check(b"[[[[1]]]]", 3), Err("it is nested deeper than 3".to_owned()));
        assert_eq!(check(br#"["[[[[[", "\"[[[[\\"]"#, 1), Ok(()));
        assert_eq!(check(b"[[],[],[],[]]", 2), Ok(()));
        let deep = [vec![b'['; 1_000_000], vec![b']'; 1_000_000]].concat();
        assert!(check(&deep, 128).is_err());
    }

    #[test]
    fn half_of_a_surrogate_pair_is_no_text() {
        assert_eq!(check(br#""\ud83d\udea2 \u00e5""#, 1), Ok(()));
        for half in [r#""\ud83d""#, r#""\ud83d\u0041""#, r#""\udea2\ud83d""#, r#""\ud83d x\udea2""#] {
            assert!(check(half.as_bytes(), 1).unwrap_err().contains("half of a surrogate pair at byte"), "{half}");
        }
    }

    fn token() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            "\\\"",
            "\\n",
            "\\u0041",
            "\\u12",
            "\"a\"",
            "\"abcdefgh\"",
            "\"a\":1",
            "1",
            "0",
            "-",
            "12.5",
            "1e5",
            "e",
            ".",
            "+",
            "true",
            "false",
            "null",
            "nul",
            " ",
            "\t",
            "\r",
            "\u{1}",
            "\u{c}",
            "ø",
            "🚢",
            "/",
            "x",
            "{\"k\":[1,{\"l\":\"m\"}]}",
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

        #[test]
        fn it_takes_what_serde_json_takes(tokens in prop::collection::vec(token(), 0..12), wrap in 0_u8..4) {
            let inner = tokens.concat();
            let text = match wrap {
                0 => inner,
                1 => format!("[{inner}]"),
                2 => format!("\"{inner}\""),
                _ => format!("{{\"a\":{inner}}}"),
            };
            let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(check(text.as_bytes(), 64).is_ok(), expected, "{}", text);
        }
    }
}
