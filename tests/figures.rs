//! What the benches make of their measurements: the benches themselves are not run by tests.

#[path = "../benches/support/bars.rs"]
mod bars;
#[path = "../benches/support/picture.rs"]
#[expect(dead_code, reason = "bars do not use all of it")]
mod picture;
#[path = "../benches/support/stats.rs"]
mod stats;

use bars::{Bars, Row};
use stats::{Spread, median_within, quantile};

#[test]
fn a_quantile_is_a_value_that_was_measured() {
    let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    assert_eq!(quantile(&mut values, 0.5), 50.0);
    assert_eq!(quantile(&mut values, 0.99), 99.0);
    assert_eq!(quantile(&mut values, 1.0), 100.0);
    assert!(quantile(&mut [], 0.5).is_nan());
}

#[test]
fn a_median_lies_between_ranks_that_only_chance_moves() {
    let within = |n: i32| {
        let mut values: Vec<f64> = (1..=n).map(f64::from).collect();
        median_within(&mut values)
    };
    // The tables of the sign test: of 10 values the 2nd and the 9th, of 20 the 6th and the 15th.
    assert_eq!(within(10), (2.0, 5.0, 9.0));
    assert_eq!(within(20), (6.0, 10.0, 15.0));
    assert_eq!(within(3), (1.0, 2.0, 3.0), "too few: all of them");
}

#[test]
fn ratios_are_of_the_same_round() {
    // The machine was half as fast in the second round; the ratio does not know.
    let ratio = Spread::of_ratios(&[10.0, 20.0, 12.0], &[20.0, 40.0, 20.0]).unwrap();
    assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 0.5, 0.6));
    assert_eq!(Spread::of_ratios(&[], &[]), None);
}

fn picture_of(ratios: [f64; 2]) -> String {
    let spread = |middle: f64| Spread {
        min: middle / 1.1,
        median: middle,
        max: middle * 1.1,
    };
    let row = |name: &str, ratio: f64| Row {
        name: name.to_owned(),
        note: "ratio to nginx".to_owned(),
        bars: vec![Some(spread(ratio)), None, Some(spread(3.0))],
    };
    Bars {
        title: "Processor time & memory <per request>".to_owned(),
        explained: vec!["to the left is cheaper".to_owned()],
        series: ["tidegate", "Envoy", "Caddy"].map(str::to_owned).to_vec(),
        rows: vec![row("HTTP/1.1", ratios[0]), row("TLS", ratios[1])],
        notes: vec!["two cores".to_owned()],
    }
    .into_svg()
}

/// Left edge and width of each bar of a series.
fn boxes(svg: &str, class: &str) -> Vec<(f64, f64)> {
    let value = |line: &str, name: &str| {
        let (_, rest) = line
            .split_once(&format!(" {name}=\""))
            .expect("an attribute");
        let value = rest.split('"').next().unwrap_or_default();
        value.parse::<f64>().expect("a number")
    };
    let class = format!("class=\"{class}\"");
    svg.lines()
        .filter(|line| line.starts_with("<rect") && line.contains(&class))
        .map(|line| (value(line, "x"), value(line, "width")))
        // The first is the legend's.
        .skip(1)
        .collect()
}

#[test]
fn a_bar_begins_at_one_and_goes_left_for_less() {
    let svg = picture_of([0.5, 2.0]);
    let bars = boxes(&svg, "s0");
    let (half, double) = (bars[0], bars[1]);
    let close = |one: f64, other: f64| (one - other).abs() < 0.2;
    assert!(close(half.0 + half.1, double.0), "{bars:?}");
    // Half as much is as far from 1 as twice as much.
    assert!(close(half.1, double.1), "{bars:?}");
    assert!(boxes(&svg, "s1").is_empty(), "not measured");
}

#[test]
fn a_picture_stays_one_whatever_its_words() {
    let svg = picture_of([1e9, 1e-9]);
    assert!(svg.contains("Processor time &amp; memory &lt;per request&gt;"));
    let (opened, closed) = (svg.matches("<text").count(), svg.matches("</text>").count());
    assert_eq!(opened, closed);
    for (left, width) in boxes(&svg, "s0") {
        assert!(left >= 0.0 && left + width < 860.0, "{left} {width}");
    }
}
