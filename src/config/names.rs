//! Names of one side and what the other side calls the same, as a table.

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Problems;
use super::reader::{FromToml, cannot_be};

/// More are a mistake; the vendor that has the most events names some hundred and ten.
const NAMES_MAX: usize = 10_000;

const MUST: &str = "must be a table of names such as { ORDER_CREATED = \"order-created_event\" }";

/// Pairs of names, in the order of the file; at least one.
#[derive(Clone, Debug)]
pub struct Names(pub Vec<(String, String)>);

impl FromToml for Names {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            cannot_be(key, value.span(), MUST, problems);
            return None;
        };
        if table.is_empty() || table.len() > NAMES_MAX {
            cannot_be(key, value.span(), MUST, problems);
            return None;
        }
        let mut names = Vec::new();
        for (name, value) in table {
            match value.get_ref().as_str() {
                Some(other) if !other.is_empty() => {
                    names.push((name.span().start, (name.get_ref().to_string(), other.to_owned())));
                }
                _ => cannot_be(&format!("{key}.{}", name.get_ref()), value.span(), "must be a name", problems),
            }
        }
        names.sort_by_key(|(place, _)| *place);
        (names.len() == table.len()).then(|| Self(names.into_iter().map(|(_, pair)| pair).collect()))
    }
}
