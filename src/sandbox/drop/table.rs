//! The rows of one event name on one day: columns as the vendor documents them, and those of the event's own payload,
//! which are not the same every day.

use std::io::{self, Write};

use fastrand::Rng;
use jiff::civil::Date;

use crate::clock::UnixMs;

/// What the vendor documents, in its order and its spelling.
const COLUMNS: [&str; 19] = [
    "appVersion",
    "appId",
    "siteId",
    "model",
    "eventId",
    "eventType",
    "ts",
    "purl",
    "url",
    "pts",
    "sdkVersion",
    "osVersion",
    "Identity",
    "osType",
    "Make",
    "Medium",
    "msgId",
    "sessionId",
    "sid",
];

/// An event that visitors cause.
pub(super) struct Event {
    /// Its name, which stands in the name of its file.
    pub(super) name: &'static str,
    /// Its parameters: each a column behind `Payload.`.
    parameters: &'static [&'static str],
}

/// Names with blanks, with the sign that divides name and date, with letters of other scripts; and one event without
/// parameters.
pub(super) const EVENTS: [Event; 5] = [
    Event { name: "add to cart", parameters: &["prid", "prname", "prqt", "price"] },
    Event { name: "product purchase", parameters: &["orderid", "amount", "items", "coupon"] },
    Event { name: "search_results", parameters: &["query", "hits"] },
    Event { name: "कार्ट में जोड़ें", parameters: &["prid", "मूल्य"] },
    Event { name: "app opened", parameters: &[] },
];

const GOODS: [&str; 6] =
    ["Kaffee, gemahlen", "Chai \"Masala\"", "चावल 5 kg", "Crème brûlée", "T-shirt\nsize M", "Lamp"];
const PEOPLE: [&str; 5] = ["asha@example.com", "björn@example.com", "", "+910000000000", "user 17"];

/// One event's table of a day.
pub(super) struct Table<'e> {
    pub(super) event: &'e Event,
    pub(super) date: Date,
    pub(super) seed: u64,
}

impl Table<'_> {
    /// The columns of the day. Every other day the event has one parameter more, every third day one less, and every
    /// fifth day `Identity` is spelt otherwise.
    fn columns(&self) -> Vec<String> {
        let day = self.date.day_of_year();
        let mut parameters = self.event.parameters.to_vec();
        if day % 3 == 0 {
            parameters.pop();
        }
        if day % 2 == 0 && !self.event.parameters.is_empty() {
            parameters.insert(0, "utm_source");
        }
        let spelt =
            |name: &&str| if day % 5 == 0 && *name == "Identity" { "identity".to_owned() } else { (*name).to_owned() };
        let own = parameters.iter().map(|name| format!("Payload.{name}"));
        COLUMNS.iter().map(spelt).chain(own).collect()
    }

    /// Writes the header and the rows of `ids`; the first `broken` of them lack their last values.
    pub(super) fn write(&self, out: impl Write, ids: impl Iterator<Item = String>, broken: u64) -> io::Result<()> {
        let mut rows = csv::WriterBuilder::new().flexible(true).from_writer(out);
        let columns = self.columns();
        rows.write_record(&columns)?;
        for (number, id) in (0_u64..).zip(ids) {
            let mut rng = Rng::with_seed(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let is_web = rng.bool();
            let values = columns.iter().map(|column| self.value(column, &id, is_web, &mut rng));
            let kept = if number < broken { columns.len() - 2 } else { columns.len() };
            rows.write_record(values.take(kept))?;
        }
        rows.flush()
    }

    fn value(&self, column: &str, id: &str, is_web: bool, rng: &mut Rng) -> String {
        let only = |is_so: bool, text: &str| if is_so { text.to_owned() } else { String::new() };
        match column {
            "eventId" => id.to_owned(),
            "eventType" => (if is_web { "web" } else { "app" }).to_owned(),
            "ts" => self.moment(rng),
            "appVersion" => only(!is_web, "4.17.2"),
            "appId" | "siteId" => "5c01-sandbox".to_owned(),
            "sessionId" => only(!is_web, &rng.u32(..).to_string()),
            "sid" => only(is_web, &rng.u32(..).to_string()),
            "purl" | "url" => only(is_web, "https://shop.example.com/c/kaffee?sort=price,asc"),
            "pts" => only(is_web, &rng.u16(..600).to_string()),
            "osType" => (if is_web { "Windows" } else { "Android" }).to_owned(),
            "Identity" | "identity" => PEOPLE[rng.usize(..PEOPLE.len())].to_owned(),
            "Medium" => ["", "Broadcast", "Journey", "Onsite"][rng.usize(..4)].to_owned(),
            "Payload.prname" | "Payload.items" => GOODS[rng.usize(..GOODS.len())].to_owned(),
            "Payload.query" => ["kaffee", "दूध", "lamp, red"][rng.usize(..3)].to_owned(),
            "Payload.utm_source" => ["", "newsletter"][rng.usize(..2)].to_owned(),
            _ if column.starts_with("Payload.") => format!("{}.{:02}", rng.u16(1..2_000), rng.u8(..100)),
            _ => String::new(),
        }
    }

    /// A moment of the day.
    fn moment(&self, rng: &mut Rng) -> String {
        let days = self.date.since(Date::constant(1970, 1, 1)).map_or(0, |span| span.get_days());
        UnixMs(i64::from(days) * 86_400_000 + rng.i64(..86_400_000)).to_string()
    }
}
