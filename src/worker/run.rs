//! One claimed delivery, from the open sink to the confirmed last record.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::future::{Either, select};

use crate::error::Class;
use crate::inbox::{Claim, Forget, Progress, Remarks};
use crate::notice::RouteName;
use crate::ops::Context;
use crate::ops::metrics::OutcomeLabels;
use crate::record::Counts;
use crate::route::Route;
use crate::sink::{Accepts, DeliveryContext, Sink};

use super::account::Account;
use super::intake::{Intake, Prepared};
use super::missing::Comparison;
use super::outcome::{Done, Stopped, refusal};
use super::parents::Family;
use super::tools::Tools;

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
