//! `longshore subscriptions apply`: does what the plan says.

use std::process::ExitCode;

use serde::Serialize;

use super::plan::{Planned, screen};
use super::{Subscribed, Way, Which};
use crate::cli::exit::Exit;
use crate::cli::screen::clean;
use crate::cli::select;
use crate::config::Config;
use crate::feed::webhook::subscriptions::{self, Action, Done, Told};

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    consent: select::Consent,
    /// As a JSON array, one element for each feed
    #[arg(long)]
    json: bool,
}

/// What was done for one feed, for programs.
#[derive(Debug, Serialize)]
struct Applied {
    #[serde(flatten)]
    planned: Planned,
    done: Vec<Done>,
    /// Why it was not done to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<ExitCode> {
    let mut planned = Vec::new();
    for one in args.which.of(config)? {
        let (before, plan) = one.plan(args.way.into()).await?;
        let plan = Planned::new(&one, plan);
        planned.push((one, before, plan));
    }
    let plans: String =
        planned.iter().map(|(one, _, planned)| one.heading() + &screen(&planned.plan)).collect::<Vec<_>>().join("\n");
    if planned.iter().all(|(.., planned)| planned.plan.steps().is_empty()) {
        let is_done = planned.iter().all(|(.., planned)| planned.is_done);
        if args.json {
            let all: Vec<Applied> = planned.into_iter().map(|(.., planned)| Applied::nothing(planned)).collect();
            select::print_json(&all)?;
        } else {
            select::print(&plans)?;
        }
        return Ok(if is_done { Exit::Ok } else { Exit::Later }.into());
    }
    args.consent.to("apply", false, args.json, || plans.clone())?;
    if args.consent.yes && !args.json {
        select::print(&plans)?;
    }
    carry_out(planned, args.json).await
}

async fn carry_out(planned: Vec<(Subscribed<'_>, Vec<Told>, Planned)>, json: bool) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    let mut failed = None;
    for (one, before, planned) in planned {
        if failed.is_some() {
            // What cannot be reached for one is seldom to be reached for the next.
            all.push(Applied::nothing(planned));
            continue;
        }
        let mut done = Vec::new();
        let result = subscriptions::apply(&one.api, &planned.plan, &one.terms, &before, |step| {
            if !json {
                // What is done is done, whether or not somebody reads of it.
                drop(select::print(&said(&step)));
            }
            done.push(step);
        })
        .await;
        let error = result.as_ref().err().map(ToString::to_string);
        failed = result.err();
        all.push(Applied { planned, done, error });
    }
    if json {
        select::print_json(&all)?;
    }
    if let Some(error) = failed {
        let (done, steps) = all.iter().fold((0, 0), |(done, steps), applied| {
            (done + applied.done.len(), steps + applied.planned.plan.steps().len())
        });
        let hint = "apply again to go on from there; until then an event may come twice, and none is missed";
        return Err(anyhow::Error::new(error).context(format!("{done} of {steps} steps are done ({hint})")));
    }
    let is_whole = all.iter().all(|applied| applied.planned.plan.count(Action::NoRoom) == 0);
    if !is_whole && !json {
        select::print("what there was no room for is still missing\n")?;
    }
    Ok(if is_whole { Exit::Ok } else { Exit::Later }.into())
}

impl Applied {
    fn nothing(planned: Planned) -> Self {
        Self { planned, done: Vec::new(), error: None }
    }
}

fn said(done: &Done) -> String {
    match done {
        Done::Created { event, id } => format!("made {} ({})\n", clean(event), clean(id)),
        Done::Deleted { event, id } => format!("deleted {} ({})\n", clean(event), clean(id)),
    }
}
