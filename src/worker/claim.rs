//! The worker: a loop that claims one delivery after another within the working hours, and tells why there is an end.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::UnixMs;
use crate::inbox::{ClaimRequest, Claimed, InboxError};
use crate::ops::Condition;

use super::lease::Leases;
use super::wait::{IDLE_MAX, SILENCE_MAX, idle, pause, pause_after};
use super::window;

/// Who asked for an end waits for what is due within this, or within the longest wait between attempts if that is
/// longer: a retry is part of the work. For what is due later somebody can come back.
const PATIENCE_MIN: Duration = Duration::from_secs(600);

/// The name under which the workers report their health.
pub(super) const PART: &str = "workers";

/// When the workers end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When they are stopped.
    Stopped,
    /// When nothing stored is unfinished, when all that is has to wait long (see [`Ended::Waits`]), or when they are stopped.
    Empty,
}

/// Why the workers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// They were stopped.
    Stopped,
    /// Nothing stored is left to do.
    Empty,
    /// All that is left waits for a time, and the first of it for this one: it is further off than any wait between two
    /// attempts, such as an export that is compared days after it was written.
    Waits(UnixMs),
    /// The hours of work are over, or have not begun.
    OutsideHours,
    /// All that is left waits in so many lanes, behind what is quarantined.
    LanesStopped(u64),
}

/// The end of all the loops, and why it came.
pub(super) struct End {
    /// Cancelled once they end.
    pub token: CancellationToken,
    reason: OnceLock<Ended>,
}

impl End {
    /// Comes with `token` at the latest.
    pub(super) fn new(token: CancellationToken) -> Self {
        Self { token, reason: OnceLock::new() }
    }

    fn come(&self, reason: Ended) {
        // The first reason is the one that counts.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    pub(super) fn reason(&self) -> Ended {
        self.reason.get().copied().unwrap_or(Ended::Stopped)
    }
}

/// One of the workers.
pub(super) struct Worker<'a> {
    pub number: usize,
    pub until: Until,
    pub leases: &'a Leases,
    pub end: &'a End,
    /// Cancelled once what still runs is to be given back.
    pub abandon: &'a CancellationToken,
}

impl Worker<'_> {
    /// Works off what can be claimed until the end, which it brings about itself when it finds that there is one.
    pub(super) async fn work_loop(&self, mut changes: watch::Receiver<u64>) {
        let Leases { settings, tools, .. } = self.leases;
        let name = format!("longshore-{}/{}", std::process::id(), self.number);
        let heartbeat = tools.context.heartbeats.register(&format!("worker {}", self.number), SILENCE_MAX);
        let end = &self.end.token;
        while !end.is_cancelled() {
            heartbeat.beat();
            changes.mark_unchanged();
            let now = tools.context.clock.now();
            if !window::is_open(&settings.windows, &settings.zone, now) {
                if self.until == Until::Empty {
                    // Who waits for an end would otherwise wait for hours, and not know what for.
                    return self.end.come(Ended::OutsideHours);
                }
                let wait = window::look_again_in(&settings.windows, &settings.zone, now);
                self.say("outside the working hours".to_owned());
                pause(wait, end).await;
                continue;
            }
            self.say(format!("{} at work", settings.workers));
            match self.claim(&name).await {
                Ok(Claimed::Delivery(claim)) => self.leases.work(*claim, &heartbeat, self.abandon).await,
                Ok(Claimed::Nothing { unfinished: false, stopped_lanes, .. }) if self.until == Until::Empty => {
                    let ended = if stopped_lanes == 0 { Ended::Empty } else { Ended::LanesStopped(stopped_lanes) };
                    self.end.come(ended);
                }
                Ok(Claimed::Nothing { next_due, busy, .. }) => {
                    let now = tools.inbox.now();
                    let patience = PATIENCE_MIN.max(settings.retry.1);
                    if let Some(due) = next_due
                        && self.until == Until::Empty
                        && !busy
                        && due.since(now) > patience
                    {
                        return self.end.come(Ended::Waits(due));
                    }
                    let wait = next_due.map_or(IDLE_MAX, |due| due.since(now).min(IDLE_MAX));
                    idle(wait, &mut changes, end).await;
                }
                Err(error) => pause_after(&error, "the inbox failed", &tools.context, end).await,
            }
        }
    }

    fn say(&self, note: String) {
        self.leases.tools.context.health.set(PART, Condition::Good { note });
    }

    async fn claim(&self, worker: &str) -> Result<Claimed, InboxError> {
        let Leases { settings, tools, .. } = self.leases;
        let request = ClaimRequest {
            worker: worker.to_owned(),
            lease: settings.lease,
            now: tools.inbox.now(),
            ordering: settings.ordering,
            on_poison: settings.on_poison,
            per_blob_type_max: settings.per_blob_type_max,
        };
        tools.inbox.claim(request).await
    }
}
