//! Fuzz target over what a client sends to the broker.

use bytes::BytesMut;

use super::frame::{FrameError, next_frame};
use super::message::Content;

/// The longest frame that is taken here.
const SIZE_MAX: usize = 1 << 20;

/// Frames are the same however the stream is cut; the first byte says how.
pub fn amqp_frames(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else {
        return;
    };
    let whole = frames(stream, stream.len().max(1));
    let pieces = frames(stream, usize::from(*first) % 16 + 1);
    assert_eq!(whole, pieces);
}

/// Every frame as text, and how it ended.
fn frames(stream: &[u8], size: usize) -> (Vec<String>, bool) {
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(size) {
        input.extend_from_slice(piece);
        loop {
            match next_frame(&mut input, SIZE_MAX) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let text = format!("{} {} {:?}", frame.kind, frame.channel, frame.body);
                    if let Ok(Some((_, payload))) = frame.performative() {
                        let content = Content::parse(payload);
                        let _ = content.map(|content| content.batched());
                    }
                    frames.push(text);
                }
                Err(FrameError::TooLong { .. } | FrameError::Head(_)) => return (frames, false),
                Err(error) => panic!("only a head can be wrong here: {error}"),
            }
        }
    }
    (frames, true)
}
