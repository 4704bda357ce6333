//! The command line.

mod check;
mod client;
mod demo;
mod drain;
mod embedded;
mod file;
mod ingress;
mod output;
mod progress;
mod run;
mod status;
mod table;
mod wait;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use check::check;
pub use client::TokenArgs;
pub use demo::{DemoArgs, demo};
pub use drain::{DrainArgs, UndrainArgs, drain, undrain};
pub use ingress::check_ingress;
pub use run::run;
pub use status::{Output, StatusArgs, status};
pub use wait::{WaitArgs, wait};

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    about = "A reverse proxy that lets an endpoint leave without losing a request",
    after_help = "Exit codes: 0 done, 1 error, 2 wrong use, 3 a drain cut something, 4 an endpoint still serves as the fallback.",
    disable_help_subcommand = true
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// Where the admin side of a running tidegate answers: a URL, or unix:FILE
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "TIDEGATE_ADMIN",
        default_value = "http://127.0.0.1:9901"
    )]
    pub admin: String,
    /// How log lines look [default: text in a terminal, json otherwise]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or a filter as tidegate::pool=debug [default: log.level of the config]
    #[arg(long, global = true, value_name = "LEVEL", env = "TIDEGATE_LOG")]
    pub log: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For machines
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve
    Run(FileArgs),
    /// Read the config as `run` would and print every fault with file, line and column; or judge Ingress manifests
    Check(CheckArgs),
    /// Show it: three small endpoints, the proxy, a light load and a rolling update, all on loopback
    Demo(DemoArgs),
    /// Show services and endpoints: state, work in flight, the age of a drain
    Status(StatusArgs),
    /// Take an endpoint out of rotation: nothing new starts there, what is in flight finishes
    Drain(DrainArgs),
    /// Put an endpoint back that was drained by hand
    Undrain(UndrainArgs),
    /// Wait until every replica has drained a pod: for an exec preStop hook
    Wait(WaitArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// The config [default: config/tidegate.yaml, then /etc/tidegate/tidegate.yaml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Say of existing Ingress manifests what will work, what is ignored, and what to do; reads no config
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "config")]
    ingress: Vec<PathBuf>,
}

/// Does what was typed.
#[must_use]
pub fn main() -> ExitCode {
    let Arguments { command, global } = Arguments::parse();
    let done = match command {
        Command::Run(file) => run(file.config.as_deref(), &global),
        Command::Check(args) if !args.ingress.is_empty() => Ok(check_ingress(&args.ingress)),
        Command::Check(args) => Ok(check(args.file.config.as_deref())),
        Command::Demo(args) => demo(&args, embedded::Embedded::start),
        Command::Status(args) => status(&args, &global.admin),
        Command::Drain(args) => drain(&args, &global.admin),
        Command::Undrain(args) => undrain(&args, &global.admin),
        Command::Wait(args) => wait(&args, &global.admin),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "tidegate",
                &mut io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        output::complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_consistent_command_line() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn takes_options_before_and_after_the_subcommand() {
        for words in [
            ["tidegate", "--admin", "http://x", "status"],
            ["tidegate", "status", "--admin", "http://x"],
        ] {
            assert_eq!(
                Arguments::try_parse_from(words).unwrap().global.admin,
                "http://x"
            );
        }
    }
}
