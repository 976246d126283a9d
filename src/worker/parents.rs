//! Parents and children of one delivery: which records are withheld since their parent is missing, and what the others
//! say of entities. The whole of parking is told in [`crate::inbox::parking`].
//!
//! Nothing here is done for a delivery whose route names no parent and whose blob type carries no entity.
//!
//! ```text
//! look (readers, beside the delivery before) ──> missing ── withhold (the writer decides) ──> sink ──> note
//! ```

use std::collections::{BTreeMap, HashSet};

use crate::error::Class;
use crate::fail_point::{FailPoint, reach};
use crate::inbox::{Claim, EntityChanges, EntityKey, Fate, Forget, InboxError, Lookup, Orphan, ParkRules, Reference};
use crate::notice::{EntityName, Notice};
use crate::record::{BadRecord, RecordBatch};
use crate::route::{Entity, MissingParent, OwnTypes, Route};

use super::tools::Tools;

/// Orphans in one commit: a batch of a sink may be much larger, and other writes wait for it.
const ORPHANS_A_COMMIT: usize = 1_000;

/// What a held file says of entities is staged in pieces of this many keys, so that a file that tells of very many needs
/// no more memory than another.
pub(super) const CHANGES_HELD_MAX: usize = 8_192;

/// What a delivery has to look at besides the records themselves.
pub(super) struct Family<'a> {
    tools: &'a Tools,
    claim: &'a Claim,
    route: &'a Route,
    /// The entities that the records carry; where each record has a blob type of its own, those that any may carry.
    entities: Vec<&'a Entity>,
    /// Whether parents are looked for.
    is_checked: bool,
}

/// What is missing in a batch, as far as readers can say.
pub(super) struct Looked {
    /// By the place of the record in the batch: the parents that are missing, by their place in the route.
    missing: BTreeMap<usize, Vec<(usize, Vec<EntityKey>)>>,
    /// What earlier attempts decided, by the record's number.
    decided: Vec<(u64, Fate)>,
}

/// What was taken out of a batch.
#[derive(Default)]
pub(super) struct Withheld {
    pub parked: u64,
    pub refused: Vec<BadRecord>,
}

/// What one record says of an entity.
pub(super) struct Noted {
    /// The record.
    pub number: u64,
    /// The entity's place in the family.
    entity: usize,
    key: EntityKey,
    is_gone: bool,
}

impl<'a> Family<'a> {
    /// `None` when there is nothing to look at.
    pub(super) fn of(tools: &'a Tools, claim: &'a Claim, route: &'a Route) -> Option<Self> {
        let Notice { feed, metadata, .. } = &claim.notice;
        let entities: Vec<_> = if claim.woken.is_none() && tools.router.is_typed(feed) {
            tools.router.entities().iter().collect()
        } else {
            tools.router.entities_of(feed, &metadata.blob_type).collect()
        };
        let is_released = claim.woken.is_some_and(|woken| woken.is_released);
        let is_let_through = route.settings().parking.missing_parent == MissingParent::Deliver;
        let is_checked = !route.parents().is_empty() && !is_released && !is_let_through;
        let is_of_use = is_checked || !entities.is_empty() || claim.has_leftovers;
        is_of_use.then_some(Self { tools, claim, route, entities, is_checked })
    }

    /// Asks for the parents of a whole batch at once.
    pub(super) async fn look(&self, batch: &RecordBatch) -> Result<Looked, InboxError> {
        let decided = if self.claim.has_leftovers {
            self.tools.inbox.decided(self.claim.key.delivery, batch.first, batch.last).await?
        } else {
            Vec::new()
        };
        let mut looked = Looked { missing: BTreeMap::new(), decided };
        if !self.is_checked || batch.spans.is_empty() {
            return Ok(looked);
        }
        let (lookups, references) = self.references(batch);
        if references.is_empty() {
            return Ok(looked);
        }
        let answers = self.tools.inbox.known(self.claim.target.sink.clone(), lookups.clone()).await?;
        for Referred { record, parent, keys } in references {
            if !answers[parent][keys.clone()].contains(&true) {
                let keys = lookups[parent].keys[keys].to_vec();
                looked.missing.entry(record).or_default().push((parent, keys));
            }
        }
        Ok(looked)
    }

