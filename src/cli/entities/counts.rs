//! `longshore entities`: how many keys of which entity each sink is known to hold.

use std::process::ExitCode;

use crate::cli::screen::{Align, Table, clean, number};
use crate::cli::select;
use crate::config::Config;
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::{EntityCount, Ledger};

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
// Else it would be a second group of the same name beside that of its parent.
#[group(skip)]
pub(super) struct Args {
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, config: &Config, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let counts = with_waited_for(inbox.entities().await?, config);
    select::tell(args.json, &counts, || screen(&counts))?;
    Ok(ExitCode::SUCCESS)
}

/// Adds what routes wait for and is not known at all: that is the first thing to look for when much is parked.
fn with_waited_for(mut counts: Vec<EntityCount>, config: &Config) -> Vec<EntityCount> {
    for route in &config.routes {
        for (parent, sink) in route.parents.iter().flat_map(|parent| route.sinks.iter().map(move |sink| (parent, sink)))
        {
            if !counts.iter().any(|count| count.sink == *sink && count.entity == parent.entity) {
                counts.push(EntityCount { sink: sink.clone(), entity: parent.entity.clone(), keys: 0 });
            }
        }
    }
    counts.sort_by(|one, other| {
        (one.sink.as_str(), one.entity.as_str()).cmp(&(other.sink.as_str(), other.entity.as_str()))
    });
    counts
}

fn screen(counts: &[EntityCount]) -> String {
    if counts.is_empty() {
        return "no route waits for anything, and no entity is known\n".to_owned();
    }
    let mut table =
        Table::new(0, &[("sink", Align::Flexible), ("entity", Align::Flexible), ("known keys", Align::Right)]);
    for count in counts {
        table.row([clean(count.sink.as_str()), clean(count.entity.as_str()), number(count.keys)]);
    }
    table.lines(|_| None)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::{Files, Surroundings};
    use crate::notice::{EntityName, SinkName};

    #[test]
    fn what_is_waited_for_and_not_known_is_told_as_well() {
        let surroundings =
            Surroundings { folder: PathBuf::from("/etc/longshore"), credentials: None, files: Files::Assumed };
        let text = include_str!("../../../deploy/longshore.example.toml");
        let config = Config::parse(Path::new("longshore.toml"), text, &surroundings).expect("the example");
        let known = EntityCount { sink: SinkName::new("table"), entity: EntityName::new("store"), keys: 1_204 };
        insta::assert_snapshot!(screen(&with_waited_for(vec![known], &config)));
        assert!(screen(&[]).contains("no route waits"));
    }
}
