//! A day's zip: one CSV for each event name, the same bytes for the same day and seed.

use std::io::{self, Seek, Write};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use zip::write::{SimpleFileOptions, ZipWriter};

use super::table::{EVENTS, Event, Table};

/// The client whose events they are; it stands in the zip's name.
const CLIENT: &str = "sandbox";

/// What a day's zip holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaySpec {
    /// The day that the data are of.
    pub date: Date,
    /// Events of each name, broken ones included.
    #[serde(default = "thousand")]
    pub rows: u64,
    /// So many rows of the first file lack their last values.
    #[serde(default)]
    pub broken_rows: u64,
    /// Decides everything that the day leaves open. Another seed is other content under the same names and event ids.
    #[serde(default)]
    pub seed: u64,
}

pub(super) const fn thousand() -> u64 {
    1_000
}

/// A CSV of a zip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DayFile {
    /// Its name in the zip.
    pub name: String,
    /// The event's name, of which a feed makes the blob type.
    pub blob_type: String,
    /// Its good rows.
    pub rows: u64,
    /// Its broken rows.
    pub broken_rows: u64,
}

impl DaySpec {
    /// A day with a thousand events of each name.
    #[must_use]
    pub const fn new(date: Date) -> Self {
        Self { date, rows: thousand(), broken_rows: 0, seed: 0 }
    }

    /// The zip's name. The vendor's own sample has the blank in it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{CLIENT}_ {}.zip", self.date_text())
    }

    /// The files of the zip.
    #[must_use]
    pub fn files(&self) -> Vec<DayFile> {
        let file = |(number, event): (usize, &Event)| {
            let broken_rows = self.broken_of(number);
            DayFile {
                name: format!("{}_{}.csv", event.name, self.date_text()),
                blob_type: event.name.to_owned(),
                rows: self.rows - broken_rows,
                broken_rows,
            }
        };
        EVENTS.iter().enumerate().map(file).collect()
    }

    /// The event ids of all good rows; no other day has one of them.
    pub fn event_ids(&self) -> impl Iterator<Item = String> {
        (0..EVENTS.len())
            .flat_map(move |number| (self.broken_of(number)..self.rows).map(move |row| self.id(number, row)))
    }

    /// Writes the zip.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_to<W: Write + Seek>(&self, out: W) -> io::Result<W> {
        let mut zip = ZipWriter::new(out);
        for (number, (file, event)) in self.files().iter().zip(&EVENTS).enumerate() {
            // Without a time of its own: the same day is the same bytes.
            zip.start_file(&file.name, SimpleFileOptions::default())?;
            let seed = self.seed.wrapping_mul(31) ^ (number as u64) << 56;
            let ids = (0..self.rows).map(|row| self.id(number, row));
            Table { event, date: self.date, seed }.write(&mut zip, ids, self.broken_of(number))?;
        }
        Ok(zip.finish()?)
    }

    fn broken_of(&self, number: usize) -> u64 {
        if number == 0 { self.broken_rows.min(self.rows) } else { 0 }
    }

    fn id(&self, number: usize, row: u64) -> String {
        format!("{}{number}{row:09}", self.date.strftime("%Y%m%d"))
    }

    /// Day, month, year.
    fn date_text(&self) -> String {
        self.date.strftime("%d%m%Y").to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::{Cursor, Read as _};

    use super::*;

    const DAY: Date = Date::constant(2026, 11, 22);

    /// Column and value.
    type Cell = (String, String);

    /// Every file's name and rows, and how many rows were broken.
    fn read(bytes: Vec<u8>) -> Vec<(String, Vec<Vec<Cell>>, u64)> {
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).expect("a zip");
        let files = (0..zip.len()).map(|at| {
            let mut entry = zip.by_index(at).expect("an entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("UTF-8");
            let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
            let names = rows.headers().expect("a header").clone();
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let rows: Vec<_> = rows.records().map(|row| row.expect("a row")).collect();
            let is_whole = |row: &&csv::StringRecord| row.len() == names.len();
            let broken = rows.iter().filter(|row| !is_whole(row)).count() as u64;
            let good = rows.iter().filter(is_whole).map(|row| names.iter().zip(row).map(owned).collect()).collect();
            (entry.name().expect("UTF-8").into_owned(), good, broken)
        });
        files.collect()
    }

    fn zip(spec: &DaySpec) -> Vec<u8> {
        spec.write_to(Cursor::new(Vec::new())).expect("memory").into_inner()
    }

    #[test]
    fn a_zip_holds_what_its_account_says() {
        let spec = DaySpec { rows: 20, broken_rows: 3, ..DaySpec::new(DAY) };
        let files = read(zip(&spec));
        let told: Vec<_> =
            spec.files().into_iter().map(|file| (file.name, file.rows as usize, file.broken_rows)).collect();
        assert_eq!(
            files.iter().map(|(name, rows, broken)| (name.clone(), rows.len(), *broken)).collect::<Vec<_>>(),
            told
        );
        assert_eq!(told[0], ("add to cart_22112026.csv".to_owned(), 17, 3));
        let ids = files.into_iter().flat_map(|(_, rows, _)| rows).map(|row| row[4].clone());
        let ids: Vec<String> = ids.inspect(|(name, _)| assert_eq!(name, "eventId")).map(|(_, id)| id).collect();
        assert_eq!(ids, spec.event_ids().collect::<Vec<_>>());
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn the_same_day_is_the_same_bytes_and_the_next_day_has_other_columns() {
        let spec = DaySpec { rows: 2, ..DaySpec::new(DAY) };
        assert_eq!(zip(&spec), zip(&spec.clone()));
        assert_ne!(zip(&spec), zip(&DaySpec { seed: 1, ..spec.clone() }));
        let columns = |spec: &DaySpec| -> Vec<String> {
            read(zip(spec))[0].1[0].iter().map(|(name, _)| name.clone()).filter(|name| name.contains('.')).collect()
        };
        let next = DaySpec { date: DAY.tomorrow().expect("a day"), ..spec.clone() };
        assert_ne!(columns(&spec), columns(&next));
    }
}
