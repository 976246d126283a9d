//! `longshore quarantine show`: the things of a notice, or one record with its bytes.

use std::io::Write;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::{Name, Pages, Which, bytes, name, parse_name, way};
use crate::cli::exit::Exit;
use crate::cli::screen::{clean, moment, number, size, wrapped};
use crate::cli::select;
use crate::clock::UnixMs;
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::Aside;

/// Things of a notice that are shown; a record is shown by its number.
const SHOWN_MAX: usize = 20;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The number of a notice, or of a record in it, such as `42` or `42/17`
    #[arg(value_name = "ID[/RECORD]", value_parser = parse_name)]
    which: Name,
    /// Only of this route
    #[arg(long, value_name = "NAME")]
    route: Vec<String>,
    /// The bytes alone, as they are, on standard output
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let now = select::now();
    let which = Which { which: vec![args.which], ..Which::default() };
    let mut selector = which.selector(now);
    selector.notices.routes = args.route.iter().map(crate::notice::RouteName::new).collect();
    selector.notices.limit = Some(SHOWN_MAX + 1);
    let things = Pages::new(inbox, selector, true).next().await?;
    let Some(first) = things.first() else {
        let what = args.which.record.map_or(String::new(), |record| format!("record {record} of "));
        let error = anyhow::anyhow!(
            "nothing is set aside as {what}notice {}: `longshore show {}` tells what has become of it",
            args.which.notice,
            args.which.notice
        );
        return Err(error).map_err(Exit::Data.because());
    };
    if args.raw {
        raw(first)?;
    } else if args.json {
        select::print_json(&things.iter().map(WithBytes::from).collect::<Vec<_>>())?;
    } else {
        select::print(&screen(&things, now))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A thing with its bytes, for programs: as text if they are, and otherwise in base64.
#[derive(Debug, Serialize)]
pub(super) struct WithBytes<'a> {
    #[serde(flatten)]
    aside: &'a Aside,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl<'a> From<&'a Aside> for WithBytes<'a> {
    fn from(aside: &'a Aside) -> Self {
        // Bytes that are cut within a character would not come back as they were.
        let text = std::str::from_utf8(&aside.bytes).ok().filter(|text| !text.is_empty());
        let base64 = (text.is_none() && !aside.bytes.is_empty()).then(|| STANDARD.encode(&aside.bytes));
        Self { aside, text, base64 }
    }
}

fn raw(thing: &Aside) -> anyhow::Result<()> {
    if thing.bytes_kept == 0 {
        let hint = "its content lies at the source; `longshore show` tells where";
        return Err(anyhow::anyhow!("nothing is kept of {}: {hint}", name(thing.id))).map_err(Exit::Data.because());
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(&thing.bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn fact(out: &mut String, name: &str, text: &str) {
    out.push_str(&wrapped(&format!("  {name:<12}"), text));
}

fn screen(things: &[Aside], now: UnixMs) -> String {
    let mut out = String::new();
    for (at, thing) in things.iter().take(SHOWN_MAX).enumerate() {
        if at > 0 {
            out.push('\n');
        }
        tell(&mut out, thing, now);
    }
    if things.len() > SHOWN_MAX {
        let notice = things[0].id.notice;
        out.push_str(&format!("\nand more: `longshore quarantine list {notice} --limit 1000`\n"));
    }
    out
}

fn tell(out: &mut String, thing: &Aside, now: UnixMs) {
    let what = match thing.id.number {
        Some(record) => format!("record {} of notice {}", number(record), thing.id.notice),
        None => format!("notice {}", thing.id.notice),
    };
    out.push_str(&wrapped(
        "",
        &format!("{what}: {}", if thing.target.is_some() { way(thing) } else { "an announcement".to_owned() }),
    ));
    fact(out, "reason", &format!("{} ({})", clean(&thing.reason), thing.class));
    if !thing.blob_type.is_empty() {
        fact(out, "blob type", &clean(&thing.blob_type));
    }
    fact(out, "published", &moment(thing.published, now));
    match thing.ended {
        Some(ended) => fact(out, "set aside", &moment(ended, now)),
        None => fact(out, "set aside", "by a delivery that is under way; it may be read again"),
    }
    if let Some(offset) = thing.offset {
        fact(out, "at byte", &number(offset));
    }
    if thing.bytes_kept == 0 {
        return;
    }
    let cut = if thing.is_cut {
        ", only its beginning (`bad_record_bytes_kept` in [limits]): `longshore replay` reads its whole notice again"
    } else {
        ""
    };
    fact(out, "bytes", &format!("{}{cut}", size(thing.bytes_kept)));
    out.push_str(&bytes::safe(&thing.bytes, thing.is_cut));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::NOW;
    use crate::cli::quarantine::fixture::things;

    #[test]
    fn a_thing_is_shown_with_its_bytes_made_harmless() {
        let mut things = things();
        things[1].bytes.truncate(120);
        let screen = screen(&things, NOW);
        assert!(!screen.contains('\u{1b}'), "nothing that a terminal obeys");
        assert!(screen.lines().all(|line| line.chars().count() <= crate::cli::screen::COLUMNS));
        insta::assert_snapshot!(screen);
    }

    #[test]
    fn bytes_that_are_no_text_are_base64_for_programs() {
        let things = things();
        let told = |at: usize| serde_json::to_value(WithBytes::from(&things[at])).unwrap();
        assert_eq!(told(2)["text"], "{\"store\":9}");
        assert_eq!(told(4)["base64"], STANDARD.encode(b"not an announcement\xff"));
        assert!(told(4)["text"].is_null() && told(3)["base64"].is_null());
    }
}
