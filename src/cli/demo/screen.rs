//! The line that moves while the demo plays.

use std::cell::Cell;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::inbox::ledger::Summary;

/// The line that moves, on standard error; silent where that is no terminal.
pub struct Screen {
    bar: ProgressBar,
    expected: Cell<u64>,
    published: Cell<u64>,
}

impl Screen {
    /// A line that ends where it is told to by [`Screen::expect`].
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
        let style = "{spinner} {pos}/{len} notices ended  {wide_bar}  {msg}  {elapsed}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, expected: Cell::new(0), published: Cell::new(0) }
    }

    /// So many more notices come.
    pub fn expect(&self, notices: u64) {
        self.expected.set(self.expected.get() + notices);
        self.bar.set_length(self.expected.get());
    }

    /// What makes so many notices was published.
    pub fn published(&self, notices: u64) {
        self.published.set(self.published.get() + notices);
        self.bar.set_message(format!("{} published", self.published.get()));
        self.bar.tick();
    }

    /// Says something that stays above the line.
    pub fn say(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Shows how far the daemon is.
    pub fn show(&self, summary: &Summary, woken: u64) {
        let counts = summary.notices;
        let ended = counts.finished + counts.skipped + counts.quarantined;
        // Woken records come in notices of their own.
        self.bar.set_length(self.expected.get().max(ended + counts.heard + counts.open));
        self.bar.set_position(ended);
        self.bar.set_message(format!(
            "{} delivered, {} parked, {} woken",
            HumanCount(summary.last_day.counts.delivered),
            HumanCount(summary.parked.records),
            HumanCount(woken)
        ));
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
