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
                .with(native.with_filter(Secrets::Absent))
                .with(journal_lines().with_filter(Secrets::Present))
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
    type Writer = RedactingWriter<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        RedactingWriter { prefix: "", out: io::stderr() }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        let prefix = match *meta.level() {
            _ if !self.priorities => "",
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        };
        RedactingWriter { prefix, out: io::stderr() }
    }
}

#[derive(Debug)]
struct RedactingWriter<W> {
    prefix: &'static str,
    out: W,
}

impl<W: Write> Write for RedactingWriter<W> {
    // The layer hands over one whole event at a time, so that nothing to redact is ever cut in two.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = format!("{}{}", self.prefix, redact(&String::from_utf8_lossy(event)));
        self.out.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Lets events through by whether they carry something to redact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secrets {
    /// Only those that do.
    Present,
    /// Only those that do not.
    Absent,
}

impl<S> Filter<S> for Secrets {
    fn enabled(&self, _meta: &Metadata<'_>, _cx: &LayerContext<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _cx: &LayerContext<'_, S>) -> bool {
        let mut search = Search { found: false };
        event.record(&mut search);
        search.found == (*self == Self::Present)
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn whatever_a_library_logs_is_redacted_on_its_way_out() {
        let mut writer = RedactingWriter { prefix: "<4>", out: Vec::new() };
        writer.write_all(b"GET https://a.b/c?sv=1&sig=abc%3D failed\n").expect("written");
        assert_eq!(String::from_utf8_lossy(&writer.out), "<4>GET https://a.b/c?sv=1&sig=[secret] failed\n");
    }

    #[test]
    fn an_event_with_a_secret_is_kept_from_the_journals_own_protocol() {
        let (open, closed) = (Counter::default(), Counter::default());
        let subscriber = tracing_subscriber::registry()
            .with(open.clone().with_filter(Secrets::Absent))
            .with(closed.clone().with_filter(Secrets::Present));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!("nothing in it");
            tracing::warn!(url = "https://a.b/c?sig=abc", "something in it");
            tracing::warn!("asked with Bearer {}", "abc");
        });
        assert_eq!((open.count(), closed.count()), (1, 2));
    }

    #[derive(Clone, Default)]
    struct Counter(Arc<Mutex<usize>>);

    impl Counter {
        fn count(&self) -> usize {
            *self.0.lock().expect("not poisoned")
        }
    }

    impl<S: tracing::Subscriber> Layer<S> for Counter {
        fn on_event(&self, _event: &Event<'_>, _cx: LayerContext<'_, S>) {
            *self.0.lock().expect("not poisoned") += 1;
        }
    }
}
