//! What every delivery is run with.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Class;
use crate::inbox::SharedInbox;
use crate::notice::{FeedName, Notice, SinkName};
use crate::ops::Context;
use crate::payload::PayloadOpener;
use crate::route::Router;
use crate::sink::Sink;

use super::outcome::{Stopped, refusal};

/// What opens payloads.
pub struct Openers {
    /// For each feed, since each feed's payloads are fetched with its own tokens.
    pub of_feeds: HashMap<FeedName, Arc<PayloadOpener>>,
    /// For a notice that carries its body and whose feed is not configured any more.
    pub bodies: PayloadOpener,
}

/// What every delivery needs.
pub(super) struct Tools {
    pub inbox: SharedInbox,
    pub router: Arc<Router>,
    pub sinks: HashMap<SinkName, Arc<dyn Sink>>,
    pub openers: Openers,
    pub context: Context,
}

impl Tools {
    pub(super) fn payloads_of(&self, notice: &Notice) -> Result<&PayloadOpener, Stopped> {
        if let Some(own) = self.openers.of_feeds.get(&notice.feed) {
            return Ok(own);
        }
        if notice.body.is_some() {
            return Ok(&self.openers.bodies);
        }
        let said = format!("the feed `{}` is not configured any more, so nothing may be fetched for it", notice.feed);
        Err(refusal(Class::Permanent, said))
    }
}
