//! What can be watched, and where.

use std::fmt;

use kube::Resource;
use serde::de::DeserializeOwned;

/// Where objects are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Namespace(String),
    /// In every namespace, or in none.
    Cluster,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => write!(out, "in namespace {name}"),
            Self::Cluster => out.write_str("in the whole cluster"),
        }
    }
}

/// A kind of object that can be watched.
pub(super) trait Kind:
    Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + 'static
{
}
