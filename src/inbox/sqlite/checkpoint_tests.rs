use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use super::*;
use crate::inbox::sqlite::schema::{self, Purpose};
use crate::inbox::sqlite::sync_tests;

#[test]
fn a_long_log_is_cut_as_soon_as_no_reader_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let writer = schema::prepare(&path).unwrap();
    let reader = schema::connect(&path, Purpose::Read).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM notices").unwrap();
    writer.execute_batch("INSERT INTO runs (started, selector) VALUES (1, 'x')").unwrap();
    let mut keeper = LogKeeper::new(path.clone(), 1).unwrap();
    keeper.keep_short(&writer);
    assert!(log_bytes(&path) > 0, "a reader's snapshot is not taken from under it");
    reader.execute_batch("COMMIT").unwrap();
    keeper.keep_short(&writer);
    assert!(log_bytes(&path) > 0, "not looked at again at once");
    keeper.looked = None;
    keeper.keep_short(&writer);
    assert_eq!(log_bytes(&path), 0);
}

/// A database whose log has been moved into it in part, if so, by connections that are still open.
fn moved_in_part(path: &Path, in_part: bool) -> Connection {
    let writer = schema::prepare(path).unwrap();
    writer.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let write = || {
        let sql = "INSERT INTO runs (started, selector) VALUES (1, hex(randomblob(50000)))";
        writer.execute_batch(sql).unwrap();
    };
    write();
    let reader = schema::connect(path, Purpose::Read).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM runs").unwrap();
    write();
    if in_part {
        writer.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
    }
    let Frames { all, moved } = frames(&writer).unwrap();
    assert!(moved < all && (moved > 0) == in_part, "{moved} of {all}");
    writer
}

/// Watches over `path`, whose log is long from two frames on; `log` is how it is brought to disk.
fn keeper_of_two(path: &Path, log: impl FnMut() -> io::Result<()> + Send + 'static) -> LogKeeper {
    LogKeeper::with(path.to_owned(), u64::MAX, 2, Mover::new(path.to_owned(), Box::new(log)))
}

/// An inbox whose log was cut, and how to write one page to it.
fn with_a_short_log(folder: &Path) -> (PathBuf, Connection, impl Fn(&Connection)) {
    let path = folder.join("inbox.db");
    let writer = schema::prepare(&path).unwrap();
    cut(&writer).unwrap();
    (path, writer, |writer| assert_eq!(writer.execute("UPDATE keys_filed SET upto = upto + 1", []).unwrap(), 1))
}

#[test]
fn a_long_log_is_moved_while_the_writer_goes_on_until_it_is_twice_as_long() {
    let folder = tempfile::tempdir().unwrap();
    let (path, writer, write) = with_a_short_log(folder.path());
    let (order, ordered) = mpsc::channel::<()>();
    let (asking, asked) = mpsc::channel();
    let mut keeper = keeper_of_two(&path, move || {
        asking.send(()).unwrap();
        ordered.recv().map_err(io::Error::other)
    });
    write(&writer);
    assert!(keeper.keep_short(&writer));
    assert!(!keeper.mover.is_moving(), "it is short");
    write(&writer);
    assert!(keeper.keep_short(&writer));
    asked.recv().unwrap();
    write(&writer);
    (keeper.looked, keeper.bytes_max) = (None, 0);
    assert!(keeper.keep_short(&writer));
    assert_eq!(frames(&writer).unwrap(), Frames { all: 3, moved: 0 }, "it moves, and nobody waits for it or cuts it");
    keeper.bytes_max = u64::MAX;
    write(&writer);
    order.send(()).unwrap();
    assert!(keeper.keep_short(&writer));
    assert_eq!(frames(&writer).unwrap(), Frames { all: 4, moved: 4 }, "it was waited for, and what was left was moved");
    write(&writer);
    assert_eq!(frames(&writer).unwrap(), Frames { all: 1, moved: 0 }, "the log has started over");
    assert!(keeper.keep_short(&writer));
    assert!(asked.try_recv().is_err(), "once");
    // What is written once it has moved is left to the writer.
    write(&writer);
    assert!(keeper.keep_short(&writer));
    order.send(()).unwrap();
    while frames(&writer).unwrap().moved == 0 {
        std::thread::yield_now();
    }
    write(&writer);
    while keeper.mover.is_moving() {
        assert!(keeper.keep_short(&writer));
    }
    assert_eq!(frames(&writer).unwrap(), Frames { all: 1, moved: 1 });
    assert!(keeper.finish());
}

