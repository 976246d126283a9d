//! `longshore quarantine`: how many things were set aside for which reason.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;

use super::{Pages, Which, name};
use crate::cli::screen::{Align, Table, ago, clean, number, wrapped};
use crate::cli::select;
use crate::clock::UnixMs;
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::Aside;

/// Groups that are told apart; whatever fits none of them is counted together.
const GROUPS_MAX: usize = 1_000;

/// Groups on the screen.
const SHOWN_MAX: usize = 30;

/// By what things are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// Whole notices and single records apart
    What,
    /// The reason, whatever numbers stand in it
    Reason,
    /// The class of the reason
    Class,
    /// What the file holds
    BlobType,
    /// The route
    Route,
    /// The sink
    Sink,
}

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
// Else it would be a second group of the same name beside that of its parent.
#[group(skip)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// By what they are grouped
    #[arg(long, value_name = "BY", value_delimiter = ',', default_value = "what,class,blob-type,route,reason")]
    by: Vec<By>,
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

/// What a group has in common; what is not asked for is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Key {
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Group {
    #[serde(flatten)]
    key: Key,
    count: u64,
    /// The newest of them.
    example: String,
    #[serde(skip)]
    newest: UnixMs,
}

pub(super) async fn run(args: Args, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let now = select::now();
    let mut pages = Pages::new(inbox, args.which.selector(now), false);
    let mut groups = Groups::default();
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        for thing in page {
            groups.add(&args.by, &thing);
        }
    }
    let groups = groups.largest_first();
    select::tell(args.json, &groups, || screen(&groups, now))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Groups(BTreeMap<Key, Group>);

impl Groups {
    fn add(&mut self, by: &[By], thing: &Aside) {
        let key = key(by, thing);
        let is_known = self.0.contains_key(&key);
        let key = if is_known || self.0.len() < GROUPS_MAX {
            key
        } else {
            Key { reason: Some("(others)".to_owned()), ..Key::default() }
        };
        let group = self.0.entry(key).or_insert_with_key(|key| Group {
            key: key.clone(),
            count: 0,
            example: name(thing.id),
            newest: thing.published,
        });
        group.count += 1;
    }

    fn largest_first(self) -> Vec<Group> {
        let mut groups: Vec<_> = self.0.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }
}

fn key(by: &[By], thing: &Aside) -> Key {
    let wanted = |one: By, value: &dyn Fn() -> String| by.contains(&one).then(value);
    let target = |part: fn(&crate::inbox::Target) -> String| thing.target.as_ref().map_or("-".to_owned(), part);
    Key {
        what: wanted(By::What, &|| if thing.id.number.is_some() { "records" } else { "notices" }.to_owned()),
        class: wanted(By::Class, &|| thing.class.to_string()),
        blob_type: wanted(By::BlobType, &|| thing.blob_type.clone()),
        route: wanted(By::Route, &|| target(|target| target.route.to_string())),
        sink: wanted(By::Sink, &|| target(|target| target.sink.to_string())),
        reason: wanted(By::Reason, &|| pattern(&thing.reason)),
    }
}

/// A reason without what tells its things apart: `column 17` and `column 4` are one reason, and so is the same trouble
/// with two addresses or ids. The group's example shows them whole.
fn pattern(reason: &str) -> String {
    reason.split(' ').map(word_pattern).collect::<Vec<_>>().join(" ")
}

fn word_pattern(word: &str) -> String {
    if word.contains("://") {
        return "<address>".to_owned();
    }
    let is_id = |part: &str| {
        part.len() >= 8 && part.contains(|c: char| c.is_ascii_digit()) && part.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if word.split('-').any(is_id) {
        return "<id>".to_owned();
    }
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

/// A column: its heading, and what of a group stands in it.
type Part = (&'static str, Align, fn(&Key) -> Option<&str>);

/// The columns that depend on what is grouped by.
const PARTS: [Part; 5] = [
    ("", Align::Left, |key| key.what.as_deref()),
    ("class", Align::Left, |key| key.class.as_deref()),
    ("blob type", Align::Flexible, |key| key.blob_type.as_deref()),
    ("route", Align::Flexible, |key| key.route.as_deref()),
    ("sink", Align::Flexible, |key| key.sink.as_deref()),
];

fn screen(groups: &[Group], now: UnixMs) -> String {
    if groups.is_empty() {
        return "nothing is set aside\n".to_owned();
    }
    // Only what they are grouped by has a column.
    let mut columns = vec![("set aside", Align::Right)];
    let parts: Vec<Part> =
        PARTS.into_iter().filter(|(.., of)| groups.iter().any(|group| of(&group.key).is_some())).collect();
    columns.extend(parts.iter().map(|(heading, align, _)| (*heading, *align)));
    columns.extend([("newest", Align::Left), ("published", Align::Right)]);
    let mut table = Table::new(0, &columns);
    for group in groups.iter().take(SHOWN_MAX) {
        let mut row = vec![number(group.count)];
        row.extend(parts.iter().map(|(.., of)| clean(of(&group.key).unwrap_or_default())));
        row.extend([group.example.clone(), ago(group.newest, now)]);
        table.cells(row);
    }
    let mut text = table.lines(|row| {
        let reason = groups[row].key.reason.as_deref()?;
        Some(wrapped(&" ".repeat(11), &clean(reason)))
    });
    if groups.len() > SHOWN_MAX {
        let left: u64 = groups[SHOWN_MAX..].iter().map(|group| group.count).sum();
        text.push_str(&format!(
            "and {} in {} smaller groups\n",
            number(left),
            number((groups.len() - SHOWN_MAX) as u64)
        ));
    }
    text.push_str("next: longshore quarantine list | show ID | export | release | discard\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::NOW;
    use crate::cli::quarantine::fixture::things;

    fn grouped(by: &[By]) -> Vec<Group> {
        let mut groups = Groups::default();
        for thing in things() {
            groups.add(by, &thing);
        }
        groups.largest_first()
    }

    #[test]
    fn reasons_that_differ_in_numbers_addresses_and_ids_only_are_one() {
        assert_eq!(pattern("it is not JSON at byte 17 of 2,048"), "it is not JSON at byte # of #,#");
        assert_eq!(
            pattern("https://a.example/x/27254fff-33e3.gz is not there (HTTP 404)"),
            "<address> is not there (HTTP #)"
        );
        assert_eq!(pattern("item 27254fff-33e3-466d-bef9-a25c4559f7c2 unknown"), "item <id> unknown");
    }

    #[test]
    fn reasons_that_differ_in_a_number_are_one_group() {
        let all = [By::What, By::Class, By::BlobType, By::Route, By::Reason];
        let screen = screen(&grouped(&all), NOW);
        assert!(screen.lines().all(|line| line.chars().count() <= crate::cli::screen::COLUMNS));
        insta::assert_snapshot!(screen);
    }

    #[test]
    fn groups_as_json() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&grouped(&[By::Class, By::Sink])).unwrap());
    }

    #[test]
    fn groups_without_end_are_counted_together() {
        let mut groups = Groups::default();
        for at in 0..GROUPS_MAX + 5 {
            let reason = format!("{:?}", at.to_string().replace(|c: char| c.is_ascii_digit(), "x") + &"y".repeat(at));
            groups.add(&[By::Reason], &Aside { reason, ..things().remove(0) });
        }
        let groups = groups.largest_first();
        assert_eq!(groups.len(), GROUPS_MAX + 1);
        assert_eq!((groups[0].count, groups[0].key.reason.as_deref()), (5, Some("(others)")));
    }
}
