//! Watches the quotation marks of a row as the parser reads them, and keeps what follows the line in which one opens.

/// Where the parser stands in a row, by the rules of `csv-core`: a mark opens a value only at its start, and within a value
/// a doubled one is a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ValueStart,
    Plain,
    Quoted,
    /// After a mark in a quoted value: its end, or the first of two.
    Closing,
}

/// The quotation marks of one row.
#[derive(Debug)]
pub(super) struct Quotes {
    separator: u8,
    mark: u8,
    state: State,
    /// A line has ended since the open mark; `tail` is what followed it.
    has_line_end: bool,
    tail: Vec<u8>,
}

impl Quotes {
    pub fn new(separator: u8, mark: u8) -> Self {
        Self { separator, mark, state: State::ValueStart, has_line_end: false, tail: Vec::new() }
    }

    pub fn start_row(&mut self) {
        self.state = State::ValueStart;
        self.forget();
    }

    fn forget(&mut self) {
        self.has_line_end = false;
        self.tail.clear();
    }

    /// Takes what the parser has read.
    pub fn read(&mut self, mut raw: &[u8]) {
        while let Some((byte, rest)) = raw.split_first() {
            match self.state {
                State::Plain => match raw.iter().position(|byte| self.ends_value(*byte)) {
                    Some(at) => {
                        self.state = State::ValueStart;
                        raw = &raw[at + 1..];
                    }
                    None => return,
                },
                State::Quoted => {
                    let end = memchr::memchr(self.mark, raw).map_or(raw.len(), |at| at + 1);
                    let (value, rest) = raw.split_at(end);
                    self.keep(value);
                    if value.last() == Some(&self.mark) {
                        self.state = State::Closing;
                    }
                    raw = rest;
                }
                State::ValueStart => {
                    self.state = match *byte {
                        byte if byte == self.mark => State::Quoted,
                        byte if self.ends_value(byte) => State::ValueStart,
                        _ => State::Plain,
                    };
                    raw = rest;
                }
                State::Closing => {
                    self.state = match *byte {
                        byte if byte == self.mark => State::Quoted,
                        byte if self.ends_value(byte) => State::ValueStart,
                        _ => State::Plain,
                    };
                    if self.state == State::Quoted {
                        self.keep(&[*byte]);
                    } else {
                        self.forget();
                    }
                    raw = rest;
                }
            }
        }
    }

    fn ends_value(&self, byte: u8) -> bool {
        byte == self.separator || matches!(byte, b'\r' | b'\n')
    }

    /// Keeps the bytes of an open value that follow the line in which it opens.
    fn keep(&mut self, value: &[u8]) {
        if self.has_line_end {
            self.tail.extend_from_slice(value);
        } else if let Some(at) = memchr::memchr(b'\n', value) {
            self.has_line_end = true;
            self.tail.extend_from_slice(&value[at + 1..]);
        }
    }

    /// Whether a value is quoted and not closed.
    pub fn is_open(&self) -> bool {
        self.state == State::Quoted
    }

    /// What was read after the line in which the open mark stands; `None` where none is open, or no line has ended since.
    pub fn take_tail(&mut self) -> Option<Vec<u8>> {
        (self.is_open() && self.has_line_end).then(|| std::mem::take(&mut self.tail))
    }
}
