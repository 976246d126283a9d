//! A drop looked at and taken from by hand, alone and beside its daemon.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::feed::drop::test_support::{World, ZIP, day, lay, until};
use crate::feed::drop::{After, FileFilter, Outcome, SourceSettings};
use crate::inbox::ledger::NoticeState;
use crate::notice::NoticeId;

impl World {
    fn by_hand(&self) -> ByHand {
        ByHand::new(self.settings.clone(), self.context.clone())
    }

    async fn fetch(&self, name: &str, again: bool) -> Result<Fetched, HandError> {
        self.by_hand().fetch(name, again, self.inbox.clone(), &|_| ()).await
    }

    async fn holding(&self) -> Holding {
        self.by_hand().holding(&*self.inbox, 10).await.expect("it is listed")
    }

    /// What is told of a file.
    async fn file(&self, name: &str) -> File {
        let holding = self.holding().await;
        holding.files.into_iter().find(|file| file.name == name).expect("it is there")
    }
}

/// As old as can be, by its time.
fn lay_old(world: &World, name: &str, content: &[u8]) {
    lay(&world.path(name), content);
    let file = std::fs::File::options().write(true).open(world.path(name)).expect("it is there");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000)).expect("a time");
}

#[tokio::test]
async fn a_file_taken_by_hand_is_the_one_that_the_feed_would_have_taken() {
    let world = World::new();
    lay(&world.path(ZIP), &day(5));
    let fetched = world.fetch(ZIP, false).await.expect("it is taken");
    assert_eq!((fetched.outcome, fetched.left.clone(), fetched.by_daemon), (Outcome::Taken, Left::Stays, false));
    let states: Vec<_> = fetched.notices.iter().map(|(_, state)| *state).collect();
    assert_eq!(states, [NoticeState::Heard, NoticeState::Heard, NoticeState::Skipped]);
    let known = world.fetch(ZIP, false).await.expect_err("it is known");
    assert!(matches!(&known, HandError::Known { notices, .. } if *notices == fetched.notices), "{known}");
    // The feed knows it as its own.
    let running = world.run();
    lay(&world.path("b.csv"), b"a\n1\n");
    world.heard(4).await;
    running.end().await;
    assert_eq!(world.counted("duplicate"), 0);
    assert_eq!(world.heard(4).await[0].seen_count, 1);
    let again = world.fetch(ZIP, true).await.expect("it is taken again");
    assert_eq!((again.outcome, again.notices.len()), (Outcome::Taken, 3));
    assert_eq!(world.content(again.notices[0].0).await, b"eventId,Payload.price\n1,5\n");
    assert_eq!(world.file(ZIP).await.notices.len(), 6);
}

