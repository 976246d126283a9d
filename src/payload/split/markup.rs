//! Where tags begin and end in an XML document, byte by byte, without holding anything but the tag at hand. What is
//! between the tags is not looked at closely: records are parsed in full later.

/// The longest tag. Only tags around records must be held; 64 KiB is far more than any names and namespaces need.
const TAG_BYTES_MAX: usize = 64 << 10;

/// What a byte completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    Nothing,
    /// The `<` of something: a tag, perhaps.
    Opening,
    /// A start tag, which stands in [`Markup::tag`].
    Start,
    /// A tag of an element without content.
    Empty,
    /// An end tag.
    End,
    /// A character between the tags that is not white space.
    Text,
    /// A tag became longer than [`TAG_BYTES_MAX`]; what it is will be seen, but not its whole text.
    LongTag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// After `<`, as long as it is open what this is.
    Opened,
    /// Within a tag; the quotation mark that is open.
    Tag {
        quote: Option<u8>,
    },
    /// Within a comment, CDATA or a processing instruction, which end with these bytes.
    Until {
        end: &'static [u8],
        matched: usize,
    },
    /// Within a document type declaration: open brackets, and the quotation mark that is open.
    Doctype {
        depth: u32,
        quote: Option<u8>,
    },
}

/// Finds tags.
#[derive(Debug)]
pub(super) struct Markup {
    state: State,
    /// The tag at hand, `<` and `>` included; of the other markup its first bytes.
    pub tag: Vec<u8>,
    is_long: bool,
}

impl Markup {
    pub fn new() -> Self {
        Self { state: State::Text, tag: Vec::new(), is_long: false }
    }

    /// Whether the document may end here.
    pub fn is_between(&self) -> bool {
        self.state == State::Text
    }

    /// Whether the tag at hand did not fit into [`Markup::tag`].
    pub fn is_long(&self) -> bool {
        self.is_long
    }

    /// How many bytes at the start of `bytes` cannot complete anything and need not be given to [`Markup::take`].
    pub fn skippable(&self, bytes: &[u8], is_text_wanted: bool) -> usize {
        match self.state {
            State::Text if !is_text_wanted => memchr::memchr(b'<', bytes).unwrap_or(bytes.len()),
            State::Until { end, matched: 0 } => memchr::memchr(end[0], bytes).unwrap_or(bytes.len()),
            _ => 0,
        }
    }

    /// Takes the next byte.
    pub fn take(&mut self, byte: u8) -> Seen {
        match self.state {
            State::Text if byte == b'<' => {
                self.tag.clear();
                self.tag.push(byte);
                self.is_long = false;
                self.state = State::Opened;
                Seen::Opening
            }
            State::Text if byte.is_ascii_whitespace() => Seen::Nothing,
            State::Text => Seen::Text,
            State::Opened => {
                self.tag.push(byte);
                self.open()
            }
            State::Tag { quote } => self.take_in_tag(byte, quote),
            State::Until { end, matched } => {
                self.state = next_match(end, matched, byte);
                Seen::Nothing
            }
            State::Doctype { depth, quote } => {
                self.state = in_doctype(byte, depth, quote);
                Seen::Nothing
            }
        }
    }

    /// Finds out what was opened, once its first bytes tell.
    fn open(&mut self) -> Seen {
        const KINDS: [(&[u8], State); 4] = [
            (b"<!--", State::Until { end: b"-->", matched: 0 }),
            (b"<![CDATA[", State::Until { end: b"]]>", matched: 0 }),
            (b"<!DOCTYPE", State::Doctype { depth: 0, quote: None }),
            (b"<?", State::Until { end: b"?>", matched: 0 }),
        ];
        for (start, state) in KINDS {
            if self.tag == start {
                self.state = state;
                return Seen::Nothing;
            }
            if start.starts_with(&self.tag) {
                return Seen::Nothing;
            }
        }
        self.state = State::Tag { quote: None };
        // `<>` is no tag, but it ends like one, and the parser will say so.
        if self.tag.last() == Some(&b'>') { self.end_tag() } else { Seen::Nothing }
    }

    fn take_in_tag(&mut self, byte: u8, quote: Option<u8>) -> Seen {
        let became_long = !self.is_long && self.tag.len() >= TAG_BYTES_MAX;
        self.is_long |= became_long;
        if self.is_long {
            // The last two bytes are kept up to date: they tell an empty element.
            let end = self.tag.len();
            self.tag[end - 2] = self.tag[end - 1];
            self.tag[end - 1] = byte;
        } else {
            self.tag.push(byte);
        }
        let quote = match (quote, byte) {
            (None, b'>') => return self.end_tag(),
            (None, b'"' | b'\'') => Some(byte),
            (Some(open), _) if open == byte => None,
            _ => quote,
        };
        self.state = State::Tag { quote };
        if became_long { Seen::LongTag } else { Seen::Nothing }
    }

    fn end_tag(&mut self) -> Seen {
        self.state = State::Text;
        match self.tag[..] {
            [_, b'/', ..] => Seen::End,
            [.., b'/', b'>'] => Seen::Empty,
            _ => Seen::Start,
        }
    }
}

/// The name in a tag, prefix included.
pub(super) fn name(tag: &[u8]) -> &[u8] {
    let rest = tag.get(1..).unwrap_or_default();
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let end = rest.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'));
    &rest[..end.unwrap_or(rest.len())]
}

fn next_match(end: &'static [u8], matched: usize, byte: u8) -> State {
    if byte == end[matched] {
        return if matched + 1 == end.len() { State::Text } else { State::Until { end, matched: matched + 1 } };
    }
    // `--->` and `]]]>`: a run longer than the mark still ends in it. `??>` likewise.
    let is_run = byte == end[0] && end[..matched].iter().all(|known| *known == byte);
    State::Until { end, matched: if is_run { matched } else { usize::from(byte == end[0]) } }
}

fn in_doctype(byte: u8, depth: u32, quote: Option<u8>) -> State {
    match (quote, byte) {
        (Some(open), _) => State::Doctype { depth, quote: (open != byte).then_some(open) },
        (None, b'"' | b'\'') => State::Doctype { depth, quote: Some(byte) },
        (None, b'[') => State::Doctype { depth: depth + 1, quote },
        (None, b']') => State::Doctype { depth: depth.saturating_sub(1), quote },
        (None, b'>') if depth == 0 => State::Text,
        _ => State::Doctype { depth, quote },
    }
}
