//! Keys that were found known a short while ago: a night's prices name the same items for one store group after the
//! other, and a key that is found here needs no page of the index.
//!
//! 1. What is here is known in every snapshot from the one on in which it was found, as long as no key was taken away
//!    since. How often that happened stands in `forgettings`, kept by a trigger which nothing can go around, and is read
//!    in the snapshot that is asked about; when it has moved on, nothing here counts any more. So this answers as the
//!    index would, whichever connection or process takes a key away.
//! 2. Only what is known is kept, so that nothing has to be told of a key that is registered.
//! 3. Bounded: [`SETS`] times [`WAYS`] keys, 5 MiB, given back once nobody has asked for [`REST_AFTER`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::inbox::EntityKey;
use crate::inbox::sqlite::fault::Fault;

/// Places in which one key may lie. With one, two keys that meet would drive each other out again and again.
const WAYS: usize = 8;

/// Sets of such places, a power of two. With [`WAYS`] they hold the items of a large shop's assortment, 100,000 of them
/// with hardly a set that has too many.
const SETS: usize = 1 << 15;

/// For how long nobody asks until the memory is given back.
const REST_AFTER: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    /// From 1; 0 where there is none.
    scope: u32,
    key: [u8; 16],
}

#[derive(Debug)]
struct Table {
    forgettings: i64,
    sets: Vec<[Slot; WAYS]>,
    /// Goes round: which key of a full set makes room.
    turn: usize,
    asked: Instant,
}

/// The keys.
#[derive(Debug, Default)]
pub(in crate::inbox::sqlite) struct Confirmed(Mutex<Option<Table>>);

/// How often keys were taken away, as the connection's snapshot has it.
pub(super) fn forgettings(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.prepare_cached("SELECT count FROM forgettings")?.query_row([], |row| row.get(0))?)
}

impl Confirmed {
    /// Says of each key at `places` whether it is here, and leaves in `places` those that are not.
    pub(super) fn answer(
        &self,
        forgettings: i64,
        scope: i64,
        keys: &[EntityKey],
        places: &mut Vec<usize>,
        answer: &mut [bool],
    ) {
        let mut table = self.lock();
        let Some(table) = table.as_mut().filter(|table| table.forgettings == forgettings) else { return };
        table.asked = Instant::now();
        let Ok(scope) = u32::try_from(scope) else { return };
        places.retain(|&place| {
            let slot = Slot { scope, key: keys[place].0 };
            answer[place] = table.sets[set_of(slot)].contains(&slot);
            !answer[place]
        });
    }

    /// Keeps keys that a snapshot with so many forgettings was found to know.
    pub(super) fn add(&self, forgettings: i64, scope: i64, keys: impl Iterator<Item = EntityKey>) {
        let mut table = self.lock();
        let Ok(scope) = u32::try_from(scope) else { return };
        // A snapshot that is older than what is here has nothing to say.
        if table.as_ref().is_some_and(|table| table.forgettings > forgettings) {
            return;
        }
        let is_of_before = table.as_ref().is_none_or(|table| table.forgettings < forgettings);
        if is_of_before {
            *table =
                Some(Table { forgettings, sets: vec![[Slot::default(); WAYS]; SETS], turn: 0, asked: Instant::now() });
        }
        let Some(table) = table.as_mut() else { return };
        for key in keys {
            let slot = Slot { scope, key: key.0 };
            let set = &mut table.sets[set_of(slot)];
            let way = set.iter().position(|held| held.scope == 0).unwrap_or_else(|| {
                table.turn = (table.turn + 1) % WAYS;
                table.turn
            });
            set[way] = slot;
        }
    }

    /// Gives the memory back if nobody has asked for a while.
    pub(in crate::inbox::sqlite) fn rest(&self) {
        let mut table = self.lock();
        if table.as_ref().is_some_and(|table| table.asked.elapsed() >= REST_AFTER) {
            *table = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Table>> {
        // A panic under it cannot leave a key that was not found known.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The set of a key: bits of the hash that the place of its page in the index does not depend on.
fn set_of(slot: Slot) -> usize {
    usize::from(u16::from_le_bytes([slot.key[13], slot.key[14]])) % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> EntityKey {
        EntityKey::of(&mut Vec::new(), "sku", [n.to_string().as_str()])
    }

    /// Which of the keys are there.
    fn there(confirmed: &Confirmed, forgettings: i64, scope: i64, keys: &[EntityKey]) -> usize {
        let mut answer = vec![false; keys.len()];
        let mut places: Vec<usize> = (0..keys.len()).collect();
        confirmed.answer(forgettings, scope, keys, &mut places, &mut answer);
        let found = answer.iter().filter(|known| **known).count();
        assert_eq!(found + places.len(), keys.len());
        assert!(places.iter().all(|place| !answer[*place]));
        found
    }

    #[test]
    fn what_was_found_is_there_for_its_scope_until_a_key_is_taken_away() {
        let confirmed = Confirmed::default();
        let keys: Vec<_> = (0..1_000).map(key).collect();
        assert_eq!(there(&confirmed, 5, 1, &keys), 0);
        confirmed.add(5, 1, keys[..600].iter().copied());
        assert_eq!(there(&confirmed, 5, 1, &keys), 600);
        assert_eq!(there(&confirmed, 5, 2, &keys), 0, "another sink's");
        assert_eq!(there(&confirmed, 6, 1, &keys), 0, "one was taken away since");
        assert_eq!(there(&confirmed, 4, 1, &keys), 0, "an older snapshot looks for itself");
        confirmed.add(4, 1, keys[600..].iter().copied());
        assert_eq!(there(&confirmed, 5, 1, &keys), 600, "and has nothing to add");
        confirmed.add(6, 1, keys[600..].iter().copied());
        assert_eq!(there(&confirmed, 6, 1, &keys), 400, "what was found before does not count any more");
        assert_eq!(there(&confirmed, 5, 1, &keys), 0);
    }

    #[test]
    fn it_is_bounded_and_holds_nearly_all_that_it_has_room_for() {
        let confirmed = Confirmed::default();
        let keys: Vec<_> = (0..100_000).map(key).collect();
        confirmed.add(0, 1, keys.iter().copied());
        let found = there(&confirmed, 0, 1, &keys);
        assert!(found > 98_000, "{found}");
        let other: Vec<_> = (200_000..300_000).map(key).collect();
        // A memory that is full makes room for what is asked for now, over a few files.
        for _ in 0..4 {
            let missing: Vec<_> = other.iter().copied().filter(|key| there(&confirmed, 0, 1, &[*key]) == 0).collect();
            confirmed.add(0, 1, missing.into_iter());
        }
        let found = there(&confirmed, 0, 1, &other);
        assert!(found > 98_000, "{found}");
        let more: Vec<_> = (100_000..400_000).map(key).collect();
        confirmed.add(0, 1, more.iter().copied());
        let found = there(&confirmed, 0, 1, &keys) + there(&confirmed, 0, 1, &more);
        assert!(found <= SETS * WAYS, "{found}");
    }

    #[test]
    fn it_is_given_back_at_rest_alone() {
        let confirmed = Confirmed::default();
        confirmed.add(0, 1, std::iter::once(key(1)));
        confirmed.rest();
        assert_eq!(there(&confirmed, 0, 1, &[key(1)]), 1);
        if let Some(table) = confirmed.lock().as_mut() {
            table.asked = table.asked.checked_sub(REST_AFTER).expect("the machine has run for so long");
        }
        confirmed.rest();
        assert!(confirmed.lock().is_none());
    }
}
