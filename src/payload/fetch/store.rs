//! Fetching from a store that is no web server: a bucket, a folder, a file server. The store opens an object from an
//! offset; what breaks is resumed here, under the version that the first answer named.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pace::Pace;
use super::{Ended, Piece, pause, send_pieces};
use crate::notice::Notice;
use crate::payload::{PayloadError, object_of};

/// Where the payloads of a feed lie, if not behind the HTTP of a blob store.
///
/// What an implementation keeps: the bytes of one version are always the same; an object that has another version by
/// now is refused with [`PayloadError::Changed`], never read on.
#[async_trait]
pub trait ContentStore: Send + Sync + fmt::Debug {
    /// Opens the notice's content from byte `from` on; `from` is more than 0 only together with the `version` that an
    /// earlier answer named.
    ///
    /// # Errors
    /// By what can be done about it: [`PayloadError::Missing`], [`PayloadError::Changed`], [`PayloadError::Refused`],
    /// [`PayloadError::Throttled`] and [`PayloadError::Forbidden`] end the fetch, [`PayloadError::Broken`] is tried again.
    async fn open(&self, notice: &Notice, from: u64, version: Option<&str>) -> Result<Content, PayloadError>;
}

/// An object that is open from some offset on.
pub struct Content {
    /// What tells this version of the object from others, such as an ETag or a generation; `None` where the store has
    /// nothing of the kind, and then a broken body cannot be resumed.
    pub version: Option<String>,
    /// The length of the whole object, where the store says so.
    pub length: Option<u64>,
    /// The MD5 of the whole object, where the store holds one.
    pub md5: Option<[u8; 16]>,
    /// The bytes from the offset on; an error is one line for people, redacted.
    pub bytes: BoxStream<'static, Result<Bytes, String>>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("version", &self.version).field("length", &self.length).finish_non_exhaustive()
    }
}

/// Bounds of one fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long a read may stand still.
    pub idle: Duration,
    /// How often one fetch resumes.
    pub resumes_max: u32,
    /// Bytes a second that a body must bring, on the whole.
    pub rate_min: u64,
}

/// What is known of the object from the first answer on.
struct First {
    version: Option<String>,
    length: Option<u64>,
}

/// Fetches the notice's content and sends its bytes.
pub(super) async fn fetch(
    store: &dyn ContentStore,
    notice: &Notice,
    patience: Patience,
    sender: &mpsc::Sender<Result<Piece, PayloadError>>,
) -> Result<Ended, PayloadError> {
    let object = object_of(notice);
    let mut first: Option<First> = None;
    let mut offset = 0;
    let mut resumes = 0;
    loop {
        let version = first.as_ref().and_then(|first| first.version.as_deref());
        let reason = match tokio::time::timeout(patience.idle, store.open(notice, offset, version)).await {
            Err(_) => format!("the store did not answer within {:?}", patience.idle),
            Ok(Err(PayloadError::Broken { reason, .. })) => reason,
            Ok(Err(error)) => return Err(error),
            Ok(Ok(content)) => {
                let known = match &first {
                    None => {
                        if let Some(md5) = content.md5
                            && sender.send(Ok(Piece::Md5(md5))).await.is_err()
                        {
                            return Ok(Ended::Abandoned);
                        }
                        first.insert(First { version: content.version.clone(), length: content.length })
                    }
                    Some(known) if known.version == content.version => known,
                    Some(_) => return Err(PayloadError::Changed { object }),
                };
                match body(content.bytes, &mut offset, known.length, patience, sender).await {
                    Body::Complete => return Ok(Ended::Complete),
                    Body::Abandoned => return Ok(Ended::Abandoned),
                    Body::TooLong => return Err(PayloadError::Changed { object }),
                    Body::Broken(reason) => reason,
                }
            }
        };
        resumes += 1;
        if resumes > patience.resumes_max {
            let reason = format!("{reason}, after {} resumes", resumes - 1);
            return Err(PayloadError::Broken { object, reason });
        }
        if offset > 0 && first.as_ref().is_none_or(|first| first.version.is_none()) {
            let reason = format!("{reason}, after {offset} bytes, and the store names no version to resume under");
            return Err(PayloadError::Broken { object, reason });
        }
        tracing::debug!(object, offset, reason, "resuming the payload");
        tokio::time::sleep(pause(resumes)).await;
    }
}

/// How one body ended.
enum Body {
    Complete,
    Abandoned,
    /// More bytes than the object has.
    TooLong,
    Broken(String),
}

