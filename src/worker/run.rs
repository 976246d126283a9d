//! One claimed delivery, from the open sink to the confirmed last record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Class, Classify, chain};
use crate::fail_point::{FailPoint, reach};
use crate::inbox::{Claim, ClaimKey, InboxError, Progress, SharedInbox};
use crate::notice::{FeedName, Notice, RouteName, SinkName};
use crate::ops::Context;
use crate::ops::metrics::OutcomeLabels;
use crate::payload::{PayloadError, PayloadOpener};
use crate::record::{BadRecord, Counts, RecordBatch};
use crate::route::{Route, Router};
use crate::sink::{Accepts, DeliveryContext, Sink, SinkError, Transfer};

use super::retry::{Failure, Side};

/// Set-aside records are written down in pieces of this many, so that a file of nothing but bad records needs no
/// more memory than another.
const BAD_RECORDS_HELD_MAX: usize = 256;

/// What every delivery needs.
pub(super) struct Tools {
    pub inbox: SharedInbox,
    pub router: Arc<Router>,
    pub sinks: HashMap<SinkName, Arc<dyn Sink>>,
    /// For each feed, since each feed's payloads are fetched with its own tokens.
    pub payloads: HashMap<FeedName, Arc<PayloadOpener>>,
    pub context: Context,
}

impl Tools {
    fn payloads_of(&self, notice: &Notice) -> Result<&PayloadOpener, Stopped> {
        self.payloads.get(&notice.feed).map(AsRef::as_ref).ok_or_else(|| {
            let said =
                format!("the feed `{}` is not configured any more, so nothing may be fetched for it", notice.feed);
            refusal(Class::Permanent, said)
        })
    }
}

/// A delivery that ended well.
pub(super) struct Done {
    pub progress: Progress,
    pub location: String,
    /// Set aside since the last progress was stored.
    pub bad: Vec<BadRecord>,
}

