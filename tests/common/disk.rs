//! A small disk of a test's own, which it can fill, or make read-only.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn mount(args: &[&str]) -> bool {
    Command::new("mount").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|end| end.success())
}

/// A mounted folder; unmounted when this is dropped.
pub struct Mounted {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Mounted {
    /// A small disk in memory. `None` where it may not be mounted: the test is left out, and says so.
    pub fn tmpfs(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        let size = format!("size={bytes}");
        if mount(&["-t", "tmpfs", "-o", &size, "tmpfs", path.to_str()?]) {
            return Some(Self { path, _folder: folder });
        }
        super::peers::leave_out("a small tmpfs cannot be mounted: needs root");
        None
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From here on nothing in it can be opened for writing.
    pub fn make_read_only(&self) {
        let path = self.path.to_str().expect("a path");
        assert!(mount(&["-o", "remount,ro", path]), "nobody has a file of it open");
    }

    /// Takes all the room that is left; removing the returned file gives it back.
    pub fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let path = self.path.join("filler");
        let mut file = std::fs::File::create(&path).expect("a file");
        for piece in [&[0_u8; 4096][..], &[0]] {
            while file.write_all(piece).is_ok() {}
        }
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a file of a daemon that is just ending may still be open.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}
