//! What may be named from another namespace. Pure.

use super::api::{GROUP, ReferenceGrant};
use crate::kubernetes::objects::{Name, Objects};

/// Who names something.
#[derive(Debug, Clone, Copy)]
pub(super) struct From<'f> {
    pub(super) kind: &'f str,
    pub(super) namespace: &'f str,
}

/// Whether an object of the core group may be named: from its own namespace always, from another by a ReferenceGrant there.
pub(super) fn is_granted(
    grants: &Objects<ReferenceGrant>,
    from: From<'_>,
    kind: &str,
    name: &Name,
) -> bool {
    if from.namespace == name.namespace {
        return true;
    }
    let mut there = grants
        .all()
        .filter(|(grant, _)| grant.namespace == name.namespace)
        .filter_map(|(_, grant)| grant.spec.as_ref().ok());
    there.any(|grant| {
        let from_us = grant
            .from
            .iter()
            .any(|it| it.group == GROUP && it.kind == from.kind && it.namespace == from.namespace);
        from_us
            && grant.to.iter().any(|it| {
                it.group.is_empty()
                    && it.kind == kind
                    && it.name.as_ref().is_none_or(|own| *own == name.name)
            })
    })
}
