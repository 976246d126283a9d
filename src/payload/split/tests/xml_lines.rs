//! XML lines.

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
