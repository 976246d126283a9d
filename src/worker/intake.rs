//! Makes batches ready for the sink: unwrapped, filtered, compared, and looked through for missing parents.

use crate::inbox::{Claim, Woken};
use crate::payload::RecordStream;
use crate::record::RecordBatch;
use crate::route::{OwnTypes, Route, Router};

use super::missing::{Comparison, Missing};
use super::outcome::Stopped;
use super::parents::{Family, Looked};

/// A batch that is ready for the sink, but for what is withheld from it.
pub(super) struct Prepared {
    pub batch: RecordBatch,
    /// Records that are another route's, and those that the route's filter has left out.
    pub filtered: u64,
    /// The blob types of the records, where each has its own.
    pub types: Option<OwnTypes>,
    /// What the export is found to hold, where it is compared.
    pub missing: Missing,
    /// Which parents are missing, as far as readers can say.
    pub looked: Option<Looked>,
    /// Whether all of it is in the account already.
    pub is_counted: bool,
}

/// Makes batches ready.
pub(super) struct Intake<'a> {
    pub router: &'a Router,
    pub claim: &'a Claim,
    pub route: &'a Route,
    pub family: Option<&'a Family<'a>>,
    pub comparison: Option<&'a Comparison<'a>>,
    /// Records up to this number are in the account already.
    pub counted: u64,
}

impl Intake<'_> {
    pub(super) async fn next(&self, stream: &mut RecordStream) -> Result<Option<Prepared>, Stopped> {
        let Some(mut batch) = stream.next().await? else {
            return Ok(None);
        };
        if batch.last <= self.counted {
            return Ok(Some(Prepared {
                batch,
                filtered: 0,
                types: None,
                missing: Missing::default(),
                looked: None,
                is_counted: true,
            }));
        }
        if batch.first <= self.counted {
            batch.skip_to(self.counted + 1);
        }
        let mut types = None;
        let filtered = match self.claim.woken {
            None => {
                let unwrapped = self.router.unwrap(&self.claim.notice, self.route, &mut batch);
                batch.bad.extend(unwrapped.empty);
                types = unwrapped.types;
                unwrapped.others + filter(self.route, &mut batch)
            }
            // What was woken has passed the filter. What was replaced meanwhile goes another way.
            Some(Woken { is_replaced: true, .. }) => batch.retain(|_| false),
            Some(_) => 0,
        };
        let missing = match self.comparison {
            Some(comparison) => comparison.leave_out(&mut batch, types.as_ref()).await?,
            None => Missing::default(),
        };
        let filtered = filtered + missing.known + missing.others;
        let looked = match self.family {
            Some(family) => Some(family.look(&batch).await?),
            None => None,
        };
        Ok(Some(Prepared { batch, filtered, types, missing, looked, is_counted: false }))
    }
}

/// Leaves out what the route does not want; returns how many records that were.
fn filter(route: &Route, batch: &mut RecordBatch) -> u64 {
    let filter = route.filter();
    if filter.is_empty() { 0 } else { batch.retain(|body| filter.keeps(body)) }
}
