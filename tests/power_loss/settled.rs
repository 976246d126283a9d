//! Which messages were settled: read from the bytes that went to the broker.

use std::collections::BTreeSet;

use crate::trace::{Call, Moment};

/// The connection to the broker, as far as it says something to it. Messages are counted as they were delivered: with
/// one receiver on one connection, in the order in which they were published.
#[derive(Default)]
pub struct Settled {
    port: u16,
    fd: Option<i64>,
    sent: Vec<u8>,
    read: usize,
    /// The numbers of the messages that are settled, or are just being.
    pub messages: BTreeSet<u32>,
}

impl Settled {
    /// Nothing yet; the broker listens on `port`.
    pub fn new(port: u16) -> Self {
        Self { port, ..Self::default() }
    }

    /// Takes note of one moment. Returns whether something was settled.
    pub fn see(&mut self, moment: &Moment<'_>) -> bool {
        match moment {
            Moment::Begun { call, .. } if call.name == "connect" => {
                if call.mentions(&format!("htons({})", self.port)) {
                    assert!(self.fd.is_none(), "there is one connection to the broker");
                    self.fd = Some(call.number(0));
                }
                false
            }
            Moment::Begun { call, .. } if self.is_ours(call) => {
                self.sent.extend(call.strings.concat());
                self.read_frames()
            }
            Moment::Ended { call, result, .. } if self.is_ours(call) => {
                // What the kernel did not take is sent once more.
                let taken = usize::try_from(*result).unwrap_or_default();
                self.sent.truncate(self.sent.len() - (call.strings.concat().len() - taken));
                false
            }
            _ => false,
        }
    }

    fn is_ours(&self, call: &Call) -> bool {
        matches!(call.name.as_str(), "write" | "writev" | "sendto" | "sendmsg") && self.fd == Some(call.number(0))
    }

    /// AMQP 1.0, part 2: a frame is its size, the offset of its body in words, a type and a channel.
    fn read_frames(&mut self) -> bool {
        let before = self.messages.len();
        loop {
            let rest = &self.sent[self.read..];
            if rest.starts_with(b"AMQP") && rest.len() >= 8 {
                self.read += 8;
                continue;
            }
            let Some(size) = rest.first_chunk::<4>().map(|size| u32::from_be_bytes(*size) as usize) else { break };
            if rest.len() < size {
                break;
            }
            let body = &rest[usize::from(rest[4]) * 4..size];
            if let Some((first, last)) = disposition(body) {
                self.messages.extend(first..=last);
            }
            self.read += size;
        }
        self.messages.len() > before
    }
}

/// The first and the last delivery that a receiver's disposition settles as accepted.
fn disposition(body: &[u8]) -> Option<(u32, u32)> {
    let list = body.strip_prefix(&[0x00, 0x53, 0x15])?;
    let mut fields = match *list.first()? {
        0xc0 => list.get(3..)?,
        0xd0 => list.get(9..)?,
        _ => return None,
    };
    let is_receiver = bool_of(&mut fields)?;
    let first = uint(&mut fields)?;
    let last = uint(&mut fields).unwrap_or(first);
    // settled, then the state: a described list.
    let _settled = bool_of(&mut fields);
    let is_accepted = fields.starts_with(&[0x00, 0x53, 0x24]);
    (is_receiver && is_accepted).then_some((first, last))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn bool_of(bytes: &mut &[u8]) -> Option<bool> {
    match take(bytes, 1)?[0] {
        0x41 => Some(true),
        0x42 => Some(false),
        0x56 => Some(take(bytes, 1)?[0] == 1),
        _ => None,
    }
}

fn uint(bytes: &mut &[u8]) -> Option<u32> {
    match take(bytes, 1)?[0] {
        0x43 => Some(0),
        0x52 => Some(take(bytes, 1)?[0].into()),
        0x70 => Some(u32::from_be_bytes(*take(bytes, 4)?.first_chunk()?)),
        _ => None,
    }
}
