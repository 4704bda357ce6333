//! `tidegate status`: services and endpoints with their states.

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use console::Term;

use super::client::{Client, ClientError, TokenArgs};
use super::output::say;
use super::table::{self, Look};
use crate::admin::api::Services;

/// Show services and their endpoints: state, work in flight, drains
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Only this service
    pub service: Option<String>,

    /// Ask again each second, until interrupted
    #[arg(short, long)]
    pub watch: bool,

    /// A table for people, or the API's answer as it is
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How the status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line for each endpoint
    Table,
    /// The JSON of /api/v1/services, or of one service
    Json,
}

/// Shows the status of the tidegate at `admin`.
///
/// # Errors
/// When it cannot be reached or does not know the service. While watching, only the first answer must come.
pub fn status(args: &StatusArgs, admin: &str) -> anyhow::Result<ExitCode> {
    let client = Client::new(admin, &TokenArgs::default())?;
    let screen = Screen::of(args);
    let first = render(&client, args, &screen)?;
    if !args.watch {
        say(&first)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut block = first;
    while say(&screen.frame(&block))? {
        thread::park_timeout(EVERY);
        block = render(&client, args, &screen).unwrap_or_else(|error| format!("{error}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn render(client: &Client, args: &StatusArgs, screen: &Screen) -> Result<String, ClientError> {
    let text = client.services_text(args.service.as_deref())?;
    if args.output == Output::Json {
        return Ok(format!("{}\n", text.trim_end()));
    }
    let services = match args.service {
        None => client.read::<Services>(&text)?.services,
        Some(_) => vec![client.read(&text)?],
    };
    Ok(table::services(&services, screen.look()))
}

/// What a block of text is written to.
#[derive(Debug)]
struct Screen {
    /// The terminal, where there is one that is to be drawn on anew.
    redraws: bool,
    /// A terminal for people.
    terminal: Option<Term>,
    /// Blocks are set apart.
    apart: bool,
}

impl Screen {
    fn of(args: &StatusArgs) -> Self {
        let people = args.output == Output::Table;
        let terminal = (people && io::stdout().is_terminal()).then(Term::stdout);
        Self {
            redraws: args.watch && terminal.is_some(),
            terminal,
            apart: people,
        }
    }

    fn look(&self) -> Look {
        Look {
            width: self.size().map(|(_, columns)| columns),
            color: self.terminal.is_some()
                && env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()),
        }
    }

    fn frame(&self, block: &str) -> String {
        if self.redraws {
            redrawn(block, self.size().map(|(rows, _)| usize::from(rows)))
        } else if self.apart {
            format!("{block}\n")
        } else {
            block.into()
        }
    }

    fn size(&self) -> Option<(u16, u16)> {
        self.terminal.as_ref().and_then(Term::size_checked)
    }
}

/// A block drawn over the one before: each line is cleared to its end and what is below goes, so that nothing flickers. What
/// does not fit is counted, not scrolled.
fn redrawn(block: &str, rows: Option<usize>) -> String {
    let lines: Vec<_> = block.lines().collect();
    let fit = rows.map_or(lines.len(), |rows| rows.saturating_sub(1));
    let mut frame = String::from("\x1b[H");
    let shown = if lines.len() <= fit {
        lines.len()
    } else {
        fit.saturating_sub(1)
    };
    for line in &lines[..shown] {
        frame.push_str(line);
        frame.push_str("\x1b[K\n");
    }
    if shown < lines.len() {
        frame.push_str(&format!(
            "... and {} more lines\x1b[K\n",
            lines.len() - shown
        ));
    }
    frame.push_str("\x1b[J");
    frame
}

/// How often a watched status is asked for.
const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redraws_over_what_was_there() {
        assert_eq!(redrawn("a\nb\n", None), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(redrawn("a\nb\n", Some(3)), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }

    #[test]
    fn counts_what_does_not_fit() {
        assert_eq!(
            redrawn("a\nb\nc\nd\n", Some(4)),
            "\x1b[Ha\x1b[K\nb\x1b[K\n... and 2 more lines\x1b[K\n\x1b[J"
        );
    }
}
