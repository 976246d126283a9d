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

    /// Completes the messages with the broker; returns their notices.
    pub(super) async fn settle(self, receiver: &Receiver) -> Result<Vec<NoticeId>, IllegalLinkStateError> {
        let (deliveries, receipts): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        receiver.accept_all(deliveries).await?;
        Ok(receipts.iter().map(Receipt::notice).collect())
    }
}
