//! What an export held beyond what was known.

use serde::Serialize;

use crate::notice::{RouteName, SinkName};

/// What the files of one day held, on one route to one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The day of the files, as `2026-03-01`.
    pub day: String,
    /// The route.
    pub route: RouteName,
    /// The sink.
    pub sink: SinkName,
    /// How many files.
    pub files: u64,
    /// How many of them are not compared to their end yet.
    pub waiting: u64,
    /// Records whose event was known.
    pub known: u64,
    /// Records whose event was not: delivered from the files, parked or set aside.
    pub missing: u64,
}
