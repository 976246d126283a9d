//! What a sink has written into a folder: files, records, and how often each record is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Every file below `folder` that is in sight, in order; those that begin with a dot are not.
pub fn files_in_sight(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// Every line of the files below `folder`.
pub fn lines(folder: &Path) -> Vec<String> {
    let texts = files_in_sight(folder).into_iter().map(|file| std::fs::read_to_string(file).expect("a delivered file"));
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Every line of the files below `folder`, as the record that it is.
pub fn records(folder: &Path) -> Vec<Value> {
    lines(folder).iter().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

/// How often each record lies below `folder`, by the text at `pointer`, which each has.
pub fn named(folder: &Path, pointer: &str) -> BTreeMap<String, u32> {
    let name = |record: &Value| record.pointer(pointer).and_then(Value::as_str).expect("a name").to_owned();
    counted(records(folder).iter().map(name))
}

/// How often each of `names` comes.
pub fn counted(names: impl IntoIterator<Item = String>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Those that come more than once.
pub fn doubled(counts: &BTreeMap<String, u32>) -> Vec<(&String, &u32)> {
    counts.iter().filter(|(_, times)| **times != 1).collect()
}
