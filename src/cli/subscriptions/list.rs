//! `longshore subscriptions list`: every subscription that the vendor has.

use std::process::ExitCode;

use serde::Serialize;

use super::Which;
use crate::cli::screen::{Align, Table, clean, plural, wrapped};
use crate::cli::select;
use crate::config::Config;
use crate::feed::webhook::subscriptions::{EventContext, Terms, Told, Whose};

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// As a JSON array, one element for each feed
    #[arg(long)]
    json: bool,
}

/// The subscriptions at one vendor, for programs.
#[derive(Debug, Serialize)]
struct Listed {
    feed: String,
    subscriptions: Vec<Row>,
}

/// One of them. Headers are left out: they are secrets.
#[derive(Clone, Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    event: String,
    contexts: Vec<EventContext>,
    kind: String,
    address: Option<String>,
    created: String,
    whose: Whose,
    #[serde(skip)]
    contexts_text: String,
}

pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<ExitCode> {
    let mut listed = Vec::new();
    for one in args.which.of(config)? {
        let subscriptions = rows(&one.api.list().await?, &one.terms);
        if !args.json {
            select::print(&(one.heading() + &screen(&subscriptions)))?;
        }
        listed.push(Listed { feed: one.feed.to_string(), subscriptions });
    }
    if args.json {
        select::print_json(&listed)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(all: &[Told], terms: &Terms) -> Vec<Row> {
    let row = |told: &Told| Row {
        id: told.id.clone(),
        name: told.name.clone(),
        event: told.what.event.clone(),
        contexts: told.what.contexts.clone(),
        kind: told.kind.clone(),
        address: told.address.as_deref().map(without_query),
        created: told.created.clone(),
        whose: terms.whose(told),
        contexts_text: told.what.contexts_text(),
    };
    let mut rows: Vec<Row> = all.iter().map(row).collect();
    rows.sort_by(|one, other| (&one.event, &one.created, &one.id).cmp(&(&other.event, &other.created, &other.id)));
    rows
}

/// Somebody else's address may carry a secret in its query.
fn without_query(address: &str) -> String {
    address.split(['?', '#']).next().unwrap_or_default().to_owned()
}

fn screen(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "  the vendor has no subscriptions\n".to_owned();
    }
    // With an id as long as the vendor's there is no room beside it for a name and an address, which say nothing of ours.
    let columns = [("event", Align::Flexible), ("whose", Align::Left), ("id", Align::Left)];
    let mut table = Table::new(2, &columns);
    for row in rows {
        let whose = match row.whose {
            Whose::Ours => "ours",
            Whose::ForUs => "for us",
            Whose::Namesake => "our name",
            Whose::Others => "others'",
        };
        table.row([clean(&row.event), whose.to_owned(), clean(&row.id)]);
    }
    let mut text = table.lines(|row| Some(more(&rows[row])).filter(|text| !text.is_empty()));
    text.push_str(&format!("  {}\n", plural(rows.len() as u64, "subscription")));
    text
}

/// What is below a subscription's line: its name and address unless it is ours, and its contexts.
fn more(row: &Row) -> String {
    let mut text = String::new();
    if row.whose != Whose::Ours {
        let address = row.address.as_ref().unwrap_or(&row.kind);
        text.push_str(&wrapped("    ", &format!("{} to {}", clean(&row.name), clean(address))));
    }
    if !row.contexts_text.is_empty() {
        text.push_str(&wrapped("    only ", &clean(&row.contexts_text)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::subscriptions::fixture;

    #[test]
    fn each_is_listed_with_whose_it_is_and_without_its_secret() {
        let rows = rows(&fixture::all(), &fixture::terms());
        let screen = screen(&rows);
        assert!(screen.lines().all(|line| line.chars().count() <= crate::cli::screen::COLUMNS), "{screen}");
        insta::assert_snapshot!(screen);
        let json = serde_json::to_string_pretty(&rows).expect("JSON");
        assert!(!json.contains("Bearer"), "{json}");
        insta::assert_snapshot!("the_list_as_json", json);
    }
}
