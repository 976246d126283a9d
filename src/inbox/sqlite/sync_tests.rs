//! When callers are answered: on a disk that the test holds by the hand, which syncs when it is told to, fails when it is
//! told to, and forgets what an fsync failed on.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use rusqlite::Connection;

use super::SqliteInbox;
use super::checkpoint::{log_bytes, log_path};
use super::hand::{Hand, LIMIT};
use super::tests::settings;
use crate::clock::ManualClock;
use crate::inbox::conformance::{START, heard, target};
use crate::inbox::ledger::{Ledger, Retention, Selector};
use crate::inbox::{ClaimRequest, Claimed, Inbox, InboxError, OnPoison, Ordering, Plan, Receipt};
use crate::notice::Verdict;

fn open(folder: &Path) -> (SqliteInbox, Hand) {
    open_with(folder, &ManualClock::new(START))
}

fn open_with(folder: &Path, clock: &ManualClock) -> (SqliteInbox, Hand) {
    let (hand, disk) = Hand::new();
    let inbox =
        SqliteInbox::open_on(&settings(folder), Arc::new(clock.clone()), super::keys::WAITING_MAX, |_| Ok(disk))
            .unwrap();
    (inbox, hand)
}

fn reopen(folder: &Path) -> SqliteInbox {
    SqliteInbox::open(&settings(folder), Arc::new(ManualClock::new(START))).unwrap()
}

async fn keys(inbox: &SqliteInbox) -> Vec<String> {
    let mut keys: Vec<_> = inbox.unplanned(100).await.unwrap().into_iter().map(|notice| notice.dedupe_key).collect();
    keys.sort_unstable();
    keys
}

/// Stores one notice; the answer comes when it comes.
fn store<'a>(inbox: &'a SqliteInbox, key: &str) -> impl Future<Output = Result<Vec<Receipt>, InboxError>> + Unpin + 'a {
    inbox.store(vec![heard(key, "T", 0)])
}

/// Stores one notice for good.
async fn stored(inbox: &SqliteInbox, hand: &mut Hand, key: &str) {
    let mut storing = store(inbox, key);
    assert!((&mut storing).now_or_never().is_none());
    hand.asked().await;
    hand.succeed();
    storing.await.unwrap();
}

/// Looks until a commit can be seen.
async fn committed(inbox: &SqliteInbox, count: usize) {
    let looking = async {
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        while keys(inbox).await.len() < count {
            looks.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.expect("committed in time");
}

#[tokio::test]
async fn nothing_is_answered_before_the_disk_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, mut hand) = open(folder.path());
    let mut first = store(&inbox, "a");
    assert!((&mut first).now_or_never().is_none());
    hand.asked().await;
    // The next group runs meanwhile, and can be seen, but is not answered either; nor is what comes a second time.
    let mut second = store(&inbox, "b");
    let mut again = store(&inbox, "a");
    assert!((&mut second).now_or_never().is_none() && (&mut again).now_or_never().is_none());
    committed(&inbox, 2).await;
    assert!((&mut first).now_or_never().is_none(), "the disk has not said anything yet");
    hand.succeed();
    assert!(!first.await.unwrap()[0].is_duplicate());
    hand.asked().await;
    assert!((&mut second).now_or_never().is_none() && (&mut again).now_or_never().is_none());
    hand.succeed();
    assert!(!second.await.unwrap()[0].is_duplicate());
    let again = async {
        let (again, ()) = tokio::join!(again, async { hand.let_go() });
        again.unwrap()
    };
    assert!(again.await[0].is_duplicate());
}

#[tokio::test]
async fn who_is_told_that_something_is_gone_is_told_once_the_disk_knows() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let (inbox, mut hand) = open_with(folder.path(), &clock);
    let mut ended = heard("a", "T", 0);
    ended.verdict = Verdict::Skipped("not wanted".to_owned());
    let feed = ended.feed.clone();
    let mut storing = inbox.store(vec![ended]);
    assert!((&mut storing).now_or_never().is_none());
    hand.asked().await;
    hand.succeed();
    storing.await.unwrap();

    clock.advance(Duration::from_secs(10));
    let mut pruning = inbox.prune(Retention { age: Duration::ZERO, bytes: None, keys: Duration::ZERO });
    tokio::select! {
        () = hand.asked() => {}
        pruned = &mut pruning => panic!("the disk does not know yet: {pruned:?}"),
    }
    // Gone for who looks now; a power loss would bring it back.
    let mut asking = inbox.holds(feed.clone(), vec!["a".to_owned()]);
    let looked = async {
        while !inbox.notices(Selector::default()).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, looked).await.expect("the commit can be seen");
    // Many looks take longer than the one that it needs.
    for _ in 0..50 {
        assert!((&mut asking).now_or_never().is_none(), "told too early");
        inbox.notices(Selector::default()).await.unwrap();
    }
    hand.let_go();
    assert_eq!(asking.await.unwrap(), [false]);
    assert_eq!(pruning.await.unwrap().notices, 1);
}