#[test]
fn what_a_reader_is_in_the_way_of_is_moved_later() {
    let folder = tempfile::tempdir().unwrap();
    let (path, writer, write) = with_a_short_log(folder.path());
    let reader = schema::connect(&path, Purpose::Read).unwrap();
    write(&writer);
    reader.execute_batch("BEGIN; SELECT count(*) FROM notices").unwrap();
    let moves = Arc::new(AtomicUsize::new(0));
    let mut keeper = keeper_of_two(&path, {
        let moves = Arc::clone(&moves);
        move || {
            moves.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    (keeper.frames_max, keeper.long_from) = (8, 8);
    let mut keep_short = |writer: &Connection| {
        assert!(keeper.keep_short(writer));
        while keeper.mover.is_moving() {
            assert!(keeper.keep_short(writer));
        }
        moves.load(Ordering::SeqCst)
    };
    for all in 1..12 {
        assert_eq!(frames(&writer).unwrap().all, all);
        let expected = [0, 1, 2][usize::from(all >= 8) + usize::from(all >= 10)];
        assert_eq!(keep_short(&writer), expected, "with {all}");
        write(&writer);
    }
    assert_eq!(frames(&writer).unwrap(), Frames { all: 12, moved: 1 });
    reader.execute_batch("COMMIT").unwrap();
    // Another process moves it, and it starts over.
    cut(&schema::connect(&path, Purpose::Write).unwrap()).unwrap();
    for _ in 0..8 {
        assert_eq!(keep_short(&writer), 2);
        write(&writer);
    }
    assert_eq!(keep_short(&writer), 3);
    assert_eq!(frames(&writer).unwrap(), Frames { all: 8, moved: 8 });
}

#[test]
fn a_log_that_cannot_be_synced_is_not_moved_and_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (path, writer, write) = with_a_short_log(folder.path());
    let mut keeper = keeper_of_two(&path, || Err(io::Error::other("the disk said no")));
    write(&writer);
    write(&writer);
    assert!(keeper.keep_short(&writer));
    write(&writer);
    write(&writer);
    assert!(!keeper.keep_short(&writer), "the disk does not do what it is told");
    assert_eq!(frames(&writer).unwrap(), Frames { all: 4, moved: 0 });
    assert!(!keeper.is_beyond_repair());
    keeper.write_over(&writer).unwrap();
    assert!(keeper.keep_short(&writer), "it is under way again");
    assert!(!keeper.finish(), "it failed again");
}

#[test]
fn a_failed_sync_of_the_database_needs_a_new_start_if_a_part_was_moved_before() {
    let Some(folder) = sync_tests::folder_in_which_calls_fail() else {
        let test = "checkpoint::tests::a_failed_sync_of_the_database_needs_a_new_start_if_a_part_was_moved_before";
        for (name, calls) in [
            ("sync-in-part", "fsync,fdatasync:error=EIO:when=1"),
            ("sync", "fsync,fdatasync:error=EIO:when=1"),
            ("in-part", "pwrite64:error=EIO:when=1"),
            // A part moves only now, and that one is not SQLite's to sync: with a reader in the way, or a writer.
            ("sync-behind-reader", "fdatasync:error=EIO:when=1"),
            ("sync-behind-writer", "pwrite64:delay_enter=50000:when=1;fdatasync:error=EIO:when=1"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path().join(name);
            let path = folder.join("inbox.db");
            let open = moved_in_part(&path, name.contains("in-part"));
            sync_tests::in_which_fails(test, &folder, &path, calls);
            drop(open);
        }
        return;
    };
    let path = folder.join("inbox.db");
    let connection = schema::connect(&path, Purpose::Write).unwrap();
    connection.query_row("SELECT count(*) FROM runs", [], |_| Ok(())).unwrap();
    let reader = schema::connect(&path, Purpose::Read).unwrap();
    if folder.ends_with("sync-behind-reader") {
        reader.execute_batch("BEGIN; SELECT count(*) FROM runs").unwrap();
        connection.execute("INSERT INTO runs (started, selector) VALUES (1, 'x')", []).unwrap();
    }
    let mut keeper = keeper_of_two(&path, sync_log(&path).unwrap());
    assert!(keeper.keep_short(&connection), "it is under way");
    if folder.ends_with("sync-behind-writer") {
        keeper.frames_max = u64::MAX / 2;
        while keeper.mover.is_moving() && keeper.keep_short(&connection) {
            connection.execute("INSERT INTO runs (started, selector) VALUES (1, 'x')", []).unwrap();
        }
    } else if !folder.ends_with("sync-behind-reader") {
        assert!(!keeper.keep_short(&connection), "the disk does not do what it is told");
    }
    let name = folder.file_name().unwrap().to_str().unwrap();
    let is_lost = name == "sync-in-part" || name.starts_with("sync-behind");
    let written = keeper.write_over(&connection);
    assert_eq!(keeper.is_beyond_repair(), is_lost);
    if is_lost {
        assert!(matches!(written, Err(Fault::Refused(InboxError::RestartNeeded { .. }))), "{written:?}");
    } else {
        written.unwrap();
    }
    // The disk says yes again by now.
    assert!(is_lost != keeper.keep_short(&connection));
    assert!(is_lost != keeper.finish());
}
