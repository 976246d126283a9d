//! From bytes to UTF-8: a byte order mark is taken off, and any other encoding that is named is turned into UTF-8.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Bytes of another encoding that are turned over at a time.
const FOREIGN_BYTES: usize = 64 << 10;

/// How far the start is looked at for a mark or an XML declaration.
const START_BYTES: usize = 256;

/// Bytes of the largest character in UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

/// The mark of UTF-8.
const UTF_8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A reader of text in UTF-8 (not checked: the splitters do that, record by record). A byte order mark decides; then
/// the `charset` of the content type; then, in XML, the declaration.
pub(crate) struct Text<R> {
    inner: R,
    charset: Option<&'static Encoding>,
    state: State,
    /// Bytes that were read to look at the start and are still to be given out.
    ahead: Vec<u8>,
    /// How many bytes a mark took, which offsets count too.
    mark_bytes: u64,
}

enum State {
    Start,
    Utf8,
    Foreign(Box<Foreign>),
}

/// Text in another encoding than UTF-8.
struct Foreign {
    decoder: Decoder,
    input: Vec<u8>,
    from: usize,
    to: usize,
    is_ended: bool,
    is_finished: bool,
}

impl<R: Read> Text<R> {
    /// The text in `inner`; `content_type` may name its `charset`.
    pub fn new(inner: R, content_type: Option<&str>) -> Self {
        let charset = content_type.and_then(charset_of).and_then(|label| Encoding::for_label(label.as_bytes()));
        Self { inner, charset, state: State::Start, ahead: Vec::new(), mark_bytes: 0 }
    }

    /// The bytes of a UTF-8 mark, which stand before the first byte given out; 0 before the first read.
    pub fn mark_bytes(&self) -> u64 {
        self.mark_bytes
    }

    fn start(&mut self) -> io::Result<()> {
        let mut start = vec![0; START_BYTES];
        let mut count = 0;
        while count < start.len() {
            match self.inner.read(&mut start[count..])? {
                0 => break,
                read => count += read,
            }
        }
        start.truncate(count);
        let encoding = match start[..] {
            [0xff, 0xfe, ..] => UTF_16LE,
            [0xfe, 0xff, ..] => UTF_16BE,
            _ if start.starts_with(&UTF_8_MARK) => {
                start.drain(..UTF_8_MARK.len());
                self.mark_bytes = UTF_8_MARK.len() as u64;
                UTF_8
            }
            _ => self.charset.or_else(|| declared(&start)).unwrap_or(UTF_8),
        };
        if encoding == UTF_8 {
            self.ahead = start;
            self.state = State::Utf8;
            return Ok(());
        }
        start.resize(FOREIGN_BYTES, 0);
        self.state = State::Foreign(Box::new(Foreign {
            decoder: encoding.new_decoder_with_bom_removal(),
            input: start,
            from: 0,
            to: count,
            is_ended: false,
            is_finished: false,
        }));
        Ok(())
    }
}

/// The `charset` of a content type.
fn charset_of(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

/// The encoding of an XML declaration, `<?xml version="1.0" encoding="iso-8859-1"?>`. Whoever can read it here as ASCII
/// knows that it is not UTF-16, whatever it says.
fn declared(start: &[u8]) -> Option<&'static Encoding> {
    let declaration = start.strip_prefix(b"<?xml")?;
    let end = declaration.windows(2).position(|pair| pair == b"?>")?;
    let text = std::str::from_utf8(&declaration[..end]).ok()?;
    let (_, after) = text.split_once("encoding")?;
    let value = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let label = value[1..].split(quote).next()?;
    Encoding::for_label(label.as_bytes()).filter(|encoding| *encoding != UTF_16LE && *encoding != UTF_16BE)
}

impl Foreign {
    fn read(&mut self, inner: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_finished {
                return Ok(0);
            }
            if self.from == self.to && !self.is_ended {
                self.from = 0;
                self.to = inner.read(&mut self.input)?;
                self.is_ended = self.to == 0;
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
        if out.is_empty() {
            return Ok(0);
        }
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
            // A decoder writes whole characters: where there is no room for one, the rest of it is read next.
            State::Foreign(foreign) if out.len() < CHARACTER_BYTES_MAX => {
                let mut character = [0; CHARACTER_BYTES_MAX];
                let written = foreign.read(&mut self.inner, &mut character)?;
                let count = written.min(out.len());
                out[..count].copy_from_slice(&character[..count]);
                self.ahead.extend_from_slice(&character[count..written]);
                Ok(count)
            }
            State::Foreign(foreign) => foreign.read(&mut self.inner, out),
            State::Start | State::Utf8 => self.inner.read(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> String {
        read_as(bytes, None)
    }

    fn read_as(bytes: &[u8], content_type: Option<&str>) -> String {
        let mut text = Text::new(bytes, content_type);
        let mut out = Vec::new();
        let mut piece = [0; 7];
        loop {
            match text.read(&mut piece).unwrap() {
                0 => return String::from_utf8(out).unwrap(),
                count => out.extend_from_slice(&piece[..count]),
            }
        }
    }

    #[test]
    fn pieces_smaller_than_a_character_are_no_trouble() {
        let said = "a sørlandet 🚢";
        for bytes in [said.as_bytes().to_vec(), utf_16(said, u16::to_le_bytes)] {
            let mut text = Text::new(&bytes[..], None);
            let (mut out, mut piece) = (Vec::new(), [0]);
            while text.read(&mut piece).unwrap() == 1 {
                out.extend_from_slice(&piece);
            }
            assert_eq!(String::from_utf8(out).unwrap(), said);
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

    #[test]
    fn a_charset_and_an_xml_declaration_are_believed_where_there_is_no_mark() {
        assert_eq!(read_as(b"s\xf8r", Some("text/csv; header=present; Charset=\"ISO-8859-1\"")), "sør");
        assert_eq!(read_as("sør".as_bytes(), Some("text/csv; charset=utf-8")), "sør");
        assert_eq!(read_as("\u{feff}sør".as_bytes(), Some("text/csv; charset=iso-8859-1")), "sør");
        let declaration = "<?xml version='1.0' encoding = \"windows-1252\"?>";
        assert_eq!(read(&[declaration.as_bytes(), b"<a>\xf8</a>"].concat()), format!("{declaration}<a>ø</a>"));
        let said = "<?xml version='1.0' encoding='UTF-16'?><a>ø</a>";
        assert_eq!(read(said.as_bytes()), said);
    }
}
