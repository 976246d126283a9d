//! When the sources were told of what is stored: a row for each range of notices that were told together. The notices
//! themselves are not written again for it, since each would go through the log a second time with its body.

use rusqlite::{Connection, params};

use super::fault::Fault;
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::notice::NoticeId;

/// The most notices of a range; the schema holds it too. More would have a look for one notice read more ranges.
const RANGE_MAX: i64 = 1_000;

/// As a column of a notice `n`: when its source was told last, by what stands in its own row or by a range. A range that
/// begins further before it cannot reach it.
pub(super) const SETTLED: &str = "(SELECT max(at) FROM (SELECT n.settled AS at UNION ALL SELECT at FROM settlements \
     WHERE first BETWEEN n.id - 999 AND n.id AND last >= n.id))";

/// Writes down that the source was told of these notices. A notice that was pruned meanwhile is passed over.
pub(super) fn settle(connection: &Connection, mut notices: Vec<NoticeId>, at: UnixMs) -> Result<Outcome<()>, Fault> {
    notices.sort_unstable();
    notices.dedup();
    // What is told again is not kept twice.
    let mut replace = connection
        .prepare_cached("DELETE FROM settlements WHERE first BETWEEN ?1 AND ?2 AND last <= ?2 AND at <= ?3")?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO settlements (first, last, at) SELECT ?1, ?2, ?3 \
         WHERE EXISTS (SELECT 1 FROM notices WHERE id BETWEEN ?1 AND ?2) \
         ON CONFLICT (first, last) DO NOTHING",
    )?;
    for run in notices.chunk_by(|one, next| next.0 - one.0 == 1) {
        for range in run.chunks(RANGE_MAX as usize) {
            let (first, last) = (range[0].0, range[range.len() - 1].0);
            replace.execute(params![first, last, at.0])?;
            insert.execute(params![first, last, at.0])?;
        }
    }
    Ok(Outcome::quiet(()))
}

