//! Whose an Ingress is.
//!
//! An IngressClass says by `spec.controller` who serves it; `ingressClassName` names one. An Ingress that names none is of
//! the class that is marked as the default, if there is one. The old annotation says the same as `ingressClassName`, and is
//! not looked at beside it. A name that no IngressClass has is ours when it is the one in the config.

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::ResourceExt;

use crate::kubernetes::objects::{Name, Objects};
use crate::kubernetes::part::IngressSettings;

/// The classes of a cluster, and which of them are ours.
#[derive(Debug, Clone, Copy)]
pub(in crate::kubernetes) struct Classes<'c> {
    settings: &'c IngressSettings,
    classes: &'c Objects<IngressClass>,
}

impl<'c> Classes<'c> {
    pub(in crate::kubernetes) fn new(
        settings: &'c IngressSettings,
        classes: &'c Objects<IngressClass>,
    ) -> Self {
        Self { settings, classes }
    }

    /// Whether an Ingress is for us.
    pub(in crate::kubernetes) fn is_ours(&self, ingress: &Ingress) -> bool {
        let spec = ingress.spec.as_ref();
        let named = spec.and_then(|spec| spec.ingress_class_name.as_deref());
        let named = named.or_else(|| ingress.annotations().get(LEGACY).map(String::as_str));
        match named {
            Some(name) => match self.classes.find(&Name::new("", name)) {
                Some(class) => self.is_controlled(class),
                None => name == self.settings.class,
            },
            None => self
                .classes
                .all()
                .any(|(_, class)| is_default(class) && self.is_controlled(class)),
        }
    }

    fn is_controlled(&self, class: &IngressClass) -> bool {
        let spec = class.spec.as_ref();
        spec.and_then(|spec| spec.controller.as_ref()) == Some(&self.settings.controller)
    }
}

fn is_default(class: &IngressClass) -> bool {
    class.annotations().get(DEFAULT).map(String::as_str) == Some("true")
}

/// Before there was `ingressClassName`.
const LEGACY: &str = "kubernetes.io/ingress.class";
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
