//! What is saved in a spool for the next look or the next run, and borne if it is lost: a small file of JSON each.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What was saved in `folder`; `None` if there is nothing, or it cannot be read.
pub(super) fn read<T: DeserializeOwned>(folder: &Path, file: &str) -> Option<T> {
    let text = std::fs::read(folder.join(file)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Saves `value` in `folder`, so that whoever reads it finds all of it or the one before. It is not durable.
pub(super) fn save(folder: &Path, file: &str, value: &impl Serialize) -> io::Result<()> {
    let draft = folder.join(format!("{file}.new"));
    std::fs::write(&draft, serde_json::to_vec(value)?)?;
    std::fs::rename(&draft, folder.join(file))
}
