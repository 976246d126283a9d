//! Text for people: tables that fit a screen, numbers and times that can be read, and nothing in them that a terminal
//! would obey.

use std::time::Duration;

use crate::clock::UnixMs;

/// The width that every screen fits.
pub const COLUMNS: usize = 100;

/// Foreign text with its control characters made visible: a blob type must not move anybody's cursor.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// A number with its thousands set apart: `1,204`.
#[must_use]
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 notice`, `2 notices`, `2 deliveries`.
#[must_use]
pub fn plural(n: u64, one: &str) -> String {
    match one.strip_suffix('y') {
        _ if n == 1 => format!("{} {one}", number(n)),
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{} {stem}ies", number(n)),
        _ => format!("{} {one}s", number(n)),
    }
}

/// A size: `512 B`, `1.4 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A length of time in one unit: `250 ms`, `1.5 s`, `3 min`, `2 h`, `12 d`.
#[must_use]
pub fn length(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{:.1} s", time.as_secs_f64()),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// How far `at` is from now: `3 min ago`, `in 5 s`, `now`.
#[must_use]
pub fn ago(at: UnixMs, now: UnixMs) -> String {
    if at.0 > now.0 {
        format!("in {}", length(at.since(now)))
    } else if now.since(at) < Duration::from_secs(1) {
        "now".to_owned()
    } else {
        let past = now.since(at);
        // Tenths of a second mean nothing here.
        let past = if past < Duration::from_secs(10) { format!("{} s", past.as_secs()) } else { length(past) };
        format!("{past} ago")
    }
}

/// A moment and how far it is from now: `2026-03-01T09:30:00Z (3 min ago)`.
#[must_use]
pub fn moment(at: UnixMs, now: UnixMs) -> String {
    format!("{} ({})", second(at), ago(at, now))
}

/// A moment to the second, in UTC: `2026-03-01T09:30:00Z`.
#[must_use]
pub fn second(at: UnixMs) -> String {
    UnixMs(at.0.div_euclid(1000) * 1000).to_timestamp().to_string()
}

/// `text` cut to `width` characters, with `…` for what is left out.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `text` in lines of at most `COLUMNS`, the first after `head`, the others indented below it. Breaks at spaces, and
/// within a word that is longer than a line.
#[must_use]
pub fn wrapped(head: &str, text: &str) -> String {
    let indent = head.chars().count();
    let width = COLUMNS.saturating_sub(indent).max(20);
    let mut out = head.to_owned();
    let mut used = 0;
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len() > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        while rest.len() > width {
            out.extend(rest.drain(..width));
            out.push('\n');
            out.push_str(&" ".repeat(indent));
        }
        used += rest.len();
        out.extend(rest);
    }
    out.push('\n');
    out
}

/// How a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
    /// Text that gives way when the line is too long.
    Flexible,
}

/// A table whose columns are as wide as they need to be, and no wider than a screen together.
#[derive(Clone, Debug)]
pub struct Table {
    indent: usize,
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

/// Spaces between columns.
const GAP: usize = 2;

/// What a flexible column is not cut below.
const FLEXIBLE_MIN: usize = 8;

impl Table {
    /// A table with its headings, `indent` from the left.
    #[must_use]
    pub fn new(indent: usize, columns: &[(&str, Align)]) -> Self {
        let headings = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        Self { indent, aligns: columns.iter().map(|(_, align)| *align).collect(), rows: vec![headings] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells.into());
    }

    /// Adds a row of as many cells as there are columns.
    pub fn cells(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.aligns.len());
        self.rows.push(cells);
    }

    /// The lines, each ended by a line feed; `below` gives further lines to go under a row (from 0).
    #[must_use]
    pub fn lines(&self, below: impl Fn(usize) -> Option<String>) -> String {
        let mut widths: Vec<usize> = (0..self.aligns.len())
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let gaps = GAP * widths.len().saturating_sub(1) + self.indent;
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(COLUMNS);
        while excess > 0 {
            let flexible = (0..widths.len()).filter(|&column| self.aligns[column] == Align::Flexible);
            let Some(widest) = flexible.max_by_key(|&column| widths[column]) else { break };
            if widths[widest] <= FLEXIBLE_MIN {
                break;
            }
            widths[widest] -= 1;
            excess -= 1;
        }
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = " ".repeat(self.indent);
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                let cell = cut(cell, width);
                match self.aligns[column] {
                    Align::Right => line.push_str(&format!("{cell:>width$}")),
                    Align::Left | Align::Flexible => line.push_str(&format!("{cell:<width$}")),
                }
                line.push_str(&" ".repeat(GAP));
            }
            out.push_str(line.trim_end());
            out.push('\n');
            if let Some(text) = number.checked_sub(1).and_then(&below) {
                out.push_str(&text);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_can_be_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        let sizes = [0, 1023, 1024, 1_500_000, (1 << 20) - 1, 3 << 40].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.4 MiB", "1.0 MiB", "3.0 TiB"]);
        assert_eq!([plural(1, "notice"), plural(1200, "notice")], ["1 notice", "1,200 notices"]);
        assert_eq!(
            [plural(2, "delivery"), plural(1, "delivery"), plural(2, "day")],
            ["2 deliveries", "1 delivery", "2 days"]
        );
    }

    #[test]
    fn times_are_told_from_now() {
        let now = UnixMs(1_656_979_200_000);
        let told = |seconds: i64| ago(UnixMs(now.0 - seconds * 1000), now);
        assert_eq!(told(0), "now");
        assert_eq!(told(3), "3 s ago");
        assert_eq!(told(119), "119 s ago");
        assert_eq!(told(120), "2 min ago");
        assert_eq!(told(7200), "2 h ago");
        assert_eq!(told(86400 * 12), "12 d ago");
        assert_eq!(told(-90), "in 90 s");
        assert_eq!(moment(UnixMs(now.0 + 999), UnixMs(now.0 + 999)), "2022-07-05T00:00:00Z (now)");
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\r\n\u{9b}"), "a\\u{1b}[31mb\\r\\n\\u{9b}");
    }

    #[test]
    fn no_line_is_longer_than_the_screen() {
        let mut table = Table::new(2, &[("id", Align::Right), ("name", Align::Flexible), ("why", Align::Flexible)]);
        table.row(["7".to_owned(), "n".repeat(200), "w".repeat(90)]);
        let lines = table.lines(|_| Some(wrapped("   because ", &"long ".repeat(60))));
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS), "{lines}");
        assert!(lines.contains('…'));
        let lines = wrapped("uri  ", &"x".repeat(250));
        assert_eq!(lines.lines().count(), 3);
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS));
    }
}
