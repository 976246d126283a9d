//! Splitters on ugly files, made here, and on the same files cut up in every way.

use std::io::{self, Read};

use proptest::prelude::*;

use super::*;

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

mod json_lines {
    use super::*;

    #[test]
    fn lines_come_as_they_are_with_any_line_end_and_any_mark() {
        for text in [
            "{\"a\":1}\n{\"b\":2}\n",
            "{\"a\":1}\n{\"b\":2}",
            "{\"a\":1}\r\n{\"b\":2}\r\n",
            "\u{feff}{\"a\":1}\n{\"b\":2}",
            "\n\r\n{\"a\":1}\n \t\n\n{\"b\":2}\n\n\n",
        ] {
            assert_eq!(bodies(Form::JsonLines, text), ["{\"a\":1}", "{\"b\":2}"], "{text:?}");
        }
        let utf_16: Vec<u8> = "\u{feff}{\"å\":1}\r\n2".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(run(&plan(Form::JsonLines), &utf_16, &[5]).bodies, ["{\"å\":1}", "2"]);
    }

    #[test]
    fn an_empty_file_has_no_records() {
        for text in ["", "\n", "\u{feff}", " \r\n \n"] {
            assert_eq!(run(&plan(Form::JsonLines), text.as_bytes(), &[1]), Out::default(), "{text:?}");
        }
    }

