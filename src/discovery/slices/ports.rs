//! Which port of the slices is meant.
//!
//! A slice has one list of ports for all its endpoints. Pods whose ports have other numbers stand in other slices, under
//! the same names; so the name is what slices have in common, and the number is each slice's own.

use std::collections::BTreeSet;
use std::fmt;

use crate::discovery::Port;

/// A port of a slice that can be proxied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer<'n> {
    /// Empty for the only port of a service.
    pub(crate) name: &'n str,
    /// Nothing means every port, which says to nobody where to go.
    pub(crate) number: Option<u16>,
}

/// A port that makes the choice impossible.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The slice, by its place among them.
    pub(crate) slice: usize,
    /// The port, by its place in the slice.
    pub(crate) port: usize,
    /// What is wrong.
    pub(crate) what: What,
}

/// Why no port can be chosen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The wanted one is in no slice.
    Unknown {
        /// The wanted one.
        wanted: String,
        /// Those there are.
        known: String,
    },
    /// There are several, and nothing says which is meant.
    Several {
        /// Those there are.
        known: String,
    },
    /// It has no number.
    Numberless,
}

impl fmt::Display for What {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { wanted, known } => {
                write!(out, "{wanted} is a port of no slice; there are {known}")
            }
            Self::Several { known } => write!(
                out,
                "there are several, {known}; say in the config which is meant, as `port: NAME`"
            ),
            Self::Numberless => out.write_str("is missing, should be the number of the port"),
        }
    }
}

/// The number of the wanted port in each slice, nothing for a slice that lacks it; and what is wrong. With anything wrong
/// the numbers mean nothing.
pub(crate) fn choose(
    slices: &[Vec<Offer<'_>>],
    wanted: Option<&Port>,
) -> (Vec<Option<u16>>, Vec<Wrong>) {
    let mut wrong = Vec::new();
    let find = |ports: &Vec<Offer<'_>>| match wanted {
        Some(wanted) => ports.iter().position(|port| is_meant(port, wanted)),
        None => (!ports.is_empty()).then_some(0),
    };
    let places: Vec<Option<usize>> = slices.iter().map(find).collect();
    let first = slices.iter().position(|ports| !ports.is_empty());
    if let (Some(wanted), Some(slice), true) = (wanted, first, places.iter().all(Option::is_none)) {
        // Nothing would be left of the set. A name that is misspelt or was changed is far more likely than that.
        let wanted = match wanted {
            Port::Name(name) => format!("{name:?}"),
            Port::Number(number) => number.to_string(),
        };
        let known = written(slices);
        let what = What::Unknown { wanted, known };
        wrong.push(Wrong {
            slice,
            port: 0,
            what,
        });
    }
    if let (None, Some((slice, port))) = (wanted, second(slices)) {
        let known = written(slices);
        let what = What::Several { known };
        wrong.push(Wrong { slice, port, what });
    }
    let mut number = |(slice, place): (usize, Option<usize>)| {
        let port = place?;
        let number = slices[slice][port].number;
        if number.is_none() {
            let what = What::Numberless;
            wrong.push(Wrong { slice, port, what });
        }
        number
    };
    let numbers = places.into_iter().enumerate().map(&mut number).collect();
    (numbers, wrong)
}

fn is_meant(port: &Offer<'_>, wanted: &Port) -> bool {
    match wanted {
        Port::Name(name) => port.name == name,
        Port::Number(number) => port.number == Some(*number),
    }
}

/// A port that makes it unclear which is the only one: a second one in a slice, or one of another name.
fn second(slices: &[Vec<Offer<'_>>]) -> Option<(usize, usize)> {
    let first = slices.iter().find_map(|ports| ports.first())?;
    slices
        .iter()
        .enumerate()
        .find_map(|(slice, ports)| match ports.as_slice() {
            [] => None,
            [only] => (only.name != first.name).then_some((slice, 0)),
            [_, _, ..] => Some((slice, 1)),
        })
}

/// The ports there are, as one would name them.
fn written(slices: &[Vec<Offer<'_>>]) -> String {
    let names: BTreeSet<String> = slices
        .iter()
        .flatten()
        .map(|port| match (port.name, port.number) {
            ("", Some(number)) => number.to_string(),
            ("", None) => "one without a name".into(),
            (name, _) => name.into(),
        })
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
