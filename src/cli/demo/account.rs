//! Looks at what lies in the output after the demo, and holds it against what was published.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Records that were published and lie nowhere.
    pub lost: u64,
    /// Records that lie somewhere more than once, and records that were never published, each extra one counted.
    pub duplicated: u64,
}

/// Holds `names`, of every record that lies in the output, against `expected`.
pub fn compare(expected: &[String], names: impl IntoIterator<Item = String>) -> Found {
    let mut open: HashMap<&str, u64> = expected.iter().map(|name| (name.as_str(), 0)).collect();
    let mut found = Found::default();
    for name in names {
        match open.get_mut(name.as_str()) {
            Some(times) => {
                *times += 1;
                found.duplicated += u64::from(*times > 1);
            }
            None => found.duplicated += 1,
        }
    }
    found.lost = open.values().filter(|times| **times == 0).count() as u64;
    found
}

/// The names of the records in every file of JSON lines below `folder`.
///
/// # Errors
/// When a file cannot be read, or a line has no name.
pub fn names_in_folder(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Nothing was delivered there.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        };
        for entry in entries {
            let entry = entry.with_context(|| folder.display().to_string())?;
            // What the sink has not finished is not in sight.
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type().with_context(|| entry.path().display().to_string())?.is_dir() {
                folders.push(entry.path());
            } else {
                names_in_file(&entry.path(), &mut names)?;
            }
        }
    }
    Ok(names)
}

fn names_in_file(path: &Path, names: &mut Vec<String>) -> anyhow::Result<()> {
    let what = || path.display().to_string();
    let file = BufReader::new(std::fs::File::open(path).with_context(what)?);
    for line in file.lines() {
        let record: Value = serde_json::from_str(&line.with_context(what)?).with_context(what)?;
        names.push(name_of(&record).with_context(|| format!("a record without a name in {}", what()))?);
    }
    Ok(())
}

/// The names of the records in a table of the demo's database.
///
/// # Errors
/// When the database cannot be read.
pub fn names_in_table(database: &Path, table: &str) -> anyhow::Result<Vec<String>> {
    if !database.exists() {
        return Ok(Vec::new());
    }
    let connection = rusqlite::Connection::open(database).with_context(|| database.display().to_string())?;
    let mut query = connection.prepare(&format!("SELECT body FROM \"{table}\""))?;
    let bodies = query.query_map([], |row| row.get::<_, String>(0))?;
    bodies
        .map(|body| {
            let record: Value = serde_json::from_str(&body?)?;
            name_of(&record).context("a row without a name")
        })
        .collect()
}

/// What names a record of the samples, whichever form it was delivered in.
pub fn name_of(record: &Value) -> Option<String> {
    // As JSON, as a row of CSV, and as an element of XML under its name; last the events of the other vendors.
    const POINTERS: [&str; 10] = [
        "/priceGuid",
        "/identifier/sku",
        "/storeNo",
        "/customerNo",
        "/Customer/customerNo",
        "/code",
        "/StoreGroup/code",
        "/eventId",
        "/id",
        "/tenantArticleId",
    ];
    // A payload may be a bare text.
    let found = POINTERS.iter().find_map(|pointer| record.pointer(pointer)).or(record.is_string().then_some(record))?;
    Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_lies_nowhere_is_lost_and_one_that_lies_twice_is_doubled() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let found = compare(&texts(&["a", "b", "c"]), texts(&["a", "b", "b", "x"]));
        assert_eq!(found, Found { lost: 1, duplicated: 2 });
    }
}
