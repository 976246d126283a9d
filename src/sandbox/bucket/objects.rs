//! The objects of the bucket: by name, each with its generation, listed page by page.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use md5::{Digest as _, Md5};

use crate::clock::UnixMs;
use crate::sandbox::sample::EventSpec;

/// One object as it lies there.
pub(super) struct Object {
    pub(super) key: String,
    pub(super) content: Bytes,
    /// Another one with each write.
    pub(super) generation: u64,
    pub(super) written: UnixMs,
    pub(super) md5: [u8; 16],
    /// The events in it.
    pub(super) spec: EventSpec,
}

impl Object {
    /// As the XML API writes it: the MD5 of the content, so that the same bytes written again have the same.
    pub(super) fn etag(&self) -> String {
        let hex: String = self.md5.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\"{hex}\"")
    }

    pub(super) fn md5_base64(&self) -> String {
        STANDARD.encode(self.md5)
    }

    pub(super) fn crc32c_base64(&self) -> String {
        STANDARD.encode(crc32c(&self.content).to_be_bytes())
    }
}

/// Castagnoli's sum, bit by bit: <https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4>.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

/// What is listed.
pub(super) struct Asked<'a> {
    pub(super) prefix: &'a str,
    /// Names after this one.
    pub(super) after: Option<&'a str>,
    /// Names from this one on.
    pub(super) from: Option<&'a str>,
    /// Names before this one.
    pub(super) until: Option<&'a str>,
    /// Names that go on behind the prefix with this in them are told together, by what they begin with.
    pub(super) delimiter: Option<&'a str>,
    /// The token of an earlier page.
    pub(super) token: Option<&'a str>,
    pub(super) most: usize,
}

impl Asked<'_> {
    /// What a name is told by, together with others.
    fn folder<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter.filter(|delimiter| !delimiter.is_empty())?;
        let at = key[self.prefix.len()..].find(delimiter)?;
        Some(&key[..self.prefix.len() + at + delimiter.len()])
    }
}

/// One page of a listing.
pub(super) struct Page {
    pub(super) objects: Vec<Arc<Object>>,
    /// What names that are told together begin with.
    pub(super) prefixes: Vec<String>,
    pub(super) next: Option<String>,
}

/// All objects.
#[derive(Default)]
pub(super) struct Objects {
    by_key: BTreeMap<String, Arc<Object>>,
    writes: u64,
    events_end: u64,
}

impl Objects {
    /// Writes an object, in place of one of that name.
    pub(super) fn put(&mut self, key: &str, content: Bytes, spec: EventSpec, now: UnixMs) -> Arc<Object> {
        self.writes += 1;
        self.events_end = self.events_end.max(spec.first.saturating_add(spec.events));
        // Microseconds since 1970, as Google's are; two writes never have the same.
        let generation = now.0.unsigned_abs() * 1_000 + self.writes;
        let md5 = Md5::digest(&content).into();
        let object = Arc::new(Object { key: key.to_owned(), content, generation, written: now, md5, spec });
        self.by_key.insert(key.to_owned(), Arc::clone(&object));
        object
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.by_key.get(key).cloned()
    }

    /// The number behind that of the last event that was written.
    pub(super) fn events_end(&self) -> u64 {
        self.events_end
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The first name `FOLDER/part-NNNNN.jsonl.gz` that is free.
    pub(super) fn free_key(&self, folder: &str) -> String {
        let names = (0_u32..).map(|number| format!("{folder}/part-{number:05}.jsonl.gz"));
        names.into_iter().find(|key| !self.by_key.contains_key(key)).expect("there are more numbers than objects")
    }

    /// A page; `None` for a token that is not ours.
    pub(super) fn page(&self, asked: &Asked<'_>) -> Option<Page> {
        let token = match asked.token {
            None => None,
            Some(token) => Some(String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?),
        };
        let after = token.as_deref().max(asked.after);
        let start = match (after, asked.from.unwrap_or_default().max(asked.prefix)) {
            (Some(after), from) if after >= from => Bound::Excluded(after),
            (_, from) => Bound::Included(from),
        };
        let found = self
            .by_key
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, object)| object)
            .take_while(|object| object.key.starts_with(asked.prefix))
            .take_while(|object| asked.until.is_none_or(|until| object.key.as_str() < until));
        let mut page = Page { objects: Vec::new(), prefixes: Vec::new(), next: None };
        let mut last = String::new();
        for object in found {
            let prefix = asked.folder(&object.key);
            if prefix.is_some_and(|prefix| page.prefixes.last().is_some_and(|told| told == prefix)) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == asked.most {
                page.next = Some(URL_SAFE_NO_PAD.encode(last));
                break;
            }
            match prefix {
                Some(prefix) => {
                    page.prefixes.push(prefix.to_owned());
                    // The next page begins behind all that it stands for.
                    last = format!("{prefix}{}", char::MAX);
                }
                None => {
                    page.objects.push(Arc::clone(object));
                    last.clone_from(&object.key);
                }
            }
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(objects: &Objects, asked: &Asked<'_>) -> (Vec<String>, Option<String>) {
        let page = objects.page(asked).expect("a page");
        (page.objects.iter().map(|object| object.key.clone()).collect(), page.next)
    }

    #[test]
    fn the_sum_is_castagnolis() {
        // The check value of CRC-32C, and 32 bytes of zeros as RFC 3720 has them.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn folders_are_told_once_and_pages_go_on_behind_them() {
        let mut objects = Objects::default();
        for key in ["a", "b/1", "b/2", "b/c/3", "d/4", "e"] {
            objects.put(key, Bytes::from_static(b"x"), EventSpec::new(0, 0), UnixMs(1));
        }
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let asked = Asked {
                prefix: "",
                after: None,
                from: None,
                until: Some("e"),
                delimiter: Some("/"),
                token: token.as_deref(),
                most: 1,
            };
            let page = objects.page(&asked).expect("a page");
            found.extend(page.objects.iter().map(|object| object.key.clone()));
            found.extend(page.prefixes);
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(found, ["a", "b/", "d/"]);
        let asked =
            Asked { prefix: "b/", after: None, from: None, until: None, delimiter: Some("/"), token: None, most: 9 };
        let page = objects.page(&asked).expect("a page");
        assert_eq!((page.objects.len(), page.prefixes), (2, vec!["b/c/".to_owned()]));
    }

    #[test]
    fn pages_follow_each_other_and_stay_under_the_prefix() {
        let mut objects = Objects::default();
        for key in ["a/0", "b/1", "b/2", "b/3", "c/4"] {
            objects.put(key, Bytes::from_static(b"x"), EventSpec::new(0, 0), UnixMs(1));
        }
        let ask =
            |token, after, from| Asked { prefix: "b/", after, from, until: None, delimiter: None, token, most: 2 };
        let (first, token) = keys(&objects, &ask(None, None, None));
        assert_eq!(first, ["b/1", "b/2"]);
        let (last, end) = keys(&objects, &ask(token.as_deref(), None, None));
        assert_eq!((last, end), (vec!["b/3".to_owned()], None));
        assert_eq!(keys(&objects, &ask(None, Some("b/1"), None)).0, ["b/2", "b/3"]);
        assert_eq!(keys(&objects, &ask(None, None, Some("b/3"))).0, ["b/3"]);
        assert!(objects.page(&ask(Some("not ours!"), None, None)).is_none());
    }
}
