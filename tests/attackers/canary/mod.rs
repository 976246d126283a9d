//! Each kind of secret goes through every way to fail, and is shown nowhere: not in the journal, in what any command
//! prints, in the pages, in the database, in the process list, nor in the environment of a child.
//!
//! Each round is a daemon of its own with one kind of trouble, and ends when the trouble has been met a few times.
//!
//! ```text
//! a canary ──> a file, a token, the environment ──> the daemon ──> a server that repeats what it is told (`echo`)
//!     └────────── looked for in everything that can be seen of the daemon <──┘
//! ```

use std::path::{Path, PathBuf};

use longshore::inbox::ledger::Summary;

use crate::addresses::ask;
use crate::common::process::Daemon;
use crate::common::vendor::World;

mod drops;
mod echo;
mod tokens;
mod user;

/// A secret of `kind`, unlike any other text, which no rule could know by its form.
fn canary(kind: &str) -> String {
    format!("canary{kind}Zq7Xw9{}", "0123456789abcdef".repeat(2))
}

/// Looks for `secrets` in everything that a user, another user, or a thief of the disk could see. `own` are the files
/// that hold them on purpose.
async fn assert_hidden(world: &World, daemon: Daemon, secrets: &[String], own: &[&str]) {
    assert!(!secrets.is_empty() && secrets.iter().all(|secret| secret.len() >= 20), "secrets to look for: {secrets:?}");
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    for page in ["live", "ready", "health", "metrics"] {
        seen.push((format!("the page {page}"), ask(&daemon, page).await.into_bytes()));
    }
    let proc = PathBuf::from(format!("/proc/{}", daemon.id().expect("it runs")));
    for file in ["cmdline", "comm", "status"] {
        seen.push((format!("/proc/PID/{file}"), std::fs::read(proc.join(file)).expect("readable")));
    }
    let screens: [&[&str]; 10] = [
        &["status"],
        &["status", "--json"],
        &["notices"],
        &["notices", "--json"],
        &["quarantine", "list"],
        &["quarantine", "list", "--json"],
        &["show", "1"],
        &["show", "1", "--json"],
        &["check"],
        &["doctor", "--json"],
    ];
    let said = futures::future::join_all(screens.iter().map(|screen| world.try_say(screen))).await;
    seen.extend(screens.iter().zip(said).map(|(screen, (_, said))| (screen.join(" "), said.into_bytes())));
    // Before and after the end: the log of the database is written back then.
    collect(world.folder(), own, &mut seen);
    daemon.stop().await;
    collect(world.folder(), own, &mut seen);
    for (what, bytes) in &seen {
        for secret in secrets {
            let place = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
            if let Some(at) = place {
                let around = &bytes[at.saturating_sub(200)..bytes.len().min(at + secret.len() + 50)];
                panic!("{secret} is shown by {what}: {}", String::from_utf8_lossy(around));
            }
        }
    }
    assert!(seen.len() > 20, "all of this was looked at");
}

/// Every file below `folder` but those that are the vendor's or hold the secrets on purpose.
fn collect(folder: &Path, own: &[&str], seen: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if own.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(&path, own, seen);
        } else if path.is_file()
            && let Ok(bytes) = std::fs::read(&path)
        {
            seen.push((path.display().to_string(), bytes));
        }
    }
}

/// A world that tries again soon, and whose pages can be asked.
async fn world(change: impl Fn(&str) -> String) -> World {
    let world = World::new("[work]\nordering = \"none\"\nretry_min = \"50ms\"\nretry_max = \"200ms\"\n").await;
    world.tell_on("127.0.0.1:0");
    let config = std::fs::read_to_string(&world.config).expect("the configuration");
    std::fs::write(&world.config, change(&config)).expect("written");
    world
}

/// Starts the daemon with `variables` in its environment.
fn start_with(world: &World, variables: &[(&str, &str)]) -> Daemon {
    let mut command = world.command(&["run"]);
    command.envs(variables.iter().copied());
    Daemon::start(command, world.folder())
}

/// The configuration with another value for a key that stands there.
fn replace_key(config: &str, key: &str, value: &str) -> String {
    let line = |line: &str| {
        let is_key = line.split_once(" = ").is_some_and(|(name, _)| name == key);
        if is_key { format!("{key} = {value:?}") } else { line.to_owned() }
    };
    let replaced: Vec<String> = config.lines().map(line).collect();
    assert_ne!(replaced.join("\n"), config.trim_end(), "{key} is replaced");
    replaced.join("\n")
}

/// Whether a delivery has failed, and its error is written down.
fn is_tried(summary: &Summary) -> bool {
    summary.notices.quarantined > 0 || summary.routes.iter().any(|route| route.error.is_some())
}