#[tokio::test]
async fn no_success_covers_what_an_fsync_failed_on_before() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, mut hand) = open(folder.path());
    stored(&inbox, &mut hand, "a").await;
    let mut failing = store(&inbox, "b");
    assert!((&mut failing).now_or_never().is_none());
    hand.asked().await;
    // A later group, whose own fsync will succeed.
    let mut later = store(&inbox, "c");
    assert!((&mut later).now_or_never().is_none());
    committed(&inbox, 3).await;
    hand.fail();
    let error = failing.await.unwrap_err();
    assert!(matches!(&error, InboxError::Unavailable { reason, .. } if reason.contains("the disk said no")), "{error}");
    hand.asked().await;
    hand.succeed();
    let error = later.await.unwrap_err();
    assert!(matches!(&error, InboxError::Unavailable { reason, .. } if reason.contains("failed before")), "{error}");

    // Whoever comes now finds the log written over. What had been told as failed comes again and is there once.
    hand.let_go();
    for (key, is_known) in [("b", true), ("c", true), ("d", false)] {
        assert_eq!(store(&inbox, key).await.unwrap()[0].is_duplicate(), is_known, "{key}");
    }
    assert_eq!(keys(&inbox).await, ["a", "b", "c", "d"]);
    assert_eq!(delivered(&inbox).await, 4, "each once");
}

/// Plans everything, and counts what can be claimed.
async fn delivered(inbox: &SqliteInbox) -> usize {
    let plan = |notice: crate::notice::Notice| Plan {
        notice: notice.id,
        targets: vec![target("r", "s")],
        skip_reason: String::new(),
    };
    inbox.plan(inbox.unplanned(100).await.unwrap().into_iter().map(plan).collect()).await.unwrap();
    let request = || ClaimRequest {
        worker: "w".to_owned(),
        lease: Duration::from_secs(60),
        now: START,
        ordering: Ordering::None,
        on_poison: OnPoison::Quarantine,
        per_blob_type_max: 100,
    };
    let mut claimed = 0;
    while let Claimed::Delivery(_) = inbox.claim(request()).await.unwrap() {
        claimed += 1;
    }
    claimed
}

/// An inbox in which "a" is on disk, and whose fsync for "b" failed; and which part of its log that was.
async fn with_a_failed_sync(folder: &Path) -> (SqliteInbox, Hand, u64, u64) {
    let (inbox, mut hand) = open(folder);
    stored(&inbox, &mut hand, "a").await;
    let path = settings(folder).path;
    let from = log_bytes(&path);
    let mut failing = store(&inbox, "b");
    assert!((&mut failing).now_or_never().is_none());
    hand.asked().await;
    let until = log_bytes(&path);
    assert!(from < until);
    hand.fail();
    failing.await.unwrap_err();
    (inbox, hand, from, until)
}

/// What a kernel does that gives up the pages which it could not write: whoever reads finds what the disk held before.
fn lose(folder: &Path, from: u64, until: u64) {
    let log = std::fs::File::options().write(true).open(log_path(&settings(folder).path)).unwrap();
    log.write_all_at(&vec![0; (until - from) as usize], from).unwrap();
}

async fn assert_takes_nothing_until_started_again(folder: &Path, inbox: SqliteInbox, hand: Hand) {
    hand.let_go();
    for key in ["b", "c"] {
        let error = store(&inbox, key).await.unwrap_err();
        assert!(matches!(error, InboxError::RestartNeeded { .. }), "{error}");
        assert!(error.to_string().contains("until longshore is started again"), "{error}");
    }
    drop(inbox);
    let again = reopen(folder);
    assert_eq!(keys(&again).await, ["a"], "what was answered is there, and nothing else");
    assert!(!store(&again, "b").await.unwrap()[0].is_duplicate());
    drop(again);
    assert_is_sound(folder);
    assert_eq!(keys(&reopen(folder)).await, ["a", "b"]);
}

fn assert_is_sound(folder: &Path) {
    let connection = Connection::open(settings(folder).path).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn pages_that_the_disk_lost_are_seen_and_never_reach_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, hand, from, until) = with_a_failed_sync(folder.path()).await;
    lose(folder.path(), from, until);
    assert_takes_nothing_until_started_again(folder.path(), inbox, hand).await;
}

#[tokio::test]
async fn one_lost_page_in_the_middle_is_seen_too() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, hand, from, until) = with_a_failed_sync(folder.path()).await;
    let page = 4096;
    assert!(until - from > 3 * page);
    let middle = (from + until) / 2 / page * page;
    lose(folder.path(), middle, middle + page);
    assert_takes_nothing_until_started_again(folder.path(), inbox, hand).await;
}