    /// The keys of all parents that the records name, and which of them belong to which record.
    fn references(&self, batch: &RecordBatch) -> (Vec<Lookup>, Vec<Referred>) {
        let parents = self.route.parents();
        let lookup = |entity: &EntityName| Lookup { entity: entity.clone(), keys: Vec::new() };
        let mut lookups: Vec<_> = parents.iter().map(|parent| lookup(parent.entity())).collect();
        let mut references = Vec::with_capacity(batch.spans.len());
        let mut scratch = Vec::new();
        for (record, of_record) in batch.records().enumerate() {
            for (place, (parent, lookup)) in parents.iter().zip(&mut lookups).enumerate() {
                let from = lookup.keys.len();
                lookup.keys.extend(parent.keys().iter().filter_map(|key| key.of(of_record.body, &mut scratch)));
                let keys = from..lookup.keys.len();
                // A record that carries none of the keys has no such parent.
                if !keys.is_empty() {
                    references.push(Referred { record, parent: place, keys });
                }
            }
        }
        (lookups, references)
    }

    /// Takes out of the batch what may not be delivered. Records up to `resume_after` are at the sink already: only
    /// what was decided about them still holds.
    pub(super) async fn withhold(
        &self,
        batch: &mut RecordBatch,
        types: Option<&OwnTypes>,
        looked: Looked,
        resume_after: u64,
    ) -> Result<Withheld, InboxError> {
        let Looked { missing, decided } = looked;
        if missing.is_empty() && decided.is_empty() {
            return Ok(Withheld::default());
        }
        let there: HashSet<u64> = batch.spans.iter().map(|span| span.number).collect();
        let decided_before: HashSet<u64> = decided.iter().map(|(number, _)| *number).collect();
        let lost: Vec<u64> = decided_before.difference(&there).copied().collect();
        if !lost.is_empty() {
            // The filter or a bound has changed since: they are in the account as something else now.
            self.tools.inbox.forget_attempts(self.claim.key, Forget::Records(lost)).await?;
        }
        let mut fates = decided;
        let orphans: Vec<Orphan> = missing
            .into_iter()
            .filter(|(record, _)| {
                let number = batch.spans[*record].number;
                number > resume_after && !decided_before.contains(&number)
            })
            .map(|(record, missing)| self.orphan(batch, types, record, missing))
            .collect();
        let rules = self.rules();
        let mut rest = orphans.into_iter().peekable();
        while rest.peek().is_some() {
            let some: Vec<_> = rest.by_ref().take(ORPHANS_A_COMMIT).collect();
            let numbers: Vec<_> = some.iter().map(|orphan| orphan.number).collect();
            reach(FailPoint::Parking);
            let answers = self.tools.inbox.park(self.claim.key, rules, some).await?;
            let parked = answers.iter().filter(|fate| **fate == Fate::Parked).count();
            if parked > 0 {
                reach(FailPoint::Parked);
            }
            self.tools.context.metrics.records_parked.inc_by(parked as u64);
            fates.extend(numbers.into_iter().zip(answers));
        }
        Ok(self.take_out(batch, fates))
    }

    fn rules(&self) -> ParkRules {
        let parking = &self.route.settings().parking;
        ParkRules {
            parks: parking.missing_parent == MissingParent::Park,
            park_for: parking.park_for,
            at_deadline: parking.at_deadline,
            latest_only: parking.latest_only,
        }
    }

    fn orphan(
        &self,
        batch: &RecordBatch,
        types: Option<&OwnTypes>,
        record: usize,
        missing: Vec<(usize, Vec<EntityKey>)>,
    ) -> Orphan {
        let span = &batch.spans[record];
        let body = batch.buffer.slice(span.start..span.end);
        let parents = self.route.parents();
        let says: Vec<_> = missing.iter().map(|(parent, _)| parents[*parent].show(&body)).collect();
        let own_type = types.and_then(|types| types.name(span.number));
        let carried = self.carried(own_type);
        let own = carried.iter().find_map(|place| {
            let entity = self.entities[*place];
            let key = entity.first_key(&body, &mut Vec::new())?;
            Some((entity.name().clone(), key))
        });
        let missing = missing
            .into_iter()
            .map(|(parent, keys)| Reference { entity: parents[parent].entity().clone(), keys })
            .collect();
        let blob_type = own_type.map_or_else(|| self.type_of_woken(), |own_type| Some(own_type.to_owned()));
        Orphan { number: span.number, offset: span.offset, blob_type, body, missing, says: says.join(" and "), own }
    }

    /// The places of the entities that records of a type of their own carry; without one, those of the notice's.
    fn carried(&self, own_type: Option<&str>) -> Vec<usize> {
        let is_carried = |entity: &Entity| own_type.is_none_or(|own_type| entity.is_carried_by(own_type, true));
        (0..self.entities.len()).filter(|place| is_carried(self.entities[*place])).collect()
    }

    /// A woken notice is of its records' own type, and that is what they keep when they are parked again.
    fn type_of_woken(&self) -> Option<String> {
        let Notice { feed, metadata, .. } = &self.claim.notice;
        (self.claim.woken.is_some() && self.tools.router.is_typed(feed)).then(|| metadata.blob_type.clone())
    }

