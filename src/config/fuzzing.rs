//! Fuzz target over the configuration file.

use std::path::{Path, PathBuf};

use super::{Config, Files, Surroundings};

/// A configuration is read, or every error in it is told with words.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let surroundings =
        Surroundings { folder: PathBuf::from("/etc/longshore"), credentials: None, files: Files::Assumed };
    match Config::parse(Path::new("longshore.toml"), text, &surroundings) {
        Ok(config) => assert!(!config.feeds.is_empty() && !config.routes.is_empty() && !config.sinks.is_empty()),
        Err(error) => assert!(!error.to_string().trim().is_empty()),
    }
}