    #[test]
    fn a_bad_line_is_set_aside_with_number_and_offset_and_the_rest_goes_on() {
        let mut text = b"\xef\xbb\xbf{\"a\":1}\n{\"a\":\n\n{\"a\":\"\xff\"}\n[1] 2\n{\"a\":2}\n".to_vec();
        text.extend_from_slice(&[vec![b'['; 200], vec![b']'; 200], b"\n3".to_vec()].concat());
        let out = run(&plan(Form::JsonLines), &text, &[usize::MAX]);
        assert_eq!(out.bodies, ["{\"a\":1}", "{\"a\":2}", "3"]);
        assert_eq!(out.offsets, [3, 34, 443]);
        assert_eq!(
            out.bad,
            [
                "2@11: it is not JSON: EOF while parsing a value at byte 5",
                "3@18: it is not UTF-8 at byte 7",
                "4@28: it is not JSON: trailing characters at byte 5",
                "6@42: it is nested deeper than 128",
            ]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_set_aside_without_being_held() {
        let mut plan = plan(Form::JsonLines);
        plan.limits.record_bytes_max = 10;
        plan.limits.bad_record_bytes_kept = 4;
        let long = format!("\"{}\"", "x".repeat(1 << 20));
        let text = format!("12345678\r\n{long}\n\"12345678\"\r\n\"123456789\"\n1\n{long}");
        let out = run(&plan, text.as_bytes(), &[1_000]);
        assert_eq!(out.bodies, ["12345678", "\"12345678\"", "1"]);
        let reason = "it is longer than 10 bytes";
        assert_eq!(
            out.bad,
            [format!("2@10: {reason}"), format!("4@1048601: {reason}"), format!("6@1048615: {reason}")]
        );
    }

    #[test]
    fn too_many_bad_lines_are_another_type_of_file() {
        let mut plan = plan(Form::JsonLines);
        plan.limits.bad_records_max = 2;
        assert_eq!(run(&plan, b"x\n1\ny\n", &[1]).stop, None);
        let stop = run(&plan, b"x\ny\nz\n", &[1]).stop.unwrap();
        assert!(stop.starts_with("more than 2 of its records cannot be read; the last is number 3"), "{stop}");
        plan.limits.records_max = 3;
        assert!(run(&plan, b"1\n2\n3\n4\n", &[1]).stop.unwrap().contains("more than 3 records"));
    }

    #[test]
    fn batches_are_cut_at_records_and_bytes() {
        let mut plan = plan(Form::JsonLines);
        plan.batch = BatchLimits { records_max: 3, bytes_max: 8 };
        let out = run(&plan, b"1\n2\n3\n4\n\"123456789\"\n12345678\n1\n", &[2]);
        assert_eq!(out.batches, [(1, 3), (4, 4), (5, 5), (6, 6), (7, 7)]);
    }
}

mod json {
    use super::*;

    #[test]
    fn the_elements_of_an_array_are_records() {
        let text = "\u{feff} [ {\"a\": [1,2], \"b\": \"],\\\"\"} ,\n 2, \"x\",[\n 3 ,\r\n4],null ] \n";
        let out = run(&plan(Form::Json), text.as_bytes(), &[3]);
        assert_eq!(out.bodies, [r#"{"a": [1,2], "b": "],\""}"#, "2", "\"x\"", "[3,4]", "null"]);
        assert_eq!(out.offsets[0], 6);
        assert_eq!((out.bad, out.stop), (vec![], None));
    }

    #[test]
    fn any_other_value_is_the_only_record() {
        assert_eq!(bodies(Form::Json, "{\n  \"a\": \"b c\"\n}\n"), ["{\"a\":\"b c\"}"]);
        assert_eq!(bodies(Form::Json, " 1"), ["1"]);
        assert_eq!(bodies(Form::Json, "[]"), Vec::<String>::new());
        assert_eq!(bodies(Form::Json, " \n"), Vec::<String>::new());
    }

    #[test]
    fn bad_elements_are_set_aside_and_a_cut_array_is_unreadable() {
        let out = run(&plan(Form::Json), b"[1,,nope,{\"a\":},5,]", &[usize::MAX]);
        assert_eq!(out.bodies, ["1", "5"]);
        assert_eq!(out.bad.len(), 4);
        assert_eq!(run(&plan(Form::Json), b"[1,{\"a\":2}", &[1]).stop.unwrap(), "its array is cut off after 1 records");
        assert!(run(&plan(Form::Json), b"[1] x", &[1]).stop.unwrap().contains("at byte 5"));
        assert_eq!(run(&plan(Form::Json), b"{} {}", &[1]).bad.len(), 1);
        let mut small = plan(Form::Json);
        small.limits.record_bytes_max = 4;
        let out = run(&small, b"[ 1234    , 12345, \"]]]]]]]],\", 1]", &[1]);
        assert_eq!(out.bodies, ["1234", "1"]);
        assert_eq!(out.bad.len(), 2);
    }
}

mod csv {
    use super::*;

    #[test]
    fn a_row_is_an_object_by_the_header() {
        let text = "\u{feff}id, name ,,name\r\n1,\"a \"\"b\"\"\r\nc\",x,y\r\n\r\n2,å,,\r\n";
        assert_eq!(
            bodies(Form::Csv, text),
            [
                r#"{"id":"1","name":"a \"b\"\r\nc","column3":"x","name_2":"y"}"#,
                r#"{"id":"2","name":"å","column3":"","name_2":""}"#
            ]
        );
    }

    #[test]
    fn the_separator_is_found_or_set() {
        for separator in [",", ";", "\t", "|"] {
            let text = format!("a{separator}\"b,b;;b\"\n1{separator}2\n");
            assert_eq!(bodies(Form::Csv, &text), [r#"{"a":"1","b,b;;b":"2"}"#], "{separator:?}");
        }
        let mut set = plan(Form::Csv);
        set.hints.csv_separator = Some(b':');
        assert_eq!(run(&set, b"a:b,c\n1:2", &[1]).bodies, [r#"{"a":"1","b,c":"2"}"#]);
        assert_eq!(bodies(Form::Csv, "a\n1\n"), [r#"{"a":"1"}"#]);
    }

    #[test]
    fn columns_of_a_prefix_are_gathered_and_names_take_the_spelling_that_is_wished_for() {
        let mut set = plan(Form::Csv);
        set.hints.csv_gather = vec!["Payload.".to_owned()];
        set.hints.csv_columns = vec!["eventId".to_owned()];
        set.hints.csv_null = Some("\\N".to_owned());
        let text = b"EVENTID,PAYLOAD.price,ts,Payload.name,payload.price\n1,2,\\N,a,\\N\n";
        let expected = r#"{"eventId":"1","ts":null,"Payload":{"price":"2","name":"a","price_2":null}}"#;
        assert_eq!(run(&set, text, &[3]).bodies, [expected]);
    }

    #[test]
    fn a_column_that_is_named_as_the_prefix_holds_the_object_as_json() {
        let mut set = plan(Form::Csv);
        set.hints.csv_gather = vec!["Payload.".to_owned()];
        let text = b"id,Payload.\n1,\"{\"\"a\"\":\n1.0}\"\n2,{broken\n";
        let expected = [r#"{"id":"1","Payload":{"a": 1.0}}"#, r#"{"id":"2","Payload":"{broken"}"#];
        assert_eq!(run(&set, text, &[3]).bodies, expected);
    }

    #[test]
    fn the_sign_of_quotation_is_a_setting() {
        let mut set = plan(Form::Csv);
        set.hints.csv_quote = Some(b'\'');
        assert_eq!(run(&set, b"a,'b;;;c'\n'1,2',\"\n", &[2]).bodies, [r#"{"a":"1,2","b;;;c":"\""}"#]);
    }

    #[test]
    fn an_empty_file_and_a_mere_header_have_no_records() {
        assert!(bodies(Form::Csv, "").is_empty());
        assert!(bodies(Form::Csv, "\n\r\n").is_empty());
        assert!(bodies(Form::Csv, "a,b\n").is_empty());
    }

    #[test]
    fn a_bad_row_is_set_aside_and_the_rest_goes_on() {
        let mut small = plan(Form::Csv);
        small.limits.record_bytes_max = 20;
        let out = run(&small, b"a,b\n1\n1,2,3\n\"\xff\",2\naaaaaaaaaaaaaaaaaaaa,bbbbbbbbbbb\n3,4\n5,\"6\n", &[4]);
        assert_eq!(out.bodies, [r#"{"a":"3","b":"4"}"#]);
        assert_eq!(
            out.bad,
            [
                "1@4: it has 1 values, and the header names 2 columns",
                "2@6: it has 3 values, and the header names 2 columns",
                "3@12: its value number 1 is not UTF-8",
                "4@18: it is longer than 20 bytes",
                "6@55: its quotation mark is not closed before the end of the file; reading went on at the line after the one in which it opens",
            ]
        );
    }
}

mod csv_quotes {
    use super::*;

    #[test]
    fn a_quotation_mark_that_is_not_closed_costs_its_own_line_alone() {
        let out = run(&plan(Form::Csv), b"a,b\n1,2\n3,\"4\n5,6\r\n\n7,8\n9,\"\"", &[3]);
        assert_eq!(
            out.bodies,
            [r#"{"a":"1","b":"2"}"#, r#"{"a":"5","b":"6"}"#, r#"{"a":"7","b":"8"}"#, r#"{"a":"9","b":""}"#]
        );
        assert_eq!(
            out.bad,
            [
                "2@8: its quotation mark is not closed before the end of the file; reading went on at the line after the one in which it opens",
            ]
        );
    }

    #[test]
    fn the_rows_before_the_line_in_which_it_opens_belong_to_its_row() {
        let out = run(&plan(Form::Csv), b"a,b\n\"1\n1\",\"2\n3,4\n", &[3]);
        assert_eq!(out.bodies, [r#"{"a":"3","b":"4"}"#]);
        assert_eq!(out.bad.len(), 1);
    }

    #[test]
    fn it_costs_no_more_where_the_file_is_longer_than_a_record_may_be() {
        let mut small = plan(Form::Csv);
        small.limits.record_bytes_max = 50;
        let text = format!("a,b\n1,\"2\n{}x,y\n", "3,4\n".repeat(40));
        let out = run(&small, text.as_bytes(), &[7]);
        assert_eq!(out.bodies.len(), 41);
        assert_eq!(out.bad.len(), 1);
        assert!(out.bad[0].contains("is not closed within 50 bytes"), "{:?}", out.bad);
    }

    #[test]
    fn a_mark_within_a_value_opens_nothing() {
        let out = run(&plan(Form::Csv), b"a,b\n1,5\" pipe\n2,\"5\"\" pipe\"\n3,x\"", &[5]);
        assert!(out.bad.is_empty(), "{:?}", out.bad);
        assert_eq!(out.bodies.len(), 3);
    }

    #[test]
    fn a_header_of_one_name_many_times_is_read_in_time() {
        let names = vec!["a"; 16_000].join(",");
        let out = run(&plan(Form::Csv), format!("{names}\n1\n").as_bytes(), &[usize::MAX]);
        assert_eq!(out.bad.len(), 1);
    }
}

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

const FORMS: [Form; 5] = [Form::JsonLines, Form::XmlLines, Form::Json, Form::Xml, Form::Csv];

mod xml {
    use super::*;

    const DOCUMENT: &str = "<?xml version=\"1.0\"?>\n<!DOCTYPE items [<!ENTITY x \"<item/>\">]>\n<!-- <item/> -->\n\
        <items xmlns=\"u\" xmlns:l=\"v>\">\n <item id='1'><name>a &amp; b</name></item>\n <l:item/>\n\
        <![CDATA[<item/>]]><?pi <item/> ?> text <other><item>2</item><item>3</item></other>\n</items>\n<!-- end -->\n";

    #[test]
    fn the_children_of_the_root_are_records_with_its_namespaces() {
        for sizes in [&[1][..], &[usize::MAX], &[7, 3]] {
            let out = run(&plan(Form::Xml), DOCUMENT.as_bytes(), sizes);
            assert_eq!((out.bad, out.stop), (vec![], None));
            assert_eq!(
                out.bodies,
                [
                    r#"{"item":{"@id":"1","@xmlns":"u","@xmlns:l":"v>","name":"a & b"}}"#,
                    r#"{"l:item":{"@xmlns":"u","@xmlns:l":"v>"}}"#,
                    r#"{"other":{"@xmlns":"u","@xmlns:l":"v>","item":["2","3"]}}"#,
                ]
            );
            let starts = ["<item id", "<l:item", "<other"].map(|start| DOCUMENT.find(start).unwrap() as u64);
            assert_eq!(out.offsets, starts);
        }
    }

    #[test]
    fn the_record_element_is_found_at_any_depth() {
        let mut plan = plan(Form::Xml);
        for (name, count) in [("item", 4), ("l:item", 1), ("items", 1), ("none", 0)] {
            plan.hints.xml_record_element = Some(name.to_owned());
            assert_eq!(run(&plan, DOCUMENT.as_bytes(), &[5]).bodies.len(), count, "{name}");
        }
    }

    #[test]
    fn an_empty_document_has_no_records() {
        for text in ["", "\u{feff}", "\n", "<items/>", "<items></items>", "<?xml version=\"1.0\"?><items>\n</items>"] {
            assert!(bodies(Form::Xml, text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_bad_element_is_set_aside_and_a_cut_document_is_unreadable() {
        let mut small = plan(Form::Xml);
        small.limits.record_bytes_max = 40;
        let long = format!(
            "<r><a x=\"{0}\"/><a>{0}</a><a>1</a><a>&x;</a><a b='1' b='2'/><a><b></c></a><a/></r>",
            "y".repeat(1 << 17)
        );
        let out = run(&small, long.as_bytes(), &[1_000]);
        assert_eq!(out.bodies, [r#"{"a":"1"}"#, r#"{"a":""}"#], "{out:?}");
        assert_eq!(out.bad.len(), 5, "{:?}", out);
        assert_eq!(out.bad[0], "1@3: it is longer than 40 bytes");
        assert!(out.bad[2].contains("the entity &x; is not known"), "{:?}", out.bad);
        for cut in ["<r><a/>", "<r><a/></r", "<r><a/></r><!-- ", "<r><a/><"] {
            let out = run(&plan(Form::Xml), cut.as_bytes(), &[3]);
            assert_eq!(out.bodies.len(), 1, "{cut}");
            assert_eq!(out.stop.unwrap(), "its document is cut off after 1 records");
        }
        for bad in ["{\"a\":1}", "<r/>x", "<r/><r/>", "</r>"] {
            assert!(run(&plan(Form::Xml), bad.as_bytes(), &[3]).stop.unwrap().starts_with("it is not XML"), "{bad}");
        }
    }
}

mod xml_lines {
    use super::*;

    #[test]
    fn each_line_is_an_element() {
        let text = "\u{feff}<?xml version=\"1.0\"?>\r\n<a x=\"1\"><l:b xmlns:l=\"u\">ø</l:b></a>\r\n\n<a/>";
        let expected = [r##"{"a":{"@x":"1","l:b":{"@xmlns:l":"u","#text":"ø"}}}"##, r#"{"a":""}"#];
        assert_eq!(bodies(Form::XmlLines, text), expected);
    }

    #[test]
    fn a_bad_line_is_set_aside_and_the_rest_goes_on() {
        let mut small = plan(Form::XmlLines);
        small.limits.record_bytes_max = 20;
        let text = format!(
            "<a>\n<a/>\n<a>{}</a>\r\n<a>&x;</a>\n<b/><b/>\n{{}}\n<a>12345678901234</a>\r\n<a>1234567890123</a>\r\n",
            "y".repeat(1 << 17)
        );
        let out = run(&small, text.as_bytes(), &[1_000]);
        assert_eq!(out.bodies, [r#"{"a":""}"#, r#"{"a":"1234567890123"}"#]);
        assert_eq!(out.bad.len(), 6, "{:?}", out.bad);
        assert_eq!(out.bad[1], "3@9: it is longer than 20 bytes");
        assert!(out.bad[2].starts_with("4@131090: "), "{:?}", out.bad);
    }
}
