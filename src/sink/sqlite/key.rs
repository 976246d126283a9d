//! What a table needs of a record: its key and its version.

use rusqlite::types::Value;

use crate::clock::UnixMs;
use crate::pointer::{Pointer, PointerError};

/// Whole numbers up to here are exact as floating point, so `1.0e3` and `1000` are known as one key.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// How records of a sink are told apart and ordered.
#[derive(Clone, Debug)]
pub(super) struct RecordReader {
    key: Vec<Pointer>,
    version: Option<Pointer>,
}

impl RecordReader {
    pub(super) fn new(key: &[String], version: Option<&str>) -> Result<Self, PointerError> {
        Ok(Self {
            key: key.iter().map(|pointer| Pointer::parse(pointer)).collect::<Result<_, _>>()?,
            version: version.map(Pointer::parse).transpose()?,
        })
    }

    /// The record's key: the value itself where the key is one, a JSON array of texts where it is compound. A number
    /// and a string of the same digits are one key: sources change their minds about such things.
    pub(super) fn key(&self, body: &[u8]) -> Result<String, String> {
        let part = |pointer: &Pointer| match pointer.find(body).map(scalar) {
            Some(Some(text)) if !text.is_empty() => Ok(text),
            Some(Some(_)) => Err(format!("its key at {pointer} is empty")),
            Some(None) => Err(format!("its key at {pointer} is neither a text nor a number")),
            None => Err(format!("it has no key at {pointer}")),
        };
        match self.key.as_slice() {
            [one] => part(one),
            several => {
                let parts = several.iter().map(part).collect::<Result<Vec<String>, String>>()?;
                Ok(serde_json::Value::from(parts).to_string())
            }
        }
    }

    /// What orders two records of one key: the record's own version where the settings name one (a number, or a time
    /// as microseconds since 1970), else when the notice was published.
    pub(super) fn version(&self, body: &[u8], published: UnixMs) -> Result<Value, String> {
        let Some(pointer) = &self.version else {
            return Ok(Value::Integer(published.0));
        };
        let raw = pointer.find(body).ok_or_else(|| format!("it has no version at {pointer}"))?;
        parse_version(raw).ok_or_else(|| format!("its version at {pointer} is neither a number nor a time"))
    }
}

fn scalar(raw: &str) -> Option<String> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok(),
        b't' | b'f' => Some(raw.to_owned()),
        b'-' | b'0'..=b'9' => Some(number(raw)),
        _ => None,
    }
}

/// One spelling for each number. Whole numbers keep their digits, however many.
fn number(raw: &str) -> String {
    if raw == "-0" {
        return "0".to_owned();
    }
    if !raw.contains(['.', 'e', 'E']) {
        return raw.to_owned();
    }
    match raw.parse::<f64>() {
        // Beyond the exact ones, two spellings are taken for two numbers rather than two numbers for one.
        Ok(value) if value.abs() < EXACT_MAX => (value + 0.0).to_string(),
        _ => raw.to_owned(),
    }
}

fn parse_version(raw: &str) -> Option<Value> {
    if raw.starts_with('"') {
        let text: String = serde_json::from_str(raw).ok()?;
        let time = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            // Many sources leave the zone out and mean UTC.
            text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
        })?;
        return Some(Value::Integer(time.as_microsecond()));
    }
    if let Ok(whole) = raw.parse::<i64>() {
        return Some(Value::Integer(whole));
    }
    raw.parse::<f64>().ok().filter(|value| value.is_finite()).map(Value::Real)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(key: &[&str], version: Option<&str>) -> RecordReader {
        let key: Vec<String> = key.iter().map(|pointer| (*pointer).to_owned()).collect();
        RecordReader::new(&key, version).expect("test pointers")
    }

    #[test]
    fn a_key_is_one_text_for_each_value() {
        let key = |body: &str| reader(&["/k"], None).key(body.as_bytes());
        for (body, expected) in [
            (r#"{"k":"a"}"#, "a"),
            (r#"{"k":"1"}"#, "1"),
            (r#"{"k":1}"#, "1"),
            (r#"{"k":1.0}"#, "1"),
            (r#"{"k":1e0}"#, "1"),
            (r#"{"k":-0.0}"#, "0"),
            (r#"{"k":-0}"#, "0"),
            (r#"{"k":1.50}"#, "1.5"),
            (r#"{"k":123456789012345678901234567890}"#, "123456789012345678901234567890"),
            (r#"{"k":true}"#, "true"),
            (r#"{"k":"\u0000'; DROP TABLE x"}"#, "\0'; DROP TABLE x"),
        ] {
            assert_eq!(key(body).as_deref(), Ok(expected), "{body}");
        }
        for body in ["{}", r#"{"k":null}"#, r#"{"k":""}"#, r#"{"k":{}}"#, r#"{"k":[]}"#, "7", "null"] {
            assert!(key(body).is_err(), "{body}");
        }
    }

    #[test]
    fn compound_keys_do_not_run_into_each_other() {
        let reader = reader(&["/a", "/b"], None);
        let one = reader.key(br#"{"a":"x\",\"y","b":"z"}"#).expect("key");
        let other = reader.key(br#"{"a":"x","b":"y\",\"z"}"#).expect("key");
        assert_ne!(one, other);
        assert!(reader.key(br#"{"a":"x"}"#).is_err());
    }

    #[test]
    fn a_version_is_a_number_or_a_time() {
        let version =
            |value: &str| reader(&["/k"], Some("/v")).version(format!(r#"{{"v":{value}}}"#).as_bytes(), UnixMs(5));
        assert_eq!(version("7"), Ok(Value::Integer(7)));
        assert_eq!(version("7.5"), Ok(Value::Real(7.5)));
        assert_eq!(version(r#""2022-07-05T00:00:00.000001Z""#), Ok(Value::Integer(1_656_979_200_000_001)));
        assert_eq!(version(r#""2022-07-05T02:00:00+02:00""#), Ok(Value::Integer(1_656_979_200_000_000)));
        assert_eq!(version(r#""2022-07-05T00:00:00""#), Ok(Value::Integer(1_656_979_200_000_000)));
        for wrong in ["null", r#""seven""#, "{}", "true", "1e999"] {
            assert!(version(wrong).is_err(), "{wrong}");
        }
        assert_eq!(reader(&["/k"], None).version(b"{}", UnixMs(5)), Ok(Value::Integer(5)));
    }
}
