//! Kubernetes' slices as a set of endpoints: the rules, wherever the slices come from.
//!
//! A file holds them as text, and the API server tells of them one by one; what they mean together is decided here, by
//! pure functions: which port is meant ([`choose`]), and what becomes of an endpoint or an address that several slices
//! show ([`merge()`]).

mod merge;
mod ports;

pub(crate) use merge::{Age, Shown, alone, merge};
pub(crate) use ports::{Offer, What, choose};

/// Ready, serving, terminating, where a slice says nothing: as Kubernetes has it for controllers that are old or not its
/// own.
pub(crate) const UNSAID: (bool, bool, bool) = (true, true, false);

/// The label that names the service whose endpoints a slice holds.
pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
