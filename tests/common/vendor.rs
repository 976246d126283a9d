//! EG Retail in the test's own process, a place whose feed hears it, and whether each item was delivered once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use longshore::sandbox::sample::{Kind, SampleSpec};
use longshore::sandbox::{PublishRequest, Sandbox, SandboxSettings};

use super::delivered;
use super::place::Place;

pub struct World {
    pub sandbox: Sandbox,
    place: Place,
    published: u64,
}

crate::is_a_place!(World, place);

impl World {
    /// A world whose configuration ends in `more`.
    pub async fn new(more: &str) -> Self {
        let place = Place::new();
        let sandbox = Sandbox::start(SandboxSettings::new(place.folder())).await.expect("the sandbox");
        place.configure(&format!("{}\n{more}", sandbox.configuration()));
        Self { sandbox, place, published: 0 }
    }

    /// Publishes `files` files of `records` items each; no two records are the same.
    pub async fn publish(&mut self, files: u32, records: u64) {
        let spec = SampleSpec { first: self.published, ..SampleSpec::new(Kind::Items, records) };
        self.sandbox.publish(PublishRequest::samples(spec, files)).await.expect("published");
        self.published += u64::from(files) * records;
    }

    /// Every delivered record's SKU, and how often it lies in the output.
    pub fn delivered(&self) -> BTreeMap<String, u32> {
        delivered::named(&self.path("delivered"), "/identifier/sku")
    }

    /// Every delivered file in sight.
    pub fn files(&self) -> Vec<PathBuf> {
        delivered::files_in_sight(&self.path("delivered"))
    }

    /// Holds what was delivered against what was published: each record once.
    pub fn assert_each_record_once(&self) {
        let found = self.delivered();
        let doubled = delivered::doubled(&found);
        assert!(doubled.is_empty(), "doubled: {doubled:?}");
        assert_eq!(found.len() as u64, self.published, "records delivered");
    }
}
