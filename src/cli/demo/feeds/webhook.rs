//! The webhook: events of which every tenth arrives twice, and a body that is no JSON.

use super::{At, Feed, Place, Played, STUCK_AFTER, Stage};
use crate::sandbox::SendRequest;
use crate::sandbox::sample::EventSpec;

/// The fewest and the most events: each is a request, a notice and a file.
const EVENTS: (u64, u64) = (10, 20_000);

pub(super) async fn play(stage: &Stage<'_>) -> anyhow::Result<Played> {
    let events = (stage.records / 100).clamp(EVENTS.0, EVENTS.1);
    let twice = events / 10;
    stage.screen.expect(events + 1);
    let nonsense = Some("this is no JSON".to_owned());
    for request in [
        SendRequest { events: twice, times: 2, ..SendRequest::default() },
        SendRequest { body: nonsense, ..SendRequest::default() },
        SendRequest { first: twice, events: events - twice, ..SendRequest::default() },
    ] {
        stage.sandbox.send_events(&request)?;
    }
    // So many that the sender does not get through them in a minute are not sent.
    stage.sandbox.wait_until_sent(STUCK_AFTER, |sender| sender.open() == 0).await?;
    stage.screen.published(events + 1);
    Ok(Played {
        feed: Feed::Webhook,
        notices: events + 1,
        trouble: format!("{twice} events twice, a body that is no JSON"),
        places: vec![Place {
            at: At::Folder(stage.output(Feed::Webhook)),
            names: EventSpec::new(0, events).iter().flat_map(|event| event.record_names()).collect(),
        }],
    })
}
