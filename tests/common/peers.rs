//! Where the software of others lies that tests are judged by; `tests/peers/install` puts it there.

use std::path::PathBuf;

/// The file `relative` among the peers. Where it is missing, the test that needs it is left out, and says so; with
/// `CI=true` it fails.
pub fn peer(relative: &str) -> Option<PathBuf> {
    let home = std::env::var_os("LONGSHORE_PEERS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers")), PathBuf::from);
    let path = home.join(relative);
    if path.exists() {
        return Some(path);
    }
    let said = format!("{} is missing; run tests/peers/install", path.display());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{said}");
    eprintln!("LEFT OUT: {said}");
    None
}
