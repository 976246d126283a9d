//! From bytes to UTF-8: a byte order mark is taken off, and UTF-16 is turned into UTF-8.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, UTF_16BE, UTF_16LE};

/// Bytes of UTF-16 that are turned over at a time.
const UTF_16_BYTES: usize = 64 << 10;

/// The mark of UTF-8, and how many bytes tell any mark.
const UTF_8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A reader of text in UTF-8 (not checked: the splitters do that, record by record).
pub(crate) struct Text<R> {
    inner: R,
    state: State,
    /// Bytes that were read to look for a mark and are still to be given out.
    ahead: Vec<u8>,
    /// How many bytes a mark took, which offsets count too.
    mark_bytes: u64,
}

enum State {
    Start,
    Utf8,
    Utf16(Box<Utf16>),
}

struct Utf16 {
    decoder: Decoder,
    input: Vec<u8>,
    from: usize,
    to: usize,
    is_ended: bool,
    is_finished: bool,
}

impl<R: Read> Text<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, state: State::Start, ahead: Vec::new(), mark_bytes: 0 }
    }

    /// The bytes of a UTF-8 mark, which stand before the first byte given out; 0 before the first read.
    pub fn mark_bytes(&self) -> u64 {
        self.mark_bytes
    }

    pub fn into_inner(self) -> R {
        self.inner
    }

    fn start(&mut self) -> io::Result<()> {
        let mut first = [0; UTF_8_MARK.len()];
        let mut count = 0;
        while count < first.len() {
            match self.inner.read(&mut first[count..])? {
                0 => break,
                read => count += read,
            }
        }
        let first = &first[..count];
        let utf_16 = |encoding: &'static encoding_rs::Encoding| {
            let mut input = vec![0; UTF_16_BYTES];
            input[..count].copy_from_slice(first);
            State::Utf16(Box::new(Utf16 {
                decoder: encoding.new_decoder_with_bom_removal(),
                input,
                from: 0,
                to: count,
                is_ended: false,
                is_finished: false,
            }))
        };
        self.state = match first {
            [0xff, 0xfe, ..] => utf_16(UTF_16LE),
            [0xfe, 0xff, ..] => utf_16(UTF_16BE),
            _ => {
                if first == UTF_8_MARK {
                    self.mark_bytes = UTF_8_MARK.len() as u64;
                } else {
                    self.ahead = first.to_vec();
                }
                State::Utf8
            }
        };
        Ok(())
    }
}

impl Utf16 {
    fn read(&mut self, inner: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.from == self.to && !self.is_ended {
                self.from = 0;
                self.to = inner.read(&mut self.input)?;
                self.is_ended = self.to == 0;
            }
            if self.is_finished {
                return Ok(0);
            }
            // Half a pair of surrogates becomes U+FFFD: the record stays readable, and what it held cannot be known.
            let (result, read, written, _) =
                self.decoder.decode_to_utf8(&self.input[self.from..self.to], out, self.is_ended);
            self.from += read;
            self.is_finished = self.is_ended && result == CoderResult::InputEmpty;
            if written > 0 || self.is_finished {
                return Ok(written);
            }
        }
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // Too small to hold any one character, which the decoder of UTF-16 must be able to write whole.
        debug_assert!(out.len() >= 4, "text is read in larger pieces");
        if matches!(self.state, State::Start) {
            self.start()?;
        }
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(out.len());
            out[..count].copy_from_slice(&self.ahead[..count]);
            self.ahead.drain(..count);
            return Ok(count);
        }
        match &mut self.state {
            State::Utf16(utf_16) => utf_16.read(&mut self.inner, out),
            State::Start | State::Utf8 => self.inner.read(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> String {
        let mut text = Text::new(bytes);
        let mut out = Vec::new();
        let mut piece = [0; 7];
        loop {
            match text.read(&mut piece).unwrap() {
                0 => return String::from_utf8(out).unwrap(),
                count => out.extend_from_slice(&piece[..count]),
            }
        }
    }

    fn utf_16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(order).collect()
    }

    #[test]
    fn marks_are_taken_off_and_utf_16_becomes_utf_8() {
        let said = "{\"a\":\"sørlandet 🚢\"}\n";
        assert_eq!(read(said.as_bytes()), said);
        assert_eq!(read(format!("\u{feff}{said}").as_bytes()), said);
        assert_eq!(read(&utf_16(said, u16::to_le_bytes)), said);
        assert_eq!(read(&utf_16(said, u16::to_be_bytes)), said);
    }

    #[test]
    fn short_and_broken_texts_end() {
        assert_eq!(read(b""), "");
        assert_eq!(read(b"a"), "a");
        assert_eq!(read(&UTF_8_MARK), "");
        assert_eq!(read(&[0xff, 0xfe]), "");
        assert_eq!(read(&[0xff, 0xfe, b'a']), "\u{fffd}");
        assert_eq!(read(&[0xff, 0xfe, 0x3d, 0xd8]), "\u{fffd}");
    }
}
