//! Quotation marks in CSV that are not closed.

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
