//! The columns that a CSV file's header line names, and how they drift from one file to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::saved;

/// How much of a file is looked at for its header line.
pub(super) const HEAD_BYTES: usize = 64 << 10;

/// Where they are remembered, in the spool.
const FILE: &str = "columns";

/// More columns than this are not compared.
const COLUMNS_MAX: usize = 4_096;

/// Whether a name is one of a CSV file.
pub(super) fn is_csv(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".csv", ".tsv"].iter().any(|ending| name.ends_with(ending))
}

/// The columns of the header line with which `head` begins, trimmed; empty if it cannot be read.
pub(super) fn of(head: &[u8]) -> Vec<String> {
    let mut names = crate::payload::csv_columns(head);
    names.truncate(COLUMNS_MAX);
    names
}

/// The columns of the last file of each blob type.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct KnownColumns(BTreeMap<String, Vec<String>>);

/// What is different from the last file of the same blob type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Drift {
    /// Columns that it did not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) added: Vec<String>,
    /// Columns that are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) removed: Vec<String>,
}

/// Blob types that are remembered; a sender who names each file otherwise has no drift to speak of.
const BLOB_TYPES_MAX: usize = 10_000;

impl KnownColumns {
    /// What was saved in `folder`; nothing, if that cannot be read: drift is then not told once.
    pub(super) fn open(folder: &Path) -> Self {
        saved::read(folder, FILE).unwrap_or_default()
    }

    /// Saves it in `folder`. It need not be durable, and its loss is said and borne.
    pub(super) fn save(&self, folder: &Path) {
        if let Err(error) = saved::save(folder, FILE, self) {
            tracing::warn!(%error, "the columns of this file could not be remembered");
        }
    }

    /// Compares a file's columns with the last one's, without regard to case and order, and remembers them.
    pub(super) fn drift(&mut self, blob_type: &str, columns: &[String]) -> Option<Drift> {
        let key = blob_type.to_lowercase();
        if self.0.len() >= BLOB_TYPES_MAX && !self.0.contains_key(&key) {
            return None;
        }
        let last = self.0.insert(key, columns.to_vec())?;
        let lower = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect::<BTreeSet<_>>();
        let (before, now) = (lower(&last), lower(columns));
        let missing_in = |names: &[String], other: &BTreeSet<String>| {
            names.iter().filter(|name| !other.contains(&name.to_lowercase())).cloned().collect::<Vec<_>>()
        };
        let drift = Drift { added: missing_in(columns, &before), removed: missing_in(&last, &now) };
        (!drift.added.is_empty() || !drift.removed.is_empty()).then_some(drift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn columns_that_come_and_go_are_told_and_their_order_and_case_are_not() {
        let mut known = KnownColumns::default();
        assert_eq!(known.drift("Cart", &names("eventId,ts")), None, "the first of its kind");
        assert_eq!(known.drift("cart", &names("TS,EventID")), None);
        let drift = known.drift("CART", &names("eventId,Payload.price")).expect("drift");
        assert_eq!((drift.added, drift.removed), (names("Payload.price"), names("TS")));
        assert_eq!(known.drift("cart", &names("eventId,Payload.price")), None, "it is told once");
    }

    #[test]
    fn the_header_line_is_found_under_a_mark_and_quotation() {
        assert_eq!(of(b"\xef\xbb\xbf a ;\"b;c\"\r\n1;2\r\n"), ["a", "b;c"]);
        assert!(of(b"").is_empty());
    }
}