    fn take_out(&self, batch: &mut RecordBatch, fates: Vec<(u64, Fate)>) -> Withheld {
        let fates: BTreeMap<u64, Fate> = fates.into_iter().filter(|(_, fate)| *fate != Fate::Deliverable).collect();
        let mut withheld = Withheld::default();
        for span in &batch.spans {
            match fates.get(&span.number) {
                Some(Fate::Parked) => withheld.parked += 1,
                Some(Fate::Refused) => {
                    let body = &batch.buffer[span.start..span.end];
                    let parents: Vec<_> = self.route.parents().iter().map(|parent| parent.show(body)).collect();
                    withheld.refused.push(BadRecord {
                        number: span.number,
                        offset: span.offset,
                        reason: format!(
                            "a parent of it is not known to sink {}: {}",
                            self.claim.target.sink,
                            parents.join(" and ")
                        ),
                        class: Class::MissingParent,
                        is_readable: true,
                        is_cut: false,
                        blob_type: None,
                        bytes: body.to_vec(),
                    });
                }
                _ => {}
            }
        }
        let before = batch.spans.len();
        batch.spans.retain(|span| !fates.contains_key(&span.number));
        batch.is_lines &= batch.spans.len() == before;
        withheld
    }

    /// What the records of the batch say of entities.
    pub(super) fn note(&self, batch: &RecordBatch, types: Option<&OwnTypes>) -> Vec<Noted> {
        let mut noted = Vec::new();
        let mut scratch = Vec::new();
        let of_notice = self.carried(None);
        let of_types: Vec<_> =
            types.iter().flat_map(|types| types.names()).map(|own_type| self.carried(Some(own_type))).collect();
        for record in batch.records() {
            let own_type = types.and_then(|types| types.place(record.number));
            for place in own_type.map_or(&of_notice, |own_type| &of_types[own_type]).iter().copied() {
                let entity = self.entities[place];
                let is_gone = entity.is_deleted_by(record.body);
                for key in entity.keys().iter().filter_map(|key| key.of(record.body, &mut scratch)) {
                    noted.push(Noted { number: record.number, entity: place, key, is_gone });
                }
            }
        }
        noted
    }
}

/// A record names a parent.
struct Referred {
    /// The record's place in its batch.
    record: usize,
    /// The parent's place in the route.
    parent: usize,
    /// The places of the record's keys in the parent's lookup.
    keys: std::ops::Range<usize>,
}

/// What the records of a delivery say of entities, since it was last written down.
#[derive(Default)]
pub(super) struct Changes {
    by_entity: BTreeMap<EntityName, Vec<(EntityKey, bool)>>,
    keys: usize,
}

impl Changes {
    pub(super) fn len(&self) -> usize {
        self.keys
    }

    pub(super) fn add(&mut self, family: Option<&Family<'_>>, noted: Vec<Noted>) {
        let Some(family) = family else { return };
        self.keys += noted.len();
        for Noted { entity, key, is_gone, .. } in noted {
            let name = family.entities[entity].name();
            match self.by_entity.get_mut(name) {
                Some(keys) => keys.push((key, is_gone)),
                None => {
                    self.by_entity.insert(name.clone(), vec![(key, is_gone)]);
                }
            }
        }
    }

    /// As [`Changes::add`], of keys that are known under one name.
    pub(super) fn know(&mut self, name: &EntityName, keys: impl Iterator<Item = EntityKey>) {
        let mut keys = keys.map(|key| (key, false)).peekable();
        if keys.peek().is_some() {
            let known = self.by_entity.entry(name.clone()).or_default();
            let before = known.len();
            known.extend(keys);
            self.keys += known.len() - before;
        }
    }

    /// Takes the first `keys_max` of them out. What the last record says of a key holds.
    pub(super) fn take(&mut self, keys_max: usize) -> Vec<EntityChanges> {
        let mut taken = Vec::new();
        let mut left = keys_max;
        for (entity, keys) in &mut self.by_entity {
            let mut some: Vec<_> = keys.drain(..left.min(keys.len())).collect();
            left -= some.len();
            self.keys -= some.len();
            // The sort is stable: of equal keys, the last one is the latest.
            some.sort_by_key(|(key, _)| *key);
            let mut changes = EntityChanges { entity: entity.clone(), known: Vec::new(), gone: Vec::new() };
            for same in some.chunk_by(|one, next| one.0 == next.0) {
                if let [.., (key, is_gone)] = same {
                    if *is_gone { changes.gone.push(*key) } else { changes.known.push(*key) }
                }
            }
            if !(changes.known.is_empty() && changes.gone.is_empty()) {
                taken.push(changes);
            }
        }
        taken
    }
}

#[cfg(test)]
#[path = "parents_tests.rs"]
mod tests;
