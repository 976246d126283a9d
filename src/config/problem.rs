//! What is wrong with a configuration file: all of it at once, each with its place, the value and what is allowed.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Severity};

use crate::secret::redact;

/// Why a configuration cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {reason}; name another with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: Arc<std::io::Error>,
    },
    /// The file can be read but is no configuration text at all.
    #[error("the configuration file {path} {reason}")]
    NoText {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file says something wrong.
    #[error("{}", .0.render(Look::Plain))]
    Wrong(Box<Findings>),
}

/// What is wrong with a file, or worth a look.
#[derive(Clone, Debug)]
pub struct Findings {
    path: PathBuf,
    /// The text with every secret masked.
    text: String,
    problems: Vec<Problem>,
}

/// How findings are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// In ASCII, without colours.
    Plain,
    /// For a terminal of this width.
    Terminal {
        /// In characters.
        width: usize,
        /// Whether colours may be used.
        colours: bool,
    },
}

/// One thing that is wrong, or worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A warning does not keep the configuration from being used.
    pub is_warning: bool,
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the text.
    pub span: Range<usize>,
    /// What stands beside the caret: what is allowed there.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
    /// Another place that belongs to it, and what is there.
    pub also: Option<(Range<usize>, String)>,
}

impl Problem {
    /// An error at `span`.
    pub fn new(span: Range<usize>, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { is_warning: false, message: message.into(), span, label: label.into(), help: None, also: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points at a second place.
    #[must_use]
    pub fn also(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.also = Some((span, label.into()));
        self
    }

    /// Makes it a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.is_warning = true;
        self
    }
}

/// Collects what is wrong while a file is read.
#[derive(Debug)]
pub struct Problems<'t> {
    text: &'t str,
    list: Vec<Problem>,
    masked: Vec<Range<usize>>,
    meant: Vec<String>,
}

impl<'t> Problems<'t> {
    /// Nothing wrong so far with `text`.
    pub fn new(text: &'t str) -> Self {
        Self { text, list: Vec::new(), masked: Vec::new(), meant: Vec::new() }
    }

    /// Adds a problem.
    pub fn add(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Keeps what stands at `span` from being shown.
    pub fn mask(&mut self, span: Range<usize>) {
        self.masked.push(span);
    }

    /// Remembers that a key that is not known was probably meant to be `key`.
    pub fn meant(&mut self, key: String) {
        self.meant.push(key);
    }

    /// Whether `key` was probably meant somewhere: then it need not be told that it is missing as well.
    pub fn was_meant(&self, key: &str) -> bool {
        self.meant.iter().any(|meant| meant == key)
    }

    /// What was written at `span`, for a message: on one line and not too long.
    pub fn written(&self, span: Range<usize>) -> String {
        const SHOWN_MAX: usize = 60;
        let written = self.text.get(span).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        if written.chars().count() <= SHOWN_MAX {
            written
        } else {
            written.chars().take(SHOWN_MAX).chain(['…']).collect()
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether anything keeps the configuration from being used.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| !problem.is_warning)
    }

    /// Ends the collection: in the order of the file, secrets masked.
    pub fn into_findings(mut self, path: &Path) -> Findings {
        self.list.sort_by_key(|problem| (problem.span.start, problem.span.end));
        self.list.dedup();
        let mut text = self.text.as_bytes().to_vec();
        for span in self.masked {
            for byte in text.iter_mut().take(span.end).skip(span.start).filter(|byte| **byte != b'\n') {
                *byte = b'*';
            }
        }
        // Masking replaces whole values, so that no character is cut in two; the conversion is exact.
        let text = String::from_utf8_lossy(&text).into_owned();
        Findings { path: path.to_owned(), text, problems: self.list }
    }
}

impl Findings {
    /// Each of them, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Line and column of a problem, both from 1.
    #[must_use]
    pub fn place(&self, problem: &Problem) -> (usize, usize) {
        let before = self.before(problem.span.start);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (self.line(problem.span.start), before[line_start..].chars().count() + 1)
    }

    fn line(&self, at: usize) -> usize {
        self.before(at).matches('\n').count() + 1
    }

    fn before(&self, at: usize) -> &str {
        &self.text[..self.text.floor_char_boundary(at)]
    }

    /// Draws all of them, and last how many they are.
    #[must_use]
    pub fn render(&self, look: Look) -> String {
        let (mut theme, width) = match look {
            Look::Plain => (GraphicalTheme::none(), 100),
            Look::Terminal { width, colours: true } => (GraphicalTheme::unicode(), width.clamp(60, 120)),
            Look::Terminal { width, colours: false } => (GraphicalTheme::unicode_nocolor(), width.clamp(60, 120)),
        };
        theme.characters.error = "error:".to_owned();
        theme.characters.warning = "warning:".to_owned();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false);
        let mut out = String::new();
        for problem in &self.problems {
            let report = miette::Report::from(self.diagnostic(problem))
                .with_source_code(NamedSource::new(self.path.display().to_string(), self.text.clone()));
            handler.render_report(&mut out, report.as_ref()).expect("writing to a string does not fail");
            out.push('\n');
        }
        out.push_str(&self.count());
        redact(&out)
    }

    fn diagnostic(&self, problem: &Problem) -> MietteDiagnostic {
        /// A second place farther away than this is told by its line: all the lines between would be drawn otherwise.
        const LINES_APART_MAX: usize = 3;
        let mut label = problem.label.clone();
        let mut second = None;
        if let Some((span, text)) = &problem.also {
            let line = self.line(span.start);
            if line.abs_diff(self.line(problem.span.start)) > LINES_APART_MAX {
                label.push_str(&format!(" (line {line}: {text})"));
            } else {
                second = Some(LabeledSpan::new_with_span(Some(text.clone()), span.clone()));
            }
        }
        let first = LabeledSpan::new_primary_with_span(Some(label), problem.span.clone());
        let mut diagnostic = MietteDiagnostic::new(&problem.message)
            .with_severity(if problem.is_warning { Severity::Warning } else { Severity::Error })
            .with_labels(std::iter::once(first).chain(second));
        diagnostic.help.clone_from(&problem.help);
        diagnostic
    }

    fn count(&self) -> String {
        let warnings = self.problems.iter().filter(|problem| problem.is_warning).count();
        let errors = self.problems.len() - warnings;
        let some = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let what = match (errors, warnings) {
            (_, 0) => some(errors, "error"),
            (0, _) => some(warnings, "warning"),
            _ => format!("{} and {}", some(errors, "error"), some(warnings, "warning")),
        };
        format!("{what} in {}", self.path.display())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Look::Plain))
    }
}
