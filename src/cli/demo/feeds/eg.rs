//! EG Retail's export: a mixed load with children before their parents, ugly files, and keys that rotate half-way.

use super::load::{self, Load};
use super::{At, Feed, Place, Played, Stage};

/// Announcements that are delivered twice.
const TWICE: u32 = 3;

pub(super) async fn play(stage: &Stage<'_>) -> anyhow::Result<Played> {
    let loads = load::mixed(stage.files, stage.records);
    let sandbox = stage.sandbox;
    stage.screen.expect(loads.len() as u64);
    for (number, load) in loads.iter().enumerate() {
        if number == loads.len() / 3 {
            sandbox.broker().duplicate_next(&sandbox.subscription_path(), TWICE)?;
        }
        if number == loads.len() / 2 {
            stage.screen.say("the vendor rotates its keys: every token in use is refused from now on");
            sandbox.rotate_service_bus_key();
            sandbox.rotate_blob_key();
        }
        sandbox.publish(load.request.clone()).await?;
        stage.screen.published(1);
    }
    let names = |goes_there: fn(&Load) -> bool| {
        let loads = loads.iter().filter(|load| goes_there(load));
        loads.flat_map(|load| load.expected.iter().cloned()).collect()
    };
    let tables = At::Tables(stage.dir.join("shop.db"), &["items", "prices", "store-groups"]);
    Ok(Played {
        feed: Feed::Eg,
        notices: loads.len() as u64,
        trouble: format!(
            "{} ugly files, {TWICE} announcements twice, all keys rotated, children before their parents",
            loads.len() - stage.files as usize - 1
        ),
        places: vec![
            Place { at: At::Folder(stage.output(Feed::Eg)), names: names(|load| load.to_files) },
            Place { at: tables, names: names(|load| load.to_shop) },
        ],
    })
}
