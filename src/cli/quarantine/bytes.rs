//! Foreign bytes on a terminal: text with everything that a terminal would obey made visible, and a dump in hexadecimal
//! digits of what is no text.

use std::fmt::Write;

use crate::cli::screen::COLUMNS;

/// Bytes on one line of a dump.
const DUMP_BYTES: usize = 16;

/// The text that `bytes` are, if they are UTF-8; the end may be cut off within a character.
pub(super) fn as_text(bytes: &[u8], is_cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if is_cut && error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

/// `bytes`, indented, in lines that fit the screen.
pub(super) fn safe(bytes: &[u8], is_cut: bool) -> String {
    match as_text(bytes, is_cut) {
        Some(text) => lines(text),
        None => dump(bytes),
    }
}

fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    for line in text.split('\n') {
        let mut shown: Vec<char> = Vec::with_capacity(line.len());
        for c in line.chars() {
            if is_harmless(c) { shown.push(c) } else { shown.extend(c.escape_default()) }
        }
        let width = COLUMNS - 2;
        for piece in shown.chunks(width) {
            out.push_str("  ");
            out.extend(piece);
            out.push('\n');
        }
    }
    out
}

/// Neither a control character nor one that changes the order or the look of what stands around it.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Offset, hexadecimal digits, and what of it is ASCII.
fn dump(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 5);
    for (at, row) in bytes.chunks(DUMP_BYTES).enumerate() {
        let mut digits = String::with_capacity(DUMP_BYTES * 3);
        for byte in row {
            // Writing to a string does not fail.
            let _ = write!(digits, "{byte:02x} ");
        }
        let ascii: String = row
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        let _ = writeln!(out, "  {:08x}  {digits:<width$} {ascii}", at * DUMP_BYTES, width = DUMP_BYTES * 3);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        let shown =
            safe("{\"a\": \"\u{1b}[31mred\u{7}\", \"b\": \"\u{202e}txt.exe\"}\r\nsecond\ttab".as_bytes(), false);
        assert_eq!(shown, "  {\"a\": \"\\u{1b}[31mred\\u{7}\", \"b\": \"\\u{202e}txt.exe\"}\\r\n  second\\ttab\n");
    }

    #[test]
    fn text_that_is_cut_within_a_character_is_still_text() {
        assert_eq!(as_text("blå".as_bytes(), false), Some("blå"));
        assert_eq!(as_text(&"blå".as_bytes()[..3], true), Some("bl"));
        assert_eq!(as_text(&"blå".as_bytes()[..3], false), None);
    }

    #[test]
    fn what_is_no_text_is_dumped() {
        let shown = safe(b"\x1f\x8b\x08 not text \xff\xfe and a second line", false);
        assert_eq!(
            shown,
            "  00000000  1f 8b 08 20 6e 6f 74 20 74 65 78 74 20 ff fe 20  ... not text .. \n  \
             00000010  61 6e 64 20 61 20 73 65 63 6f 6e 64 20 6c 69 6e  and a second lin\n  \
             00000020  65                                               e\n"
        );
    }

    #[test]
    fn no_line_is_longer_than_the_screen() {
        for bytes in [vec![b'x'; 1000], vec![0xff; 1000]] {
            assert!(safe(&bytes, false).lines().all(|line| line.chars().count() <= COLUMNS));
        }
    }
}
