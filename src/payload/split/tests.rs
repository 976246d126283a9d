//! Splitters on ugly files, made here, and on the same files cut up in every way.

use std::io::{self, Read};

use proptest::prelude::*;

use super::*;

mod csv;
mod csv_quotes;
mod json;
mod json_lines;
mod xml;
mod xml_lines;

/// What came out: each readable body, each bad record as `number@offset: reason`, and how the batches were cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Out {
    pub bodies: Vec<String>,
    pub bad: Vec<String>,
    pub offsets: Vec<u64>,
    pub batches: Vec<(u64, u64)>,
    pub stop: Option<String>,
}

/// Gives a text out in pieces of the given sizes, round and round.
struct InPieces<'a> {
    text: &'a [u8],
    sizes: &'a [usize],
    at: usize,
}

impl Read for InPieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.at % self.sizes.len()].max(1);
        self.at += 1;
        let count = size.min(out.len()).min(self.text.len());
        out[..count].copy_from_slice(&self.text[..count]);
        self.text = &self.text[count..];
        Ok(count)
    }
}

pub(super) fn plan(form: Form) -> Plan {
    Plan {
        form,
        hints: FormatHints::default(),
        batch: BatchLimits { records_max: 1_000, bytes_max: 1 << 20 },
        limits: PayloadLimits::default(),
    }
}

pub(super) fn run(plan: &Plan, text: &[u8], sizes: &[usize]) -> Out {
    let mut out = Out::default();
    let mut last = 0;
    let mut emit = |batch: RecordBatch| {
        assert_eq!(batch.first, last + 1, "records are numbered without a gap");
        assert_eq!(batch.spans.len() + batch.bad.len(), usize::try_from(batch.last - last).unwrap());
        last = batch.last;
        out.batches.push((batch.first, batch.last));
        if batch.is_lines {
            let lines: Vec<u8> = batch.records().flat_map(|r| [r.body, b"\n"].concat()).collect();
            assert_eq!(lines, batch.buffer, "a batch of lines is lines and nothing else");
        }
        let mut numbers: Vec<u64> =
            batch.spans.iter().map(|s| s.number).chain(batch.bad.iter().map(|b| b.number)).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (batch.first..=batch.last).collect::<Vec<_>>());
        for record in batch.records() {
            assert!(serde_json::from_slice::<serde::de::IgnoredAny>(record.body).is_ok());
            assert!(!record.body.contains(&b'\n'));
            out.offsets.push(record.offset);
            out.bodies.push(String::from_utf8(record.body.to_vec()).unwrap());
        }
        for bad in &batch.bad {
            out.bad.push(format!("{}@{}: {}", bad.number, bad.offset, bad.reason));
        }
        Ok(())
    };
    let result = split(plan, &mut Text::new(InPieces { text, sizes, at: 0 }, None), &mut emit);
    match result {
        Ok(records) => assert_eq!(records, last, "every record is in a batch"),
        Err(Stop::Unreadable(reason)) => out.stop = Some(reason),
        Err(stop) => panic!("{stop:?}"),
    }
    out
}

pub(super) fn bodies(form: Form, text: &str) -> Vec<String> {
    let out = run(&plan(form), text.as_bytes(), &[usize::MAX]);
    assert_eq!((out.bad, out.stop), (vec![], None), "{text:?}");
    out.bodies
}

const FORMS: [Form; 5] = [Form::JsonLines, Form::XmlLines, Form::Json, Form::Xml, Form::Csv];

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"{\"a\":1}".to_vec()),
        Just("{\"ø\":\"\\\"],\"}".as_bytes().to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b",".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"[".to_vec()),
        Just(b"]".to_vec()),
        Just(b"<r><a x=\"1\">t</a></r>".to_vec()),
        Just(b"\xff".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
        Just(vec![b'7'; 40]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_cutting_up_of_the_text_gives_the_same_records(
        pieces in proptest::collection::vec(piece(), 0..40),
        sizes in proptest::collection::vec(1_usize..30, 1..6),
        records_max in 1_usize..5,
        bytes_max in 1_usize..60,
    ) {
        let text = pieces.concat();
        for form in FORMS {
            let mut plan = plan(form);
            plan.batch = BatchLimits { records_max, bytes_max };
            plan.limits.record_bytes_max = 35;
            plan.limits.bad_records_max = 12;
            let whole = run(&plan, &text, &[usize::MAX]);
            prop_assert_eq!(&run(&plan, &text, &sizes), &whole);
            prop_assert_eq!(&run(&plan, &text, &[1]), &whole);
        }
    }
}
