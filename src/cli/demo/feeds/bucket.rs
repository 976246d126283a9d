//! The bucket: files of two days, a listing and a download that break off, and a file that is written anew once it was
//! delivered.

use jiff::civil::Date;

use super::{At, Feed, Place, Played, Stage, ended};
use crate::sandbox::sample::EventSpec;
use crate::sandbox::{BlobFault, DayObject, FaultKind, ListFault, Rewrite};

/// Files, half of them a day.
const FILES: u64 = 4;

pub(super) async fn play(stage: &Stage<'_>) -> anyhow::Result<Played> {
    let sandbox = stage.sandbox;
    // More than the client repeats by itself, so that a look fails.
    sandbox.add_list_fault(ListFault { pages: 4, ..ListFault::default() })?;
    sandbox.add_bucket_fault(BlobFault::next(FaultKind::Cut { after: 1_000 }, 1))?;
    stage.screen.expect(FILES + 1);
    let events = (stage.records / 4 / FILES).max(1);
    let mut last = None;
    for number in 0..FILES {
        let date = Some(day_before(stage, if number < FILES / 2 { 2 } else { 1 }));
        let day = DayObject { date, first: Some(number * events), events, ..DayObject::default() };
        last = Some(sandbox.write_day(&day)?.key);
        stage.screen.published(1);
    }
    let files = usize::try_from(FILES).unwrap_or(usize::MAX);
    stage.until(Feed::Bucket, "the delivery of the first files", |notices| ended(notices) >= files).await?;
    // The last one: its numbers can go on.
    let more = events.div_ceil(10);
    if let Some(key) = last {
        stage.screen.say(&format!("the bucket's file {key} is written anew, with more events"));
        sandbox.rewrite_day(&Rewrite { key, more })?;
        stage.screen.published(1);
    }
    let all = EventSpec::new(0, FILES * events + more);
    Ok(Played {
        feed: Feed::Bucket,
        notices: FILES + 1,
        trouble:
            "a listing and a download broken off, a delivered file written anew (its records replace the first ones)"
                .to_owned(),
        places: vec![Place {
            at: At::Tables(stage.dir.join("events.db"), &["export"]),
            names: all.iter().map(|event| event.export_id()).collect(),
        }],
    })
}

/// So many days before today, in UTC.
pub(super) fn day_before(stage: &Stage<'_>, days: i64) -> Date {
    let today = stage.sandbox.settings().clock.now().to_timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
    today.saturating_sub(jiff::Span::new().days(days))
}
