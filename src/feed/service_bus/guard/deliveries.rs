//! Follows deliveries across their frames, and looks at each message as a whole before its first frame is given on.

use std::collections::{HashMap, HashSet};
use std::io;

use bytes::{BufMut, Bytes, BytesMut};

use super::harmless::{self, Mark};
use super::plain;
use super::scan::{self, Flaw};
use super::{FRAME_BYTES_MAX, wrong};

/// The head of a frame.
const HEAD_BYTES: usize = 8;
/// How many frames of one delivery are held. The library gives a session credit for 5,000 frames, and nothing more comes
/// once that many are held.
const FRAMES_MAX: usize = 4_096;
/// How many channels or links have a delivery under way. The feed opens three links on two channels.
const LINKS_MAX: usize = 64;

const TRANSFER: u64 = 0x14;
const DETACH: u64 = 0x16;
const END: u64 = 0x17;

/// A whole frame.
struct Frame {
    bytes: Bytes,
    /// Where the performative ends.
    payload_at: usize,
    /// The link of a transfer.
    link: Option<u32>,
}

impl Frame {
    fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_at..]
    }

    /// The same frame with another payload. Frames are never left out: the library counts them, and so does the broker.
    fn with_payload(&self, payload: &[u8]) -> io::Result<Self> {
        let len = self.payload_at + payload.len();
        if len > FRAME_BYTES_MAX {
            return Err(wrong("the performative of a transfer takes most of its frame"));
        }
        let mut bytes = BytesMut::with_capacity(len);
        bytes.put_u32(u32::try_from(len).expect("it is no longer than a frame"));
        bytes.put_slice(&self.bytes[4..self.payload_at]);
        bytes.put_slice(payload);
        Ok(Self { bytes: bytes.freeze(), ..*self })
    }
}

/// What of a transfer is looked at.
struct Transfer {
    link: u32,
    more: bool,
    aborted: bool,
}

impl Transfer {
    /// Reads it from the fields of the performative (part 2, section 2.7.5), which have been walked.
    fn read(list: &[u8]) -> Option<Self> {
        let mut rest = scan::items(list)?;
        let mut transfer = Self { link: number(rest)?, more: false, aborted: false };
        for field in 0.. {
            let Some(len) = scan::value_len(rest).ok().filter(|_| !rest.is_empty()) else {
                break;
            };
            let is_true = matches!(rest[..len], [0x41] | [0x56, 1]);
            match field {
                5 => transfer.more = is_true,
                9 => transfer.aborted = is_true,
                _ => {}
            }
            rest = &rest[len..];
        }
        Some(transfer)
    }
}

/// The unsigned integer at the start of `bytes`.
fn number(bytes: &[u8]) -> Option<u32> {
    match *bytes.first()? {
        0x43 => Some(0),
        0x52 => Some(u32::from(*bytes.get(1)?)),
        0x70 => Some(u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?)),
        _ => None,
    }
}

/// A channel on which a delivery has begun and not ended. All its frames are held, so that they keep their order.
#[derive(Default)]
struct Channel {
    held: Vec<Frame>,
    held_bytes: usize,
    /// The links that a delivery is under way on.
    open: Vec<u32>,
}

impl Channel {
    /// Writes another message into the frames of the delivery on `link`.
    fn replace(&mut self, link: u32, message: &[u8]) -> io::Result<()> {
        let mut payload = message;
        for frame in self.held.iter_mut().filter(|frame| frame.link == Some(link)) {
            *frame = frame.with_payload(payload)?;
            payload = &[];
        }
        Ok(())
    }

    fn payload(&self, link: u32) -> Vec<u8> {
        let frames = self.held.iter().filter(|frame| frame.link == Some(link));
        frames.flat_map(Frame::payload).copied().collect()
    }
}

/// All deliveries of a connection.
pub(super) struct Deliveries {
    mark: Mark,
    message_bytes_max: usize,
    channels: HashMap<u16, Channel>,
    /// Links whose delivery under way was found too large. The rest of it is not looked at.
    surplus: HashSet<(u16, u32)>,
}

impl Deliveries {
    pub(super) fn new(mark: Mark, message_bytes_max: usize) -> Self {
        Self { mark, message_bytes_max, channels: HashMap::new(), surplus: HashSet::new() }
    }

    /// Takes a whole frame, and appends to `out` what may be given on by now.
    pub(super) fn take(&mut self, bytes: Bytes, out: &mut BytesMut) -> io::Result<()> {
        let channel = u16::from_be_bytes([bytes[6], bytes[7]]);
        let body = &bytes[HEAD_BYTES..];
        if body.is_empty() {
            // A sign of life.
            out.put_slice(&bytes);
            return Ok(());
        }
        let len = scan::value_len(body).map_err(wrong)?;
        let (code, head) = scan::descriptor(body).ok_or_else(|| wrong("a frame without a performative"))?;
        let fields = &body[head..len];
        let transfer = match code {
            TRANSFER => Some(Transfer::read(fields).ok_or_else(|| wrong("a transfer without a link"))?),
            _ => None,
        };
        match code {
            DETACH => self.forget(channel, scan::items(fields).and_then(number))?,
            END => self.forget(channel, None)?,
            _ => {}
        }
        let link = transfer.as_ref().map(|transfer| transfer.link);
        let frame = Frame { payload_at: HEAD_BYTES + len, bytes, link };
        match transfer {
            Some(transfer) => self.transfer(channel, &transfer, frame, out),
            None => self.pass(channel, frame, out),
        }
    }

