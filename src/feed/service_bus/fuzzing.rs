//! Fuzz targets over what the broker hands us.

use fe2o3_amqp_types::messaging::message::DecodeIntoMessage;
use fe2o3_amqp_types::messaging::{Batch, Body, Data, Message};
use fe2o3_amqp_types::primitives::{Binary, LazyValue};
use serde_amqp::read::SliceReader;

use super::announcement::{self, RawMessage};
use crate::blob_type::BlobTypeFilter;
use crate::clock::UnixMs;
use crate::fuzzing::assert_hidden;
use crate::notice::{FeedName, Verdict};

/// A body is the metadata of a file, or is kept with its reason; neither way does a token reach the notice.
pub fn notice_body(data: &[u8]) {
    read(Message {
        header: None,
        delivery_annotations: None,
        message_annotations: None,
        properties: None,
        application_properties: None,
        body: Body::Data(Batch::new(vec![Data(Binary::from(data.to_vec()))])),
        footer: None,
    });
}

/// A message as it stands in a transfer.
pub fn amqp_message(data: &[u8]) {
    if let Ok(message) = Body::<LazyValue>::decode_message_from_reader(SliceReader::new(data)) {
        read(message);
    }
}

fn read(message: RawMessage) {
    let filter = BlobTypeFilter::new(&["*".to_owned()], &[]).expect("globs");
    let raw = format!("{message:?}");
    let (notice, refused) = announcement::read(&FeedName::new("eg"), &filter, message, UnixMs(77));
    match &notice.verdict {
        Verdict::Accepted => {
            let uri = notice.metadata.uri.as_deref().expect("an accepted notice has an address");
            assert!(!uri.contains(['?', '#']), "{uri:?}");
            assert!(!notice.metadata.blob_type.is_empty() && notice.body.is_none() && refused.is_none());
            let properties = notice.metadata.properties.map(|value| value.to_string()).unwrap_or_default();
            assert_hidden(&raw, &format!("{uri} {properties}"));
        }
        Verdict::Unreadable(reason) => {
            assert!(!reason.is_empty());
            let body = String::from_utf8_lossy(notice.body.as_deref().unwrap_or_default()).into_owned();
            assert_hidden(&body, &body);
        }
        Verdict::Skipped(reason) => panic!("nothing is left out: {reason}"),
    }
}
