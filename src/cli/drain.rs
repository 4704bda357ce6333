//! `tidegate drain` and `tidegate undrain`: an operator's word on one endpoint.

use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::client::{Client, ClientError, TokenArgs};
use super::output::{plain, say};
use super::progress::{Progress, Stage};
use super::table;
use crate::admin::api::DrainAnswer;
use crate::document;

/// Take an endpoint out of rotation and let it finish its work
///
/// Exit codes: 0 drained, or started without --wait; 3 something was cut at the deadline; 4 still serving as the fallback,
/// because nothing else of the service can; 1 error.
#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    /// The service
    pub service: String,

    /// The endpoint: its id, or its address when only one id has it
    pub endpoint: String,

    /// Cut what is left after this, as 250ms, 30s or 5m; shortens what is configured, never lengthens it
    #[arg(short, long, value_name = "DURATION", value_parser = timeout)]
    pub timeout: Option<Duration>,

    /// Show progress until the drain is over
    #[arg(short, long)]
    pub wait: bool,

    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "clap would take it for the help of the command"
    )]
    pub token: TokenArgs,
}

/// Put an endpoint back into rotation that an operator drained
#[derive(Debug, Clone, Args)]
pub struct UndrainArgs {
    /// The service
    pub service: String,

    /// The endpoint: its id, or its address when only one id has it
    pub endpoint: String,

    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "clap would take it for the help of the command"
    )]
    pub token: TokenArgs,
}

/// Drains an endpoint of the tidegate at `admin`.
///
/// # Errors
/// When tidegate cannot be reached or refuses, or when the drain that was waited for was called off.
pub fn drain(args: &DrainArgs, admin: &str) -> anyhow::Result<ExitCode> {
    let client = Client::new(admin, &args.token)?;
    let answer = if args.wait {
        wait(&client, args)?
    } else {
        client.drain(&args.service, &args.endpoint, args.timeout, false)?
    };
    let end = End::of(&answer, args.wait);
    let text = end.text(&answer);
    if end == End::CalledOff {
        bail!(text);
    }
    say(&format!("{text}\n"))?;
    Ok(ExitCode::from(end.code()))
}

