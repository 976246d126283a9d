//! From one XML element to one JSON value.
//!
//! The rule, in full: a record is an object with one member, the element's name. An element is
//!
//! - a string, when it has neither attributes nor child elements: its text (`""` when there is none);
//! - otherwise an object: attributes as `@name`, in their order; then child elements by name, in the order in which each
//!   name comes first, and as an array where a name comes more than once; then its own text, if it is not all white
//!   space, as `#text`.
//!
//! Names keep their prefixes, and declarations of namespaces are attributes like others (`@xmlns:lrs`); a record that is
//! taken out of a document gets those of the elements around it. CDATA is text. Comments and processing instructions
//! are left out. Only the five predefined entities and character references are known; nothing else is expanded.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;
use serde_json::{Map, Value};

/// Declarations of namespaces that are in force around a record: attribute name and value.
pub(super) type Namespaces = Vec<(String, String)>;

/// An element that is being read.
struct Open {
    name: String,
    members: Map<String, Value>,
    text: String,
    has_children: bool,
}

/// The record that `element` is, written to `body`. The error says why it is none.
pub(super) fn convert(element: &[u8], around: &Namespaces, depth_max: usize, body: &mut Vec<u8>) -> Result<(), String> {
    let text =
        std::str::from_utf8(element).map_err(|error| format!("it is not UTF-8 at byte {}", error.valid_up_to() + 1))?;
    let record = read(text, around, depth_max)?;
    body.clear();
    serde_json::to_writer(body, &record).expect("a value of strings can always be written to memory");
    Ok(())
}

fn read(text: &str, around: &Namespaces, depth_max: usize) -> Result<Value, String> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Open> = Vec::new();
    let mut record = None;
    loop {
        let event =
            reader.read_event().map_err(|e| format!("it is not XML: {e}, at byte {}", reader.error_position() + 1))?;
        let at = reader.buffer_position();
        let not_xml = |reason: &dyn std::fmt::Display| format!("it is not XML: {reason}, before byte {}", at + 1);
        match event {
            Event::Start(start) => {
                if record.is_some() {
                    return Err("it holds more than one element".to_owned());
                }
                // An element takes a level of its own in JSON, and an array may take another.
                if open.len() * 2 >= depth_max {
                    return Err(format!("it is nested deeper than {depth_max}"));
                }
                let inherited = open.is_empty().then_some(around);
                open.push(opened(&start, inherited).map_err(|e| not_xml(&e))?);
            }
            Event::End(_) => {
                let ended = open.pop().ok_or_else(|| not_xml(&"an element ends that did not start"))?;
                let (name, value) = closed(ended);
                match open.last_mut() {
                    Some(parent) => add_child(parent, name, value),
                    None => record = Some(Value::Object(Map::from_iter([(name, value)]))),
                }
            }
            Event::Text(piece) => {
                let piece = piece.xml10_content().map_err(|e| not_xml(&e))?;
                add_text(&mut open, &piece).map_err(|e| not_xml(&e))?;
            }
            Event::CData(piece) => {
                let piece = piece.xml10_content().map_err(|e| not_xml(&e))?;
                add_text(&mut open, &piece).map_err(|e| not_xml(&e))?;
            }
            Event::GeneralRef(reference) => {
                let piece = resolved(&reference).map_err(|e| not_xml(&e))?;
                add_text(&mut open, &piece).map_err(|e| not_xml(&e))?;
            }
            Event::DocType(_) => return Err("it declares a document type, which a record must not".to_owned()),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) | Event::Empty(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() {
        return Err(format!("it is not XML: <{}> is not closed", open[open.len() - 1].name));
    }
    record.ok_or_else(|| "it holds no element".to_owned())
}

fn opened(start: &BytesStart<'_>, inherited: Option<&Namespaces>) -> Result<Open, String> {
    let name = String::from_utf8_lossy(start.name().as_ref()).into_owned();
    let mut members = Map::new();
    // The reader's own check for doubles compares each with each; the map finds them at once.
    for attribute in start.attributes().with_checks(false) {
        let attribute = attribute.map_err(|e| e.to_string())?;
        let key = format!("@{}", String::from_utf8_lossy(attribute.key.as_ref()));
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
        if members.insert(key, Value::String(value.into_owned())).is_some() {
            return Err(format!("an attribute of <{name}> is given twice"));
        }
    }
    for (key, value) in inherited.into_iter().flatten() {
        if !members.contains_key(key) {
            members.insert(key.clone(), Value::String(value.clone()));
        }
    }
    Ok(Open { name, members, text: String::new(), has_children: false })
}

fn closed(mut open: Open) -> (String, Value) {
    if open.members.is_empty() && !open.has_children {
        return (open.name, Value::String(open.text));
    }
    let is_blank = open.text.bytes().all(|byte| byte.is_ascii_whitespace());
    if !is_blank {
        open.members.insert("#text".to_owned(), Value::String(open.text));
    }
    (open.name, Value::Object(open.members))
}

fn add_child(parent: &mut Open, name: String, value: Value) {
    parent.has_children = true;
    match parent.members.get_mut(&name) {
        None => {
            parent.members.insert(name, value);
        }
        // No value but this rule's own is an array.
        Some(Value::Array(all)) => all.push(value),
        Some(first) => {
            let both = vec![first.take(), value];
            *first = Value::Array(both);
        }
    }
}

fn add_text(open: &mut [Open], piece: &str) -> Result<(), &'static str> {
    match open.last_mut() {
        Some(element) => element.text.push_str(piece),
        None if piece.bytes().all(|byte| byte.is_ascii_whitespace()) => {}
        None => return Err("text stands outside of the element"),
    }
    Ok(())
}

