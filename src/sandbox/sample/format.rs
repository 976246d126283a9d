//! The formats: the same records as lines, arrays, elements and rows.

use std::io::{self, Write};

use serde_json::Value;

use super::{Format, SampleSpec};

/// Writes the records of `spec`, uncompressed.
pub(super) fn write(spec: &SampleSpec, out: &mut impl Write) -> io::Result<()> {
    match spec.format {
        Format::JsonLines => lines(spec, out, |record, out| Ok(serde_json::to_writer(out, record)?)),
        Format::XmlLines => lines(spec, out, |record, out| element(spec.kind.element(), record, out)),
        Format::JsonArray => {
            out.write_all(b"[")?;
            for index in 0..spec.records {
                if index > 0 {
                    out.write_all(b",\n")?;
                }
                serde_json::to_writer(&mut *out, &spec.record(index))?;
            }
            out.write_all(b"]")?;
            last_newline(spec, out)
        }
        Format::XmlDocument => {
            out.write_all(b"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Export>\n")?;
            for index in 0..spec.records {
                element(spec.kind.element(), &spec.record(index), out)?;
                out.write_all(b"\n")?;
            }
            out.write_all(b"</Export>")?;
            last_newline(spec, out)
        }
        Format::Csv => rows(spec, out),
    }
}

fn last_newline(spec: &SampleSpec, out: &mut impl Write) -> io::Result<()> {
    if spec.last_newline_missing { Ok(()) } else { out.write_all(b"\n") }
}

fn lines<W: Write>(
    spec: &SampleSpec,
    out: &mut W,
    write_one: impl Fn(&Value, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    for index in 0..spec.records {
        if index > 0 {
            out.write_all(b"\n")?;
        }
        write_one(&spec.record(index), out)?;
    }
    if spec.records > 0 { last_newline(spec, out) } else { Ok(()) }
}

/// A value as an element: an object's fields are elements inside it, an array is the same element again and again.
fn element(name: &str, value: &Value, out: &mut impl Write) -> io::Result<()> {
    match value {
        Value::Array(values) => values.iter().try_for_each(|value| element(name, value, out)),
        Value::Null => write!(out, "<{name}/>"),
        Value::Object(fields) => {
            write!(out, "<{name}>")?;
            for (field, value) in fields {
                element(field, value, out)?;
            }
            write!(out, "</{name}>")
        }
        Value::String(text) => write!(out, "<{name}>{}</{name}>", quick_xml::escape::escape(text.as_str())),
        Value::Bool(_) | Value::Number(_) => write!(out, "<{name}>{value}</{name}>"),
    }
}

/// A header and a row a record; a column is named by the way to it, such as `identifier.sku`.
fn rows(spec: &SampleSpec, out: &mut impl Write) -> io::Result<()> {
    let mut written = Vec::new();
    for index in 0..spec.records {
        let mut columns = Vec::new();
        flatten(String::new(), &spec.record(index), &mut columns);
        let mut writer = csv::WriterBuilder::new().from_writer(&mut written);
        if index == 0 {
            writer.write_record(columns.iter().map(|(name, _)| name))?;
        }
        writer.write_record(columns.iter().map(|(_, value)| value))?;
        writer.flush()?;
        drop(writer);
        if spec.last_newline_missing && index + 1 == spec.records {
            written.pop();
        }
        out.write_all(&written)?;
        written.clear();
    }
    Ok(())
}

fn flatten(name: String, value: &Value, columns: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let inner = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(inner, value, columns);
            }
        }
        // An array has no fixed number of columns: it goes into one, as JSON.
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => columns.push((name, value.to_string())),
        Value::String(text) => columns.push((name, text.clone())),
        Value::Null => columns.push((name, String::new())),
    }
}
