//! AMQP frames: cutting the byte stream into frames, and writing frames into a buffer.
//!
//! ```text
//! size (4, includes itself) | doff = 2 (1) | type (1) | channel (2) | performative | payload of a transfer
//! ```
//!
//! All performatives go through `serde_amqp`, except that outgoing transfers are written by hand: there are tens of
//! thousands of them a second and each differs in two numbers only.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fe2o3_amqp_types::performatives::Performative;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_amqp::de::Deserializer;
use serde_amqp::read::SliceReader;
use serde_amqp::ser::Serializer;

use super::lenient;

/// What a peer sends first when it wants SASL (AMQP 1.0 part 5, section 5.3).
pub(super) const HEADER_SASL: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
/// What a peer sends first on the AMQP layer itself (part 2, section 2.2).
pub(super) const HEADER_AMQP: [u8; 8] = *b"AMQP\x00\x01\x00\x00";

const FRAME_HEAD_BYTES: usize = 8;
/// Frame type of the AMQP layer.
pub(super) const TYPE_AMQP: u8 = 0;
/// Frame type of the SASL layer.
pub(super) const TYPE_SASL: u8 = 1;

/// Why a frame cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {size} bytes is longer than the {max} that were agreed")]
    TooLong { size: usize, max: usize },
    #[error("a frame head is malformed: {0}")]
    Head(&'static str),
    #[error("a frame body cannot be decoded: {0}")]
    Body(#[from] serde_amqp::Error),
}

/// One frame, not yet decoded.
#[derive(Debug)]
pub(super) struct Frame {
    pub kind: u8,
    pub channel: u16,
    pub body: Bytes,
}

/// Takes the next whole frame out of `input`; `None` when more bytes are needed.
pub(super) fn next_frame(input: &mut BytesMut, size_max: usize) -> Result<Option<Frame>, FrameError> {
    let Some(head) = input.first_chunk::<FRAME_HEAD_BYTES>() else {
        return Ok(None);
    };
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let (doff, kind, channel) = (usize::from(head[4]), head[5], u16::from_be_bytes([head[6], head[7]]));
    if size > size_max {
        return Err(FrameError::TooLong { size, max: size_max });
    }
    if doff < 2 || doff * 4 > size {
        return Err(FrameError::Head("the data offset lies outside the frame"));
    }
    if input.len() < size {
        input.reserve(size - input.len());
        return Ok(None);
    }
    let mut body = input.split_to(size).freeze();
    body.advance(doff * 4);
    Ok(Some(Frame { kind, channel, body }))
}

impl Frame {
    /// The performative, and what follows it (the payload of a transfer); `None` for a heartbeat.
    pub fn performative(self) -> Result<Option<(Performative, Bytes)>, FrameError> {
        if self.body.is_empty() {
            return Ok(None);
        }
        match decode_prefix(&self.body) {
            Ok((performative, used)) => Ok(Some((performative, self.body.slice(used..)))),
            Err(error) => {
                let disposition = lenient::disposition(&self.body).ok_or(error)?;
                Ok(Some((Performative::Disposition(disposition), Bytes::new())))
            }
        }
    }
}

/// Decodes one value from the start of `bytes`; also returns how many bytes it took.
pub(super) fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), serde_amqp::Error> {
    // Read as a slice: another reader makes room for whatever length a peer claims, up to 4 GiB, before it sees the end.
    let used = value_len(bytes).filter(|used| *used <= bytes.len()).unwrap_or(bytes.len());
    let value = T::deserialize(&mut Deserializer::new(SliceReader::new(&bytes[..used])))?;
    Ok((value, used))
}

/// How many bytes the value at the start of `bytes` takes, by its own account (AMQP 1.0 part 1, section 1.2).
fn value_len(bytes: &[u8]) -> Option<usize> {
    let (code, rest) = bytes.split_first()?;
    let of_length = |width: usize| {
        let length = rest.get(..width)?.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        length.checked_add(1 + width)
    };
    match code >> 4 {
        // A descriptor, and the value that it describes.
        0 => {
            let descriptor = if *rest.first()? == 0 { return None } else { value_len(rest)? };
            value_len(rest.get(descriptor..)?)?.checked_add(1 + descriptor)
        }
        4 => Some(1),
        5 => Some(2),
        6 => Some(3),
        7 => Some(5),
        8 => Some(9),
        9 => Some(17),
        0xa | 0xc | 0xe => of_length(1),
        0xb | 0xd | 0xf => of_length(4),
        _ => None,
    }
}

/// Appends an encoded value to `out`.
pub(super) fn put_value<T: Serialize>(out: &mut BytesMut, value: &T) -> Result<(), serde_amqp::Error> {
    value.serialize(&mut Serializer::new(out.writer()))
}

/// Appends a frame with one performative.
pub(super) fn put_frame<T: Serialize>(out: &mut BytesMut, kind: u8, channel: u16, body: &T) -> Result<(), FrameError> {
    let start = put_head(out, kind, channel);
    put_value(out, body)?;
    close_frame(out, start);
    Ok(())
}

/// Appends a heartbeat: a frame without a body.
pub(super) fn put_heartbeat(out: &mut BytesMut) {
    let start = put_head(out, TYPE_AMQP, 0);
    close_frame(out, start);
}

fn put_head(out: &mut BytesMut, kind: u8, channel: u16) -> usize {
    let start = out.len();
    out.put_u32(0);
    out.put_u8(2);
    out.put_u8(kind);
    out.put_u16(channel);
    start
}

