//! How the columns of a CSV file become the members of an object.
//!
//! A name is trimmed and takes the spelling that is wished for, whatever its case; a column without one is `columnN`,
//! counted from 1; a name that came before gets `_2`, `_3` and so on. Columns with a gathering prefix become the members of an
//! object of that name (`Payload.price` the `price` of `Payload`), which stands after the others. A column that is named
//! as the prefix itself holds that object as JSON. A value that is the text for null is null; all others are strings.

use std::collections::HashMap;

use crate::route::FormatHints;

/// What becomes of each column, in the file's order.
pub(super) struct Layout {
    columns: Vec<Column>,
    /// The objects that are gathered: each its name as a JSON string with its colon.
    groups: Vec<Vec<u8>>,
    null: Option<String>,
    /// The members of each group, row by row.
    members: Vec<Vec<u8>>,
}

struct Column {
    /// As a JSON string with its colon.
    key: Vec<u8>,
    place: Place,
}

enum Place {
    Top,
    /// Its value is JSON where it can be read as that.
    Json,
    Group(usize),
}

impl Layout {
    /// The layout of a header's names.
    pub(super) fn of<'n>(names: impl Iterator<Item = &'n str>, hints: &FormatHints) -> Self {
        let prefixes: Vec<(&str, &str)> = hints
            .csv_gather
            .iter()
            .map(|prefix| (prefix.as_str(), prefix.trim_end_matches(|c: char| !c.is_alphanumeric())))
            .collect();
        let mut groups: Vec<(usize, HashMap<String, usize>)> = Vec::new();
        let mut taken = HashMap::new();
        let mut columns = Vec::new();
        for (at, name) in names.enumerate() {
            let name = name.trim();
            let gathered = prefixes.iter().enumerate().find_map(|(at, (prefix, _))| Some((at, rest(name, prefix)?)));
            if let Some((prefix, member)) = gathered.filter(|(_, member)| !member.is_empty()) {
                let group = groups.iter().position(|(of, _)| *of == prefix).unwrap_or_else(|| {
                    groups.push((prefix, HashMap::new()));
                    groups.len() - 1
                });
                let key = key(&unique(member, &mut groups[group].1));
                columns.push(Column { key, place: Place::Group(group) });
                continue;
            }
            let named = prefixes.iter().find(|(prefix, object)| is_same(name, prefix) || is_same(name, object));
            let wished = hints.csv_columns.iter().find(|wished| is_same(wished, name));
            let name = match (wished, named) {
                (Some(wished), _) => wished.clone(),
                (None, Some((_, object))) => (*object).to_owned(),
                (None, None) if name.is_empty() => format!("column{}", at + 1),
                (None, None) => name.to_owned(),
            };
            let place = if named.is_some() { Place::Json } else { Place::Top };
            columns.push(Column { key: key(&unique(&name, &mut taken)), place });
        }
        let groups: Vec<_> = groups.iter().map(|(prefix, _)| key(&unique(prefixes[*prefix].1, &mut taken))).collect();
        let members = vec![Vec::new(); groups.len()];
        Self { columns, groups, null: hints.csv_null.clone(), members }
    }

    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// Writes a row's object; there are as many values as columns. The error is one line for people.
    pub(super) fn write<'v>(
        &mut self,
        values: impl Iterator<Item = &'v [u8]>,
        body: &mut Vec<u8>,
    ) -> Result<(), String> {
        body.clear();
        body.push(b'{');
        self.members.iter_mut().for_each(Vec::clear);
        for (at, (column, value)) in self.columns.iter().zip(values).enumerate() {
            let value = std::str::from_utf8(value).map_err(|_| format!("its value number {} is not UTF-8", at + 1))?;
            let out = match column.place {
                Place::Group(group) => &mut self.members[group],
                Place::Top | Place::Json => &mut *body,
            };
            if !matches!(out.as_slice(), [] | [b'{']) {
                out.push(b',');
            }
            out.extend_from_slice(&column.key);
            if self.null.as_deref() == Some(value) {
                out.extend_from_slice(b"null");
            } else if !(matches!(column.place, Place::Json) && write_json(value, out)) {
                write_string(value, out);
            }
        }
        for (group, members) in self.groups.iter().zip(&self.members) {
            if body.len() > 1 {
                body.push(b',');
            }
            body.extend_from_slice(group);
            body.push(b'{');
            body.extend_from_slice(members);
            body.push(b'}');
        }
        body.push(b'}');
        Ok(())
    }
}

/// What follows the prefix, whatever its case.
fn rest<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    let start = name.get(..prefix.len())?;
    is_same(start, prefix).then(|| &name[prefix.len()..])
}

fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// The name, with a number if it is taken; `taken` has the number that each name came to, so that a header of nothing but
/// one name does not cost the square of its length.
fn unique(name: &str, taken: &mut HashMap<String, usize>) -> String {
    if !taken.contains_key(name) {
        taken.insert(name.to_owned(), 1);
        return name.to_owned();
    }
    loop {
        let again = taken.entry(name.to_owned()).or_insert(1);
        *again += 1;
        let unique = format!("{name}_{again}");
        if !taken.contains_key(&unique) {
            taken.insert(unique.clone(), 1);
            return unique;
        }
    }
}

fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::new();
    write_string(name, &mut key);
    key.push(b':');
    key
}

/// Writes a value that is JSON as it is; line ends, which can only stand between its parts, become blanks.
fn write_json(value: &str, out: &mut Vec<u8>) -> bool {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
    if is_json {
        out.extend(value.trim().bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    }
    is_json
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string can always be written to memory");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A column's name is a member of the record, whatever it is: never a second record, nor another member.
        #[test]
        fn any_names_make_one_object_with_as_many_members(
            names in prop::collection::vec("(\\PC|\"|\\\\|\n|\0|,|:|\\{|\\}|Payload\\.){0,12}", 1..8),
            values in prop::collection::vec("(\\PC|\"|\\\\|\n|\0){0,12}", 8),
        ) {
            for gather in [Vec::new(), vec!["Payload.".to_owned()]] {
                let gathered = names.iter().any(|name| name.trim().starts_with("Payload.")) && !gather.is_empty();
                let hints = FormatHints { csv_gather: gather, ..FormatHints::default() };
                let mut layout = Layout::of(names.iter().map(String::as_str), &hints);
                let mut body = Vec::new();
                layout.write(values.iter().take(names.len()).map(String::as_bytes), &mut body).expect("text");
                prop_assert!(!body.contains(&b'\n'));
                let record: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&body).expect("an object");
                if !gathered {
                    prop_assert_eq!(record.len(), names.len());
                }
            }
        }
    }
}