/// Puts an endpoint of the tidegate at `admin` back.
///
/// # Errors
/// When tidegate cannot be reached or refuses.
pub fn undrain(args: &UndrainArgs, admin: &str) -> anyhow::Result<ExitCode> {
    let client = Client::new(admin, &args.token)?;
    let answer = client.undrain(&args.service, &args.endpoint)?;
    say(&format!(
        "{} of {} is {}\n",
        plain(&answer.id),
        plain(&answer.service),
        answer.state
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// How a drain stands when the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Under way, and nobody asked to wait.
    Started,
    /// Over, and nothing was cut.
    Drained,
    /// Over, and something was cut.
    Cut,
    /// Not begun: it still serves (P7).
    Fallback,
    /// Waited for, and not over: somebody put the endpoint back.
    CalledOff,
}

impl End {
    fn of(answer: &DrainAnswer, waited: bool) -> Self {
        match answer {
            _ if answer.drained && answer.cut.total() > 0 => Self::Cut,
            _ if answer.drained => Self::Drained,
            _ if answer.reason.as_deref() == Some("fallback") => Self::Fallback,
            _ if waited => Self::CalledOff,
            _ => Self::Started,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Started | Self::Drained => 0,
            Self::CalledOff => 1,
            Self::Cut => 3,
            Self::Fallback => 4,
        }
    }

    fn text(self, answer: &DrainAnswer) -> String {
        let name = format!("{} of {}", plain(&answer.id), plain(&answer.service));
        match self {
            Self::Started => format!("{name} is draining: {}", under_way(answer)),
            Self::Drained => format!("{name} is drained"),
            Self::Cut => format!("{name} is drained, and {} cut", were(answer)),
            Self::Fallback => format!(
                "{name} is still serving: no other endpoint of the service is ready; it drains when one is"
            ),
            Self::CalledOff => format!(
                "{name} is not drained: it is {}; somebody may have put it back",
                answer.state
            ),
        }
    }
}

fn under_way(answer: &DrainAnswer) -> String {
    let limit = answer.deadline.as_deref().map(|deadline| {
        let by = answer.limited_by.as_deref().unwrap_or("service");
        format!(", what is left at {deadline} is cut (limited by the {by})")
    });
    format!(
        "no new work starts there; {} in flight{}",
        answer.in_flight,
        limit.unwrap_or_default()
    )
}

fn were(answer: &DrainAnswer) -> String {
    let verb = if answer.cut.total() == 1 {
        "was"
    } else {
        "were"
    };
    format!("{} {verb}", table::cut(answer.cut))
}

/// Asks on a thread of its own and shows meanwhile how it goes.
fn wait(client: &Client, args: &DrainArgs) -> anyhow::Result<DrainAnswer> {
    let (tell, answered) = mpsc::channel();
    let (asking, asked) = (client.clone(), args.clone());
    thread::spawn(move || {
        // Nobody listens any more only when the command has given up.
        let _ = tell.send(asking.drain(&asked.service, &asked.endpoint, asked.timeout, true));
    });
    let mut progress = Progress::new(format!("{} of {}", args.endpoint, args.service));
    let mut failures = 0;
    let mut pause = FIRST_LOOK;
    loop {
        match answered.recv_timeout(pause) {
            Ok(answer) => return Ok(answer?),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the wait for tidegate was lost: ask again")
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        pause = LOOK;
        match look(client, args) {
            Ok(stage) => {
                failures = 0;
                progress.show(stage);
            }
            // The call that waits may be silent for long; it is these that tell when nobody is there any more.
            Err(error) => {
                failures += 1;
                if failures == FAILURES_MAX {
                    return Err(error).context("the drain goes on, but nothing is heard of it");
                }
            }
        }
    }
}

fn look(client: &Client, args: &DrainArgs) -> Result<Stage, ClientError> {
    let drains = client.drains()?;
    match Stage::running(&drains, &args.service, &args.endpoint) {
        Some(stage) => Ok(stage),
        None => {
            let service = client.service(&args.service)?;
            Ok(Stage::of(&service.endpoints, &args.endpoint))
        }
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    document::duration(text)
}

/// A drain with nothing in flight is over before anything is shown.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// How often the display is brought up to date.
const LOOK: Duration = Duration::from_millis(500);
/// Looks without an answer before the wait is given up.
const FAILURES_MAX: u32 = 20;

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;
    use crate::admin::api::Cut;

    fn answer(drained: bool, reason: &'static str, request: u64) -> DrainAnswer {
        DrainAnswer {
            service: "web".into(),
            id: "web-1".into(),
            state: if drained { "drained" } else { "draining" }.into(),
            drained,
            reason: Some(reason.into()),
            in_flight: 3,
            cut: Cut {
                request,
                ..Cut::default()
            },
            deadline: Some("2026-11-22T10:00:30.000Z".into()),
            limited_by: Some("service".into()),
        }
    }

    #[test]
    fn decides_by_the_answer() {
        for (drained, reason, cut, waited, code) in [
            (true, "operator", 0, true, 0),
            (true, "operator", 0, false, 0),
            (false, "operator", 0, false, 0),
            (true, "operator", 2, true, 3),
            (true, "operator", 2, false, 3),
            (false, "fallback", 0, true, 4),
            (false, "fallback", 0, false, 4),
            (false, "operator", 0, true, 1),
        ] {
            let end = End::of(&answer(drained, reason, cut), waited);
            assert_eq!(
                end.code(),
                code,
                "{drained} {reason} {cut} {waited}: {end:?}"
            );
        }
    }

    #[test]
    fn says_how_it_ended() {
        let text = |answer: &DrainAnswer, waited| End::of(answer, waited).text(answer);
        assert_eq!(
            text(&answer(false, "operator", 0), false),
            "web-1 of web is draining: no new work starts there; 3 in flight, what is left at 2026-11-22T10:00:30.000Z is \
             cut (limited by the service)"
        );
        assert_eq!(
            text(&answer(true, "operator", 0), true),
            "web-1 of web is drained"
        );
        assert_eq!(
            text(&answer(true, "operator", 1), true),
            "web-1 of web is drained, and 1 request was cut"
        );
        assert!(text(&answer(false, "fallback", 0), true).contains("still serving"));
    }

    #[test]
    fn reads_its_arguments() {
        let parse = |line: &str| {
            let matches = DrainArgs::augment_args(Command::new("drain"))
                .try_get_matches_from(line.split(' '))
                .map_err(|error| error.to_string())?;
            DrainArgs::from_arg_matches(&matches).map_err(|error| error.to_string())
        };
        let args = parse("drain web 10.0.0.1:80 --timeout 1.5s --wait").unwrap();
        assert_eq!(args.timeout, Some(Duration::from_millis(1500)));
        assert!(args.wait);
        assert!(
            parse("drain web web-1 --timeout 30")
                .unwrap_err()
                .contains("has no unit")
        );
        assert!(parse("drain web").is_err());
    }
}
