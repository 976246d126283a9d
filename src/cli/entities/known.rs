//! `longshore entities known`: whether a sink is known to hold an entity.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::unclear;
use crate::cli::screen::clean;
use crate::cli::select;
use crate::config::Config;
use crate::inbox::ledger::Ledger;
use crate::inbox::{EntityKey, SqliteInbox};
use crate::route::Entity;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The values of the key, as they stand in a record: one, or all those of a compound key in their order
    #[arg(value_name = "KEY", required = true)]
    values: Vec<String>,
    /// The entity; need not be named where there is only one
    #[arg(long, value_name = "NAME")]
    entity: Option<String>,
    /// Which of the entity's keys it is; any of them unless given
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// The sinks that are asked; all of them unless given
    #[arg(long, value_name = "NAME")]
    sink: Vec<String>,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

/// What is known.
#[derive(Clone, Debug, Serialize)]
struct Answer {
    entity: String,
    values: Vec<String>,
    sinks: Vec<AtSink>,
}

#[derive(Clone, Debug, Serialize)]
struct AtSink {
    sink: String,
    known: bool,
    /// The keys under which it is known.
    by: Vec<String>,
}

pub(super) async fn run(args: Args, config: &Config, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let entity = super::entity(config, args.entity.as_deref())?;
    let keys = keys(&entity, args.key.as_deref(), &args.values)?;
    let mut answer = Answer { entity: entity.name().to_string(), values: args.values, sinks: Vec::new() };
    for sink in super::sinks(config, &args.sink)? {
        let mut by = Vec::new();
        for (name, key) in &keys {
            if inbox.entity_known(sink.clone(), entity.name().clone(), *key).await? {
                by.push(name.clone());
            }
        }
        answer.sinks.push(AtSink { sink: sink.to_string(), known: !by.is_empty(), by });
    }
    select::tell(args.json, &answer, || screen(&answer))?;
    Ok(ExitCode::SUCCESS)
}

/// The keys that these values may be, by name.
fn keys(entity: &Entity, name: Option<&str>, values: &[String]) -> anyhow::Result<Vec<(String, EntityKey)>> {
    let names: Vec<&str> = entity.keys().iter().map(crate::route::Key::name).collect();
    if let Some(name) = name.filter(|name| !names.contains(name)) {
        return Err(unclear(&format!("the entity {} has no key {name:?}: {}", entity.name(), names.join(", "))));
    }
    let mut scratch = Vec::new();
    let fits = entity.keys().iter().filter(|key| name.is_none_or(|name| key.name() == name));
    let found: Vec<_> = fits
        .filter(|key| key.parts() == values.len())
        .map(|key| (key.name().to_owned(), EntityKey::of(&mut scratch, key.name(), values.iter().map(String::as_str))))
        .collect();
    if found.is_empty() {
        let parts: Vec<_> = entity.keys().iter().map(|key| format!("{} has {}", key.name(), key.parts())).collect();
        return Err(unclear(&format!(
            "no key of the entity {} has {} values: {}",
            entity.name(),
            values.len(),
            parts.join(", ")
        )));
    }
    Ok(found)
}

fn screen(answer: &Answer) -> String {
    let mut out = format!("{} {}\n", clean(&answer.entity), clean(&answer.values.join(" ")));
    let width = answer.sinks.iter().map(|at| at.sink.chars().count()).max().unwrap_or(0);
    for at in &answer.sinks {
        let known = if at.known { format!("known by {}", at.by.join(" and ")) } else { "not known".to_owned() };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {:width$}  {}", clean(&at.sink), clean(&known));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sink_says_whether_it_is_known_there() {
        let at = |sink: &str, by: &[&str]| AtSink {
            sink: sink.to_owned(),
            known: !by.is_empty(),
            by: by.iter().map(|name| (*name).to_owned()).collect(),
        };
        let answer = Answer {
            entity: "item".to_owned(),
            values: vec!["10004711".to_owned()],
            sinks: vec![at("files", &["sku"]), at("warehouse", &[])],
        };
        insta::assert_snapshot!(screen(&answer));
        insta::assert_snapshot!("known_as_json", serde_json::to_string_pretty(&answer).unwrap());
    }
}
