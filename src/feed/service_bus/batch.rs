//! A message changes type on its way: heard, then stored, then settled. Only [`Stored`] can be settled, it is made of
//! receipts alone, and receipts are made by an inbox alone, after its commit.

use fe2o3_amqp::Receiver;
use fe2o3_amqp::link::IllegalLinkStateError;
use fe2o3_amqp::link::delivery::DeliveryInfo;
use tokio::time::Instant;

use crate::inbox::{Inbox, InboxError, Receipt};
use crate::notice::{HeardNotice, NoticeId};

/// Messages that were heard and are not stored yet.
#[derive(Default)]
pub(super) struct Heard {
    notices: Vec<HeardNotice>,
    deliveries: Vec<DeliveryInfo>,
    bytes: usize,
    since: Option<Instant>,
}

impl Heard {
    pub(super) fn push(&mut self, delivery: DeliveryInfo, notice: HeardNotice) {
        self.since.get_or_insert_with(Instant::now);
        let metadata = &notice.metadata;
        self.bytes += notice.body.as_ref().map_or(0, bytes::Bytes::len)
            + metadata.uri.as_ref().map_or(0, String::len)
            + metadata.blob_type.len();
        self.notices.push(notice);
        self.deliveries.push(delivery);
    }

    pub(super) fn len(&self) -> usize {
        self.notices.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notices.is_empty()
    }

    /// Roughly what the batch takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest of them was heard.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Stores the batch in one commit.
    pub(super) async fn store(self, inbox: &dyn Inbox) -> Result<Stored, NotStored> {
        let Self { notices, deliveries, .. } = self;
        let Some(first) = notices.first() else {
            return Ok(Stored(Vec::new()));
        };
        let first = Box::new(first.clone());
        match inbox.store(notices).await {
            Ok(receipts) => {
                // A receipt that is paired with the wrong message would settle one that is not stored.
                assert_eq!(receipts.len(), deliveries.len(), "an inbox gives one receipt for each notice");
                Ok(Stored(deliveries.into_iter().zip(receipts).collect()))
            }
            Err(error) => Err(NotStored { error, first, deliveries }),
        }
    }

    /// Gives the messages back to the broker, for whoever asks next.
    pub(super) async fn release(self, receiver: &Receiver) -> Result<(), IllegalLinkStateError> {
        receiver.release_all(self.deliveries).await
    }
}

/// Messages that could not be stored.
pub(super) struct NotStored {
    /// Why.
    pub(super) error: InboxError,
    /// One of them, to try the inbox with.
    pub(super) first: Box<HeardNotice>,
    deliveries: Vec<DeliveryInfo>,
}

impl NotStored {
    /// Gives the messages back to the broker, for whoever asks next.
    pub(super) async fn release(self, receiver: &Receiver) -> Result<(), IllegalLinkStateError> {
        receiver.release_all(self.deliveries).await
    }
}

/// Messages whose commit has returned.
pub(super) struct Stored(Vec<(DeliveryInfo, Receipt)>);

impl Stored {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of them had been stored by an earlier arrival.
    pub(super) fn duplicates(&self) -> usize {
        self.0.iter().filter(|(_, receipt)| receipt.is_duplicate()).count()
    }

    /// Completes the messages with the broker.
    pub(super) async fn settle(&self, receiver: &Receiver) -> Result<(), IllegalLinkStateError> {
        receiver.accept_all(self.0.iter().map(|(delivery, _receipt)| delivery.clone())).await
    }

    /// The stored notices.
    pub(super) fn notices(&self) -> impl Iterator<Item = NoticeId> {
        self.0.iter().map(|(_delivery, receipt)| receipt.notice())
    }

    /// What is left to complete by lock token when the link is gone. Messages whose tag is not a lock token come
    /// again.
    pub(super) fn into_orphans(self) -> Vec<Orphan> {
        let orphan = |(delivery, receipt): (DeliveryInfo, Receipt)| {
            // The tag is a .NET GUID: its first three groups are little-endian.
            let tag: [u8; 16] = delivery.delivery_tag().as_ref().try_into().ok()?;
            Some(Orphan { lock_token: uuid::Uuid::from_bytes_le(tag), notice: receipt.notice() })
        };
        self.0.into_iter().filter_map(orphan).collect()
    }
}

/// A stored message whose link ended before it was completed. Made of [`Stored`] alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphan {
    pub(super) lock_token: uuid::Uuid,
    pub(super) notice: NoticeId,
}