/// Why a delivery ended otherwise.
pub(super) enum Stopped {
    /// To be decided on by class.
    Failed(Failure),
    /// The content was replaced before it was delivered, and its new version is a notice of its own: nothing is left to
    /// do here. Holds what is said of it.
    Superseded(String),
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

fn refusal(class: Class, error: String) -> Stopped {
    Stopped::Failed(Failure { side: Side::Sink, class, error, retry_after: None::<Duration> })
}

/// Delivers what the claim holds. Cut off anywhere, it can be run again with the same end.
pub(super) async fn deliver(tools: &Tools, claim: &Claim) -> Result<Done, Stopped> {
    let target = &claim.target;
    let Some(route) = tools.router.route(&target.route) else {
        let said = format!("the route `{}` is not configured any more; `longshore replay` plans it anew", target.route);
        return Err(refusal(Class::Permanent, said));
    };
    let Some(sink) = tools.sinks.get(&target.sink) else {
        let said = format!("the sink `{}` is not configured any more; `longshore replay` plans it anew", target.sink);
        return Err(refusal(Class::Permanent, said));
    };
    let delivery = DeliveryContext {
        notice: Arc::new(claim.notice.clone()),
        target: target.clone(),
        run: claim.run,
        attempt: claim.attempt,
    };
    let delivered = match sink.accepts() {
        Accepts::Bytes => whole(tools, claim, sink.as_ref(), delivery).await,
        Accepts::Records => records(tools, claim, sink.as_ref(), route, delivery).await,
    };
    match delivered {
        // What an earlier attempt had confirmed stays in the account.
        Err(Stopped::Superseded(said)) => {
            let progress = Progress { confirmed: claim.progress.counts.read, ..claim.progress };
            Ok(Done { progress, location: said, bad: Vec::new() })
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
    Ok(Done { progress, location, bad: Vec::new() })
}

async fn records(
    tools: &Tools,
    claim: &Claim,
    sink: &dyn Sink,
    route: &Route,
    delivery: DeliveryContext,
) -> Result<Done, Stopped> {
    let payloads = tools.payloads_of(&claim.notice)?;
    let mut stream = payloads.open_records(&claim.notice, &route.settings().format, sink.batch_limits())?;
    let opened = sink.open(delivery, claim.progress).await?;
    let mut account = Account::resume(tools, claim, opened.resume_after, payloads.limits().bad_records_max);
    let mut transfer = opened.transfer;
    while let Some(batch) = stream.next().await? {
        account.take(transfer.as_mut(), route, batch).await?;
    }
    let location = transfer.finish().await?;
    Ok(account.close(location))
}

/// Keeps a delivery's account while its batches pass, and writes it down as the sink confirms.
struct Account<'a> {
    tools: &'a Tools,
    key: ClaimKey,
    progress: Progress,
    /// Records up to this number are in the account already.
    counted: u64,
    /// Records up to this number were confirmed by an earlier attempt, whether or not the account has them.
    resume_after: u64,
    /// Whether the sink holds records that it will confirm at the end only.
    is_held: bool,
    bad: Vec<BadRecord>,
    /// More records than this set aside, and the whole delivery is quarantined.
    bad_records_max: u64,
}

impl<'a> Account<'a> {
    fn resume(tools: &'a Tools, claim: &Claim, resume_after: u64, bad_records_max: u64) -> Self {
        let stored = claim.progress;
        // A sink that starts over, or lies behind, has its records counted anew; bad ones are written over themselves.
        // Nothing is confirmed where a sink only held records: whatever was counted then is counted again.
        let starts_over = resume_after < stored.confirmed || stored.confirmed == 0;
        let progress = if starts_over { Progress::default() } else { stored };
        Self {
            tools,
            key: claim.key,
            progress,
            counted: progress.confirmed,
            resume_after,
            is_held: false,
            bad: Vec::new(),
            bad_records_max,
        }
    }

    async fn take(
        &mut self,
        transfer: &mut dyn Transfer,
        route: &Route,
        mut batch: RecordBatch,
    ) -> Result<(), Stopped> {
        self.progress.bytes = batch.bytes_read;
        if batch.last <= self.counted {
            return Ok(());
        }
        if batch.first <= self.counted {
            batch.skip_to(self.counted + 1);
        }
        self.progress.counts.read += (batch.spans.len() + batch.bad.len()) as u64;
        self.set_aside(std::mem::take(&mut batch.bad))?;
        self.progress.counts.filtered += filter(route, &mut batch);
        let mut is_confirmed = false;
        self.count_confirmed(&mut batch);
        if !batch.spans.is_empty() {
            let delivered = transfer.deliver(&batch).await?;
            self.progress.counts.delivered += (batch.spans.len() - delivered.refused.len()) as u64;
            self.set_aside(delivered.refused)?;
            is_confirmed = delivered.confirmed;
            self.is_held |= !delivered.confirmed;
        }
        // A batch of which nothing was left to deliver is as good as confirmed, unless the sink still holds one before it.
        if !self.is_held {
            self.progress.confirmed = batch.last;
        }
        if is_confirmed {
            reach(FailPoint::Confirmed);
        }
        if is_confirmed || self.bad.len() >= BAD_RECORDS_HELD_MAX {
            self.store().await?;
            reach(FailPoint::Progressed);
        }
        Ok(())
    }

    /// Counts as delivered what the sink confirmed before a crash kept the inbox from hearing of it. A sink goes ahead
    /// only over records of which it refused none.
    fn count_confirmed(&mut self, batch: &mut RecordBatch) {
        if batch.first <= self.resume_after {
            let before = batch.spans.len();
            batch.skip_to(self.resume_after + 1);
            self.progress.counts.delivered += (before - batch.spans.len()) as u64;
        }
    }

    fn set_aside(&mut self, bad: Vec<BadRecord>) -> Result<(), Stopped> {
        self.progress.counts.quarantined += bad.len() as u64;
        self.bad.extend(bad);
        let bad_records_max = self.bad_records_max;
        if self.progress.counts.quarantined > bad_records_max {
            let said = format!(
                "more than {bad_records_max} records could not be read or were refused, the last one because {}; \
                 it is of another type than its route expects (`bad_records_max` in [limits])",
                self.bad.last().map_or("of an earlier reason", |bad| bad.reason.as_str())
            );
            return Err(refusal(Class::Poison, said));
        }
        Ok(())
    }

    async fn store(&mut self) -> Result<(), InboxError> {
        let mut progress = self.progress;
        if self.is_held {
            // What the sink holds is in nobody's sight yet: should the delivery fail for good, its account must not
            // claim it.
            let set_aside = progress.counts.quarantined;
            progress.counts = Counts { read: set_aside, quarantined: set_aside, ..Counts::default() };
        }
        self.tools.inbox.progress(self.key, progress, std::mem::take(&mut self.bad)).await
    }

    fn close(mut self, location: String) -> Done {
        self.progress.confirmed = self.progress.counts.read;
        Done { progress: self.progress, location, bad: self.bad }
    }
}

/// Leaves out what the route does not want; returns how many records that were.
fn filter(route: &Route, batch: &mut RecordBatch) -> u64 {
    let filter = route.filter();
    if filter.is_empty() { 0 } else { batch.retain(|body| filter.keeps(body)) }
}

/// Counts a finished delivery's records.
pub(super) fn count(context: &Context, route: &RouteName, counts: Counts) {
    let add = |outcome: &str, by: u64| {
        let labels = OutcomeLabels { route: route.to_string(), outcome: outcome.to_owned() };
        context.metrics.records.get_or_create(&labels).inc_by(by);
    };
    add("read", counts.read);
    add("delivered", counts.delivered);
    add("filtered", counts.filtered);
    add("parked", counts.parked);
    add("quarantined", counts.quarantined);
}
