//! `longshore show`: one notice's whole story.

use std::process::ExitCode;

use super::Global;
use super::exit::Exit;
use super::screen::{Align, Table, ago, clean, length, moment, number, plural, second, size, wrapped};
use super::select;
use crate::clock::UnixMs;
use crate::inbox::ledger::{DeliveryState, DeliveryStory, Ledger, RunKind, Story};
use crate::notice::NoticeId;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The notice's number
    id: i64,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Tells when the notice was heard, stored and settled, each attempt, the counts, and where its records went.
///
/// # Errors
/// When the configuration is wrong, the inbox cannot be read, or there is no such notice.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (_, inbox) = select::open_inbox(global)?;
    let id = NoticeId(args.id);
    let story = super::runtime(1)?.block_on(inbox.story(id))?;
    let story = story
        .ok_or_else(|| anyhow::anyhow!("there is no notice {id}: it was never heard, or it was pruned"))
        .map_err(Exit::Data.because())?;
    select::tell(args.json, &story, || screen(&story, select::now()))?;
    Ok(ExitCode::SUCCESS)
}

/// Adds `name` and `text` as a line, or as several where it is long.
fn fact(out: &mut String, name: &str, text: &str) {
    out.push_str(&wrapped(&format!("  {name:<16}"), text));
}

fn screen(story: &Story, now: UnixMs) -> String {
    let mut out = format!("notice {}: {}\n", story.id, story.state);
    if let Some(reason) = &story.reason {
        fact(&mut out, "reason", &clean(reason));
    }
    let metadata = &story.metadata;
    fact(&mut out, "blob type", &clean(&metadata.blob_type));
    for (name, text) in [
        ("correlation id", &metadata.correlation_id),
        ("uri", &metadata.uri),
        ("content type", &metadata.content_type),
        ("encoding", &metadata.content_encoding),
    ] {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            fact(&mut out, name, &clean(text));
        }
    }
    if let Some(properties) = &metadata.properties {
        fact(&mut out, "properties", &clean(&properties.to_string()));
    }
    if let Some(bytes) = story.body_bytes {
        fact(&mut out, "body", &size(bytes));
    }
    if let Some(origin) = story.woken_from {
        fact(&mut out, "woken from", &format!("notice {origin}, whose account has these records"));
    }
    fact(&mut out, "feed", story.feed.as_str());
    fact(&mut out, "message", &clean(&story.dedupe_key));
    fact(&mut out, "published", &moment(story.published, now));
    fact(&mut out, "stored", &moment(story.stored, now));
    let settled = story.settled.map_or("not yet".to_owned(), |at| moment(at, now));
    fact(&mut out, "settled", &settled);
    if story.seen_count > 1 {
        let last = moment(story.last_seen, now);
        fact(&mut out, "arrived", &format!("{}, last {last}", plural(story.seen_count, "time")));
    }
    if let Some(ended) = story.ended {
        fact(&mut out, story.state.as_str(), &moment(ended, now));
    }
    for delivery in &story.deliveries {
        out.push('\n');
        tell(&mut out, story.id, delivery, now);
    }
    out
}

fn tell(out: &mut String, notice: NoticeId, delivery: &DeliveryStory, now: UnixMs) {
    let run = if delivery.run.0 == 0 { String::new() } else { format!(", run {}", delivery.run.0) };
    let replaced = match (delivery.replaced_by, delivery.replaced_as) {
        (None, _) => String::new(),
        (Some(run), Some(RunKind::Discard)) => format!(" (discarded by run {})", run.0),
        (Some(run), Some(RunKind::Release)) => format!(" (released by run {})", run.0),
        (Some(run), _) => format!(" (replaced by run {})", run.0),
    };
    let state = match (&delivery.held, delivery.due) {
        (Some(_), _) => "in work".to_owned(),
        (None, Some(due)) => format!("waits for its retry {}", ago(due, now)),
        _ if delivery.state == DeliveryState::Ready => "waits for a worker".to_owned(),
        _ => delivery.state.to_string(),
    };
    let target = &delivery.target;
    let head = format!("route {} to sink {}{run}: {state}{replaced}", target.route, target.sink);
    out.push_str(&wrapped("", &head));
    if let Some(hold) = &delivery.held {
        let until = ago(hold.lease_until, now);
        let text = format!("{} since {}, lease ends {until}", clean(&hold.worker), moment(hold.since, now));
        fact(out, "worker", &text);
    }
    let counts = delivery.progress.counts;
    if counts.read > 0 || delivery.state == DeliveryState::Done {
        let discarded = match delivery.discarded_records {
            0 => String::new(),
            count => format!(" (of these {} discarded)", number(count)),
        };
        let text = format!(
            "{} read = {} delivered + {} filtered + {} parked + {} quarantined{discarded}",
            number(counts.read),
            number(counts.delivered),
            number(counts.filtered),
            number(counts.parked),
            number(counts.quarantined)
        );
        fact(out, "records", &text);
        fact(out, "payload", &size(delivery.progress.bytes));
        if counts.parked > 0 && delivery.replaced_by.is_none() {
            fact(out, "parked", &format!("{}; see `longshore parked list {notice}`", plural(counts.parked, "record")));
        }
    }
    if let Some(location) = &delivery.location {
        fact(out, "went to", &clean(location));
    }
    if delivery.lost > 0 {
        fact(out, "leases lost", &number(delivery.lost));
    }
    history(out, delivery);
    if delivery.bad_records > 0 {
        fact(out, "set aside", &plural(delivery.bad_records, "record"));
        for record in &delivery.bad_records_first {
            let head = format!("    record {} at byte {}: ", number(record.number), number(record.offset));
            out.push_str(&wrapped(&head, &format!("{} ({})", clean(&record.reason), record.class)));
        }
        let more = delivery.bad_records - delivery.bad_records_first.len() as u64;
        if more > 0 {
            out.push_str(&format!("    and {} more\n", number(more)));
        }
    }
}

fn history(out: &mut String, delivery: &DeliveryStory) {
    if delivery.history.is_empty() {
        return;
    }
    let columns = [
        ("attempt ended", Align::Left),
        ("as", Align::Left),
        ("after", Align::Right),
        ("confirmed", Align::Right),
        ("worker", Align::Flexible),
    ];
    let mut table = Table::new(4, &columns);
    for attempt in &delivery.history {
        table.row([
            second(attempt.ended),
            attempt.outcome.to_string(),
            length(attempt.ended.since(attempt.started)),
            number(attempt.confirmed),
            clean(&attempt.worker),
        ]);
    }
    out.push_str(&table.lines(|row| {
        let attempt = &delivery.history[row];
        let (class, error) = (attempt.class?, attempt.error.as_deref()?);
        Some(wrapped(&" ".repeat(8), &format!("{} ({class})", clean(error))))
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{NOW, replayed_story, unreadable_story, waiting_story};

    #[test]
    fn a_story_with_retries_bad_records_and_a_replay() {
        insta::assert_snapshot!(screen(&replayed_story(), NOW));
    }

    #[test]
    fn a_story_of_a_notice_that_waits() {
        insta::assert_snapshot!(screen(&waiting_story(), NOW));
    }

    #[test]
    fn a_story_of_a_notice_that_could_not_be_read() {
        let screen = screen(&unreadable_story(), NOW);
        assert!(!screen.contains('\u{1b}'), "nothing that a terminal obeys");
        insta::assert_snapshot!(screen);
    }

    #[test]
    fn a_story_as_json() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&waiting_story()).unwrap());
    }
}
