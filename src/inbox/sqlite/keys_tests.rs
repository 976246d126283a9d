//! Keys are known whether they wait or are filed, whoever stored them and whatever was rolled back.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::fault::Fault;
use super::tests::{open_filing, settings};
use super::writer::{DURABLE, Outcome};
use super::{SqliteInbox, keys, prune, schema, store};
use crate::clock::ManualClock;
use crate::inbox::conformance::{START, heard};
use crate::inbox::ledger::{Audit, Ledger, Retention};
use crate::inbox::{Inbox, InboxError};
use crate::notice::{FeedName, HeardNotice, NoticeId, Verdict};

/// Notices that are over once they are stored, so that pruning takes them.
fn skipped(keys: &[u8]) -> Vec<HeardNotice> {
    let one = |key: &u8| HeardNotice { verdict: Verdict::Skipped("x".to_owned()), ..heard(&key.to_string(), "T", 0) };
    keys.iter().map(one).collect()
}

/// What may happen, in one of two processes.
#[derive(Clone, Debug)]
enum Step {
    Store(Vec<u8>),
    /// Stored by a job that fails afterwards, behind another of the same group or as the first.
    Fails(Vec<u8>, bool),
    /// Stored in a group that cannot be committed.
    NotCommitted(Vec<u8>),
    FileAll,
    Prune,
    /// Ends, and is started again.
    Again,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let keys = || prop::collection::vec(0..40u8, 0..6);
    let step = prop_oneof![
        8 => keys().prop_map(Step::Store),
        2 => (keys(), any::<bool>()).prop_map(|(keys, is_first)| Step::Fails(keys, is_first)),
        2 => keys().prop_map(Step::NotCommitted),
        1 => Just(Step::FileAll),
        1 => Just(Step::Prune),
        1 => Just(Step::Again),
    ];
    prop::collection::vec((0..2usize, step), 1..60)
}

async fn store_and(
    inbox: &SqliteInbox,
    batch: Vec<HeardNotice>,
    then: impl FnOnce(&rusqlite::Connection) -> Result<(), Fault> + Send + 'static,
) -> Result<(), InboxError> {
    let keys = inbox.keys.clone();
    let run = move |connection: &_| {
        store::store(connection, &mut keys.lock(), &batch, &[], START)?;
        then(connection).map(Outcome::quiet)
    };
    inbox.writer.run(DURABLE, run).await
}

fn refuse(_: &rusqlite::Connection) -> Result<(), Fault> {
    Err(Fault::Strange("as the test wants it".to_owned()))
}

/// Is noticed by the commit alone.
fn poison(connection: &rusqlite::Connection) -> Result<(), Fault> {
    Ok(connection.execute_batch(
        "PRAGMA defer_foreign_keys = ON;
         INSERT INTO components (instance, name, condition, note, since) VALUES ('nobody', 'x', 'good', '', 0);",
    )?)
}

