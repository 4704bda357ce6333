//! Looking at a file, and what to believe of it.
//!
//! What was put there whole is believed at once. Anything else, found by a glance or because of an event that proves
//! nothing, is believed when it looks the same a moment later and nobody is heard writing. What is not believed changes
//! nothing: half of a list would drain the other half.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::parse::parse;
use super::text;
use super::watch::{Stir, Watch};
use crate::discovery::{Heard, Observation, Port};
use crate::document::Fault;

/// All that is known of a file.
pub(super) struct Eye {
    path: PathBuf,
    port: Option<Port>,
    reread: Duration,
    pub(super) watch: Watch,
    /// The text in force and the set in it.
    good: Option<(Arc<str>, Arc<Observation>)>,
    /// The text that was parsed last, so that it is parsed once however often it is seen.
    parsed: Option<Parsed>,
    /// The fault in force, which was told.
    fault: Option<String>,
    /// The text, or why there is none, that was seen and is not believed yet; and since when it has been so.
    glimpse: Option<(Instant, Result<Arc<str>, String>)>,
}

/// A text, and the set in it or what is wrong with it.
struct Parsed {
    text: Arc<str>,
    verdict: Result<Arc<Observation>, String>,
}

/// What a look gives.
pub(super) struct Look {
    /// What there is to tell.
    pub(super) heard: Option<Heard>,
    /// What happened meanwhile: a reason to look again at once.
    pub(super) stir: Option<Stir>,
    /// How long what was seen should be left alone before it is looked at again.
    pub(super) wait: Duration,
}

impl Eye {
    pub(super) fn new(path: PathBuf, port: Option<Port>, reread: Duration) -> Self {
        Self {
            watch: Watch::new(path.clone()),
            path,
            port,
            reread,
            good: None,
            parsed: None,
            fault: None,
            glimpse: None,
        }
    }

    /// Looks at the file; blocks. `stir` is why.
    pub(super) fn look(&mut self, stir: Stir) -> Look {
        let stir = self.watch.heard().map_or(stir, |heard| heard.max(stir));
        // Watched first and read then: a change in between is heard.
        self.watch.set();
        let writes = self.watch.writes();
        let seen = match text::read(&self.path) {
            Ok(text) => Ok(text.into()),
            Err(error) => Err(self.line(error)),
        };
        if self.is_known(&seen) {
            self.glimpse = None;
            return Look {
                heard: self.conclude(seen),
                stir: None,
                wait: self.reread,
            };
        }
        let is_sure = self.watch.catch_up();
        let meanwhile = self.watch.heard();
        if self.watch.written_since().is_some() || self.watch.writes() != writes {
            self.glimpse = None;
            return Look {
                heard: self.blame_the_writer(),
                stir: meanwhile,
                wait: self.reread,
            };
        }
        let (heard, wait) = self.consider(seen, if is_sure { stir } else { Stir::Maybe });
        Look {
            heard,
            stir: if is_sure {
                meanwhile
            } else {
                Some(Stir::Maybe)
            },
            wait,
        }
    }

    /// Notes a fault that nobody looked for.
    pub(super) fn blame_us(&mut self, what: &str) -> Option<Heard> {
        self.blame(self.line(what))
    }

    /// What to tell of something new, and how long to wait before the next look.
    fn consider(
        &mut self,
        seen: Result<Arc<str>, String>,
        stir: Stir,
    ) -> (Option<Heard>, Duration) {
        let now = Instant::now();
        let since = match self.glimpse.take() {
            Some((since, known)) if known == seen => since,
            _ => now,
        };
        let left = STILL.saturating_sub(now - since);
        // A fault waits even then: it changes nothing, and a writer who begins anew, or is about to rename, would have it
        // come and go.
        if left.is_zero() || stir == Stir::Whole && self.verdict(&seen).is_ok() {
            return (self.conclude(seen), self.reread);
        }
        self.glimpse = Some((since, seen));
        (None, left)
    }

