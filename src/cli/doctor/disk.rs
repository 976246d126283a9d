//! The disk under the inbox: whether it can be written, how much room it has, how fast it keeps what it is given.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::{bad, good, look, step};
use crate::cli::screen::{length, size};
use crate::probe::{Finding, Step};

/// Below this much room, or below a twentieth of the disk, somebody should look.
const ROOM_BYTES_MIN: u64 = 1 << 30;

/// Commits that are tried; their median does not depend on one that met another program's.
const TRIES: usize = 15;

/// A commit that takes longer makes hearing slow: each batch of notices waits for one.
const SLOW: Duration = Duration::from_millis(50);

pub(super) fn steps(inbox: &Path) -> Vec<Step> {
    let folder = inbox.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return vec![step("room", || {
            look(format!("{} is not there yet", folder.display()), "`longshore run` makes it")
        })];
    }
    vec![step("room", || room(folder)), step("speed", || speed(folder))]
}

fn room(folder: &Path) -> Finding {
    let disk = match statvfs(folder) {
        Ok(disk) => disk,
        Err(error) => return bad(format!("{}: {error}", folder.display()), "look at the disk"),
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let all = disk.f_blocks.saturating_mul(disk.f_frsize);
    let seen = format!("{} of {} free in {}", size(free), size(all), folder.display());
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        bad(format!("{} is read-only", folder.display()), "mount it for writing again, and look why it was not")
    } else if free == 0 {
        bad(seen, "free some space: nothing is heard without it")
    } else if free < ROOM_BYTES_MIN || free < all / 20 {
        look(seen, "free some space, or lower `retention_size` and `retention_age` in [inbox]")
    } else {
        good(seen)
    }
}

/// Writes and syncs as a commit does, in a file of its own.
fn speed(folder: &Path) -> Finding {
    match measure(folder) {
        Err(error) => bad(
            format!("{} cannot be written: {error}", folder.display()),
            "the user who runs Longshore must be able to",
        ),
        Ok((median, worst)) => {
            let seen = format!("a synced write takes {}, at worst {}", length(median), length(worst));
            if median > SLOW {
                look(seen, "put the inbox on a faster local disk: each commit waits for it")
            } else {
                good(seen)
            }
        }
    }
}

fn measure(folder: &Path) -> std::io::Result<(Duration, Duration)> {
    let mut file = tempfile::Builder::new().prefix(".doctor-").tempfile_in(folder)?;
    let mut took = Vec::with_capacity(TRIES);
    for _ in 0..TRIES {
        let began = Instant::now();
        file.write_all(&[0; 4096])?;
        file.as_file().sync_data()?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok((took[TRIES / 2], took[TRIES - 1]))
}

/// Whether nobody has rights to the file that are in `too_much`.
pub(super) fn mode(path: &Path, too_much: u32, remedy: &str) -> Finding {
    match std::fs::metadata(path) {
        Err(error) => bad(format!("{}: {error}", path.display()), "it must be there and readable"),
        Ok(found) if found.mode() & too_much != 0 => {
            let seen =
                format!("{} has mode {:o}: more than its owner may use it", path.display(), found.mode() & 0o777);
            look(seen, format!("{remedy} {}", path.display()))
        }
        Ok(found) => good(format!("{} has mode {:o}", path.display(), found.mode() & 0o777)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_disk_is_measured_and_nothing_is_left_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let steps = steps(&folder.path().join("inbox.db"));
        assert!(steps.iter().all(|step| !matches!(step.finding, Finding::Bad { .. })), "{steps:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_others_may_use_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = |mode| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o600);
        assert!(matches!(mode(file.path(), 0o077, "chmod go="), Finding::Good { .. }));
        set(0o640);
        assert!(
            matches!(mode(file.path(), 0o077, "chmod go="), Finding::Warning { remedy, .. } if remedy.starts_with("chmod go= /"))
        );
    }
}
