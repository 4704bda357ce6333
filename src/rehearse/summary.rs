//! What a rehearsal found, for people to read.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::report::Report;

impl Report {
    /// The report as text: tables, then what went wrong, then the verdict.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n\n{}\n\n", self.class_table(), self.drain_table());
        let _ = writeln!(
            text,
            "{} s at {} requests/s; clients sent nothing twice; the schedule missed {} and was late for {}; {} closed \
             connections opened again",
            self.seconds,
            grouped(self.rate.into()),
            grouped(self.schedule.missed),
            grouped(self.schedule.late),
            grouped(self.reopened),
        );
        for failure in &self.failures {
            let _ = writeln!(
                text,
                "failed: {} {} at {} ({}): {}",
                failure.class,
                failure.kind,
                failure.endpoint.as_deref().unwrap_or("no endpoint"),
                failure.phase.as_deref().unwrap_or("phase unknown"),
                failure.error
            );
        }
        for problem in &self.problems {
            let _ = writeln!(text, "problem: {problem}");
        }
        let _ = writeln!(text, "{}", self.verdict);
        text
    }

    fn class_table(&self) -> Table {
        let mut table = table(&["REQUESTS", "ENDED", "FAILED", "RACED", "HOW FAR"], 3);
        for class in &self.classes {
            let kinds: Vec<String> = class
                .kinds
                .iter()
                .map(|(kind, n)| format!("{kind} {}", grouped(*n)))
                .collect();
            table.add_row([
                class.class.to_owned(),
                grouped(class.requests),
                grouped(class.failed),
                grouped(class.raced),
                kinds.join(", "),
            ]);
        }
        table
    }

    fn drain_table(&self) -> Table {
        let mut table = table(&["TIMES", "MIN", "MEDIAN", "P99", "MAX"], 4);
        let spreads = [
            ("drain", &self.drains.duration),
            ("seen, by the file", &self.drains.file_detection),
            ("answered, by the API", &self.drains.api_detection),
        ];
        for (name, spread) in spreads {
            table.add_row([
                name.to_owned(),
                milliseconds(spread.min_ms),
                milliseconds(spread.median_ms),
                String::new(),
                milliseconds(spread.max_ms),
            ]);
        }
        let latencies = [
            ("request, at rest", &self.latency.at_rest),
            ("request, during a drain", &self.latency.draining),
        ];
        for (name, quantiles) in latencies {
            table.add_row([
                name.to_owned(),
                String::new(),
                milliseconds(quantiles.p50_ms),
                milliseconds(quantiles.p99_ms),
                String::new(),
            ]);
        }
        table
    }
}

/// A table without lines, with a head. The columns after the first, as many as are `numbers`, are aligned to the right.
#[must_use]
pub fn table(head: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    for index in 1..=numbers {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A number with a comma at every thousand.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of milliseconds, with as many digits as matter.
#[must_use]
pub fn milliseconds(ms: Option<f64>) -> String {
    match ms {
        None => "-".into(),
        Some(ms) if ms >= 1000.0 => format!("{:.2} s", ms / 1000.0),
        Some(ms) if ms >= 10.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{ms:.2} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(milliseconds(None), "-");
        assert_eq!(milliseconds(Some(0.5)), "0.50 ms");
        assert_eq!(milliseconds(Some(12.3)), "12 ms");
        assert_eq!(milliseconds(Some(1234.0)), "1.23 s");
    }
}
