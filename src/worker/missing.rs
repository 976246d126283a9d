//! One delivery of an export, compared with what the webhook brought. The whole is told in
//! [`crate::route::Reconcile`]'s room.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::clock::UnixMs;
use crate::inbox::{Claim, EntityKey, InboxError, Lookup};
use crate::notice::EntityName;
use crate::ops::metrics::FeedOutcomeLabels;
use crate::record::RecordBatch;
use crate::route::{Compared, Nameless, OwnTypes, Reconcile, Route};

use super::outcome::Stopped;
use super::parents::CHANGES_HELD_MAX;
use super::tools::Tools;

/// What a delivery is compared with.
pub(super) struct Comparison<'a> {
    tools: &'a Tools,
    claim: &'a Claim,
    reconcile: &'a Reconcile,
    /// Under which name it is written down what this route has delivered.
    delivered_by: EntityName,
    /// What the inbox may not have been told of yet.
    recent: Mutex<Recent>,
}

/// The events that the latest batches of a delivery left to be delivered. A file may tell of one event twice, and in two
/// batches: the inbox knows those that were stored with the progress, or staged where the sink only holds them.
#[derive(Debug, Default)]
struct Recent(VecDeque<HashSet<EntityKey>>);

impl Recent {
    fn holds(&self, event: &EntityKey) -> bool {
        self.0.iter().any(|batch| batch.contains(event))
    }

    /// Adds a batch's, and lets go of those that the inbox has been told of: this batch and the one before are under way,
    /// and of the earlier ones fewer than [`CHANGES_HELD_MAX`] wait to be written down.
    fn add(&mut self, batch: HashSet<EntityKey>) {
        if batch.is_empty() {
            return;
        }
        self.0.push_back(batch);
        while self.0.len() > 3 {
            let behind: usize = self.0.range(1..self.0.len() - 2).map(HashSet::len).sum();
            if behind < CHANGES_HELD_MAX {
                break;
            }
            self.0.pop_front();
        }
    }
}

/// What is left of a batch.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Records left out since their event is known.
    pub known: u64,
    /// Records left out since nothing can be said about them.
    pub others: u64,
    /// The events of the records that are left, by number.
    pub events: Vec<(u64, EntityKey)>,
}

impl<'a> Comparison<'a> {
    /// `None` for a notice of any other feed.
    pub(super) fn of(tools: &'a Tools, claim: &'a Claim, route: &Route) -> Option<Self> {
        let reconcile = tools.router.reconcile_of(&claim.notice.feed)?;
        let delivered_by = reconcile.delivered_by(&route.settings().name);
        Some(Self { tools, claim, reconcile, delivered_by, recent: Mutex::default() })
    }

    /// Under which name it is written down what this route has delivered.
    pub(super) fn delivered_by(&self) -> &EntityName {
        &self.delivered_by
    }

    /// Puts a delivery off whose events may still be on their way. One that a person asked for begins at once.
    pub(super) fn wait(&self, now: UnixMs) -> Result<(), Stopped> {
        let settings = self.reconcile.settings();
        let due = self.claim.notice.published.plus(settings.settle);
        if now >= due || self.claim.run.0 != 0 || self.claim.woken.is_some() {
            return Ok(());
        }
        let why = format!("the feed {} may still bring what it holds; compared from {due} on", settings.webhook);
        Err(Stopped::NotYet { due, why })
    }

    /// Leaves out the records whose event is known. What was woken has been compared before.
    pub(super) async fn leave_out(
        &self,
        batch: &mut RecordBatch,
        types: Option<&OwnTypes>,
    ) -> Result<Missing, InboxError> {
        let mut missing = Missing::default();
        let mut left_out = HashSet::new();
        let mut seen = HashSet::new();
        let recent = || self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for record in batch.records() {
            let own_type = types.and_then(|types| types.name(record.number));
            let blob_type = own_type.unwrap_or(&self.claim.notice.metadata.blob_type);
            match self.reconcile.record(blob_type, record.body) {
                // A file may tell of one event twice.
                Compared::Event(key) if seen.insert(key) && !recent().holds(&key) => {
                    missing.events.push((record.number, key))
                }
                Compared::Event(_) => {
                    missing.known += 1;
                    left_out.insert(record.number);
                }
                Compared::Nameless => {
                    self.count("nameless", 1);
                    if self.reconcile.settings().nameless == Nameless::LeaveOut {
                        missing.others += 1;
                        left_out.insert(record.number);
                    }
                }
                Compared::Elsewhere => {
                    missing.others += 1;
                    left_out.insert(record.number);
                }
            }
        }
        if self.claim.woken.is_some() {
            return Ok(Missing { known: 0, others: 0, ..missing });
        }
        let known = self.known(&missing.events).await?;
        missing.known += known.len() as u64;
        missing.events.retain(|(number, _)| !known.contains(number));
        left_out.extend(known);
        recent().add(missing.events.iter().map(|(_, event)| *event).collect());
        let before = batch.spans.len();
        batch.spans.retain(|span| !left_out.contains(&span.number));
        batch.is_lines &= batch.spans.len() == before;
        Ok(missing)
    }

    /// The numbers of the records whose event was heard, or was delivered from an export before.
    async fn known(&self, events: &[(u64, EntityKey)]) -> Result<HashSet<u64>, InboxError> {
        if events.is_empty() {
            return Ok(HashSet::new());
        }
        let keys: Vec<EntityKey> = events.iter().map(|(_, key)| *key).collect();
        let inbox = &self.tools.inbox;
        let heard = inbox
            .heard_events(self.reconcile.settings().webhook.clone(), keys.clone(), self.claim.key.delivery)
            .await?;
        // A replay is there to deliver again what was delivered.
        let delivered = if self.claim.run.0 == 0 {
            let lookup = Lookup { entity: self.delivered_by.clone(), keys };
            inbox.known(self.claim.target.sink.clone(), vec![lookup]).await?.pop().unwrap_or_default()
        } else {
            vec![false; keys.len()]
        };
        let known = events.iter().zip(heard.into_iter().zip(delivered));
        Ok(known.filter(|(_, (heard, delivered))| *heard || *delivered).map(|((number, _), _)| *number).collect())
    }

    /// Counts a delivery that is done.
    pub(super) fn done(&self, known: u64, missing: u64) {
        self.count("known", known);
        self.count("missing", missing);
    }

    fn count(&self, outcome: &str, by: u64) {
        let labels =
            FeedOutcomeLabels { feed: self.reconcile.settings().export.to_string(), outcome: outcome.to_owned() };
        self.tools.context.metrics.records_reconciled.get_or_create(&labels).inc_by(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(range: std::ops::Range<usize>) -> HashSet<EntityKey> {
        range.map(|n| EntityKey::of(&mut Vec::new(), "event", [n.to_string().as_str()])).collect()
    }

    #[test]
    fn events_are_held_until_the_inbox_has_been_told_of_them_and_no_longer() {
        let mut recent = Recent::default();
        let each = CHANGES_HELD_MAX / 4;
        for batch in 0..40 {
            recent.add(events(batch * each..(batch + 1) * each));
            recent.add(HashSet::new());
            let all: usize = recent.0.iter().map(HashSet::len).sum();
            assert!(all <= CHANGES_HELD_MAX + 3 * each, "{all} are held");
        }
        let mut held = events(34 * each..40 * each).into_iter();
        assert!(held.all(|event| recent.holds(&event)), "these may not be written down yet");
        assert!(!recent.holds(&events(0..1).into_iter().next().unwrap()));
    }
}
