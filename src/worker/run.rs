//! One claimed delivery, from the open sink to the confirmed last record.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::future::{Either, select};

use crate::clock::UnixMs;
use crate::error::{Class, Classify, chain};
use crate::inbox::{Claim, Forget, InboxError, Progress, Remarks, SharedInbox, Woken};
use crate::notice::{Notice, RouteName, SinkName};
use crate::ops::Context;
use crate::ops::metrics::OutcomeLabels;
use crate::payload::{PayloadError, PayloadOpener, RecordStream};
use crate::record::{Counts, RecordBatch};
use crate::route::{OwnTypes, Route, Router};
use crate::sink::{Accepts, DeliveryContext, Sink, SinkError};

use super::Openers;
use super::account::Account;
use super::missing::{Comparison, Missing};
use super::parents::{Family, Looked};
use super::retry::{Failure, Side};

/// What every delivery needs.
pub(super) struct Tools {
    pub inbox: SharedInbox,
    pub router: Arc<Router>,
    pub sinks: HashMap<SinkName, Arc<dyn Sink>>,
    pub openers: Openers,
    pub context: Context,
}

impl Tools {
    fn payloads_of(&self, notice: &Notice) -> Result<&PayloadOpener, Stopped> {
        if let Some(own) = self.openers.of_feeds.get(&notice.feed) {
            return Ok(own);
        }
        if notice.body.is_some() {
            return Ok(&self.openers.bodies);
        }
        let said = format!("the feed `{}` is not configured any more, so nothing may be fetched for it", notice.feed);
        Err(refusal(Class::Permanent, said))
    }
}

/// A delivery that ended well.
pub(super) struct Done {
    pub progress: Progress,
    pub location: String,
    /// What came up since the last progress was stored.
    pub remarks: Remarks,
}

/// Why a delivery ended otherwise.
pub(super) enum Stopped {
    /// To be decided on by class.
    Failed(Failure),
    /// The content was replaced before it was delivered, and its new version is a notice of its own: nothing is left to
    /// do here. Holds what is said of it.
    Superseded(String),
    /// It is too early for it.
    NotYet {
        /// When it is time.
        due: UnixMs,
        /// What is waited for.
        why: String,
    },
    /// The claim is not ours any more, or the inbox cannot be written: nothing more may be done under it.
    Inbox(InboxError),
}

impl From<PayloadError> for Stopped {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Superseded { .. } => Self::Superseded(error.to_string()),
            error => Self::Failed(failure(Side::Vendor, &error)),
        }
    }
}

impl From<SinkError> for Stopped {
    fn from(error: SinkError) -> Self {
        Self::Failed(failure(Side::Sink, &error))
    }
}

impl From<InboxError> for Stopped {
    fn from(error: InboxError) -> Self {
        Self::Inbox(error)
    }
}

fn failure<E: Classify + std::error::Error + 'static>(side: Side, error: &E) -> Failure {
    Failure {
        side,
        class: error.class(),
        error: crate::secret::redact(&chain(error)),
        retry_after: error.retry_after(),
    }
}

pub(super) fn refusal(class: Class, error: String) -> Stopped {
    Stopped::Failed(Failure { side: Side::Sink, class, error, retry_after: None::<Duration> })
}

/// Delivers what the claim holds. Cut off anywhere, it can be run again with the same end.
///
/// `has_progressed` is set once more is confirmed than was when it was claimed.
pub(super) async fn deliver(tools: &Tools, claim: &Claim, has_progressed: &AtomicBool) -> Result<Done, Stopped> {
    let target = &claim.target;
    let Some(route) = tools.router.route(&target.route) else {
        let said = format!("the route `{}` is not configured any more; `longshore replay` plans it anew", target.route);
        return Err(refusal(Class::Permanent, said));
    };
    let Some(sink) = tools.sinks.get(&target.sink) else {
        let said = format!("the sink `{}` is not configured any more; `longshore replay` plans it anew", target.sink);
        return Err(refusal(Class::Permanent, said));
    };
    let comparison = Comparison::of(tools, claim, route);
    if let Some(comparison) = &comparison {
        comparison.wait(tools.inbox.now())?;
    }
    let delivery = DeliveryContext {
        notice: Arc::new(claim.notice.clone()),
        target: target.clone(),
        run: claim.run,
        attempt: claim.attempt,
    };
    let delivered = match sink.accepts() {
        Accepts::Bytes if comparison.is_some() => {
            let said = format!("the sink `{}` takes files whole, so that nothing can be left out of them", target.sink);
            Err(refusal(Class::Permanent, said))
        }
        Accepts::Bytes => whole(tools, claim, sink.as_ref(), delivery).await,
        Accepts::Records => {
            records(tools, claim, sink.as_ref(), (route, comparison.as_ref()), delivery, has_progressed).await
        }
    };
    if let (Ok(done), Some(comparison), None) = (&delivered, &comparison, claim.woken) {
        let counts = done.progress.counts;
        comparison.done(done.progress.known, counts.delivered + counts.parked + counts.quarantined);
    }
    match delivered {
        // What an earlier attempt had confirmed stays in the account.
        Err(Stopped::Superseded(said)) => {
            let progress = Progress { confirmed: claim.progress.counts.read, ..claim.progress };
            Ok(Done { progress, location: said, remarks: Remarks::default() })
        }
        other => other,
    }
}

