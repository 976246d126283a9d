//! The waker: the loop that lets parking do its own work, one bounded step at a time.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fail_point::{FailPoint, reach};
use crate::inbox::Tended;
use crate::ops::{Condition, Context};

use super::tools::Tools;
use super::wait::{IDLE_MAX, SILENCE_MAX, idle, pause_after};

/// The name under which parking reports its health.
const PART: &str = "parking";

/// Wakes what waits until `stop`.
pub(super) async fn wake_loop(tools: &Tools, mut changes: watch::Receiver<u64>, stop: &CancellationToken) {
    let context = &tools.context;
    let heartbeat = context.heartbeats.register("waker", SILENCE_MAX);
    while !stop.is_cancelled() {
        heartbeat.beat();
        changes.mark_unchanged();
        match tools.inbox.tend().await {
            Ok(tended) => {
                if tended.woken > 0 {
                    reach(FailPoint::Woken);
                }
                say(context, &tended);
                if !tended.more {
                    let now = tools.inbox.now();
                    let wait = tended.next_deadline.map_or(IDLE_MAX, |next| next.since(now).min(IDLE_MAX));
                    idle(wait, &mut changes, stop).await;
                }
            }
            Err(error) => pause_after(&error, "parking could not be tended", context, stop).await,
        }
    }
}

fn say(context: &Context, tended: &Tended) {
    context.metrics.records_woken.inc_by(tended.woken);
    if tended.woken > 0 {
        tracing::info!(records = tended.woken, notices = tended.notices, "parked records go on");
    }
    if tended.replaced > 0 {
        tracing::debug!(records = tended.replaced, "newer records took the place of parked ones");
    }
    if tended.expired > 0 {
        tracing::warn!(records = tended.expired, "parents did not come in time; see `longshore notices`");
    }
    if tended.crowded_out > 0 {
        let records = tended.crowded_out;
        tracing::warn!(records, "too much is parked; the oldest records were let go as at their deadline");
        let reason = "more is parked than `rows_max` or `bytes_max` in [parking] allow: the oldest records are let go \
                      as at their deadline";
        context.health.set(PART, Condition::Degraded { reason: reason.to_owned() });
    } else if !tended.more {
        context.health.recover(PART);
    }
}