async fn body(
    mut bytes: BoxStream<'static, Result<Bytes, String>>,
    offset: &mut u64,
    length: Option<u64>,
    patience: Patience,
    sender: &mpsc::Sender<Result<Piece, PayloadError>>,
) -> Body {
    let mut pace = Pace::new(patience.rate_min);
    loop {
        let asked = Instant::now();
        let chunk = match tokio::time::timeout(patience.idle, bytes.next()).await {
            Err(_) => return Body::Broken(format!("nothing came for {:?}", patience.idle)),
            Ok(Some(Err(reason))) => return Body::Broken(reason),
            Ok(Some(Ok(chunk))) => chunk,
            Ok(None) => {
                return match length {
                    Some(length) if *offset < length => {
                        Body::Broken(format!("the body ended after {offset} of {length} bytes"))
                    }
                    _ => Body::Complete,
                };
            }
        };
        let slow = pace.note(asked.elapsed(), chunk.len());
        let after = *offset + chunk.len() as u64;
        if length.is_some_and(|length| after > length) {
            return Body::TooLong;
        }
        *offset = after;
        if !send_pieces(chunk, sender).await {
            return Body::Abandoned;
        }
        // What has come whole is not asked for again.
        if let Some(reason) = slow
            && length.is_some_and(|length| after < length)
        {
            return Body::Broken(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::clock::UnixMs;
    use crate::notice::{FeedName, Metadata, NoticeId};

    const CONTENT: &[u8] = b"0123456789";

    /// What the store does at one opening.
    enum Act {
        /// Gives these bytes of the content under this version, then breaks.
        Break(usize, &'static str),
        /// Gives the rest under this version.
        Rest(&'static str),
        /// Gives the rest and one byte more.
        More,
        /// Gives a byte every four seconds, for ever.
        Trickle,
        /// Fails to open.
        Fail(PayloadError),
    }

    #[derive(Debug, Default)]
    struct Script {
        acts: Mutex<VecDeque<Act>>,
        asked: Mutex<Vec<(u64, Option<String>)>>,
    }

    impl fmt::Debug for Act {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Act")
        }
    }

    #[async_trait]
    impl ContentStore for Script {
        async fn open(&self, _notice: &Notice, from: u64, version: Option<&str>) -> Result<Content, PayloadError> {
            self.asked.lock().unwrap().push((from, version.map(str::to_owned)));
            let act = self.acts.lock().unwrap().pop_front().expect("an opening that the test foresees");
            let from = usize::try_from(from).unwrap();
            if let Act::Trickle = act {
                let byte = |from: usize| async move {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                    Some((Ok(Bytes::from_static(&CONTENT[from % 10..=from % 10])), from + 1))
                };
                let bytes = futures::stream::unfold(from, byte).boxed();
                return Ok(Content { version: Some("1".to_owned()), length: Some(1 << 20), md5: None, bytes });
            }
            let (version, mut parts) = match act {
                Act::Trickle => unreachable!("it is given above"),
                Act::Fail(error) => return Err(error),
                Act::Break(count, version) => (
                    version,
                    vec![Ok(Bytes::from_static(&CONTENT[from..from + count])), Err("the line dropped".to_owned())],
                ),
                Act::Rest(version) => (version, vec![Ok(Bytes::from_static(&CONTENT[from..]))]),
                Act::More => ("1", vec![Ok(Bytes::from_static(&CONTENT[from..])), Ok(Bytes::from_static(b"x"))]),
            };
            parts.insert(0, Ok(Bytes::new()));
            Ok(Content {
                version: (!version.is_empty()).then(|| version.to_owned()),
                length: Some(CONTENT.len() as u64),
                md5: None,
                bytes: futures::stream::iter(parts).boxed(),
            })
        }
    }

    fn notice() -> Notice {
        Notice {
            id: NoticeId(1),
            feed: FeedName::new("f"),
            dedupe_key: "k".to_owned(),
            metadata: Metadata { uri: Some("s3://bucket/file".to_owned()), ..Metadata::default() },
            body: None,
            published: UnixMs(0),
            sequence: 0,
            stored: UnixMs(0),
        }
    }

    async fn fetched(acts: Vec<Act>, resumes_max: u32) -> (Result<Vec<u8>, PayloadError>, Vec<(u64, Option<String>)>) {
        let script = Script { acts: Mutex::new(acts.into()), ..Script::default() };
        let (sender, mut pieces) = mpsc::channel(64);
        let patience = Patience { idle: Duration::from_secs(5), resumes_max, rate_min: 1_024 };
        let ended = fetch(&script, &notice(), patience, &sender).await;
        drop(sender);
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.recv().await {
            if let Ok(Piece::Bytes(piece)) = piece {
                bytes.extend_from_slice(&piece);
            }
        }
        (ended.map(|_| bytes), script.asked.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_body_goes_on_where_it_broke_under_the_same_version() {
        let broken = PayloadError::Broken { object: "o".to_owned(), reason: "no route".to_owned() };
        let acts = vec![Act::Break(3, "1"), Act::Fail(broken), Act::Break(4, "1"), Act::Rest("1")];
        let (got, asked) = fetched(acts, 10).await;
        assert_eq!(got.expect("whole"), CONTENT);
        let version = Some("1".to_owned());
        assert_eq!(asked, [(0, None), (3, version.clone()), (3, version.clone()), (7, version)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_in_is_asked_for_again_and_ends_the_fetch_in_the_end() {
        let (got, asked) = fetched(vec![Act::Trickle, Act::Trickle, Act::Trickle], 2).await;
        assert!(got.expect_err("too slow").to_string().contains("rate_min"));
        assert_eq!(asked, [(0, None), (15, Some("1".to_owned())), (30, Some("1".to_owned()))]);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_of_two_versions_are_never_put_together() {
        for acts in [vec![Act::Break(3, "1"), Act::Rest("2")], vec![Act::More]] {
            let (got, _) = fetched(acts, 10).await;
            assert!(matches!(got, Err(PayloadError::Changed { .. })), "{got:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn resumes_are_bounded_and_need_a_version() {
        let (got, asked) = fetched((0..3).map(|_| Act::Break(1, "1")).collect(), 2).await;
        assert!(matches!(got, Err(PayloadError::Broken { .. })), "{got:?}");
        assert_eq!(asked.len(), 3);
        let (got, asked) = fetched(vec![Act::Break(1, "")], 2).await;
        assert!(got.expect_err("no version").to_string().contains("no version to resume under"));
        assert_eq!(asked.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_pass_by_itself_ends_the_fetch() {
        let missing = PayloadError::Missing { object: "o".to_owned(), said: "no such key".to_owned() };
        let (got, asked) = fetched(vec![Act::Break(2, "1"), Act::Fail(missing)], 9).await;
        assert!(matches!(got, Err(PayloadError::Missing { .. })), "{got:?}");
        assert_eq!(asked.len(), 2);
    }
}
