//! The screen of a listing: shelves with what lies on them, each beside what the inbox has of it.

use std::fmt::Write as _;

use crate::cli::screen::{Align, Table, clean, number, plural, second, size, wrapped};
use crate::clock::UnixMs;

/// A day's folder, or a place.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    /// What it is called.
    pub(super) title: String,
    /// What is said of it besides; empty for nothing.
    pub(super) says: String,
    /// One thing on it: `object`, `file`.
    pub(super) one: &'static str,
    /// What its time is: `written`, `stored`.
    pub(super) time: &'static str,
    pub(super) things: Vec<Thing>,
}

/// Something that lies there, or lay there.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    pub(super) name: String,
    /// `None` where it is not known any more.
    pub(super) bytes: Option<u64>,
    pub(super) time: Option<UnixMs>,
    pub(super) state: String,
    /// Its notices; empty for none.
    pub(super) notices: String,
    /// What is to be said below it.
    pub(super) note: Option<String>,
}

/// The shelves one after the other, with no more than `limit` things on all of them one by one.
pub(super) fn screen(shelves: &[Shelf], limit: usize) -> String {
    let mut out = String::new();
    let mut left = limit;
    for shelf in shelves {
        let count = plural(shelf.things.len() as u64, shelf.one);
        let sizes: Vec<u64> = shelf.things.iter().filter_map(|thing| thing.bytes).collect();
        let bytes = if sizes.is_empty() { String::new() } else { format!(", {}", size(sizes.iter().sum())) };
        let says = if shelf.says.is_empty() { String::new() } else { format!(", {}", shelf.says) };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}  {count}{bytes}{says}", clean(&shelf.title));
        let mut table = Table::new(
            2,
            &[
                (shelf.one, Align::Flexible),
                ("size", Align::Right),
                (shelf.time, Align::Left),
                ("state", Align::Left),
                ("notice", Align::Right),
            ],
        );
        let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
        for thing in shelf.things.iter().take(left) {
            table.row([
                clean(&thing.name),
                or_dash(thing.bytes.map(size)),
                or_dash(thing.time.map(second)),
                thing.state.clone(),
                or_dash(Some(thing.notices.clone())),
            ]);
        }
        let shown = shelf.things.len().min(left);
        if shown > 0 {
            let note = |row: usize| Some(wrapped("    ", &clean(shelf.things.get(row)?.note.as_deref()?)));
            out.push_str(&table.lines(note));
        }
        if shown < shelf.things.len() {
            let _ = writeln!(out, "  and {} more (--limit)", number((shelf.things.len() - shown) as u64));
        }
        left -= shown;
    }
    out
}