/// Forgets the ranges that held only notices which have gone now; `gone` are those that went.
pub(super) fn forget(connection: &Connection, mut gone: Vec<i64>) -> Result<(), Fault> {
    gone.sort_unstable();
    let mut delete = connection.prepare_cached(
        "DELETE FROM settlements WHERE first BETWEEN ?1 - 999 AND ?2 AND last >= ?1 \
         AND NOT EXISTS (SELECT 1 FROM notices n WHERE n.id BETWEEN settlements.first AND settlements.last)",
    )?;
    // Each range is looked at once, however many of its notices went.
    for near in gone.chunk_by(|one, next| next - one < RANGE_MAX) {
        delete.execute([near[0], near[near.len() - 1]])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rusqlite::Connection;

    use super::super::schema;
    use super::super::tests::{fresh_sqlite, settings};
    use crate::clock::{ManualClock, UnixMs};
    use crate::inbox::conformance::{START, heard};
    use crate::inbox::ledger::{Ledger, Retention};
    use crate::inbox::{Inbox, Receipt, SqliteInbox};
    use crate::notice::{NoticeId, Verdict};

    fn later(seconds: u64) -> UnixMs {
        START.plus(Duration::from_secs(seconds))
    }

    /// Stores notices that are ended at once.
    async fn store(inbox: &SqliteInbox, keys: std::ops::Range<usize>) -> Vec<NoticeId> {
        let skipped = |key: usize| {
            let mut one = heard(&format!("{key}"), "T", 0);
            one.verdict = Verdict::Skipped("not wanted".to_owned());
            one
        };
        inbox.store(keys.map(skipped).collect()).await.unwrap().iter().map(Receipt::notice).collect()
    }

    async fn told(inbox: &SqliteInbox, notice: NoticeId) -> Option<UnixMs> {
        inbox.story(notice).await.unwrap().expect("it is kept").settled
    }

    fn ranges(connection: &Connection) -> Vec<(i64, i64)> {
        let mut select = connection.prepare("SELECT first, last FROM settlements ORDER BY first, last").unwrap();
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn what_is_told_together_is_one_row_and_the_latest_counts() {
        let (inbox, folder, _) = fresh_sqlite();
        let connection = Connection::open(settings(folder.path()).path).unwrap();
        let (one, two) = (store(&inbox, 0..1_000).await, store(&inbox, 1_000..1_500).await);
        inbox.settled(vec![one[7]], later(1)).await.unwrap();
        let all: Vec<_> = one.iter().chain(&two).rev().copied().collect();
        inbox.settled(all, later(2)).await.unwrap();
        assert_eq!(ranges(&connection), [(1, 1_000), (1_001, 1_500)], "a part is not kept beside the whole");
        for notice in [one[0], one[7], one[999], two[0], two[499]] {
            assert_eq!(told(&inbox, notice).await, Some(later(2)));
        }
        inbox.settled(vec![one[7], one[7], two[499]], later(3)).await.unwrap();
        for (notice, at) in [(one[6], 2), (one[7], 3), (one[8], 2), (two[498], 2), (two[499], 3)] {
            assert_eq!(told(&inbox, notice).await, Some(later(at)), "{notice}");
        }
        let next = store(&inbox, 1_500..1_501).await;
        assert_eq!(told(&inbox, next[0]).await, None);
        inbox.settled(vec![NoticeId(5_000)], later(4)).await.unwrap();
        assert_eq!(ranges(&connection).len(), 4, "nothing is kept of a notice that is not there");
    }

    #[tokio::test]
    async fn what_lies_between_two_that_were_told_was_not_told() {
        let (inbox, folder, _) = fresh_sqlite();
        let connection = Connection::open(settings(folder.path()).path).unwrap();
        let all = store(&inbox, 0..1_000).await;
        inbox.settled(vec![all[2], all[4], all[5], all[8]], later(1)).await.unwrap();
        assert_eq!(ranges(&connection), [(3, 3), (5, 6), (9, 9)]);
        for (place, notice) in all.iter().enumerate().take(12) {
            let is_told = [2, 4, 5, 8].contains(&place);
            assert_eq!(told(&inbox, *notice).await, is_told.then(|| later(1)), "{notice}");
        }
        // What is told later, and is a part of it, or reaches beyond it, takes nothing of it away.
        inbox.settled(vec![all[5], all[6]], later(2)).await.unwrap();
        inbox.settled(all[20..30].to_vec(), later(1)).await.unwrap();
        inbox.settled(all[20..22].to_vec(), later(2)).await.unwrap();
        assert_eq!((told(&inbox, all[21]).await, told(&inbox, all[22]).await), (Some(later(2)), Some(later(1))));
        inbox.settled(vec![all[4]], later(3)).await.unwrap();
        // And what comes late and is of before changes nothing.
        inbox.settled((0..9).map(|place| all[place]).collect(), later(0)).await.unwrap();
        for (place, at) in [(0, 0), (2, 1), (3, 0), (4, 3), (5, 2), (6, 2), (7, 0), (8, 1)] {
            assert_eq!(told(&inbox, all[place]).await, Some(later(at)), "{place}");
        }
        assert_eq!(told(&inbox, all[9]).await, None);
    }

    #[tokio::test]
    async fn the_longest_range_is_found_from_both_of_its_ends_and_goes_last() {
        let (inbox, folder, clock) = fresh_sqlite();
        let connection = Connection::open(settings(folder.path()).path).unwrap();
        let old = store(&inbox, 0..999).await;
        clock.advance(Duration::from_secs(100));
        let new = store(&inbox, 999..1_001).await;
        inbox.settled([&old[..], &new[..1]].concat(), later(1)).await.unwrap();
        assert_eq!(ranges(&connection), [(1, 1_000)]);
        for notice in [old[0], old[998], new[0]] {
            assert_eq!(told(&inbox, notice).await, Some(later(1)), "{notice}");
        }
        assert_eq!(told(&inbox, new[1]).await, None);
        let prune = async || {
            inbox.prune(Retention { age: Duration::from_secs(50), bytes: None, keys: Duration::ZERO }).await.unwrap();
        };
        prune().await;
        assert_eq!(told(&inbox, new[0]).await, Some(later(1)), "its last notice is still there");
        clock.advance(Duration::from_secs(100));
        prune().await;
        assert_eq!(ranges(&connection), []);
    }

    #[tokio::test]
    async fn a_range_goes_with_the_last_of_its_notices() {
        let (inbox, folder, clock) = fresh_sqlite();
        let connection = Connection::open(settings(folder.path()).path).unwrap();
        let (old, mixed) = (store(&inbox, 0..600).await, store(&inbox, 600..700).await);
        clock.advance(Duration::from_secs(100));
        let new = store(&inbox, 700..800).await;
        inbox.settled(old, later(1)).await.unwrap();
        inbox.settled(mixed[..50].to_vec(), later(1)).await.unwrap();
        inbox.settled([&mixed[50..], &new[..1]].concat(), later(1)).await.unwrap();
        inbox.settled(new[1..].to_vec(), later(2)).await.unwrap();
        // The first three are one range by their numbers, but were told apart.
        assert_eq!(ranges(&connection), [(1, 600), (601, 650), (651, 701), (702, 800)]);
        inbox.prune(Retention { age: Duration::from_secs(50), bytes: None, keys: Duration::ZERO }).await.unwrap();
        assert_eq!(ranges(&connection), [(651, 701), (702, 800)]);
        assert_eq!(told(&inbox, new[0]).await, Some(later(1)));
        clock.advance(Duration::from_secs(100));
        inbox.prune(Retention { age: Duration::from_secs(50), bytes: None, keys: Duration::ZERO }).await.unwrap();
        assert_eq!(ranges(&connection), []);
    }

    #[tokio::test]
    async fn what_was_told_before_there_were_ranges_is_still_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = settings(folder.path()).path;
        schema::at_version(&path, 10)
            .execute_batch(
                "INSERT INTO notices (feed, dedupe_key, verdict, state, published, sequence, stored, last_seen, \
                     delivery_count, blob_type, settled) VALUES ('f', 'a', 'accepted', 'heard', 0, 0, 0, 0, 0, 'T', 77), \
                     ('f', 'b', 'accepted', 'heard', 0, 0, 0, 0, 0, 'T', NULL)",
            )
            .unwrap();
        let inbox = SqliteInbox::open(&settings(folder.path()), Arc::new(ManualClock::new(START))).unwrap();
        assert_eq!(told(&inbox, NoticeId(1)).await, Some(UnixMs(77)));
        assert_eq!(told(&inbox, NoticeId(2)).await, None);
        inbox.settled(vec![NoticeId(1), NoticeId(2)], later(1)).await.unwrap();
        assert_eq!(told(&inbox, NoticeId(1)).await, Some(later(1)));
        assert_eq!(told(&inbox, NoticeId(2)).await, Some(later(1)));
    }
}
