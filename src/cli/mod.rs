//! The command line: one file a subcommand.
//!
//! Each subcommand's file has `pub struct Args` (what can be typed, as `clap` reads it) and
//! `pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode>`. To add one: the file, its `mod` line, a variant of
//! `Command` whose docstring is the line in the help, and an arm in `dispatch`.
//!
//! What a subcommand needs: [`Global::config`] reads the configuration ([`Global::config_of_inbox`], where secrets are not
//! needed), [`Global::log`] starts the log, [`runtime`] makes a tokio runtime for those that need one.
//! An error is returned, never printed: [`main`] prints it once, redacted, and [`exit::Exit::of`] gives the exit code.
//! What the command is for goes to standard output, everything else to standard error.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

pub mod audit;
pub mod check;
#[cfg(feature = "sandbox")]
pub mod demo;
pub mod doctor;
pub mod entities;
pub mod exit;
pub mod feed;
#[cfg(test)]
mod fixture;
pub mod log;
pub mod notices;
pub mod parked;
pub mod quarantine;
pub mod reconcile;
pub mod replay;
pub mod run;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod screen;
pub mod select;
pub mod show;
pub mod status;
pub mod subscriptions;

use exit::Exit;
use log::{LogFormat, LogSettings};

use crate::config::{Config, ConfigError, Files, Look};

#[derive(Debug, Parser)]
#[command(name = "longshore", version, about, after_long_help = exit::HELP, propagate_version = true)]
#[command(arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// The configuration file
    #[arg(long, short, global = true, value_name = "FILE", env = "LONGSHORE_CONFIG")]
    #[arg(default_value = "/etc/longshore/longshore.toml")]
    pub config: PathBuf,
    /// How much is logged: error, warn, info, debug or trace, or more exactly `info,fe2o3_amqp=debug`
    ///
    /// Overrides `level` in the `[log]` section. A bare level is Longshore's own; the libraries stay at `warn` unless
    /// they are named, since some of them show addresses at `debug`.
    #[arg(long, global = true, value_name = "LEVEL", env = "LONGSHORE_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// How the log is written; overrides `format` in the `[log]` section
    #[arg(long, global = true, value_name = "FORMAT", env = "LONGSHORE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl Global {
    /// The configuration, with the files that it names looked at. Warnings are printed.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn config(&self) -> anyhow::Result<Config> {
        let config = Config::load(&self.config, Files::Checked)?;
        self.print_warnings(&config);
        Ok(config)
    }

    fn print_warnings(&self, config: &Config) {
        if let Some(warnings) = &config.warnings {
            eprintln!("{}\n", warnings.render(look()));
        }
    }

    /// The configuration for a command that only looks at the inbox: the secrets that it names may be closed to us.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn config_of_inbox(&self) -> anyhow::Result<Config> {
        Ok(Config::load(&self.config, Files::Assumed)?)
    }

    /// Starts the log as configured, or as the command line overrides it. Called once, by the subcommand.
    ///
    /// # Errors
    /// When the level cannot be understood or the journal cannot be reached.
    pub fn log(&self, configured: &LogSettings) -> anyhow::Result<()> {
        let mut settings = configured.clone();
        if let Some(level) = &self.log_level {
            settings.level.clone_from(level);
        }
        if let Some(format) = self.log_format {
            settings.format = format;
        }
        log::start(&settings)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hear, and work off what is stored: the daemon
    Run(run::Args),
    /// Only hear and store
    Listen(run::Args),
    /// Only work off what is stored
    Work(run::WorkArgs),
    /// See it work without an account: the vendor's side and the daemon in one process
    #[cfg(feature = "sandbox")]
    Demo(demo::Args),
    /// Say what the configuration means, or what is wrong with it
    Check(check::Args),
    /// Play the vendors of all four feeds on this machine, and write a configuration that hears them
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Args),
    /// Show how everything is, on one screen
    Status(status::Args),
    /// List the stored notices
    Notices(notices::Args),
    /// See what a source holds beside what the inbox has of it, and take something of it by hand
    Feed(feed::Args),
    /// Tell a notice's whole story
    Show(show::Args),
    /// Deliver again what is stored
    Replay(replay::Args),
    /// Examine the installation and the inbox, and say what to do
    Doctor(doctor::Args),
    /// Recompute whether every account adds up
    Audit(audit::Args),
    /// Look at what was set aside, and decide about it
    Quarantine(Box<quarantine::Args>),
    /// See which records wait for their parents, and let them go
    Parked(parked::Args),
    /// See what exports held that webhooks had not brought, by day
    Reconcile(reconcile::Args),
    /// See what the sinks are known to hold, or say what they hold already
    Entities(entities::Args),
    /// See what a vendor is to send to a webhook, and make it so
    Subscriptions(subscriptions::Args),
}

fn dispatch(command: Command, global: &Global) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(args, global),
        Command::Listen(args) => run::listen(args, global),
        Command::Work(args) => run::work(args, global),
        #[cfg(feature = "sandbox")]
        Command::Demo(args) => demo::run(&args, global),
        Command::Check(args) => check::run(&args, global),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => sandbox::run(args, global),
        Command::Status(args) => status::run(args, global),
        Command::Notices(args) => notices::run(args, global),
        Command::Feed(args) => feed::run(args, global),
        Command::Show(args) => show::run(args, global),
        Command::Replay(args) => replay::run(args, global),
        Command::Doctor(args) => doctor::run(&args, global),
        Command::Audit(args) => audit::run(&args, global),
        Command::Quarantine(args) => quarantine::run(*args, global),
        Command::Parked(args) => parked::run(args, global),
        Command::Reconcile(args) => reconcile::run(args, global),
        Command::Entities(args) => entities::run(args, global),
        Command::Subscriptions(args) => subscriptions::run(args, global),
    }
}

/// Runs the program with the process's own arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return explain(&told),
    };
    dispatch(cli.command, &cli.global).unwrap_or_else(|error| report(&error))
}

/// Prints the help or version that was asked for, or what cannot be understood.
fn explain(told: &clap::Error) -> ExitCode {
    let exit = if told.use_stderr() { Exit::Usage } else { Exit::Ok };
    match told.print() {
        Ok(()) => exit.into(),
        // A reader that has gone away (`longshore --help | head -1`) has read what it wanted.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => exit.into(),
        Err(_) => Exit::Io.into(),
    }
}

/// Prints an error with its causes, redacted.
fn report(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(ConfigError::Wrong(findings)) => eprintln!("{}", findings.render(look())),
        _ => eprintln!("error: {}", crate::secret::redact(&crate::error::chain(error.as_ref()))),
    }
    Exit::of(error).into()
}

/// How findings are drawn on standard error.
fn look() -> Look {
    const WIDTH_UNKNOWN: usize = 100;
    if !std::io::stderr().is_terminal() {
        return Look::Plain;
    }
    let width = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(WIDTH_UNKNOWN, |size| size.ws_col.into());
    Look::Terminal { width, colours: log::wants_colours() }
}

/// A runtime with `threads` worker threads.
///
/// # Errors
/// When the threads cannot be started.
pub fn runtime(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("longshore")
        // Blocking calls are few and short (a folder read, a name looked up); more threads would only cost memory.
        .max_blocking_threads(32)
        .enable_all()
        .build()
        .context("the runtime's threads cannot be started")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
