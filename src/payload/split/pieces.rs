//! A text piece by piece, for the splitters that look at each byte as it comes.

use std::io::Read;

use super::Stop;
use crate::payload::decode::text::Text;

/// How much is read at a time.
pub(super) const READ_BYTES: usize = 64 << 10;

/// Hands each piece of `text` to `take`, with its offset; returns the offset of the end.
pub(super) fn each_piece<R: Read>(
    text: &mut Text<R>,
    mut take: impl FnMut(&[u8], u64) -> Result<(), Stop>,
) -> Result<u64, Stop> {
    let mut piece = vec![0; READ_BYTES];
    let mut offset = None;
    loop {
        let count = text.read(&mut piece)?;
        // Known once something was read.
        let at = *offset.get_or_insert(text.mark_bytes());
        if count == 0 {
            return Ok(at);
        }
        take(&piece[..count], at)?;
        offset = Some(at + count as u64);
    }
}
