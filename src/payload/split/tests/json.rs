//! A JSON array or any other value.

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
