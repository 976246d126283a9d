//! `longshore subscriptions plan`: what is to be done, and nothing is.

use std::process::ExitCode;

use serde::Serialize;

use super::{Subscribed, Way, Which};
use crate::cli::exit::Exit;
use crate::cli::screen::{clean, plural, wrapped};
use crate::cli::select;
use crate::config::Config;
use crate::feed::webhook::subscriptions::{Action, Line, Plan};

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    way: Way,
    /// As a JSON array, one element for each feed
    #[arg(long)]
    json: bool,
}

/// The plan for one feed, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Planned {
    pub(super) feed: String,
    pub(super) is_done: bool,
    #[serde(flatten)]
    pub(super) plan: Plan,
}

impl Planned {
    pub(super) fn new(one: &Subscribed<'_>, plan: Plan) -> Self {
        Self { feed: one.feed.to_string(), is_done: plan.is_done(), plan }
    }
}

pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    for one in args.which.of(config)? {
        let (_, plan) = one.plan(args.way.into()).await?;
        if !args.json {
            select::print(&(one.heading() + &screen(&plan)))?;
        }
        all.push(Planned::new(&one, plan));
    }
    if args.json {
        select::print_json(&all)?;
    }
    // Whether to do it is for a person to say.
    Ok(if all.iter().all(|planned| planned.is_done) { Exit::Ok } else { Exit::Later }.into())
}

/// The plan for people: one line each, and what it comes to.
pub(super) fn screen(plan: &Plan) -> String {
    let mut text: String = plan.lines.iter().map(line).collect();
    for note in &plan.notes {
        text.push_str(&wrapped("  ? ", &clean(note)));
    }
    text.push_str(&format!("  {}\n", sum(plan)));
    text
}

fn line(line: &Line) -> String {
    let mark = match line.action {
        Action::Keep => '=',
        Action::Create => '+',
        Action::Replace => '~',
        Action::Delete => '-',
        Action::NoRoom => '!',
    };
    let mut what = line.what.event.clone();
    if !line.what.contexts.is_empty() {
        what.push_str(&format!(" of {}", line.what.contexts_text()));
    }
    if !line.ids.is_empty() {
        what.push_str(&format!(" ({})", line.ids.join(", ")));
    }
    if let Some(why) = &line.why {
        what.push_str(&format!(": {why}"));
    }
    wrapped(&format!("  {mark} "), &clean(&what))
}

/// What it comes to: `2 to make, 1 to replace; 12 are as wanted`.
fn sum(plan: &Plan) -> String {
    let to_do: Vec<String> = [
        (Action::Create, "to make"),
        (Action::Replace, "to replace"),
        (Action::Delete, "to delete"),
        (Action::NoRoom, "without room"),
    ]
    .into_iter()
    .filter(|(action, _)| plan.count(*action) > 0)
    .map(|(action, verb)| format!("{} {verb}", plan.count(action)))
    .collect();
    let to_do = if to_do.is_empty() { "nothing to do".to_owned() } else { to_do.join(", ") };
    let mut text = format!("{to_do}; {} as wanted", plan.count(Action::Keep));
    if plan.others > 0 {
        text.push_str(&format!("; {} of others left alone", plural(plan.others as u64, "subscription")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::subscriptions::fixture;
    use crate::feed::webhook::subscriptions::Choices;

    fn plan() -> Plan {
        Plan::new(&fixture::wanted(), &fixture::all(), &fixture::terms(), Choices::default())
    }

    #[test]
    fn a_plan_says_what_would_become_of_each() {
        let screen = screen(&plan());
        assert!(screen.lines().all(|line| line.chars().count() <= crate::cli::screen::COLUMNS), "{screen}");
        insta::assert_snapshot!(screen);
        let planned = Planned { feed: "events".to_owned(), is_done: false, plan: plan() };
        insta::assert_snapshot!("the_plan_as_json", serde_json::to_string_pretty(&planned).expect("JSON"));
    }

    #[test]
    fn a_plan_without_anything_to_do_says_so() {
        let plan = Plan::new(&[], &[], &fixture::terms(), Choices::default());
        insta::assert_snapshot!(screen(&plan));
    }
}