fn resolved(reference: &BytesRef<'_>) -> Result<String, String> {
    if let Some(character) = reference.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(character.to_string());
    }
    let name = reference.decode().map_err(|e| e.to_string())?;
    quick_xml::escape::resolve_predefined_entity(&name)
        .map(str::to_owned)
        .ok_or_else(|| format!("the entity &{name}; is not known, and none is expanded"))
}

/// The declarations of namespaces in a start tag, `<` and `>` included, over those around it.
pub(super) fn namespaces(tag: &[u8], around: &Namespaces) -> Result<Namespaces, String> {
    let text = std::str::from_utf8(tag).map_err(|_| "a tag around its records is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(text);
    let event = reader.read_event().map_err(|e| e.to_string())?;
    let mut all = around.clone();
    if let Event::Start(start) = event {
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|e| e.to_string())?;
            let key = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
            if key != "xmlns" && !key.starts_with("xmlns:") {
                continue;
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?.into_owned();
            let key = format!("@{key}");
            all.retain(|(known, _)| *known != key);
            all.push((key, value));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(element: &str) -> Result<String, String> {
        let mut body = Vec::new();
        convert(element.as_bytes(), &vec![("@xmlns:o".to_owned(), "outer".to_owned())], 16, &mut body)?;
        Ok(String::from_utf8(body).unwrap())
    }

    #[test]
    fn elements_attributes_and_text_follow_the_rule() {
        let cases = [
            ("<a/>", r#"{"a":{"@xmlns:o":"outer"}}"#),
            ("<a xmlns:o=''>x</a>", r##"{"a":{"@xmlns:o":"","#text":"x"}}"##),
            (
                "<l:a id=\"1\" xmlns:l='u'><b/><c>2</c><b n='3'>4</b><b>5</b> tail\r\n</l:a>",
                r##"{"l:a":{"@id":"1","@xmlns:l":"u","@xmlns:o":"outer","b":["",{"@n":"3","#text":"4"},"5"],"c":"2","#text":" tail\n"}}"##,
            ),
            (
                "<!-- c --><a><b>&lt;&#x41;&#66;&amp;<![CDATA[<&x;]]><?pi?></b></a> ",
                r#"{"a":{"@xmlns:o":"outer","b":"<AB&<&x;"}}"#,
            ),
        ];
        for (element, expected) in cases {
            assert_eq!(json(element).unwrap(), expected, "{element}");
        }
    }

    #[test]
    fn what_is_not_one_element_is_refused() {
        for bad in [
            "",
            "x",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>x",
            "<a b='1' b='2'/>",
            "<a b=1/>",
            "<a>&x;</a>",
            "<a>&#0;</a>",
            "<a b='&x;'/>",
            "<a><b></a></b>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
            "<a",
            "<a><a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a></a>",
        ] {
            assert!(json(bad).is_err(), "{bad}");
        }
    }
}