fn close_frame(out: &mut BytesMut, start: usize) {
    let size = u32::try_from(out.len() - start).expect("a frame is cut to the agreed size, which is a u32");
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// What distinguishes one outgoing delivery from the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransferHead<'a> {
    pub channel: u16,
    pub handle: u32,
    pub delivery_id: u32,
    pub tag: &'a [u8],
    pub settled: bool,
}

/// The most that the performative of a transfer with a 16-byte tag takes, with its frame head.
const TRANSFER_HEAD_BYTES_MAX: usize = 64;

/// Whether a message of `payload_bytes` fits into one frame of `frame_max` bytes.
pub(super) fn fits_one_frame(payload_bytes: usize, frame_max: usize) -> bool {
    payload_bytes + TRANSFER_HEAD_BYTES_MAX <= frame_max
}

/// Appends one transfer frame that carries a whole message, given in two parts.
pub(super) fn put_transfer(out: &mut BytesMut, head: TransferHead<'_>, first: &[u8], rest: &[u8]) {
    out.reserve(TRANSFER_HEAD_BYTES_MAX + first.len() + rest.len());
    let start = put_head(out, TYPE_AMQP, head.channel);
    put_transfer_performative(out, head, true, false);
    out.put_slice(first);
    out.put_slice(rest);
    close_frame(out, start);
}

/// Cuts a message into as many transfer frames as it needs.
pub(super) fn split_transfer(head: TransferHead<'_>, payload: &[u8], frame_max: usize) -> Vec<Bytes> {
    let chunk_bytes = frame_max - TRANSFER_HEAD_BYTES_MAX;
    let count = payload.len().div_ceil(chunk_bytes).max(1);
    (0..count)
        .map(|index| {
            let chunk = &payload[index * chunk_bytes..payload.len().min((index + 1) * chunk_bytes)];
            let mut out = BytesMut::with_capacity(TRANSFER_HEAD_BYTES_MAX + chunk.len());
            let start = put_head(&mut out, TYPE_AMQP, head.channel);
            put_transfer_performative(&mut out, head, index == 0, index + 1 < count);
            out.put_slice(chunk);
            close_frame(&mut out, start);
            out.freeze()
        })
        .collect()
}

/// `transfer` (part 2, section 2.7.5) as a list8; the tag and the format only stand on a delivery's first frame.
fn put_transfer_performative(out: &mut BytesMut, head: TransferHead<'_>, first: bool, more: bool) {
    const BOOLEAN: [u8; 2] = [0x42, 0x41];
    out.put_slice(&[0x00, 0x53, 0x14, 0xc0, 0, 6]);
    let list = out.len();
    out.put_u8(0x70);
    out.put_u32(head.handle);
    out.put_u8(0x70);
    out.put_u32(head.delivery_id);
    if first {
        out.put_u8(0xa0);
        out.put_u8(u8::try_from(head.tag.len()).expect("a delivery tag has 16 bytes"));
        out.put_slice(head.tag);
        out.put_u8(0x43);
    } else {
        out.put_slice(&[0x40, 0x40]);
    }
    out.put_u8(BOOLEAN[usize::from(head.settled)]);
    out.put_u8(BOOLEAN[usize::from(more)]);
    // The size of a list8 counts the byte that holds the number of items.
    out[list - 2] = u8::try_from(out.len() - list + 1).expect("six fields with a 16-byte tag are short");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: [u8; 16] = [7; 16];

    fn head(settled: bool) -> TransferHead<'static> {
        TransferHead { channel: 3, handle: 4, delivery_id: 5, tag: &TAG, settled }
    }

    fn read_back(bytes: &[u8]) -> (u16, fe2o3_amqp_types::performatives::Transfer, Bytes) {
        let mut input = BytesMut::from(bytes);
        let frame = next_frame(&mut input, usize::MAX).unwrap().unwrap();
        assert!(input.is_empty());
        let channel = frame.channel;
        match frame.performative().unwrap().unwrap() {
            (Performative::Transfer(transfer), payload) => (channel, transfer, payload),
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_transfer_written_by_hand_is_read_by_the_library() {
        let mut out = BytesMut::new();
        put_transfer(&mut out, head(true), b"ab", b"c");
        let (channel, transfer, payload) = read_back(&out);
        assert_eq!((channel, transfer.handle.0, transfer.delivery_id), (3, 4, Some(5)));
        assert_eq!(transfer.delivery_tag.unwrap().as_slice(), TAG);
        assert_eq!((transfer.settled, transfer.more, transfer.message_format), (Some(true), false, Some(0)));
        assert_eq!(&payload[..], b"abc");
    }

    #[test]
    fn a_long_message_is_cut_into_frames_that_keep_to_the_limit() {
        let payload: Vec<u8> = (0..1000_u32).map(|i| i as u8).collect();
        let frames = split_transfer(head(false), &payload, 512);
        let mut whole = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            assert!(frame.len() <= 512);
            let (_, transfer, part) = read_back(frame);
            assert_eq!(transfer.more, index + 1 < frames.len());
            assert_eq!(transfer.delivery_tag.is_some(), index == 0);
            whole.extend_from_slice(&part);
        }
        assert_eq!(whole, payload);
    }

    #[test]
    fn a_frame_is_taken_only_when_it_is_whole_and_no_longer_than_agreed() {
        let mut out = BytesMut::new();
        put_transfer(&mut out, head(false), b"abc", b"");
        let mut half = BytesMut::from(&out[..out.len() - 1]);
        assert!(next_frame(&mut half, 4096).unwrap().is_none());
        assert!(matches!(next_frame(&mut out, 16), Err(FrameError::TooLong { .. })));
        let mut bad = BytesMut::from(&[0, 0, 0, 8, 1, 0, 0, 0][..]);
        assert!(matches!(next_frame(&mut bad, 4096), Err(FrameError::Head(_))));
    }
}
