//! How the key of an entity is written, and the pointers that it means.
//!
//! ```toml
//! key = "/id"                                                      # one value, under the name `key`
//! key = ["/storeNo", "/itemNo"]                                    # two values that together are the key
//! key = { sku = "/identifier/sku", gtin = "/identifier/mainGTIN" } # alternatives, by name: any one finds the entity
//! ```
//!
//! Each text is a JSON pointer when it begins with `/`. Otherwise it is a path of names with `/` between them, as our
//! splitters make objects of CSV and XML: `EAN code` is the CSV column of that name, `Item/Identifier/Sku` an XML element
//! from the record's own element on, `Item/@sku` its attribute, `Item/Name/#text` the text of an element that has attributes or
//! children besides. Nothing in a path is escaped; a column whose name holds a `/` is written as the pointer `/a~1b`.

use toml::Spanned;
use toml::de::DeValue;

use super::problem::{Problem, Problems};
use super::reader::{FromToml, cannot_be};
use crate::pointer::Pointer;

/// What a key is called that was written without a name.
pub const UNNAMED: &str = "key";

/// More values than this in one key, or alternatives in one entity, are a mistake.
const PARTS_MAX: usize = 16;

const MUST: &str = "must be a pointer such as \"/id\", a list of them, or a table such as { sku = \"/sku\" }";

/// The alternatives of a key; at least one.
#[derive(Clone, Debug)]
pub struct Keys(pub Vec<Key>);

impl Keys {
    /// The key, if it is but one, without a name.
    pub fn unnamed(&self) -> Option<&[String]> {
        match self.0.as_slice() {
            [key] if !key.is_named => Some(&key.pointers),
            _ => None,
        }
    }
}

/// One alternative: what it is called, and the values that together are the key.
#[derive(Clone, Debug)]
pub struct Key {
    /// With the place where the name, or the whole key without one, was written.
    pub name: Spanned<String>,
    /// Whether that name was written.
    pub is_named: bool,
    /// At least one.
    pub pointers: Vec<String>,
}

impl FromToml for Keys {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            let name = Spanned::new(value.span(), UNNAMED.to_owned());
            let pointers = pointers(key, value, problems)?;
            return Some(Self(vec![Key { name, is_named: false, pointers }]));
        };
        if table.is_empty() || table.len() > PARTS_MAX {
            cannot_be(
                key,
                value.span(),
                format!("must name 1 to {PARTS_MAX} keys such as {{ sku = \"/sku\" }}"),
                problems,
            );
            return None;
        }
        let mut keys = Vec::new();
        for (name, value) in table {
            let full = format!("{key}.{}", name.get_ref());
            // Each is looked at, also after one that is wrong.
            if let Some(pointers) = pointers(&full, value, problems) {
                let name = Spanned::new(name.span(), name.get_ref().to_string());
                keys.push(Key { name, is_named: true, pointers });
            }
        }
        // In the order of the file; the table's own is that of the names.
        keys.sort_by_key(|key| key.name.span().start);
        (keys.len() == table.len()).then_some(Self(keys))
    }
}

/// The pointers of one alternative: a text or a list of texts.
fn pointers(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Vec<String>> {
    let texts: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
        DeValue::String(_) => vec![value],
        DeValue::Array(list) if (1..=PARTS_MAX).contains(&list.len()) => list.iter().collect(),
        DeValue::Array(_) => {
            cannot_be(key, value.span(), format!("must name 1 to {PARTS_MAX} values"), problems);
            return None;
        }
        _ => {
            cannot_be(key, value.span(), MUST, problems);
            return None;
        }
    };
    let mut pointers: Vec<String> = Vec::new();
    for text in &texts {
        let Some(written) = text.get_ref().as_str() else {
            cannot_be(key, text.span(), MUST, problems);
            continue;
        };
        match pointer_of(written) {
            Ok(pointer) if pointers.contains(&pointer) => problems.add(
                Problem::new(text.span(), format!("`{key}` names {written:?} twice"), "a second time")
                    .help("each value belongs into a key once"),
            ),
            Ok(pointer) => pointers.push(pointer),
            Err(why) => cannot_be(key, text.span(), why, problems),
        }
    }
    (pointers.len() == texts.len()).then_some(pointers)
}

/// The JSON pointer that `written` means: itself, or the one of a path of names.
///
/// # Errors
/// What is allowed, for a person.
pub fn pointer_of(written: &str) -> Result<String, String> {
    let pointer = if written.starts_with('/') {
        written.to_owned()
    } else {
        // A name with blanks around it is never found: headers are trimmed, and XML names have none.
        if written.split('/').any(|name| name.trim().is_empty() || name.trim() != name) {
            return Err(
                "must be a pointer such as \"/id\", a column's name, or a path such as \"Item/@sku\"".to_owned()
            );
        }
        format!("/{}", written.replace('~', "~0"))
    };
    Pointer::parse(&pointer).map_err(|error| format!("must be a JSON pointer such as \"/id\"; {}", error.reason()))?;
    Ok(pointer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_and_an_xml_path_become_the_pointer_that_finds_them() {
        for (written, pointer) in [
            ("/identifier/sku", "/identifier/sku"),
            ("/a~1b", "/a~1b"),
            ("EAN code", "/EAN code"),
            ("identifier.sku", "/identifier.sku"),
            ("a~b", "/a~0b"),
            ("Item/Identifier/Sku", "/Item/Identifier/Sku"),
            ("Item/@sku", "/Item/@sku"),
            ("@sku", "/@sku"),
            ("Item/Name/#text", "/Item/Name/#text"),
        ] {
            assert_eq!(pointer_of(written).as_deref(), Ok(pointer));
        }
        for written in ["", " ", "a//b", "a/", " a", "/a~2"] {
            assert!(pointer_of(written).is_err(), "{written:?}");
        }
    }
}
