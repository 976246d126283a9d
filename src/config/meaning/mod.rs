//! What it means: turns what was written into every room's settings, in this one place.
//!
//! Here stand the rules that need more than one value: required keys, defaults, names that refer to each other, files
//! that must be there. A rule that is broken is reported and the next one is looked at; only a file without an error
//! becomes a [`Config`].

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

use super::problem::{Problem, Problems};
use super::reader::{Section, Written, nearest};
use super::value::{Glob, OneOf};
use super::written::Document;
use super::{Changed, Config};

mod entities;
mod feeds;
mod files;
mod reconcile;
mod routes;
mod sinks;
mod waiting;
mod work;

pub use files::{Files, Surroundings};

/// Carries what every rule needs.
struct Rules<'p, 't> {
    problems: &'p mut Problems<'t>,
    surroundings: &'p Surroundings,
    changed: Vec<Changed>,
}

/// The settings that `document` means; `None` when anything is wrong, which then stands in `problems`.
pub fn resolve(
    path: PathBuf,
    document: &Document,
    surroundings: &Surroundings,
    problems: &mut Problems<'_>,
) -> Option<Config> {
    let mut rules = Rules { problems, surroundings, changed: Vec::new() };
    let route_match = OneOf(crate::route::Match::default());
    let inbox = rules.inbox(&section(&document.inbox), &section(&document.parking));
    let work = rules.work(&section(&document.work));
    let limits = rules.limits(&section(&document.limits));
    let feeds = rules.feeds(document);
    let sinks = rules.sinks(document);
    let entities = rules.entities(document);
    let reconciles = rules.reconciles(document, &feeds);
    let routes = rules.routes(document);
    let config = Config {
        path,
        feeds,
        entities,
        reconciles,
        routes,
        route_match: rules.or("routing.match", &section(&document.routing).r#match, route_match).0,
        sinks,
        inbox,
        work,
        limits,
        fetch: rules.fetch(document),
        log: rules.log(&section(&document.log)),
        ops: rules.ops(&section(&document.ops)),
        threads: rules.runtime(&section(&document.runtime)),
        changed: rules.changed,
        warnings: None,
    };
    (!problems.has_errors()).then_some(config)
}

/// What was written in a section; nothing, if it was not written.
fn section<T: Section + Clone + Default>(written: &Written<T>) -> T {
    written.value().cloned().unwrap_or_default()
}

/// The elements of a list of sections, each with its place; none, if there is no list.
fn each<T>(written: &Written<Vec<Spanned<T>>>) -> &[Spanned<T>] {
    written.value().map(Vec::as_slice).unwrap_or_default()
}

/// The globs of a list, as text.
fn globs(written: &Written<Vec<Spanned<Glob>>>) -> Vec<String> {
    each(written).iter().map(|glob| glob.get_ref().0.clone()).collect()
}

impl Rules<'_, '_> {
    /// The value, or what holds without it. A value other than that is kept for `longshore check`.
    fn or<T: PartialEq + Display + Clone>(&mut self, key: &str, written: &Written<T>, default: T) -> T {
        let Some(value) = written.value() else { return default };
        if *value != default {
            self.changed.push(Changed { key: key.to_owned(), value: value.to_string(), default: default.to_string() });
        }
        value.clone()
    }

    /// As [`Rules::or`], for text.
    fn or_text(&mut self, key: &str, written: &Written<String>, default: &str) -> String {
        let Some(value) = written.value() else { return default.to_owned() };
        if value != default {
            self.changed.push(Changed {
                key: key.to_owned(),
                value: format!("{value:?}"),
                default: format!("{default:?}"),
            });
        }
        value.clone()
    }

    /// Puts the name of the feed or sink into the keys of what was changed since `from`.
    fn name_changes(&mut self, from: usize, kind: &str, name: &str) {
        for changed in &mut self.changed[from..] {
            changed.key = changed.key.replacen(kind, &format!("{kind}.{name}"), 1);
        }
    }

    /// The value of a key that has to be there; `example` shows how it is written.
    fn required<'w, T>(
        &mut self,
        section: &str,
        span: Range<usize>,
        key: &str,
        written: &'w Written<T>,
        example: &str,
    ) -> Option<&'w Spanned<T>> {
        let full = format!("{}.{key}", section.trim_matches(['[', ']', '`']));
        if written.is_absent() && !self.problems.was_meant(&full) {
            let problem =
                Problem::new(span, format!("`{key}` is missing in {section}"), format!("add {key} = {example}"));
            self.problems.add(problem);
        }
        written.spanned()
    }

    /// Reports two values of which the first may not be larger than the second.
    fn in_order<T: PartialOrd, A, B>(&mut self, smaller: (&str, &Written<A>, T), larger: (&str, &Written<B>, T)) {
        if smaller.2 <= larger.2 {
            return;
        }
        let spans = [smaller.1.spanned().map(Spanned::span), larger.1.spanned().map(Spanned::span)];
        let message = format!("`{}` is larger than `{}`", smaller.0, larger.0);
        let problem = match spans {
            [Some(smaller_span), Some(larger_span)] => {
                Problem::new(smaller_span, message, "larger").also(larger_span, "than this")
            }
            [Some(span), None] => Problem::new(span, message, format!("must not be larger than {}", larger.0)),
            [None, span] => {
                Problem::new(span.unwrap_or_default(), message, format!("must not be smaller than {}", smaller.0))
            }
        };
        self.problems.add(problem);
    }

    /// Reports a name that another thing of the same kind has as well.
    fn unique<'w>(&mut self, kind: &str, names: impl Iterator<Item = (&'w str, Range<usize>)>) {
        let mut seen: Vec<(&str, Range<usize>)> = Vec::new();
        for (name, span) in names {
            // Names are compared without regard to case: they become file names, table names and labels.
            match seen.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
                Some((_, first)) => self.problems.add(
                    Problem::new(span, format!("two {kind}s are named {name:?}"), "give it another name")
                        .also(first.clone(), "the first"),
                ),
                None => seen.push((name, span)),
            }
        }
    }

    /// Whether `name` is among `known`; reported if not, with the nearest one.
    fn known(&mut self, key: &str, kind: &str, name: &Spanned<String>, known: &[&str]) -> bool {
        if known.contains(&name.get_ref().as_str()) {
            return true;
        }
        let message = format!("`{key}` names the {kind} {:?}, which does not exist", name.get_ref());
        let label = nearest(name.get_ref(), known.iter().copied())
            .map_or_else(|| "not known".to_owned(), |near| format!("did you mean {near:?}?"));
        let help = match known {
            [] => format!("there is no [[{kind}]] in this file"),
            known => {
                let kinds = if kind == "entity" { "entities".to_owned() } else { format!("{kind}s") };
                format!("{kinds} in this file: {}", known.join(", "))
            }
        };
        self.problems.add(Problem::new(name.span(), message, label).help(help));
        false
    }
}
