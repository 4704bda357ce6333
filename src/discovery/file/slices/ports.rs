//! Which port of the slices is meant.
//!
//! A slice has one list of ports for all its endpoints. Pods whose ports have other numbers stand in other slices, under
//! the same names; so the name is what slices have in common, and the number is each slice's own.

use std::collections::BTreeSet;

use super::Slice;
use crate::discovery::Port;
use crate::document::{Faults, Item};

/// A port of a slice that can be proxied.
#[derive(Clone, Copy)]
pub(super) struct SlicePort<'n> {
    item: Item<'n>,
    /// Empty for the only port of a service.
    name: &'n str,
    /// Nothing means every port, which says to nobody where to go.
    number: Option<u16>,
}

/// Reads the TCP ports of a slice; the others can never be meant.
pub(super) fn read(list: Item<'_>) -> Vec<SlicePort<'_>> {
    let items = list.list(false).unwrap_or_default();
    items.into_iter().filter_map(read_one).collect()
}

fn read_one(item: Item<'_>) -> Option<SlicePort<'_>> {
    let mut port = item.mapping()?;
    let name = port.optional("name").and_then(|name| name.text());
    let protocol = port.optional("protocol").and_then(|item| item.text());
    let number = match port.optional("port") {
        Some(number) => Some(number.integer(1..=u64::from(u16::MAX))? as u16),
        None => None,
    };
    protocol
        .is_none_or(|protocol| protocol == "TCP")
        .then(|| SlicePort {
            item,
            name: name.unwrap_or_default(),
            number,
        })
}

/// The number of the wanted port in each slice; nothing for a slice that lacks it.
pub(super) fn choose(
    slices: &[Slice<'_>],
    wanted: Option<&Port>,
    faults: &Faults,
) -> Vec<Option<u16>> {
    let chosen: Vec<Option<SlicePort<'_>>> = match wanted {
        Some(wanted) => slices.iter().map(|slice| find(slice, wanted)).collect(),
        None => slices
            .iter()
            .map(|slice| slice.ports.first().copied())
            .collect(),
    };
    let all = || slices.iter().flat_map(|slice| &slice.ports);
    if let (Some(wanted), Some(any), true) =
        (wanted, all().next(), chosen.iter().all(Option::is_none))
    {
        // Nothing would be left of the set. A name that is misspelt or was changed is far more likely than that.
        let wanted = match wanted {
            Port::Name(name) => format!("{name:?}"),
            Port::Number(number) => number.to_string(),
        };
        any.item.fault(format!(
            "{wanted} is a port of no slice; there are {}",
            written(slices)
        ));
    }
    if wanted.is_none()
        && let Some(other) = second(slices)
    {
        other.item.fault(format!(
            "there are several, {}; say in the config which is meant, as `port: NAME`",
            written(slices)
        ));
    }
    chosen
        .into_iter()
        .map(|port| number(port?, faults))
        .collect()
}

/// A port that makes it unclear which is the only one: a second one in a slice, or one of another name.
fn second<'s, 'n>(slices: &'s [Slice<'n>]) -> Option<&'s SlicePort<'n>> {
    let first = slices.iter().find_map(|slice| slice.ports.first())?;
    slices
        .iter()
        .find_map(|slice| match slice.ports.as_slice() {
            [] => None,
            [only] => (only.name != first.name).then_some(only),
            [_, another, ..] => Some(another),
        })
}

fn find<'n>(slice: &Slice<'n>, wanted: &Port) -> Option<SlicePort<'n>> {
    let is_meant = |port: &&SlicePort<'_>| match wanted {
        Port::Name(name) => port.name == name,
        Port::Number(number) => port.number == Some(*number),
    };
    slice.ports.iter().find(is_meant).copied()
}

fn number(port: SlicePort<'_>, faults: &Faults) -> Option<u16> {
    if port.number.is_none() {
        faults.add(
            port.item.at(),
            "port",
            "is missing, should be the number of the port",
        );
    }
    port.number
}

/// The ports there are, as one would name them.
fn written(slices: &[Slice<'_>]) -> String {
    let ports = slices.iter().flat_map(|slice| &slice.ports);
    let names: BTreeSet<String> = ports
        .map(|port| match (port.name, port.number) {
            ("", Some(number)) => number.to_string(),
            ("", None) => "one without a name".into(),
            (name, _) => name.into(),
        })
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
