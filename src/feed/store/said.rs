//! What a store said, read and shown.

use http::StatusCode;
use object_store::Error;

use crate::error::chain;
use crate::secret::redact;

/// A strong or weak ETag, quoted or not (Azure lists it without quotes and serves it with them), by what is in it.
pub(in crate::feed) fn bare_etag(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

/// One line of what a store said. Its answers are XML or JSON documents over many lines.
pub(in crate::feed) fn said(error: &Error) -> String {
    const SHOWN_CHARS: usize = 400;
    let line = in_short(&redact(&chain(error)).split_whitespace().collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// What came of a request, without the library's account of it (its address, how long it took, how often it was tried).
fn in_short(line: &str) -> String {
    let asked = line.rfind("Error performing ").and_then(|at| line[at..].split_once(" - "));
    let Some((request, came)) = asked else { return line.to_owned() };
    let Some(answer) = came.strip_prefix("Server returned non-2xx status code: ") else {
        // Where nothing answers, the address may be wrong.
        let server = request.split(' ').find(|word| word.contains("://")).and_then(|word| url::Url::parse(word).ok());
        let server = server.map_or_else(String::new, |url| format!("{}: ", url.origin().ascii_serialization()));
        return format!("{server}{}", came.strip_prefix("HTTP error: ").unwrap_or(came));
    };
    let (status, document) = answer.split_once(": ").unwrap_or((answer, ""));
    match reason(document) {
        Some(reason) => format!("the store answers {status}: {reason}"),
        None if document.is_empty() => format!("the store answers {status}"),
        None => format!("the store answers {status}: {document}"),
    }
}

/// The code and the message in an answer, as XML or as JSON.
fn reason(document: &str) -> Option<String> {
    let element = |name: &str| {
        let (_, after) = document.split_once(&format!("<{name}>"))?;
        after.split_once(&format!("</{name}>")).map(|(text, _)| sentence(text))
    };
    if let Some(code) = element("Code") {
        return Some(element("Message").map_or_else(|| code.clone(), |message| format!("{code}: {message}")));
    }
    let answer: serde_json::Value = serde_json::from_str(document).ok()?;
    answer.pointer("/error/message").and_then(serde_json::Value::as_str).map(sentence)
}

/// What to do follows behind it.
fn sentence(text: &str) -> String {
    text.trim().trim_end_matches('.').to_owned()
}

/// What the store answered. The library sorts errors by it for single objects, and not for listings: there it is in the
/// text alone, before anything that the store said.
pub(in crate::feed) fn status(error: &Error) -> Option<StatusCode> {
    let text = chain(error);
    let (_, after) = text.split_once("non-2xx status code: ")?;
    after.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_a_request_is_told_without_how_it_was_made() {
        let asked = "Generic S3 error: Error performing list request: Error performing GET http://127.0.0.1:5005/b?prefix=in%2F \
                     in 21.6ms, after 2 retries, max_retries: 2, retry_timeout: 20s - ";
        let xml =
            "<?xml version=\"1.0\"?> <Error><Code>NoSuchBucket</Code><Message>It does not exist</Message></Error>";
        let json = "{\"error\": {\"code\": 404, \"message\": \"Not here.\"}}";
        for (came, told) in [
            (
                format!("Server returned non-2xx status code: 404 Not Found: {xml}"),
                "the store answers 404 Not Found: NoSuchBucket: It does not exist",
            ),
            (
                format!("Server returned non-2xx status code: 404 Not Found: {json}"),
                "the store answers 404 Not Found: Not here",
            ),
            (
                "Server returned non-2xx status code: 502 Bad Gateway: oh".to_owned(),
                "the store answers 502 Bad Gateway: oh",
            ),
            ("Server returned non-2xx status code: 403 Forbidden: ".to_owned(), "the store answers 403 Forbidden"),
            (
                "HTTP error: error sending request: Connection refused".to_owned(),
                "http://127.0.0.1:5005: error sending request: Connection refused",
            ),
        ] {
            assert_eq!(in_short(&format!("{asked}{came}")), told);
        }
        assert_eq!(in_short("something else - entirely"), "something else - entirely");
    }
}
