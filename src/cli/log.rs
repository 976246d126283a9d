//! The log: `tracing` events on standard error, as text or JSON, or in the system's journal.
//!
//! Two guards keep secrets out of it, besides `Secret` itself: the libraries are held at `warn` unless they are named
//! (some show whole addresses at `debug`), and every line passes through [`redact`]. The journal's own protocol offers
//! no place for that, so an event with something to redact goes to standard error instead, which the journal reads too.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::linux::fs::MetadataExt;

use anyhow::Context;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context as LayerContext, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::exit::Exit;
use crate::config::log_filter;
pub use crate::config::{LogFormat, LogSettings};
use crate::secret::redact;

/// Starts the log for the rest of the process.
///
/// # Errors
/// When the level cannot be understood, the journal cannot be reached, or a log was started before.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = log_filter(&settings.level)
        .with_context(|| format!("the log level {:?} cannot be understood", settings.level))
        .map_err(Exit::Config.because())?;
    let registry = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Auto if stderr_is_journal() => registry.with(journal_lines()).try_init(),
        LogFormat::Auto | LogFormat::Text => registry.with(text()).try_init(),
        LogFormat::Json => registry.with(json()).try_init(),
        LogFormat::Journald => {
            let native = tracing_journald::layer()
                .context("the journal cannot be reached; set `format` in [log] to \"text\" or \"json\"")
                .map_err(Exit::Config.because())?
                .with_syslog_identifier("longshore".to_owned());
            registry
                .with(native.with_filter(CarriesSecret.not()))
                .with(journal_lines().with_filter(CarriesSecret))
                .try_init()
        }
    }
    .map_err(|error: TryInitError| anyhow::anyhow!("the log was started twice: {error}"))
}

/// Whether standard error is a terminal whose user wants colours (`NO_COLOR` says not).
pub(super) fn wants_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn text<S: Subscribed>() -> impl Layer<S> {
    tracing_subscriber::fmt::layer().with_ansi(wants_colours()).with_writer(Redacting { priorities: false })
}

fn json<S: Subscribed>() -> impl Layer<S> {
    tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(Redacting { priorities: false })
}

/// Text as the journal reads it from standard error: it knows the time, and takes the priority from the line's start.
fn journal_lines<S: Subscribed>() -> impl Layer<S> {
    tracing_subscriber::fmt::layer()
        .without_time()
        .with_level(false)
        .with_ansi(false)
        .with_writer(Redacting { priorities: true })
}

/// What a layer of the log may be put on.
trait Subscribed: tracing::Subscriber + for<'span> LookupSpan<'span> {}
impl<S: tracing::Subscriber + for<'span> LookupSpan<'span>> Subscribed for S {}

/// Whether standard error leads to the system's journal: `JOURNAL_STREAM` names its device and inode (systemd.exec(5)).
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    // `/proc/self/fd/2` follows to whatever standard error is, also a socket.
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev(), stderr.st_ino()))
}

/// Standard error, with everything redacted that passes.
#[derive(Clone, Copy, Debug)]
struct Redacting {
    /// Whether each line starts with its priority, as sd-daemon(3) has it.
    priorities: bool,
}

impl<'a> MakeWriter<'a> for Redacting {
    type Writer = RedactingWriter;

    fn make_writer(&'a self) -> RedactingWriter {
        RedactingWriter { prefix: "" }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> RedactingWriter {
        let prefix = match *meta.level() {
            _ if !self.priorities => "",
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        };
        RedactingWriter { prefix }
    }
}

#[derive(Debug)]
struct RedactingWriter {
    prefix: &'static str,
}

impl Write for RedactingWriter {
    // The layer hands over one whole event at a time, so that nothing to redact is ever cut in two.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = format!("{}{}", self.prefix, redact(&String::from_utf8_lossy(event)));
        io::stderr().lock().write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Lets events through that carry something to redact.
#[derive(Clone, Copy, Debug)]
struct CarriesSecret;

impl<S> Filter<S> for CarriesSecret {
    fn enabled(&self, _meta: &Metadata<'_>, _cx: &LayerContext<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _cx: &LayerContext<'_, S>) -> bool {
        let mut search = Search { found: false };
        event.record(&mut search);
        search.found
    }
}

struct Search {
    found: bool,
}

impl Visit for Search {
    fn record_debug(&mut self, _field: &Field, value: &dyn fmt::Debug) {
        let said = format!("{value:?}");
        self.found |= redact(&said) != said;
    }
}
