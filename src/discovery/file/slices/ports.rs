//! The ports of the slices in a text, and what is wrong with them where they stand.

use super::Slice;
use crate::discovery::Port;
use crate::discovery::slices::{self, Offer, What};
use crate::document::{Faults, Item};

/// A port of a slice that can be proxied.
#[derive(Clone, Copy)]
pub(super) struct SlicePort<'n> {
    item: Item<'n>,
    offer: Offer<'n>,
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
    let offer = Offer {
        name: name.unwrap_or_default(),
        number,
    };
    protocol
        .is_none_or(|protocol| protocol == "TCP")
        .then_some(SlicePort { item, offer })
}

/// The number of the wanted port in each slice; nothing for a slice that lacks it.
pub(super) fn choose(
    found: &[Slice<'_>],
    wanted: Option<&Port>,
    faults: &Faults,
) -> Vec<Option<u16>> {
    let offers: Vec<Vec<Offer<'_>>> = found
        .iter()
        .map(|slice| slice.ports.iter().map(|port| port.offer).collect())
        .collect();
    let (chosen, wrong) = slices::choose(&offers, wanted);
    for wrong in wrong {
        let item = found[wrong.slice].ports[wrong.port].item;
        match wrong.what {
            What::Numberless => faults.add(item.at(), "port", wrong.what.to_string()),
            what => item.fault(what.to_string()),
        }
    }
    chosen
}
