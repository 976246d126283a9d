//! The daily zip: two days, an upload that stands still half-way, rows that are broken, and a zip that is sent again once
//! it was delivered.

use super::bucket::day_before;
use super::{At, Feed, Place, Played, Stage, arrivals_again, ended};
use crate::sandbox::{Arrival, DaySpec, DropRequest};

/// Rows that lack their last values.
const BROKEN: u64 = 2;
/// Longer than a file must be at rest, so that half a zip is looked at.
const PAUSE_MS: u64 = 1_500;

pub(super) async fn play(stage: &Stage<'_>) -> anyhow::Result<Played> {
    let sandbox = stage.sandbox;
    let mut first = DaySpec::new(day_before(stage, 2));
    let kinds = first.files().len() as u64;
    first.rows = (stage.records / 4 / 2 / kinds).max(1) + BROKEN;
    first.broken_rows = BROKEN;
    let second = DaySpec { date: day_before(stage, 1), broken_rows: 0, ..first.clone() };
    let request = |spec: &DaySpec, arrival, pause_ms| DropRequest {
        date: Some(spec.date),
        rows: spec.rows,
        broken_rows: spec.broken_rows,
        seed: spec.seed,
        arrival,
        pause_ms,
    };
    stage.screen.expect(2 * kinds);
    for (spec, arrival) in [(&first, Arrival::Growing), (&second, Arrival::Part)] {
        sandbox.drop_zip(&request(spec, arrival, PAUSE_MS)).await?;
        stage.screen.published(kinds);
    }
    let both = usize::try_from(2 * kinds).unwrap_or(usize::MAX);
    stage.until(Feed::Drop, "the delivery of the zips", |notices| ended(notices) >= both).await?;
    stage.screen.say("the first zip is sent again");
    sandbox.drop_zip(&request(&first, Arrival::Whole, 0)).await?;
    let is_known = |notices: &[_]| arrivals_again(notices) >= kinds;
    stage.until(Feed::Drop, "the zip that was sent again", is_known).await?;
    Ok(Played {
        feed: Feed::Drop,
        notices: 2 * kinds,
        trouble: format!("{BROKEN} broken CSV rows, an upload that stood still half-way, a zip sent again"),
        places: vec![Place {
            at: At::Folder(stage.output(Feed::Drop)),
            names: first.event_ids().chain(second.event_ids()).collect(),
        }],
    })
}
