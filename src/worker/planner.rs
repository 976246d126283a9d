//! The planner: the loop that asks the routes where each new notice goes.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fail_point::{FailPoint, reach};
use crate::inbox::{InboxError, Plan};

use super::tools::Tools;
use super::wait::{IDLE_MAX, SILENCE_MAX, idle, pause_after};

/// Notices that are planned in one commit.
const PLAN_NOTICES_MAX: usize = 256;

/// Plans what is new until `stop`.
pub(super) async fn plan_loop(tools: &Tools, mut changes: watch::Receiver<u64>, stop: &CancellationToken) {
    let heartbeat = tools.context.heartbeats.register("planner", SILENCE_MAX);
    while !stop.is_cancelled() {
        heartbeat.beat();
        changes.mark_unchanged();
        match plan_some(tools).await {
            Ok(true) => {}
            Ok(false) => idle(IDLE_MAX, &mut changes, stop).await,
            Err(error) => pause_after(&error, "the inbox failed", &tools.context, stop).await,
        }
    }
}

/// Plans one batch; returns whether there was anything to plan.
async fn plan_some(tools: &Tools) -> Result<bool, InboxError> {
    let notices = tools.inbox.unplanned(PLAN_NOTICES_MAX).await?;
    if notices.is_empty() {
        return Ok(false);
    }
    let plans: Vec<Plan> = notices.iter().map(|notice| tools.router.plan(notice)).collect();
    reach(FailPoint::Planning);
    tools.inbox.plan(plans).await?;
    reach(FailPoint::Planned);
    Ok(true)
}
