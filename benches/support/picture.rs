//! Pictures for the README: plain SVG, with colours for light and for dark pages and a ground of its own, so that it can be
//! read on either.
//!
//! Places are in pixels from the upper left. What is drawn has a class, which gives it its colour: `head`, `ink`, `soft` and
//! `small` for words, `rule`, `axis` and `whisker` for lines, and [`series`] for what is told apart by colour. A line of class
//! `thick`, too, is a curve.

use std::fmt::{Display, Write as _};

/// A drawing.
pub(crate) struct Picture {
    width: f64,
    height: f64,
    title: String,
    body: String,
}

/// Which end of its words a text's place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// How many colours there are.
pub(crate) const SERIES: usize = 6;

/// The class of what is drawn for a series: its colour is the same everywhere.
pub(crate) fn series(number: usize) -> String {
    format!("s{}", number % SERIES)
}

impl Picture {
    /// An empty one; its title is for those who do not see it.
    pub(crate) fn new(width: f64, height: f64, title: &str) -> Self {
        Self {
            width,
            height,
            title: title.to_owned(),
            body: String::new(),
        }
    }

    /// Words on one line.
    pub(crate) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let words = Escaped(words);
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{words}</text>"
        ));
    }

    /// A filled box between two corners.
    pub(crate) fn rect(&mut self, (x0, y0): (f64, f64), (x1, y1): (f64, f64), class: &str) {
        let (x, y) = (x0.min(x1), y0.min(y1));
        let (width, height) = ((x1 - x0).abs(), (y1 - y0).abs());
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"{class}\"/>"
        ));
    }

    /// A line from point to point, not filled.
    pub(crate) fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let points = points.join(" ");
        self.push(format_args!(
            "<polyline points=\"{points}\" class=\"{class}\"/>"
        ));
    }

    /// A dot around a point.
    pub(crate) fn dot(&mut self, (x, y): (f64, f64), radius: f64, class: &str) {
        self.push(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" class=\"{class}\"/>"
        ));
    }

    /// The file's text.
    pub(crate) fn into_svg(self) -> String {
        let Self {
            width,
            height,
            title,
            body,
        } = self;
        let title = Escaped(&title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" rx=\"6\" class=\"ground\"/>\n{body}</svg>\n"
        )
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // A String takes all that is written to it.
        let _ = writeln!(self.body, "{element}");
    }
}

/// Both sets of colours have at least the contrast that words need on their ground.
const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; } .head { font-size: 15px; font-weight: 600; } .small { font-size: 10px; }
text, rect, circle { fill: currentColor; } polyline { fill: none; stroke: currentColor; } .thick { stroke-width: 2; }
.ground { color: #ffffff; } .ink, .head, .whisker { color: #1f2937; } .soft, .small, .axis { color: #57606a; } .rule { color: #d8dee4; }
.s0 { color: #0f766e; } .s1 { color: #b45309; } .s2 { color: #7c3aed; } .s3 { color: #2563eb; } .s4 { color: #be185d; } .s5 { color: #64748b; }
@media (prefers-color-scheme: dark) {
.ground { color: #0d1117; } .ink, .head, .whisker { color: #e6edf3; } .soft, .small, .axis { color: #9da7b3; } .rule { color: #30363d; }
.s0 { color: #2dd4bf; } .s1 { color: #f59e0b; } .s2 { color: #a78bfa; } .s3 { color: #60a5fa; } .s4 { color: #f472b6; } .s5 { color: #94a3b8; }
}
";

/// Words that may contain what means something in SVG.
struct Escaped<'w>(&'w str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}
