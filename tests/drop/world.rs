//! A folder that files are dropped into, a configuration, and what was delivered.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use zip::write::{SimpleFileOptions, ZipWriter};

use crate::common::delivered;
use crate::common::place::{ALL, Place, lay};

pub struct World(Place);

crate::is_a_place!(World, 0);

impl World {
    /// A world whose feed takes from `source`, with further keys.
    pub fn new(source: &str, keys: &str) -> Self {
        let world = Self(Place::new());
        std::fs::create_dir(world.path("drop")).expect("a folder");
        world.configure(source, keys);
        world
    }

    /// A world whose feed takes from its own folder `drop`.
    pub fn of_folder(keys: &str) -> Self {
        Self::new("drop", keys)
    }

    pub fn configure(&self, source: &str, keys: &str) {
        self.0.configure(&format!(
            "[[feed]]\nname = \"netcore\"\ntype = \"drop\"\nsource = {source:?}\npoll = \"100ms\"\nstable_for = \"100ms\"\n\
             {keys}\n{ALL}[inbox]\npath = \"inbox.db\"\n[work]\nlease = \"5s\"\n"
        ));
    }

    /// A file in the folder that is dropped into.
    pub fn drop(&self, name: &str) -> PathBuf {
        self.path("drop").join(name)
    }

    /// Every delivered event's id, and how often it lies in the output.
    pub fn delivered(&self) -> BTreeMap<String, u32> {
        delivered::named(&self.path("out"), "/eventId")
    }

    /// Holds that the events of these days were delivered, each once, and no others.
    pub fn assert_each_once(&self, days: impl IntoIterator<Item = u32>) {
        let expected = days.into_iter().flat_map(|day| (0..2 * EVENTS).map(move |n| event(day, n)));
        assert_eq!(self.delivered(), delivered::counted(expected));
    }
}

/// Lays two days' zips into the folder `drop`, one after the other under the same name: both are delivered, and both stay
/// where they are moved to.
pub async fn two_days_are_delivered_and_moved(world: &World, drop: &Path) {
    let (zip, done) = (drop.join("Client ID_ 02012022.zip"), drop.join("done"));
    lay(&zip, day(1));
    let daemon = world.run();
    world.wait_finished(2).await;
    daemon.until("it is moved", || done.join("Client ID_ 02012022.zip").exists()).await;
    // The same name with other content is a new version.
    lay(&zip, day(2));
    world.wait_finished(4).await;
    daemon.until("it is moved", || std::fs::read_dir(&done).expect("a folder").count() == 2).await;
    daemon.stop().await;
    world.assert_each_once([1, 2]);
}

/// Events in each of the two files of a day's zip.
const EVENTS: u32 = 500;

fn event(day: u32, n: u32) -> String {
    format!("{day}-{n}")
}

/// A day's zip in the vendor's manner: two files of events, none of which is in another day's.
pub fn day(day: u32) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (at, name) in ["add to cart", "product purchase"].into_iter().enumerate() {
        writer.start_file(format!("{name}_{:02}012022.csv", day % 28 + 1), stored).expect("an entry");
        let mut text = "eventId,Identity,Payload.note\n".to_owned();
        for n in 0..EVENTS {
            let id = event(day, u32::try_from(at).expect("few") * EVENTS + n);
            text.push_str(&format!("{id},person {n},\"{}\"\n", "a note, quoted".repeat(20)));
        }
        writer.write_all(text.as_bytes()).expect("written");
    }
    writer.finish().expect("an archive").into_inner()
}

/// The same events as one CSV of a day: nothing in it tells where it was cut.
pub fn csv(day: u32) -> Vec<u8> {
    let mut text = "eventId,Identity,Payload.note\n".to_owned();
    for n in 0..2 * EVENTS {
        text.push_str(&format!("{},person {n},\"{}\"\n", event(day, n), "a note, quoted".repeat(20)));
    }
    text.into_bytes()
}
