//! Certificates in Secrets, read once for each version of the Secret.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::objects::{Name, Objects};
use crate::net::tls::Held;

/// What was read of Secrets.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    known: HashMap<Name, Read>,
}

#[derive(Debug)]
struct Read {
    version: (Option<String>, Option<String>),
    result: Result<Held, String>,
    is_used: bool,
}

impl Certificates {
    /// The certificate and key in a Secret.
    ///
    /// # Errors
    /// What is wrong with it, after the Secret's name.
    pub(super) fn find(&mut self, secrets: &Objects<Secret>, name: &Name) -> Result<Held, String> {
        let Some(secret) = secrets.find(name) else {
            return Err("does not exist, or is not of type kubernetes.io/tls".into());
        };
        let version = (secret.uid(), secret.resource_version());
        if let Some(known) = self.known.get_mut(name)
            && known.version == version
        {
            known.is_used = true;
            return known.result.clone();
        }
        let result = read(secret, name);
        let read = Read {
            version,
            result: result.clone(),
            is_used: true,
        };
        self.known.insert(name.clone(), read);
        result
    }

    /// Forgets what was not asked for since the last time.
    pub(super) fn sweep(&mut self) {
        self.known
            .retain(|_, read| std::mem::replace(&mut read.is_used, false));
    }
}

fn read(secret: &Secret, name: &Name) -> Result<Held, String> {
    if secret.type_.as_deref() != Some(TLS) {
        return Err(format!("is not of type {TLS}"));
    }
    let part = |key: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        data.map(|bytes| &*bytes.0)
            .ok_or_else(|| format!("has no {key}"))
    };
    Held::read(
        &format!("secret {name}"),
        part("tls.crt")?,
        part("tls.key")?,
    )
    .map_err(|error| format!("cannot be used: {error}"))
}

/// Secrets with a certificate are of this type.
const TLS: &str = "kubernetes.io/tls";

/// Only such Secrets are watched.
pub(super) const FIELDS: &str = "type=kubernetes.io/tls";