    /// Somebody writes, and what was read may be half of it: the close, or a rename, brings the next look. Who writes for
    /// so long is told of, because the set grows old meanwhile.
    fn blame_the_writer(&mut self) -> Option<Heard> {
        let since = self.watch.written_since()?;
        if since.elapsed() < self.reread {
            return None;
        }
        self.blame(self.line(": is still open for writing; it is read when its writer closes it"))
    }

    /// Whether this is what was told last.
    fn is_known(&self, seen: &Result<Arc<str>, String>) -> bool {
        match (seen, &self.fault) {
            (Ok(text), None) => self.good.as_ref().is_some_and(|(good, _)| good == text),
            (Ok(text), Some(fault)) => {
                let parsed = self.parsed.as_ref().filter(|parsed| parsed.text == *text);
                parsed.is_some_and(|parsed| parsed.verdict.as_ref().err() == Some(fault))
            }
            (Err(line), fault) => fault.as_ref() == Some(line),
        }
    }

    /// What to tell of what is believed.
    fn conclude(&mut self, seen: Result<Arc<str>, String>) -> Option<Heard> {
        let verdict = self.verdict(&seen);
        let (text, observation) = match (seen, verdict) {
            (Ok(text), Ok(observation)) => (text, observation),
            (_, Err(line)) | (Err(line), _) => return self.blame(line),
        };
        let is_same = self.good.as_ref().is_some_and(|(good, _)| *good == text);
        self.good = Some((text, observation.clone()));
        // After a fault the same set is news: the source can be seen again.
        match self.fault.take() {
            None if is_same => Some(Heard::Same),
            _ => Some(Heard::Observation(observation)),
        }
    }

    fn verdict(&mut self, seen: &Result<Arc<str>, String>) -> Result<Arc<Observation>, String> {
        let text = seen.as_ref().map_err(String::clone)?;
        if let Some((good, observation)) = &self.good
            && good == text
        {
            return Ok(observation.clone());
        }
        if let Some(parsed) = &self.parsed
            && parsed.text == *text
        {
            return parsed.verdict.clone();
        }
        let verdict = match parse(text, self.port.as_ref()) {
            Ok(observation) => Ok(Arc::new(match &self.good {
                Some((_, good)) => observation.sharing(good),
                None => observation,
            })),
            Err(faults) => Err(self.line(first(&faults))),
        };
        self.parsed = Some(Parsed {
            text: text.clone(),
            verdict: verdict.clone(),
        });
        verdict
    }

    /// Tells a fault, unless it is the one in force.
    fn blame(&mut self, line: String) -> Option<Heard> {
        if self.fault.as_ref() == Some(&line) {
            return None;
        }
        self.fault = Some(line.clone());
        Some(Heard::Fault(line))
    }

    fn line(&self, what: impl fmt::Display) -> String {
        line(&self.path, what)
    }
}

/// Reads a file once, for whoever only wants to know whether it is good.
///
/// # Errors
/// Every fault, a line each, beginning with the file's name.
pub fn check(path: &Path, port: Option<&Port>) -> Result<Observation, Vec<String>> {
    let text = text::read(path).map_err(|error| vec![line(path, error)])?;
    parse(&text, port).map_err(|faults| {
        faults
            .iter()
            .map(|fault| line(path, format_args!(":{fault}")))
            .collect()
    })
}

/// The first fault, and how many there are; behind the file's name.
fn first(faults: &[Fault]) -> String {
    match faults {
        [] => String::new(),
        [only] => format!(":{only}"),
        [first, more @ ..] => format!(":{first} (and {} more)", more.len()),
    }
}

/// One line that begins with the file's name, whatever is in it.
fn line(path: &Path, what: impl fmt::Display) -> String {
    let mut line = format!("{}{what}", path.display());
    if let Some((end, _)) = line.char_indices().nth(LINE_LENGTH_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line.replace(char::is_control, " ")
}

/// What nobody says is whole must look the same for this long.
const STILL: Duration = Duration::from_millis(50);

/// A fault may quote the text, of which a line may be a whole file.
const LINE_LENGTH_MAX: usize = 1000;
