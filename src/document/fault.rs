//! What is wrong in a text, and where.

use std::cell::RefCell;
use std::fmt::{self, Write};

/// A place in a text; lines and columns count from 1, as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: Position,
    /// The key it is about; empty when it is about the text as a whole.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    /// `LINE:COLUMN: key: message`, to be written behind the file's name and a colon; always one line.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: ", self.at.line, self.at.column)?;
        if !self.key.is_empty() {
            printable(out, &self.key)?;
            out.write_str(": ")?;
        }
        printable(out, &self.message)
    }
}

/// A quoted key or path can hold line ends and what a terminal obeys.
fn printable(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c.is_control() {
            true => write!(out, "{}", c.escape_default())?,
            false => out.write_char(c)?,
        }
    }
    Ok(())
}

/// All faults of a text, collected while it is read.
#[derive(Debug, Default)]
pub struct Faults {
    found: RefCell<Vec<Fault>>,
}

impl Faults {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes one more, unless there are more than anybody reads.
    pub fn add(&self, at: Position, key: &str, message: impl Into<String>) {
        let mut found = self.found.borrow_mut();
        if found.len() == FOUND_MAX {
            return;
        }
        found.push(Fault {
            at,
            key: key.into(),
            message: message.into(),
        });
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// All of them, in the order of the text.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Fault> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|fault| fault.at);
        found
    }
}

/// A list of a million wrong items must not become a million texts.
const FOUND_MAX: usize = 1000;
