//! JSON lines.

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
    assert_eq!(out.bad, [format!("2@10: {reason}"), format!("4@1048601: {reason}"), format!("6@1048615: {reason}")]);
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
