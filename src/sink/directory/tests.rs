use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::error::Classify;
use crate::inbox::RunId;
use crate::sink::test_support::{NOW, batch, context, delivery};

const PATH_OF_ITEMS: &str = "Items/2022-07-05/000000-42.0.jsonl";

fn sink(path: &Path, format: DirectoryFormat) -> DirectorySink {
    sink_named(path, format, DEFAULT_NAME)
}

fn sink_named(path: &Path, format: DirectoryFormat, name: &str) -> DirectorySink {
    let settings = DirectorySettings { path: path.to_owned(), format, name: name.to_owned() };
    DirectorySink::new(SinkName::new("out"), DEFAULT_BATCH, settings, &context()).expect("settings")
}

async fn open(sink: &DirectorySink) -> Box<dyn Transfer> {
    sink.open(delivery("Items"), Progress::default()).await.expect("open").transfer
}

fn unfinished(path: &Path) -> usize {
    fs::read_dir(path.join(INCOMING_FOLDER)).map_or(0, Iterator::count)
}
const INCOMING_FOLDER: &str = ".longshore";

#[tokio::test]
async fn records_become_lines_and_appear_only_when_finished() {
    let dir = tempfile::tempdir().expect("dir");
    let sink = sink(dir.path(), DirectoryFormat::JsonLines);
    let mut transfer = open(&sink).await;
    assert!(!transfer.deliver(&batch(1, &[r#"{"a":1}"#, r#"{"a":2}"#])).await.expect("deliver").confirmed);
    let mut filtered = batch(3, &[r#"{"a":3}"#, r#"{"a":4}"#]);
    filtered.retain(|body| body.ends_with(b"4}"));
    transfer.deliver(&filtered).await.expect("deliver");
    assert!(!dir.path().join("Items").exists());
    let location = transfer.finish().await.expect("finish");
    assert_eq!(location, dir.path().join(PATH_OF_ITEMS).display().to_string());
    assert_eq!(fs::read_to_string(location).expect("file"), "{\"a\":1}\n{\"a\":2}\n{\"a\":4}\n");
    assert_eq!(unfinished(dir.path()), 0);
}

#[tokio::test]
async fn raw_bytes_are_written_as_they_are_and_an_empty_payload_is_an_empty_file() {
    let dir = tempfile::tempdir().expect("dir");
    let sink = sink_named(dir.path(), DirectoryFormat::Raw, "{file}");
    assert_eq!(sink.accepts(), Accepts::Bytes);
    let location = open(&sink).await.finish().await.expect("finish");
    assert_eq!(fs::read(&location).expect("file"), b"");
    let mut transfer = open(&sink).await;
    transfer.deliver_bytes(Bytes::from_static(b"\xff\x00a")).await.expect("bytes");
    transfer.deliver_bytes(Bytes::from_static(b"b")).await.expect("bytes");
    assert_eq!(transfer.finish().await.expect("finish"), location);
    assert_eq!(fs::read(&location).expect("file"), b"\xff\x00ab");
}

#[tokio::test]
async fn a_replay_gets_a_file_of_its_own() {
    let dir = tempfile::tempdir().expect("dir");
    let sink = sink(dir.path(), DirectoryFormat::JsonLines);
    let first = open(&sink).await.finish().await.expect("finish");
    let mut replay = delivery("Items");
    replay.run = RunId(3);
    let second = sink.open(replay, Progress::default()).await.expect("open").transfer.finish().await.expect("finish");
    assert_ne!(first, second);
}

#[tokio::test]
async fn what_a_crash_left_is_used_up_by_the_next_attempt() {
    let dir = tempfile::tempdir().expect("dir");
    let identity = DeliveryIdentity::of(&delivery("Items"));
    fs::create_dir(dir.path().join(INCOMING_FOLDER)).expect("folder");
    let left = dir.path().join(INCOMING_FOLDER).join(format!("{}.part", identity.as_str()));
    fs::write(&left, "half a reco").expect("left");
    let sink = sink(dir.path(), DirectoryFormat::JsonLines);
    let mut transfer = open(&sink).await;
    transfer.deliver(&batch(1, &["1"])).await.expect("deliver");
    let location = transfer.finish().await.expect("finish");
    assert_eq!(fs::read_to_string(location).expect("file"), "1\n");
    assert!(!left.exists());
}

#[tokio::test]
async fn abandoned_files_are_removed_and_others_left_alone() {
    let dir = tempfile::tempdir().expect("dir");
    let incoming = dir.path().join(INCOMING_FOLDER);
    fs::create_dir(&incoming).expect("folder");
    let now = std::time::UNIX_EPOCH + Duration::from_millis(NOW.0.unsigned_abs());
    for (name, age_days) in [("old.part", 8), ("new.part", 1), ("old.txt", 8), ("held.part", 8)] {
        let file = fs::File::create(incoming.join(name)).expect("file");
        file.set_modified(now - Duration::from_secs(age_days * 86_400)).expect("time");
    }
    let held = fs::File::open(incoming.join("held.part")).expect("held");
    held.lock().expect("lock");
    open(&sink(dir.path(), DirectoryFormat::JsonLines)).await.finish().await.expect("finish");
    let mut left: Vec<_> = fs::read_dir(&incoming).expect("folder").map(|e| e.expect("entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["held.part", "new.part", "old.txt"]);
}

#[tokio::test]
async fn a_second_process_at_the_same_delivery_is_kept_out() {
    let dir = tempfile::tempdir().expect("dir");
    let (here, there) = (sink(dir.path(), DirectoryFormat::JsonLines), sink(dir.path(), DirectoryFormat::JsonLines));
    let mut transfer = open(&here).await;
    let Err(error) = there.open(delivery("Items"), Progress::default()).await else { panic!("opened twice") };
    assert_eq!(error.class(), Class::Transient);
    transfer.deliver(&batch(1, &["1"])).await.expect("deliver");
    assert_eq!(fs::read_to_string(transfer.finish().await.expect("finish")).expect("file"), "1\n");
    open(&there).await.finish().await.expect("free now");
}

#[tokio::test]
async fn a_symbolic_link_in_the_folder_does_not_lead_out() {
    let (dir, outside) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("outside"));
    symlink(outside.path(), dir.path().join("Items")).expect("link");
    let sink_here = sink(dir.path(), DirectoryFormat::JsonLines);
    let error = open(&sink_here).await.finish().await.expect_err("followed a link");
    assert_eq!(error.class(), Class::Permanent);
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert_eq!(unfinished(dir.path()), 0);

    let flat = sink_named(dir.path(), DirectoryFormat::JsonLines, "file");
    fs::write(outside.path().join("precious"), "precious").expect("file");
    symlink(outside.path().join("precious"), dir.path().join("file")).expect("link");
    open(&flat).await.finish().await.expect("replaces the link itself");
    assert_eq!(fs::read_to_string(outside.path().join("precious")).expect("file"), "precious");

    fs::remove_dir(dir.path().join(INCOMING_FOLDER)).expect("empty");
    symlink(outside.path(), dir.path().join(INCOMING_FOLDER)).expect("link");
    assert!(flat.open(delivery("Items"), Progress::default()).await.is_err());
}

#[tokio::test]
async fn a_folder_in_the_files_place_is_an_error_with_a_remedy() {
    let dir = tempfile::tempdir().expect("dir");
    let sink = sink_named(dir.path(), DirectoryFormat::JsonLines, "taken");
    fs::create_dir(dir.path().join("taken")).expect("folder");
    let error = open(&sink).await.finish().await.expect_err("replaced a folder");
    assert_eq!(error.class(), Class::Permanent);
    assert!(error.to_string().contains("remove it"), "{error}");
}

#[tokio::test]
async fn a_probe_says_what_it_saw_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("a/b");
    let sink_there = sink(&path, DirectoryFormat::JsonLines);
    assert!(sink_there.probe().await.expect("probe").contains("will be made"));
    assert!(!path.exists());
    fs::create_dir_all(&path).expect("folder");
    assert!(sink_there.probe().await.expect("probe").contains("can be written"));
    assert_eq!(fs::read_dir(&path).expect("folder").count(), 0);
    fs::write(dir.path().join("file"), "").expect("file");
    assert!(sink(&dir.path().join("file/x"), DirectoryFormat::Raw).probe().await.is_err());
}

#[test]
fn a_full_disk_is_known_as_one() {
    let dir = tempfile::tempdir().expect("dir");
    let sink = sink(dir.path(), DirectoryFormat::Raw);
    let error = sink.shared.error("write", dir.path(), &Errno::NOSPC.into());
    assert_eq!(error.class(), Class::DiskFull);
}

/// A real disk of 256 KiB; `None` where this user may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("dir");
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=256k", "longshore-test"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the test's disk is still mounted");
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_leaves_no_part_and_passes() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("left out: this user may not mount a small disk");
        return;
    };
    let sink = sink(disk.0.path(), DirectoryFormat::JsonLines);
    let large = "1".repeat(100_000);
    let mut transfer = open(&sink).await;
    let mut failed = None;
    for number in 1..=5 {
        if let Err(error) = transfer.deliver(&batch(number, &[&large])).await {
            failed = Some(error);
            break;
        }
    }
    let error = failed.expect("five times 100 kB do not fit");
    assert_eq!(error.class(), Class::DiskFull);
    assert!(error.to_string().contains("free some space"), "{error}");
    drop(transfer);
    assert_eq!(unfinished(disk.0.path()), 0);
    let mut transfer = open(&sink).await;
    transfer.deliver(&batch(1, &[&large])).await.expect("there is room again");
    transfer.finish().await.expect("finish");
}
