//! Where the software of others lies that tests are judged by; `tests/peers/install` puts it there. A test that lacks
//! what it needs is left out.

use std::path::PathBuf;

/// Says that a test is left out, and why; with `CI=true` that is a failure.
pub fn leave_out(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "left out in CI: {why}");
    eprintln!("LEFT OUT: {why}");
}

/// The folder of the peers.
pub fn home() -> PathBuf {
    std::env::var_os("LONGSHORE_PEERS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers")), PathBuf::from)
}

/// The file `relative` among the peers. Where it is missing, the test that needs it is left out.
pub fn peer(relative: &str) -> Option<PathBuf> {
    let path = home().join(relative);
    if path.exists() {
        return Some(path);
    }
    leave_out(&format!("{} is missing; run tests/peers/install", path.display()));
    None
}

/// A file of a package of Python's, below the folder that is named after the Python at hand.
pub fn package(relative: &str) -> Option<PathBuf> {
    let python = std::fs::read_dir(peer("venv/lib")?).expect("readable").next().expect("a Python").expect("it");
    peer(&format!("venv/lib/{}/site-packages/{relative}", python.file_name().display()))
}
