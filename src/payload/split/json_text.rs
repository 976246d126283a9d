//! Checking that a text is one JSON value, strictly and within a depth.

use memchr::memchr2;
use serde::de::IgnoredAny;

/// Checks `text`, which is valid UTF-8: one JSON value (RFC 8259), nothing after it, nested at most `depth_max` deep.
/// The error says what is wrong and at which byte.
///
/// `serde_json` and not `sonic-rs`: skipping a value, it was the faster of the two here (1.4 against 1.2 GB/s) and takes
/// no shortcut over control characters, numbers or escapes. It checks neither UTF-8 nor, skipping, the depth.
pub(super) fn check(text: &[u8], depth_max: usize) -> Result<(), String> {
    if openings(text) > depth_max && depth(text) > depth_max {
        return Err(format!("it is nested deeper than {depth_max}"));
    }
    serde_json::from_slice::<IgnoredAny>(text)
        .map(drop)
        .map_err(|error| format!("it is not JSON: {}", without_line(&error)))
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

/// How many brackets open anywhere, also in strings: the depth is no larger. A count over bytes is many times faster
/// than looking at strings, and nearly every record passes by it.
fn openings(text: &[u8]) -> usize {
    text.chunks(255)
        .map(|chunk| {
            // Sums of at most 255 fit into a byte, which lets sixteen or more be counted at once.
            let count = chunk.iter().fold(0_u8, |count, byte| count + u8::from(matches!(byte, b'{' | b'[')));
            usize::from(count)
        })
        .sum()
}

/// The deepest nesting, outside of strings.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut at) = (0_usize, 0, 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(next) = memchr2(b'"', b'\\', &text[at.min(text.len())..]) {
                    at += next + 1;
                    if text[at - 1] == b'"' {
                        break;
                    }
                    at += 1;
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
