//! What a feed remembers in its spool, from look to look and from run to run. Read and changed in one's own turn only.

use super::columns::KnownColumns;
use super::expect::Arrivals;
use super::settings::DropSettings;
use super::source::SourceError;
use super::taken::Taken;
use super::trouble::spool_trouble;
use super::turn::Turn;
use crate::clock::UnixMs;

/// What is remembered.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) taken: Taken,
    pub(super) columns: KnownColumns,
    pub(super) arrivals: Option<Arrivals>,
}

impl Memory {
    /// Reads it from the spool, in this turn. Blocks for some milliseconds.
    pub(super) fn open(settings: &DropSettings, now: UnixMs, _turn: &Turn) -> Result<Self, SourceError> {
        let folder = &settings.spool;
        Ok(Self {
            taken: Taken::open(folder).map_err(|error| spool_trouble(folder, error))?,
            columns: KnownColumns::open(folder),
            arrivals: settings.expect.clone().map(|expect| Arrivals::open(expect, folder, now)),
        })
    }
}
