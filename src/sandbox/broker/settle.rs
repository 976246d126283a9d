//! Settlement: what a client's disposition does, and the answer that it waits for.

use fe2o3_amqp_types::definitions::{Error, Role};
use fe2o3_amqp_types::messaging::{DeliveryState, Rejected};
use fe2o3_amqp_types::performatives::Disposition;
use serde_amqp::Value;

use super::context::Context;
use super::control::condition_error;
use super::link::LinkKind;
use super::lock_token::LockId;
use super::queue::Settlement;
use super::session::{Session, Unsettled};

/// The condition that says a lock is no longer held.
pub(super) const LOCK_LOST: &str = "com.microsoft:message-lock-lost";

/// What the SDKs tell a user whose lock is lost.
pub(super) const LOCK_LOST_TEXT: &str =
    "The lock supplied is invalid. Either the lock expired, or the message has already been removed from the queue.";

impl Session {
    /// Settles a range of deliveries as the client decided.
    pub fn disposition(&mut self, context: &mut Context, disposition: &Disposition) {
        if disposition.role == Role::Sender {
            return;
        }
        let Some(settlement) = settlement_of(disposition) else { return };
        let (first, last) = (disposition.first, disposition.last.unwrap_or(disposition.first));
        let settled = self.take_unsettled(first, last);
        // Runs of deliveries on one link are settled under one lock.
        let mut results: Vec<(u32, bool)> = Vec::with_capacity(settled.len());
        for run in settled.chunk_by(|(_, a), (_, b)| a.handle == b.handle) {
            let mut ids = run.iter().map(|(id, _)| *id);
            let held = |held| results.extend(ids.next().map(|id| (id, held)));
            if let Some(LinkKind::Messages { queue, .. }) = self.links.get(&run[0].1.handle).map(|link| &link.kind) {
                let locks = run.iter().map(|(_, unsettled)| -> LockId { unsettled.lock });
                context.shared.settle(queue, locks, &settlement, held);
            }
        }
        if !disposition.settled {
            for run in results.chunk_by(|a, b| a.0.wrapping_add(1) == b.0 && a.1 == b.1) {
                let state = if run[0].1 { echo(disposition.state.as_ref()) } else { lock_lost() };
                let range = (run[0].0, run[run.len() - 1].0);
                self.send_disposition(context, Role::Sender, range, state);
            }
        }
    }

    /// Takes out the deliveries from `first` to `last`, which may lie on both sides of the numbers' end.
    fn take_unsettled(&mut self, first: u32, last: u32) -> Vec<(u32, Unsettled)> {
        if first > last {
            let mut taken = self.take_unsettled(first, u32::MAX);
            taken.extend(self.take_unsettled(0, last));
            return taken;
        }
        self.unsettled.extract_if(first..=last, |_, _| true).collect()
    }
}

/// What an outcome means for the message; `None` while the client has not decided.
fn settlement_of(disposition: &Disposition) -> Option<Settlement> {
    Some(match &disposition.state {
        Some(DeliveryState::Accepted(_)) => Settlement::Complete,
        Some(DeliveryState::Released(_)) => Settlement::Return { count: false },
        Some(DeliveryState::Modified(modified)) => {
            if modified.undeliverable_here == Some(true) {
                Settlement::Defer
            } else {
                // The Node SDK leaves the field out when it abandons.
                Settlement::Return { count: modified.delivery_failed != Some(false) }
            }
        }
        Some(DeliveryState::Rejected(rejected)) => dead_letter(rejected.error.as_ref()),
        Some(DeliveryState::Received(_)) => return None,
        // Settled without an outcome: the client wants to hear no more of it, and did not say that it is done.
        None => disposition.settled.then_some(Settlement::Return { count: false })?,
    })
}

fn dead_letter(error: Option<&Error>) -> Settlement {
    let info = |name: &str| {
        let info = error?.info.as_deref()?;
        info.iter().find_map(|(key, value)| match value {
            Value::String(text) if key.as_str() == name => Some(text.clone()),
            _ => None,
        })
    };
    Settlement::DeadLetter {
        reason: info("DeadLetterReason").unwrap_or_default(),
        description: info("DeadLetterErrorDescription").or_else(|| error?.description.clone()).unwrap_or_default(),
    }
}

/// The same outcome, but a rejection without its error: to the Python SDK that would mean failure.
fn echo(state: Option<&DeliveryState>) -> DeliveryState {
    match state {
        Some(DeliveryState::Rejected(_)) | None => DeliveryState::Rejected(Rejected { error: None }),
        Some(other) => other.clone(),
    }
}

fn lock_lost() -> DeliveryState {
    DeliveryState::Rejected(Rejected { error: Some(condition_error(LOCK_LOST, LOCK_LOST_TEXT)) })
}
