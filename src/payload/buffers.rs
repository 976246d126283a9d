//! Buffers that are used again: a batch's buffer comes back once the last of its readers has dropped it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// How many buffers are kept for use again: as many as are on their way between splitter and sink. More would only hold
/// memory.
const KEPT_MAX: usize = 4;

/// Buffers of one size, for one payload.
pub(super) struct Buffers {
    shelf: Arc<Mutex<Vec<Vec<u8>>>>,
    buffer_bytes: usize,
}

impl Buffers {
    pub fn new(buffer_bytes: usize) -> Self {
        Self { shelf: Arc::default(), buffer_bytes }
    }

    /// A buffer with whatever its last use left in it.
    pub fn take(&self) -> Buffer {
        let used = self.shelf.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = used.unwrap_or_else(|| vec![0; self.buffer_bytes]);
        Buffer { bytes, buffer_bytes: self.buffer_bytes, shelf: Arc::clone(&self.shelf) }
    }
}

/// A buffer that goes back on the shelf when it is dropped.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    buffer_bytes: usize,
    shelf: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffer {
    /// Makes the buffer `bytes` long; new bytes are `fill`.
    pub fn resize(&mut self, bytes: usize, fill: u8) {
        self.bytes.resize(bytes, fill);
    }

    /// The whole buffer as shared bytes, without a copy.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        // One that grew for a long record is given back to the system, or the next thousand would be as large.
        if shelf.len() < KEPT_MAX && self.bytes.len() == self.buffer_bytes {
            shelf.push(std::mem::take(&mut self.bytes));
        }
    }
}
