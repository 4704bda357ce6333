//! `tidegate run`.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::{Global, LogFormat, output};
use crate::app::{self, Bound, Inherited, Options, Predecessor};
use crate::config::{self, Config};
use crate::telemetry::{self, Format};

/// Reads the config, binds every address, and serves until a signal.
///
/// # Errors
/// What keeps it from serving.
pub fn run(path: Option<&Path>, global: &Global) -> anyhow::Result<ExitCode> {
    // Faults of a config are lines of their own, without a prefix: editors and people jump to them.
    let config = match config::find(path).and_then(|path| Config::read(&path)) {
        Ok(config) => config,
        Err(error) => {
            output::complain(&error.to_string());
            return Ok(ExitCode::FAILURE);
        }
    };
    // Before there is another thread.
    let missing = app::harden();
    let activated = Inherited::activated()?;
    let format = match global.log_format {
        Some(LogFormat::Text) => Format::Text,
        Some(LogFormat::Json) => Format::Json,
        None if io::stdout().is_terminal() => Format::Text,
        None => Format::Json,
    };
    let filter = global.log.as_ref().unwrap_or(&config.log_level);
    let (log_end, log_level) = telemetry::log::start(format, filter).map_err(anyhow::Error::msg)?;
    tell_panics();
    for error in missing {
        tracing::warn!(error, "this process is less guarded than it should be");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("the runtime cannot be started")?;
    let options = Options {
        format,
        access_log: true,
        // What was typed is for as long as this process lives.
        log_level: global.log.is_none().then_some(log_level),
    };
    let code = runtime.block_on(async {
        let (predecessor, inherited) = Predecessor::meet().await?.unzip();
        let bound = Bound::bind(config, inherited.unwrap_or(activated))?;
        bound.run(options, predecessor).await
    });
    log_end.finish(LAST_LINES);
    code
}

/// How long the last lines of the log may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A panic takes one request or connection with it; it is a bug, and goes where the log goes.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(place, error = what, "a bug: panicked");
    }));
}