/// The payload goes to the sink unopened and counts as one record.
async fn whole(tools: &Tools, claim: &Claim, sink: &dyn Sink, delivery: DeliveryContext) -> Result<Done, Stopped> {
    let mut opened = sink.open(delivery, Progress::default()).await?;
    let mut stream = tools.payloads_of(&claim.notice)?.open_bytes(&claim.notice);
    let mut progress = Progress::default();
    while let Some(bytes) = stream.next().await? {
        progress.bytes += bytes.len() as u64;
        opened.transfer.deliver_bytes(bytes).await?;
    }
    let location = opened.transfer.finish().await?;
    progress.confirmed = 1;
    progress.counts = Counts { read: 1, delivered: 1, ..Counts::default() };
    Ok(Done { progress, location, remarks: Remarks::default() })
}

async fn records(
    tools: &Tools,
    claim: &Claim,
    sink: &dyn Sink,
    (route, comparison): (&Route, Option<&Comparison<'_>>),
    delivery: DeliveryContext,
    has_progressed: &AtomicBool,
) -> Result<Done, Stopped> {
    let payloads = tools.payloads_of(&claim.notice)?;
    let mut stream = payloads.open_records(&claim.notice, &route.settings().format, sink.batch_limits())?;
    let opened = sink.open(delivery, claim.progress).await?;
    if claim.has_leftovers {
        // A sink that has lost what it had confirmed is given all of it again; any other one is given what it was.
        let is_ahead = opened.resume_after >= claim.progress.confirmed;
        let what = if is_ahead { Forget::Staged } else { Forget::All };
        while tools.inbox.forget_attempts(claim.key, what.clone()).await? {}
    }
    let family = Family::of(tools, claim, route);
    let mut account = Account::resume(tools, claim, opened.resume_after, payloads.limits(), has_progressed);
    let counted = account.counted();
    let intake = Intake { router: &tools.router, claim, route, family: family.as_ref(), comparison, counted };
    let mut transfer = opened.transfer;
    let mut next = intake.next(&mut stream).await?;
    while let Some(batch) = next {
        let following = intake.next(&mut stream);
        let take = account.take(transfer.as_mut(), family.as_ref(), comparison, batch);
        next = if family.is_some() {
            side_by_side(take, following).await?
        } else {
            take.await?;
            following.await?
        };
    }
    let location = transfer.finish().await?;
    Ok(account.close(location))
}

/// Looks for the parents of the following batch while this one is on its way. What goes wrong with this one is said at
/// once; what goes wrong with the following one must not cut this one off.
async fn side_by_side(
    take: impl Future<Output = Result<(), Stopped>>,
    following: impl Future<Output = Result<Option<Prepared>, Stopped>>,
) -> Result<Option<Prepared>, Stopped> {
    match select(pin!(take), pin!(following)).await {
        Either::Left((taken, following)) => {
            taken?;
            following.await
        }
        Either::Right((following, take)) => {
            take.await?;
            following
        }
    }
}

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
struct Intake<'a> {
    router: &'a Router,
    claim: &'a Claim,
    route: &'a Route,
    family: Option<&'a Family<'a>>,
    comparison: Option<&'a Comparison<'a>>,
    /// Records up to this number are in the account already.
    counted: u64,
}

impl Intake<'_> {
    async fn next(&self, stream: &mut RecordStream) -> Result<Option<Prepared>, Stopped> {
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

/// Counts a finished delivery's records. Those of a woken notice were counted as read, and as parked, when they were.
pub(super) fn count(context: &Context, route: &RouteName, counts: Counts, is_woken: bool) {
    let add = |outcome: &str, by: u64| {
        let labels = OutcomeLabels { route: route.to_string(), outcome: outcome.to_owned() };
        context.metrics.records.get_or_create(&labels).inc_by(by);
    };
    if !is_woken {
        add("read", counts.read);
        add("parked", counts.parked);
    }
    add("delivered", counts.delivered);
    add("filtered", counts.filtered);
    add("quarantined", counts.quarantined);
}
