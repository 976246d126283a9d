//! `longshore parked`: records that wait for their parents, what they wait for, and how to let them go.
//!
//! | subcommand | |
//! |---|---|
//! | none | groups: how many wait for which parents, and until when |
//! | `list` | one by one |
//! | `release` | lets them go without their parents; asks first |

use std::process::ExitCode;

use super::Global;
use super::select;
use crate::inbox::ledger::ParkedSelector;
use crate::notice::{EntityName, NoticeId, RouteName, SinkName};

#[cfg(test)]
mod fixture;
mod groups;
mod list;
mod release;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    groups: groups::Args,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// How many records wait for which parents; the same without any subcommand
    Groups(groups::Args),
    /// List the records that wait, one by one
    List(list::Args),
    /// Let records go without their parents
    Release(release::Args),
}

/// Shows what is parked, or lets it go.
///
/// # Errors
/// When the configuration is wrong, the inbox cannot be used, or nobody agreed to a release.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (_, inbox) = select::open_inbox(global)?;
    super::runtime(1)?.block_on(async {
        match args.command.unwrap_or(Command::Groups(args.groups)) {
            Command::Groups(args) => groups::run(args, &inbox).await,
            Command::List(args) => list::run(args, &inbox).await,
            Command::Release(args) => release::run(args, &inbox).await,
        }
    })
}

/// Which parked records are meant. Every part that is given must be met, by any of its values.
#[derive(Clone, Debug, Default, clap::Args)]
struct Which {
    /// Numbers of the notices that they were read from
    #[arg(value_name = "ID")]
    notices: Vec<i64>,
    /// The route that they go by
    #[arg(long, value_name = "NAME")]
    route: Vec<String>,
    /// The sink that they go to
    #[arg(long, value_name = "NAME")]
    sink: Vec<String>,
    /// The entity that is missing; of several, the first
    #[arg(long, value_name = "NAME")]
    entity: Vec<String>,
    /// What stands in the missing parents as they are shown, such as `sku=123`
    #[arg(long, value_name = "TEXT")]
    missing: Option<String>,
}

impl Which {
    fn selector(&self, limit: Option<usize>) -> ParkedSelector {
        ParkedSelector {
            routes: self.route.iter().map(RouteName::new).collect(),
            sinks: self.sink.iter().map(SinkName::new).collect(),
            entities: self.entity.iter().map(EntityName::new).collect(),
            missing: self.missing.clone(),
            notices: self.notices.iter().copied().map(NoticeId).collect(),
            limit,
        }
    }

    /// Whether it means everything that is parked.
    fn is_everything(&self) -> bool {
        self.selector(None) == ParkedSelector::default()
    }
}
