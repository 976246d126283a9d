//! Says in the health which lanes stand still behind what was set aside, where the configuration wants them to.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::chain;
use crate::inbox::ledger::{Quarantine, StoppedLane};
use crate::ops::metrics::Order;
use crate::ops::{Condition, Context};

/// How often it is looked. A look is one query on an index that holds nothing but what is quarantined.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Lanes that are counted; a person starts with the first ones.
const LANES_MAX: usize = 1_000;

/// Lanes that are named.
const NAMED_MAX: usize = 3;

/// The part that reports in the health.
const PART: &str = "order";

/// Looks until `stop`.
pub(super) async fn watch(quarantine: Arc<dyn Quarantine>, context: Context, stop: CancellationToken) {
    let order = context.metrics.add(Order::register);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        match quarantine.stopped_lanes(LANES_MAX).await {
            Ok(lanes) => {
                order.stopped_lanes.set(lanes.len() as u64);
                context.health.set(PART, condition(&lanes));
            }
            Err(error) => tracing::warn!(error = %chain(&error), "the lanes could not be looked at"),
        }
    }
}

fn condition(lanes: &[StoppedLane]) -> Condition {
    if lanes.is_empty() {
        return Condition::Good { note: "no lane stands still".to_owned() };
    }
    let named: Vec<_> = lanes
        .iter()
        .take(NAMED_MAX)
        .map(|lane| {
            let target = &lane.target;
            let (blob_type, notice, waiting) = (&lane.blob_type, lane.notice, lane.waiting);
            format!("{blob_type} ({} to {}) behind notice {notice}, {waiting} waiting", target.route, target.sink)
        })
        .collect();
    let more = match lanes.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = named.join("; ");
    let reason =
        format!("what is behind something in quarantine waits: {named}{more}: decide with `longshore quarantine`");
    Condition::Degraded { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{DeliveryId, Target};
    use crate::notice::{NoticeId, RouteName, SinkName};

    #[test]
    fn a_lane_that_stands_still_is_named_with_what_to_do() {
        assert!(matches!(condition(&[]), Condition::Good { .. }));
        let lane = StoppedLane {
            target: Target { route: RouteName::new("items"), sink: SinkName::new("files") },
            blob_type: "gateway.item".to_owned(),
            set_aside: 1,
            notice: NoticeId(42),
            delivery: DeliveryId(7),
            waiting: 17,
        };
        let Condition::Degraded { reason } = condition(&vec![lane; 5]) else { panic!("it stands still") };
        assert!(reason.contains("gateway.item (items to files) behind notice 42, 17 waiting"), "{reason}");
        assert!(reason.contains("and 2 more: decide with `longshore quarantine`"), "{reason}");
    }
}
