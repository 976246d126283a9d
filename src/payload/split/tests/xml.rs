//! One XML document.

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
