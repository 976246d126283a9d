//! How globs are told.

use std::fmt::Write as _;

/// `a, b, but not c`.
pub(super) fn globs(include: &[String], exclude: &[String]) -> String {
    let mut text = include.join(", ");
    if !exclude.is_empty() {
        let _ = write!(text, ", but not {}", exclude.join(", "));
    }
    text
}
