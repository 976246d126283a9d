//! CSV.

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