#[tokio::test]
async fn what_is_taken_by_hand_beside_the_daemon_is_known_to_it_and_taken_once() {
    let mut world = World::new();
    // So that the daemon itself takes nothing: it has all the time in the world.
    world.settings.stable_for = Duration::from_secs(3_600);
    let running = world.run();
    lay(&world.path("first.csv"), b"a\n0\n");
    until(async || world.settings.spool.join("taken").exists()).await;
    world.settings.stable_for = Duration::from_millis(20);
    let fetched = world.fetch("first.csv", false).await.expect("it is taken");
    assert!(!fetched.by_daemon);
    running.end().await;
    let running = world.run();
    for n in 0..20 {
        let name = format!("{n}.csv");
        lay(&world.path(&name), format!("a\n{n}\n").as_bytes());
        // Whoever is first: it is ours once.
        let fetched = match world.fetch(&name, false).await {
            Ok(fetched) => fetched.notices,
            Err(HandError::Known { notices, .. }) => notices,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(fetched.len(), 1, "{name}");
    }
    lay(&world.path("last.csv"), b"a\nlast\n");
    let notices = world.heard(22).await;
    let last = async || world.file("last.csv").await.state == FileState::Taken;
    until(last).await;
    running.end().await;
    assert!(notices.iter().all(|notice| notice.seen_count == 1), "{notices:?}");
    assert_eq!(world.counted("duplicate"), 0, "the daemon read what was done beside it");
    let running = world.run();
    lay(&world.path("end.csv"), b"a\nend\n");
    world.heard(23).await;
    running.end().await;
    assert_eq!(world.counted("duplicate"), 0, "and what it wrote itself stayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_daemon_took_away_meanwhile_is_told_with_its_notices() {
    let mut world = World::new();
    world.settings.after = After::Move("done".to_owned());
    // Long enough for the listing by hand to come first.
    world.settings.stable_for = Duration::from_millis(500);
    let running = world.run();
    world.settings.stable_for = Duration::from_millis(20);
    let (path, asked) = (world.path("there.csv"), AtomicUsize::new(0));
    lay(&path, b"a\n1\n");
    // While this one watches it, the daemon takes it.
    let say = |_: &str| {
        while path.exists() {
            std::thread::yield_now();
        }
        asked.fetch_add(1, Ordering::Relaxed);
    };
    let fetched = world.by_hand().fetch("there.csv", false, world.inbox.clone(), &say).await.expect("it is ours");
    assert!(fetched.by_daemon && asked.load(Ordering::Relaxed) > 0);
    assert_eq!((fetched.outcome, fetched.left), (Outcome::Taken, Left::Moved("done".to_owned())));
    assert_eq!(fetched.notices, [(NoticeId(1), NoticeState::Heard)]);
    running.end().await;
    let holding = world.holding().await;
    assert_eq!(holding.files, []);
    assert_eq!(holding.gone[0].name, "there.csv");
    assert_eq!(holding.gone[0].notices, [(NoticeId(1), NoticeState::Heard)]);
}

#[tokio::test]
async fn what_is_not_complete_is_refused_by_hand_too_and_nothing_is_kept_of_it() {
    let mut world = World::new();
    world.settings.marker = Some("{file}.done".to_owned());
    let whole = day(5);
    lay(&world.path(ZIP), &whole[..whole.len() - 30]);
    lay(&world.path(&format!("{ZIP}.done")), b"");
    lay(&world.path("unmarked.csv"), b"a\n1\n");
    lay(&world.path("a.csv.part"), b"x");
    let cases = [
        (ZIP, "its central directory"),
        ("unmarked.csv", "its marker unmarked.csv.done is not there"),
        ("a.csv.part", "one of `ignore`"),
        (&format!("{ZIP}.done"), "it is the marker of"),
        ("nothing.csv", "has no file"),
        ("../inbox.db", "has no file"),
    ];
    for (name, said) in cases {
        let error = world.fetch(name, false).await.expect_err("it is refused").to_string();
        assert!(error.contains(said) || (name == ZIP && error.contains("not complete")), "{name}: {error}");
    }
    assert_eq!(world.notices().await, []);
    let left: Vec<_> = std::fs::read_dir(&world.settings.spool)
        .expect("the spool")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| name.len() == 64 || name.starts_with("draft"))
        .collect();
    assert_eq!(left, [] as [String; 0]);
    // And the feed takes it once it is whole, as if nobody had asked.
    lay(&world.path(ZIP), &whole);
    let running = world.run();
    world.heard(3).await;
    running.end().await;
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_watched_is_left_alone() {
    let world = World::new();
    lay(&world.path("a.csv"), b"a\n1\n");
    let path = world.path("a.csv");
    let grow = move |_: &str| std::fs::write(&path, b"a\n1\n2\n").expect("written");
    let error = world.by_hand().fetch("a.csv", false, world.inbox.clone(), &grow).await.expect_err("it is refused");
    assert!(error.to_string().contains("from 4 to 6 bytes"), "{error}");
    assert_eq!(world.notices().await, []);
}

#[tokio::test]
async fn the_same_content_by_hand_is_a_duplicate_and_is_moved_as_one() {
    let mut world = World::new();
    world.settings.after = After::Move("done".to_owned());
    world.settings.files = FileFilter::new(&["*.zip".to_owned()], &[]).expect("globs");
    // Not among `files`, but asked for.
    lay(&world.path("a.csv"), b"a\n1\n");
    let first = world.fetch("a.csv", false).await.expect("it is taken");
    assert_eq!((first.outcome, first.left), (Outcome::Taken, Left::Moved("done".to_owned())));
    lay(&world.path("a.csv"), b"a\n1\n");
    let second = world.fetch("a.csv", false).await.expect("it is known");
    assert_eq!((second.outcome, &second.notices), (Outcome::Duplicate, &first.notices));
    assert!(!world.path("a.csv").exists());
    // What cannot be moved is ours all the same, and said.
    world.settings.after = After::Move("done/a.csv".to_owned());
    lay(&world.path("b.csv"), b"a\n2\n");
    let third = world.fetch("b.csv", false).await.expect("it is taken");
    assert!(matches!(third.left, Left::Untold(_)), "{third:?}");
    assert_eq!(world.file("b.csv").await.why.as_deref(), Some("it is still to be moved to \"done/a.csv\""));
}

#[tokio::test]
async fn a_listing_tells_of_each_file_what_it_is_to_us_and_changes_nothing() {
    let mut world = World::new();
    world.settings.files =
        FileFilter::new(&["*.csv".to_owned(), "*.zip".to_owned()], &["*.part".to_owned()]).expect("globs");
    let cut = &day(5)[..100];
    lay_old(&world, ZIP, cut);
    for (name, content) in [("taken.csv", "a\n1\n"), ("other.csv", "a\n1\n"), ("changed.csv", "a\n2\n")] {
        lay_old(&world, name, content.as_bytes());
    }
    let running = world.run();
    world.heard(3).await;
    until(async || world.counted("incomplete") > 0 && world.settings.spool.join("incomplete").exists()).await;
    running.end().await;
    lay_old(&world, "changed.csv", b"a\n3\n");
    lay_old(&world, "new.csv", b"a\n4\n");
    lay_old(&world, "a.csv.part", b"a");
    lay_old(&world, "readme.txt", b"a");
    lay_old(&world, "large.csv", &vec![b'a'; (1 << 20) + 1]);
    lay_old(&world, "empty.csv", b"");
    lay(&world.path("fresh.csv"), b"a\n5\n");
    let fresh = std::fs::metadata(world.path("fresh.csv")).and_then(|found| found.modified()).expect("a time");
    let fresh = fresh.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    world.clock.set(crate::clock::UnixMs(i64::try_from(fresh).expect("small")).plus(Duration::from_millis(5)));
    let before = std::fs::read(world.settings.spool.join("taken")).expect("the journal");
    let holding = world.holding().await;
    assert_eq!(std::fs::read(world.settings.spool.join("taken")).expect("the journal"), before);
    assert_eq!(holding.files[0].name, "fresh.csv", "the latest first");
    let told: std::collections::BTreeMap<_, _> = holding
        .files
        .iter()
        .map(|file| (file.name.as_str(), (file.state, file.why.clone().unwrap_or_default())))
        .collect();
    let cases = [
        (ZIP, FileState::Incomplete, "central directory"),
        ("taken.csv", FileState::Taken, ""),
        ("changed.csv", FileState::Changed, "another version"),
        ("new.csv", FileState::New, ""),
        ("a.csv.part", FileState::Ignored, "`ignore`"),
        ("readme.txt", FileState::Ignored, "`files`"),
        ("large.csv", FileState::TooLarge, "`file_bytes_max`"),
        ("empty.csv", FileState::Incomplete, "empty"),
        ("fresh.csv", FileState::Incomplete, "`stable_for`"),
    ];
    for (name, state, why) in cases {
        let (told, said) = &told[name];
        assert!(*told == state && said.contains(why), "{name}: {told:?} {said}");
    }
    let file = |name: &str| holding.files.iter().find(|file| file.name == name).expect("it is there");
    assert_eq!(file("taken.csv").same_as, ["other.csv"]);
    assert_eq!(file("taken.csv").notices.len(), 1);
    // Once the inbox has let go of it, it is still known as taken.
    std::fs::remove_file(world.path("other.csv")).expect("removed");
    assert_eq!(world.holding().await.gone[0].name, "other.csv");
}

#[tokio::test]
async fn a_place_or_a_spool_that_cannot_be_used_is_told() {
    let mut world = World::new();
    world.settings.source = SourceSettings::Directory(world.path("nowhere"));
    let error = world.by_hand().holding(&*world.inbox, 1).await.expect_err("it is not there");
    assert!(matches!(&error, HandError::Trouble { said, .. } if said.contains("nowhere")), "{error}");
    assert!(world.fetch("a.csv", false).await.is_err());
}
