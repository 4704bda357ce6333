//! `tidegate check`: reads a config as `run` would, and says everything that is wrong with it.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Config, ConfigError};
use crate::document::Fault;

/// Checks a config file, the default one when none is given. The verdict goes to stdout, faults and warnings to stderr;
/// only faults fail.
#[must_use]
pub fn check(path: Option<&Path>) -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    match report(path, &mut out, &mut err) {
        Ok(true) => ExitCode::SUCCESS,
        // Nobody is left to be told that a pipe is closed.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn report(path: Option<&Path>, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    let (config, warnings) = match read(path) {
        Ok(read) => read,
        Err(error) => {
            writeln!(err, "{error}")?;
            return Ok(false);
        }
    };
    if !warnings.is_empty() {
        writeln!(err, "{}", config::lines(&config.path, &warnings))?;
    }
    writeln!(
        out,
        "{}: ok, {}, {}, {}",
        config.path.display(),
        count(config.listeners.len(), "listener"),
        count(config.routes.len(), "route"),
        count(config.services.len(), "service"),
    )?;
    Ok(true)
}

fn read(path: Option<&Path>) -> Result<(Config, Vec<Fault>), ConfigError> {
    Config::check(&config::find(path)?)
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn checked(text: &str) -> (bool, String, String, String) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("tidegate.yaml");
        fs::write(&path, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ok = report(Some(&path), &mut out, &mut err).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ok, text(out), text(err), path.display().to_string())
    }

    const GOOD: &str = "listeners: [{ name: a, address: 127.0.0.1:80 }]\n\
                        routes: [{ service: web }, { service: web, path: /b }]\n\
                        services: [{ name: web, source: { file: { path: web.yaml } } }]\n";

    #[test]
    fn says_what_is_in_a_good_config_and_warns() {
        let (ok, out, err, path) = checked(GOOD);
        assert!(ok);
        assert_eq!(
            out,
            format!("{path}: ok, 1 listener, 2 routes, 1 service\n")
        );
        assert!(err.starts_with(&format!("{path}:3:49: path: ")), "{err}");
        assert_eq!(err.lines().count(), 1);
    }

    #[test]
    fn says_every_fault_and_nothing_else() {
        let (ok, out, err, path) = checked(&GOOD.replace("/b", "b").replace(":80", ":99999"));
        assert!(!ok);
        assert_eq!(out, "");
        let lines = err.lines().collect::<Vec<_>>();
        assert_eq!(lines.len(), 2, "{err}");
        assert!(
            lines[0].starts_with(&format!("{path}:1:33: address: ")),
            "{err}"
        );
        assert!(
            lines[1].starts_with(&format!("{path}:2:50: path: ")),
            "{err}"
        );
    }

    #[test]
    fn says_in_one_line_that_there_is_no_file() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let path = Path::new("/nonexistent/tidegate.yaml");
        assert!(!report(Some(path), &mut out, &mut err).unwrap());
        let err = String::from_utf8(err).unwrap();
        assert!(
            err.starts_with("/nonexistent/tidegate.yaml: cannot be read: "),
            "{err}"
        );
        assert_eq!(err.lines().count(), 1);
    }
}
