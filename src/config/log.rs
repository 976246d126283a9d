//! What is logged, and how.

use tracing_subscriber::filter::{ParseError, Targets};

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text, or lines with a priority where standard error leads to the system's journal.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
    /// In the system's journal, with fields of its own.
    Journald,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How it is written.
    pub format: LogFormat,
    /// How much: `info`, or more exactly `info,fe2o3_amqp=debug`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

/// The filter that a level means: a bare one is Longshore's own, and the libraries stay at `warn` unless named, since
/// some of them show whole addresses at `debug`.
///
/// # Errors
/// When `level` cannot be understood.
pub fn log_filter(level: &str) -> Result<Targets, ParseError> {
    let mut directives = String::from("warn");
    for directive in level.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        directives.push_str(if directive.contains('=') { "," } else { ",longshore=" });
        directives.push_str(directive);
    }
    directives.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_is_longshores_own_and_libraries_stay_at_warn_unless_named() {
        let shown = |level: &str| {
            let filter = log_filter(level).expect("a level").to_string();
            let mut parts: Vec<_> = filter.split(',').map(str::to_owned).collect();
            parts.sort();
            parts.join(" ")
        };
        assert_eq!(shown("debug"), "longshore=debug warn");
        assert_eq!(shown("info, fe2o3_amqp=trace"), "fe2o3_amqp=trace longshore=info warn");
        assert!(log_filter("loud").is_err());
    }
}
