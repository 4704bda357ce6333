//! A picture of ratios: bars that begin at 1, to the left for what costs less and to the right for what costs more, with
//! whiskers from the smallest value to the largest.
//!
//! The scale is logarithmic, as ratios are: half as much is as far from 1 as twice as much.

use super::picture::{Anchor, Picture, SERIES, series};
use super::stats::Spread;

/// All of it.
pub(crate) struct Bars {
    pub(crate) title: String,
    /// Lines below the title: what the ratio is of, and to what.
    pub(crate) explained: Vec<String>,
    /// Who has a bar in each row, in the order of a row's bars.
    pub(crate) series: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// At the foot, each broken into as many lines as it needs: machine, versions.
    pub(crate) notes: Vec<String>,
}

/// What was compared, and what came of it.
pub(crate) struct Row {
    pub(crate) name: String,
    /// Smaller, below the name.
    pub(crate) note: String,
    /// One for each series; none where it was not measured.
    pub(crate) bars: Vec<Option<Spread>>,
}

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 16.0;
const NAMES: f64 = 190.0;
/// For the figure at a bar's end.
const FIGURES: f64 = 44.0;
const LINE: f64 = 17.0;
const BAR: f64 = 11.0;
const GAP: f64 = 12.0;

impl Bars {
    /// The file's text.
    pub(crate) fn into_svg(self) -> String {
        let scale = Scale::of(&self.rows);
        let notes: Vec<_> = self.notes.iter().flat_map(|note| broken(note)).collect();
        let head = MARGIN + 1.5 * LINE + LINE * self.explained.len() as f64 + 2.0 * LINE;
        let bars: f64 = self.rows.iter().map(|row| self.height(row)).sum();
        let foot = head + LINE + bars;
        let height = foot + LINE + LINE * notes.len() as f64 + MARGIN / 2.0;
        let mut picture = Picture::new(WIDTH, height, &self.title);
        self.draw_head(&mut picture);
        for step in scale.steps() {
            let class = if step == 0 { "axis" } else { "rule" };
            let x = scale.x(f64::from(step).exp2());
            picture.line(&[(x, head + LINE - 2.0), (x, foot)], class);
            let tick = format!("{}×", f64::from(step).exp2());
            picture.text((x, head + LINE - 7.0), Anchor::Middle, "small", &tick);
        }
        let mut y = head + LINE;
        for row in &self.rows {
            self.draw_row(&mut picture, &scale, row, y);
            y += self.height(row);
        }
        for (number, note) in notes.iter().enumerate() {
            let at = (MARGIN, foot + LINE * (number + 1) as f64);
            picture.text(at, Anchor::Start, "small", note);
        }
        picture.into_svg()
    }

    fn height(&self, row: &Row) -> f64 {
        let bars = BAR * row.bars.iter().flatten().count() as f64;
        bars.max(LINE * 2.0) + GAP
    }

    fn draw_head(&self, picture: &mut Picture) {
        let mut y = MARGIN + LINE;
        picture.text((MARGIN, y), Anchor::Start, "head", &self.title);
        y += LINE / 2.0;
        for line in &self.explained {
            y += LINE;
            picture.text((MARGIN, y), Anchor::Start, "soft", line);
        }
        y += 1.5 * LINE;
        let mut x = MARGIN;
        for (number, name) in self.series.iter().enumerate() {
            picture.rect((x, y - 9.0), (x + 10.0, y + 1.0), &series(number));
            picture.text((x + 15.0, y), Anchor::Start, "ink", name);
            x += 40.0 + 7.0 * name.len() as f64;
        }
    }

    fn draw_row(&self, picture: &mut Picture, scale: &Scale, row: &Row, top: f64) {
        let middle = top + self.height(row) / 2.0;
        let name = (MARGIN, middle - 2.0);
        picture.text(name, Anchor::Start, "ink", &row.name);
        let note = (MARGIN, middle + 11.0);
        picture.text(note, Anchor::Start, "small", &row.note);
        let there = row.bars.iter().flatten().count() as f64;
        let mut y = middle - BAR * there / 2.0;
        for (number, bar) in row.bars.iter().enumerate().take(SERIES) {
            let Some(bar) = bar else { continue };
            let (low, high) = (scale.x(bar.min), scale.x(bar.max));
            let (one, end) = (scale.x(1.0), scale.x(bar.median));
            let centre = y + BAR / 2.0;
            picture.rect((one, y + 1.0), (end, y + BAR - 1.0), &series(number));
            picture.line(&[(low, centre), (high, centre)], "whisker");
            for x in [low, high] {
                picture.line(&[(x, centre - 2.5), (x, centre + 2.5)], "whisker");
            }
            let figure = format!("{:.2}", bar.median);
            let (x, anchor) = if bar.median < 1.0 {
                (low.min(end) - 4.0, Anchor::End)
            } else {
                (high.max(end) + 4.0, Anchor::Start)
            };
            picture.text((x, centre + 3.5), anchor, "small", &figure);
            y += BAR;
        }
    }
}

/// Words in lines that fit.
fn broken(note: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in note.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + word.chars().count() < LETTERS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// As many small letters go on a line.
const LETTERS: usize = 150;

/// Powers of two across the width.
struct Scale {
    low: i32,
    high: i32,
}

/// What is beyond would squeeze the others: its bar stops at the edge, and its figure says how far it would go.
const WIDEST: (i32, i32) = (-4, 4);

impl Scale {
    /// One that has room for all of them, and for half and twice as much in any case.
    fn of(rows: &[Row]) -> Self {
        let bars = rows.iter().flat_map(|row| row.bars.iter().flatten());
        let (mut low, mut high) = (-1, 1);
        for bar in bars {
            low = low.min(bar.min.log2().floor() as i32);
            high = high.max(bar.max.log2().ceil() as i32);
        }
        Self {
            low: low.max(WIDEST.0),
            high: high.min(WIDEST.1),
        }
    }

    fn steps(&self) -> impl Iterator<Item = i32> + use<> {
        self.low..=self.high
    }

    fn x(&self, ratio: f64) -> f64 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let place = (ratio.log2().clamp(low, high) - low) / (high - low);
        let (left, right) = (MARGIN + NAMES + FIGURES, WIDTH - MARGIN - FIGURES);
        left + place * (right - left)
    }
}
