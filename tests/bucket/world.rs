//! A configuration over a bucket, and what was delivered.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::OnceLock;

use jiff::civil::Date;
use jiff::{ToSpan as _, Zoned};

use crate::common::delivered;
use crate::common::place::Place;

pub struct World(Place);

crate::is_a_place!(World, 0);

impl World {
    /// A world whose feed `export` has these keys, and whose routes and sinks are `more`; `{folder}` is its folder.
    pub fn new(feed: &str, more: &str) -> Self {
        let place = Place::new();
        let text = format!(
            "[[feed]]\nname = \"export\"\ntype = \"bucket\"\nbucket = \"exports\"\ncontent_type = \"application/x-jsonlines\"\n\
             poll = \"1s\"\nretry_min = \"100ms\"\nretry_max = \"200ms\"\n{feed}\n{more}\n\
             [inbox]\npath = \"inbox.db\"\n[work]\nlease = \"5s\"\nretry_min = \"100ms\"\nretry_max = \"200ms\"\n"
        );
        place.configure(&text.replace("{folder}", &place.folder().display().to_string()));
        Self(place)
    }

    /// Every record that was delivered.
    pub fn lines(&self) -> Vec<String> {
        delivered::lines(&self.path("out"))
    }

    /// How often each record's id lies in the output.
    pub fn delivered(&self) -> BTreeMap<String, u32> {
        delivered::named(&self.path("out"), "/id")
    }

    /// Holds that the records of these files were delivered, each once, and no others.
    pub fn assert_each_once(&self, files: &[&str]) {
        let expected = files.iter().flat_map(|file| (0..RECORDS).map(move |n| format!("{file}-{n}")));
        assert_eq!(self.delivered(), delivered::counted(expected));
    }
}

/// Records in a file.
const RECORDS: u32 = 400;

/// The file of that name: gzip of lines that can hardly be packed, some 20 kB.
pub fn file(name: &str) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let lines = (0..RECORDS).map(|n| {
        let note: String = (0..40).map(|_| random.alphanumeric()).collect();
        format!("{{\"id\":\"{name}-{n}\",\"note\":\"{note}\"}}\n")
    });
    gzip(&lines.collect::<String>())
}

pub fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).expect("written");
    packed.finish().expect("packed")
}

/// The folder of a day, so many days before the one on which the tests began: midnight may pass meanwhile.
pub fn days_ago(days: i64) -> String {
    static TODAY: OnceLock<Date> = OnceLock::new();
    let today = TODAY.get_or_init(|| Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date());
    let day = today.saturating_sub(days.days());
    day.strftime("%Y-%m-%d").to_string()
}
