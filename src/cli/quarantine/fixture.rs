//! Things that were set aside, for the snapshots of the screens.

use crate::cli::fixture::NOW;
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::ledger::{Aside, AsideId};
use crate::inbox::{DeliveryId, Target};
use crate::notice::{FeedName, NoticeId, RouteName, SinkName};

fn before(minutes: u64) -> UnixMs {
    NOW.minus(std::time::Duration::from_secs(60 * minutes))
}

fn thing(notice: i64, delivery: i64, number: Option<u64>, reason: &str) -> Aside {
    Aside {
        id: AsideId { notice: NoticeId(notice), delivery: Some(DeliveryId(delivery)), number },
        target: Some(Target { route: RouteName::new("items"), sink: SinkName::new("warehouse") }),
        feed: FeedName::new("eg"),
        blob_type: "Gateway.ItemChanges".to_owned(),
        correlation_id: Some("0b7c".to_owned()),
        published: before(10),
        ended: Some(before(9)),
        class: Class::Poison,
        reason: reason.to_owned(),
        offset: number.map(|number| number * 100),
        bytes_kept: 0,
        is_readable: false,
        is_cut: false,
        bytes: Vec::new(),
    }
}

pub(super) fn things() -> Vec<Aside> {
    let record = |number, reason: &str, bytes: &[u8]| Aside {
        bytes_kept: bytes.len() as u64,
        bytes: bytes.to_vec(),
        ..thing(1204, 19, Some(number), reason)
    };
    vec![
        record(17, "not JSON: expected a value at column 3", b"{\"a\"\x1b[31m"),
        Aside { is_cut: true, ..record(18, "not JSON: expected a value at column 1207", &[b'x'; 4096]) },
        Aside {
            class: Class::Permanent,
            is_readable: true,
            ..record(20, "the sink warehouse answered 422: no such store", b"{\"store\":9}")
        },
        Aside {
            class: Class::MissingObject,
            blob_type: "A.Very.Long.Blob.Type.\u{1b}[31mThat.Would.Not.Fit.On.Any.Screen".to_owned(),
            published: before(9_000),
            ..thing(1203, 11, None, "the blob is not there (404) since 2 h: ask the vendor to publish it again")
        },
        Aside {
            id: AsideId { notice: NoticeId(9), delivery: None, number: None },
            target: None,
            blob_type: String::new(),
            bytes_kept: 2048,
            bytes: b"not an announcement\xff".to_vec(),
            ..thing(9, 0, None, "the message is not JSON: expected a value at line 1 column 1")
        },
    ]
}
