//! The `type` of a section that has several kinds.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::problem::{Problem, Problems};
use crate::config::reader::{FromToml, Written, full_key};
use crate::config::value::{Name, either, one_of};

/// A key that was read before its section: `type`, which says what section it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl FromToml for Raw {
    fn read(_key: &str, _value: &Spanned<DeValue<'_>>, _problems: &mut Problems<'_>) -> Option<Self> {
        Some(Self)
    }
}

/// The `type` in a table, which decides what other keys it has.
pub(super) fn type_of<'w>(
    key: &str,
    table: &DeTable<'_>,
    span: Range<usize>,
    types: &[&'w str],
    problems: &mut Problems<'_>,
) -> Option<&'w str> {
    match table.get("type") {
        Some(value) => one_of(&full_key(key, "type"), value, types.iter().copied(), problems),
        None => {
            let label = format!("add type = {}", either(types.iter().copied()));
            problems.add(Problem::new(span, format!("`type` is missing in [[{key}]]"), label));
            None
        }
    }
}

/// The `name` in a table of unknown type.
pub(super) fn name_in(key: &str, table: &DeTable<'_>, problems: &mut Problems<'_>) -> Written<Name> {
    table.get("name").map_or(Written::Absent, |name| Written::read(&full_key(key, "name"), name, problems))
}