    fn transfer(&mut self, at: u16, transfer: &Transfer, frame: Frame, out: &mut BytesMut) -> io::Result<()> {
        let link = transfer.link;
        let is_last = !transfer.more || transfer.aborted;
        if self.surplus.contains(&(at, link)) {
            if is_last {
                self.surplus.remove(&(at, link));
            }
            return self.pass(at, frame.with_payload(&[])?, out);
        }
        let is_open = self.channels.get(&at).is_some_and(|channel| channel.open.contains(&link));
        if transfer.aborted {
            self.forget(at, Some(link))?;
            return self.pass(at, frame.with_payload(&[])?, out);
        }
        if !is_open && is_last {
            let frame = match self.examine(frame.payload()) {
                Ok(()) => frame,
                Err(flaw) => frame.with_payload(&harmless::message(frame.payload(), flaw, &self.mark))?,
            };
            return self.pass(at, frame, out);
        }
        if self.channels.len() >= LINKS_MAX && !self.channels.contains_key(&at) {
            return Err(wrong("deliveries are under way on too many channels"));
        }
        let channel = self.channels.entry(at).or_default();
        if !is_open {
            channel.open.push(link);
        }
        self.pass(at, frame, out)?;
        if is_last { self.complete(at, link, out) } else { Ok(()) }
    }

    fn examine(&self, message: &[u8]) -> Result<(), Flaw> {
        if message.len() > self.message_bytes_max {
            return Err(Flaw::TooLarge(self.message_bytes_max));
        }
        scan::message(message)?;
        if plain::is_plain(message) { Ok(()) } else { harmless::try_out(message) }
    }

    /// The delivery on `link` has all its frames.
    fn complete(&mut self, at: u16, link: u32, out: &mut BytesMut) -> io::Result<()> {
        let Some(channel) = self.channels.get(&at).filter(|channel| channel.open.contains(&link)) else {
            // It has just been found too large.
            self.surplus.remove(&(at, link));
            return Ok(());
        };
        let message = channel.payload(link);
        let verdict = self.examine(&message);
        let channel = self.channels.get_mut(&at).expect("it was there above");
        if let Err(flaw) = verdict {
            channel.replace(link, &harmless::message(&message, flaw, &self.mark))?;
        }
        channel.open.retain(|open| *open != link);
        self.let_go(at, out);
        Ok(())
    }

    /// Gives a frame on, or holds it behind those that are held on its channel.
    fn pass(&mut self, at: u16, frame: Frame, out: &mut BytesMut) -> io::Result<()> {
        let Some(channel) = self.channels.get_mut(&at) else {
            out.put_slice(&frame.bytes);
            return Ok(());
        };
        channel.held_bytes += frame.bytes.len();
        channel.held.push(frame);
        if channel.held_bytes > self.message_bytes_max || channel.held.len() > FRAMES_MAX {
            // Frame heads count as well, so that frames without a payload come to an end too.
            for link in std::mem::take(&mut channel.open) {
                let flaw = Flaw::TooLarge(self.message_bytes_max);
                let message = harmless::message(&channel.payload(link), flaw, &self.mark);
                channel.replace(link, &message)?;
                self.surplus.insert((at, link));
            }
            if self.surplus.len() > LINKS_MAX {
                return Err(wrong("deliveries without an end are under way on too many links"));
            }
        }
        self.let_go(at, out);
        Ok(())
    }

    /// Gives on what is held on a channel, once no delivery is under way there.
    fn let_go(&mut self, at: u16, out: &mut BytesMut) {
        if self.channels.get(&at).is_some_and(|channel| channel.open.is_empty())
            && let Some(channel) = self.channels.remove(&at)
        {
            channel.held.iter().for_each(|frame| out.put_slice(&frame.bytes));
        }
    }

    /// The delivery under way on `link`, or on every link of the channel, will not be completed. What was held of it is
    /// given on without its payload.
    fn forget(&mut self, at: u16, link: Option<u32>) -> io::Result<()> {
        self.surplus.retain(|(channel, open)| *channel != at || link.is_some_and(|link| link != *open));
        if let Some(channel) = self.channels.get_mut(&at) {
            let (gone, open) =
                std::mem::take(&mut channel.open).into_iter().partition(|open| link.is_none_or(|link| link == *open));
            channel.open = open;
            let gone: Vec<u32> = gone;
            gone.into_iter().try_for_each(|link| channel.replace(link, &[]))?;
        }
        Ok(())
    }

    /// The bytes that are held.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held_bytes(&self) -> usize {
        self.channels.values().map(|channel| channel.held_bytes).sum()
    }
}
