//! `longshore entities`: what each sink is known to hold, and how to say so for what it held before.
//!
//! | subcommand | |
//! |---|---|
//! | none | how many keys of which entity each sink is known to hold |
//! | `known` | whether one of them is |
//! | `import` | registers keys from a file, for a sink that already holds the parents |

use std::process::ExitCode;

use anyhow::Context;

use super::exit::Exit;
use super::{Global, select};
use crate::config::Config;
use crate::notice::{EntityName, SinkName};
use crate::route::Entity;

mod counts;
mod import;
mod known;
mod source;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    counts: counts::Args,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// How many entities each sink is known to hold; the same without any subcommand
    Counts(counts::Args),
    /// Whether a sink is known to hold an entity
    Known(known::Args),
    /// Say what a sink holds already: keys, one a line, or records as JSON lines, JSON, CSV or XML
    Import(import::Args),
}

/// Shows what is known of the sinks, or adds to it.
///
/// # Errors
/// When the configuration is wrong, the inbox cannot be used, or a file cannot be read.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (config, inbox) = select::open_inbox(global)?;
    super::runtime(2)?.block_on(async {
        match args.command.unwrap_or(Command::Counts(args.counts)) {
            Command::Counts(args) => counts::run(args, &config, &inbox).await,
            Command::Known(args) => known::run(args, &config, &inbox).await,
            Command::Import(args) => import::run(args, &config, &inbox).await,
        }
    })
}

/// The entity of that name; the only one there is where none is named.
fn entity(config: &Config, name: Option<&str>) -> anyhow::Result<Entity> {
    let names: Vec<&str> = config.entities.iter().map(|entity| entity.name.as_str()).collect();
    let name = match (name, names.as_slice()) {
        (Some(name), [_, ..]) => name,
        (None, [only]) => only,
        (_, []) => {
            return Err(unclear("there is no [[entity]] in the configuration: nothing is kept of what a sink holds"));
        }
        (None, names) => {
            return Err(unclear(&format!("which entity is meant? Give --entity with one of: {}", listed(names))));
        }
    };
    let router = crate::daemon::router(config).context("the routes")?;
    let found = router.entity(&EntityName::new(name)).cloned();
    found.ok_or_else(|| unclear(&format!("there is no entity {name:?} in the configuration: {}", listed(&names))))
}

/// The sinks of these names; all of them where none is named.
fn sinks(config: &Config, names: &[String]) -> anyhow::Result<Vec<SinkName>> {
    let known: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(unclear(&format!("there is no sink {unknown:?} in the configuration: {}", listed(&known))));
    }
    let all = config.sinks.iter().map(|sink| sink.name.clone());
    Ok(all.filter(|sink| names.is_empty() || names.iter().any(|name| name == sink.as_str())).collect())
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "it has none".to_owned() } else { names.join(", ") }
}

fn unclear(text: &str) -> anyhow::Error {
    Exit::Usage.because()(anyhow::anyhow!("{text}"))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::{Files, Surroundings};

    #[test]
    fn without_an_entity_none_is_asked_for() {
        let surroundings = Surroundings { folder: PathBuf::from("/x"), credentials: None, files: Files::Assumed };
        let text = include_str!("../../../deploy/smallest.toml");
        let config = Config::parse(Path::new("longshore.toml"), text, &surroundings).expect("the smallest");
        for name in [None, Some("item")] {
            let said = entity(&config, name).expect_err("there is none").to_string();
            assert!(said.starts_with("there is no [[entity]] in the configuration"), "{said}");
        }
    }
}