#[tokio::test]
async fn an_inbox_that_is_closed_after_a_failed_sync_leaves_its_log_to_be_looked_through() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, hand, from, until) = with_a_failed_sync(folder.path()).await;
    lose(folder.path(), from, until);
    hand.let_go();
    // A reader has been at it too, and is closed as well.
    drop(inbox.mark(&crate::notice::FeedName::new("f")).await);
    drop(inbox);
    assert_is_sound(folder.path());
    assert_eq!(keys(&reopen(folder.path())).await, ["a"]);
}

#[tokio::test]
async fn a_log_that_the_database_has_whole_may_be_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, hand, from, until) = with_a_failed_sync(folder.path()).await;
    let other = Connection::open(settings(folder.path()).path).unwrap();
    other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    lose(folder.path(), from, until);
    hand.let_go();
    assert!(!store(&inbox, "c").await.unwrap()[0].is_duplicate());
    drop((inbox, other));
    assert_is_sound(folder.path());
    assert_eq!(keys(&reopen(folder.path())).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_log_that_was_left_behind_is_brought_to_disk_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (first, mut hand) = open(folder.path());
    stored(&first, &mut hand, "a").await;
    let path = settings(folder.path()).path;
    let left = log_bytes(&path);
    // Another process, which cannot know how the fsyncs of the first ended. Its own view of the log was made when all
    // was well.
    let (second, other_hand) = open(folder.path());
    assert_eq!(keys(&second).await, ["a"]);
    lose(folder.path(), left - 4096, left);
    other_hand.let_go();
    let error = store(&second, "b").await.unwrap_err();
    assert!(matches!(error, InboxError::RestartNeeded { .. }), "{error}");
    hand.let_go();
    drop((first, second));
}

/// Names the folder to a process that [`in_which_fails`] has started.
const FOLDER: &str = "LONGSHORE_TEST_FOLDER";

/// The folder of a test that goes on in a process of its own, in which calls fail.
pub(super) fn folder_in_which_calls_fail() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Runs `test` again, in a process of its own in which `calls` on `file` fail (or what else comes between; several with
/// `;`), as [`folder_in_which_calls_fail`] tells it. What SQLite and the kernel say to each other can be changed in no
/// other way without unsafe code.
pub(super) fn in_which_fails(test: &str, folder: &Path, file: &Path, calls: &str) {
    let runs = Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    if !runs {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "left out in CI: strace is missing or may not trace");
        return eprintln!("LEFT OUT: strace is missing or may not trace");
    }
    let ended = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null"])
        .args(calls.split(';').map(|calls| format!("--inject={calls}")))
        .arg("-P")
        .arg(file.canonicalize().unwrap_or_else(|_| file.to_owned()))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("inbox::sqlite::{test}"), "--nocapture"])
        .env(FOLDER, folder)
        .output()
        .unwrap();
    let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(ended.status.success() && said.contains("1 passed"), "{calls} on {}: {said}", file.display());
}

#[tokio::test]
async fn no_success_from_before_counts_when_the_log_could_not_be_synced_after_it_was_written_anew() {
    let Some(folder) = folder_in_which_calls_fail() else {
        let folder = tempfile::tempdir().unwrap();
        // Closed well, so that it is opened without a log.
        drop(reopen(folder.path()));
        let log = log_path(&settings(folder.path()).path);
        let test = "no_success_from_before_counts_when_the_log_could_not_be_synced_after_it_was_written_anew";
        // SQLite syncs with fsync, and the log is written anew with fdatasync.
        return in_which_fails(&format!("sync_tests::{test}"), folder.path(), &log, "fdatasync:error=EIO");
    };
    let (inbox, mut hand) = open(&folder);
    stored(&inbox, &mut hand, "a").await;
    let mut failing = store(&inbox, "b");
    assert!((&mut failing).now_or_never().is_none());
    hand.asked().await;
    let mut later = store(&inbox, "c");
    assert!((&mut later).now_or_never().is_none());
    committed(&inbox, 3).await;
    hand.fail();
    failing.await.unwrap_err();
    // The fsync for "c" has nothing to write any more, and comes back once the log was written anew. That is on disk by
    // then only if the writing has synced it.
    hand.asked().await;
    let mut last = store(&inbox, "d");
    tokio::select! {
        refused = &mut last => drop(refused.unwrap_err()),
        () = committed(&inbox, 4) => {}
    }
    hand.succeed();
    let error = later.await.expect_err("no fsync has covered it");
    assert!(matches!(&error, InboxError::Unavailable { reason, .. } if reason.contains("failed before")), "{error}");
    hand.let_go();
}
