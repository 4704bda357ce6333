//! Curves over sizes, drawn side by side as one SVG.

use std::fmt::Write as _;

/// One field of the picture.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// The lowest value at the upper end of the scale: what is flat is not to look steep.
    pub(crate) at_least: f64,
    pub(crate) curves: Vec<Curve>,
}

/// What was found at each size.
pub(crate) struct Curve {
    pub(crate) name: String,
    /// Size, and the least, median and greatest value there.
    pub(crate) points: Vec<(f64, [f64; 3])>,
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 36.0;
const RIGHT: f64 = 16.0;
const LINE: f64 = 16.0;
const COLOURS: [&str; 6] = [
    "#1b6ca8", "#d1495b", "#2e8b57", "#b8860b", "#7b4fa3", "#555555",
];

/// The picture.
pub(crate) fn draw(panels: &[Panel]) -> String {
    let most = panels.iter().map(|panel| panel.curves.len()).max();
    let height = TOP + HEIGHT + 28.0 + most.unwrap_or(0) as f64 * LINE + 12.0;
    let each = LEFT + WIDTH + RIGHT;
    let width = each * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<g transform=\"translate({},0)\">",
            each * number as f64
        );
        panel.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel {
    fn draw(&self, svg: &mut String) {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        // A logarithmic scale has no place for nothing: there it begins at one.
        let place = |size: f64| size.max(1.0).log10();
        let last = points().map(|(size, _)| place(*size)).fold(1.0, f64::max);
        let top = points()
            .map(|(_, [.., high])| high * 1.05)
            .fold(self.at_least, f64::max);
        let x = |size: f64| LEFT + place(size) / last * WIDTH;
        let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);
        text(svg, LEFT, 20.0, "start", &self.title);
        for line in 0..=4 {
            let value = top * f64::from(line) / 4.0;
            rule(svg, y(value));
            let shown = if top < 10.0 {
                format!("{value:.2}")
            } else {
                format!("{value:.0}")
            };
            text(svg, LEFT - 6.0, y(value) + 4.0, "end", &shown);
        }
        for power in 0..=last.floor() as u32 {
            let size = 10u64.pow(power);
            text(
                svg,
                x(size as f64),
                TOP + HEIGHT + 18.0,
                "middle",
                &grouped(size),
            );
        }
        for (number, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let line: Vec<_> = curve
                .points
                .iter()
                .map(|(size, [_, median, _])| format!("{:.1},{:.1}", x(*size), y(*median)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                line.join(" ")
            );
            for (size, [low, median, high]) in &curve.points {
                let (at, low, high) = (x(*size), y(*low), y(*high));
                let _ = writeln!(
                    svg,
                    "<line x1=\"{at:.1}\" y1=\"{low:.1}\" x2=\"{at:.1}\" y2=\"{high:.1}\" stroke=\"{colour}\" opacity=\"0.5\"/>\
                     <circle cx=\"{at:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                    y(*median)
                );
            }
            let down = TOP + HEIGHT + 36.0 + number as f64 * LINE;
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
                down - 6.0
            );
            text(svg, LEFT + 20.0, down, "start", &curve.name);
        }
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222222\">{words}</text>"
    );
}

fn rule(svg: &mut String, y: f64) {
    let end = LEFT + WIDTH;
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{end}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>"
    );
}

/// With a comma after each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