async fn plays(waiting_max: usize, steps: Vec<(usize, Step)>) {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let open = || open_filing(folder.path(), waiting_max, &clock);
    let mut processes = [Some(open()), Some(open())];
    let mut model: BTreeMap<u8, NoticeId> = BTreeMap::new();
    for (process, step) in steps {
        let inbox = processes[process].as_ref().unwrap();
        match step {
            Step::Store(keys) => {
                let receipts = inbox.store(skipped(&keys)).await.unwrap();
                for (key, receipt) in keys.iter().zip(receipts) {
                    let known = model.insert(*key, receipt.notice());
                    assert_eq!(receipt.is_duplicate(), known.is_some(), "{key}");
                    assert!(known.is_none_or(|known| known == receipt.notice()), "{key}");
                }
            }
            Step::Fails(keys, true) => {
                store_and(inbox, skipped(&keys), refuse).await.unwrap_err();
            }
            Step::Fails(keys, false) => {
                let (first, fails) = tokio::join!(inbox.store(skipped(&[])), store_and(inbox, skipped(&keys), refuse));
                first.unwrap();
                fails.unwrap_err();
            }
            Step::NotCommitted(keys) => {
                store_and(inbox, skipped(&keys), poison).await.unwrap_err();
            }
            Step::FileAll => while inbox.writer.run(DURABLE, keys::file_all).await.unwrap() {},
            Step::Prune => {
                clock.advance(Duration::from_millis(10));
                let all = Retention { age: Duration::ZERO, bytes: None, keys: Duration::ZERO };
                assert_eq!(inbox.prune(all).await.unwrap().notices, model.len() as u64);
                model.clear();
            }
            Step::Again => {
                processes[process] = None;
                processes[process] = Some(open());
            }
        }
    }
    for inbox in processes.iter().flatten() {
        let all: Vec<_> = (0..40u8).map(|key| key.to_string()).collect();
        let eg = FeedName::new("eg");
        let states = inbox.states_of(eg.clone(), all.clone()).await.unwrap();
        let found: Vec<_> = states.into_iter().map(|state| state.map(|(notice, _)| notice)).collect();
        assert_eq!(found, (0..40).map(|key| model.get(&key).copied()).collect::<Vec<_>>());
        let under = inbox.states_under(eg.clone(), vec!["1".to_owned()]).await.unwrap().remove(0);
        let expected: BTreeMap<_, _> = model
            .iter()
            .map(|(key, notice)| (key.to_string(), *notice))
            .filter(|(key, _)| key.starts_with('1'))
            .collect();
        let under: Vec<_> = under.into_iter().map(|kept| (kept.dedupe_key, kept.notice)).collect();
        assert_eq!(under, expected.into_iter().collect::<Vec<_>>());
        let held = inbox.holds(eg, all).await.unwrap();
        let holds = |key: u8| model.keys().any(|known| known.to_string().starts_with(&key.to_string()));
        assert_eq!(held, (0..40).map(holds).collect::<Vec<_>>());
        assert_eq!(inbox.examine().await.unwrap().damage, Vec::<String>::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_key_is_one_notice(waiting_max in 0..12usize, steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(plays(waiting_max, steps));
    }
}

#[tokio::test]
async fn a_group_that_fails_leaves_no_key_behind() {
    for waiting_max in [0, 100] {
        let folder = tempfile::tempdir().unwrap();
        let inbox = open_filing(folder.path(), waiting_max, &ManualClock::new(START));
        store_and(&inbox, skipped(&[1, 2, 3]), poison).await.unwrap_err();
        let new = inbox.store(skipped(&[4, 5, 6, 3])).await.unwrap();
        assert!(new.iter().all(|receipt| !receipt.is_duplicate()));
        let again = inbox.store(skipped(&[5, 4, 3, 6, 1])).await.unwrap();
        let known: Vec<_> = again.iter().map(|receipt| (receipt.is_duplicate(), receipt.notice().0)).collect();
        assert_eq!(known, [(true, 2), (true, 1), (true, 4), (true, 3), (false, 5)]);
    }
}

/// Between the filing and the pruning, another process may store what is over at once.
#[tokio::test]
async fn no_notice_is_pruned_before_its_key_is_filed() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let inbox = open_filing(folder.path(), 100, &clock);
    inbox.store(skipped(&[1, 2])).await.unwrap();
    clock.advance(Duration::from_secs(1));
    let all = Retention { age: Duration::ZERO, bytes: None, keys: Duration::ZERO };
    let (now, prune) = (inbox.now(), prune::notices);
    let alone =
        async || inbox.writer.run(DURABLE, move |connection| prune(connection, all, now)).await.unwrap().notices;
    assert_eq!(alone().await, 0);
    assert!(!inbox.writer.run(DURABLE, keys::file_all).await.unwrap());
    assert_eq!(alone().await, 2);
}

/// Within as many batches as it takes to fill it anew, what waited is filed, and no batch files all at once.
#[tokio::test]
async fn what_waits_is_bounded_and_filed_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = open_filing(folder.path(), 100, &ManualClock::new(START));
    let other = rusqlite::Connection::open(settings(folder.path()).path).unwrap();
    let count = |sql: &str| other.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let mut before = 0;
    for number in 0..200 {
        let batch = (0..5).map(|n| heard(&format!("{number} {n}"), "T", 0)).collect();
        inbox.store(batch).await.unwrap();
        let filed = count("SELECT count(*) FROM keys");
        assert!((before..=before + 10).contains(&filed), "{filed} after {before}");
        before = filed;
        assert!(count("SELECT count(*) FROM notices WHERE id > (SELECT upto FROM keys_filed)") <= 160);
    }
    assert!(before >= 800, "{before}");
}

#[tokio::test]
async fn what_an_inbox_of_before_has_stored_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = settings(folder.path()).path;
    let old = schema::at_version(&path, 13);
    for number in 0..2_000 {
        old.execute(
            "INSERT INTO notices (feed, dedupe_key, verdict, state, published, sequence, stored, last_seen, \
             delivery_count, blob_type) VALUES ('eg', 'k' || (?1 * 7919 % 2000), 'accepted', 'heard', 0, 0, 0, 0, 0, 'T')",
            [number],
        )
        .unwrap();
    }
    drop(old);
    let inbox = open_filing(folder.path(), 10, &ManualClock::new(START));
    let sound = inbox.examine().await.unwrap().damage;
    assert_eq!(sound, Vec::<String>::new());
    let batch: Vec<_> = (0..500).map(|n| heard(&format!("k{}", n * 4), "T", 0)).collect();
    assert!(inbox.store(batch).await.unwrap().iter().all(crate::inbox::Receipt::is_duplicate));
    assert!(!inbox.store(vec![heard("k2000", "T", 0)]).await.unwrap()[0].is_duplicate());
    drop(inbox);
    let sound: String =
        rusqlite::Connection::open(path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}
