//! The unit under a real systemd, booted in a container: it starts, is watched, is stopped and restarted.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::peers::{home, leave_out};
use common::process::PROGRAM;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_unit_passes_systemd_analyze_verify() {
    let unit = std::fs::read_to_string(repository().join("systemd/longshore.service")).expect("the unit");
    let folder = tempfile::tempdir().expect("a folder");
    // verify looks for the program where the unit says it is installed.
    let installed = unit.replace("/usr/bin/longshore", PROGRAM);
    let path = folder.path().join("longshore.service");
    std::fs::write(&path, installed).expect("a copy of the unit");
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&path).output() else {
        return leave_out("systemd-analyze is not installed");
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "systemd-analyze verify said:\n{said}");
}

#[test]
fn a_real_systemd_starts_watches_stops_and_restarts_the_daemon() {
    let base = home().join("systemd-root");
    if !base.join(".complete").exists() {
        return leave_out("tests/systemd/install has not made its Debian");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let results = folder.path().join("results");
    std::fs::create_dir(&results).expect("a folder for results");
    let overlay = folder.path().join("overlay");
    lay_files(&overlay);

    let bind = |from: &Path, to: &str| format!("--bind-ro={}:{to}", from.display());
    let mut container = Command::new("timeout")
        .args(["--kill-after=10", "900", "systemd-nspawn", "--register=no", "--keep-unit", "--volatile=overlay"])
        .args(["--private-network", "--boot", "--console=read-only", "--quiet"])
        .arg(format!("--directory={}", base.display()))
        .arg(format!("--bind={}:/results", results.display()))
        .arg(bind(Path::new(PROGRAM), "/usr/bin/longshore"))
        .arg(bind(&repository().join("systemd/longshore.service"), "/etc/systemd/system/longshore.service"))
        .arg(bind(&repository().join("systemd/sysusers.conf"), "/usr/lib/sysusers.d/longshore.conf"))
        .arg(bind(&overlay.join("drop-in.conf"), "/etc/systemd/system/longshore.service.d/test.conf"))
        .arg(bind(&overlay.join("longshore-sandbox.service"), "/etc/systemd/system/longshore-sandbox.service"))
        .arg(bind(&overlay.join("drive.service"), "/etc/systemd/system/drive.service"))
        .arg(bind(&overlay.join("wants.conf"), "/etc/systemd/system/multi-user.target.d/drive.conf"))
        .arg(bind(&repository().join("tests/systemd/inside"), "/usr/local/bin/inside"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-nspawn");
    container.wait().expect("the container ends within its time limit");

    let read = |name: &str| std::fs::read_to_string(results.join(name)).unwrap_or_default();
    let seen = read("seen");
    let story = format!("seen:\n{seen}\nlog:\n{}\njournal:\n{}", read("log"), read("journal"));
    let seen: BTreeMap<&str, &str> = seen.lines().filter_map(|line| line.split_once('=')).collect();
    for (what, expected) in [
        ("sandbox", "active"),
        ("start", "0"),
        ("active_after_start", "active"),
        ("user", "longshore"),
        ("delivered", "yes"),
        ("inbox_mode", "600"),
        ("watchdog_restart", "yes"),
        ("kill_restart", "yes"),
        ("stop", "0"),
        ("active_after_stop", "inactive"),
        ("result_after_stop", "success"),
        ("second_start", "0"),
        ("wrong_config_start", "1"),
        ("wrong_config_status", "78"),
        ("wrong_config_restarts", "0"),
        ("end", "yes"),
    ] {
        assert_eq!(seen.get(what), Some(&expected), "{what}\n{story}");
    }
}

/// The files that the test adds to those of the project.
fn lay_files(overlay: &Path) {
    std::fs::create_dir(overlay).expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(overlay.join(name), text).expect("a file of the test");
    let watchdog = Duration::from_secs(8).as_secs();
    write(
        "drop-in.conf",
        &format!(
            "[Unit]\nStartLimitBurst=100\n[Service]\nWatchdogSec={watchdog}\nRestartSec=0\nReadWritePaths=/srv/longshore\n"
        ),
    );
    write(
        "longshore-sandbox.service",
        "[Service]\nType=notify\nExecStart=/usr/bin/longshore sandbox --dir /sandbox --publish 3\nTimeoutStartSec=180\n",
    );
    write("wants.conf", "[Unit]\nWants=drive.service\n");
    write(
        "drive.service",
        "[Unit]\nAfter=basic.target dbus.service\n[Service]\nType=oneshot\nExecStart=/bin/bash /usr/local/bin/inside\nTimeoutStartSec=800\n",
    );
}
