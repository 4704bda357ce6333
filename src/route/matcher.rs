//! What a route asks of a request, and when two spellings of a host are the same.

use std::borrow::Cow;
use std::fmt;

use super::Conditions;

/// The hosts a route is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// Every host.
    Any,
    /// One host, in lower case, without a port.
    Exact(String),
    /// Every host below this one: `*.example.com` is kept as `example.com` and matches `a.example.com` and
    /// `a.b.example.com`, not `example.com`.
    Below(String),
    /// Every host exactly one label below this one: kept as `example.com` it matches `a.example.com`, not `a.b.example.com`.
    Child(String),
}

/// The paths a route is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Path {
    /// One path, as it is written: `/api` matches neither `/api/` nor `/api/x`.
    Exact(String),
    /// A path's first elements: `/api` matches `/api` and `/api/x`, not `/apis`. `/` matches every path. A slash at the end
    /// makes no difference.
    Prefix(String),
}

impl Path {
    /// Every path.
    #[must_use]
    pub fn any() -> Self {
        Self::Prefix("/".into())
    }
}

/// What a route asks of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matcher {
    /// The host.
    pub host: Host,
    /// The path.
    pub path: Path,
    /// And what else.
    pub conditions: Conditions,
}

impl Matcher {
    /// Of every request for this host and path.
    #[must_use]
    pub fn new(host: Host, path: Path) -> Self {
        Self {
            host,
            path,
            conditions: Conditions::default(),
        }
    }
}

impl Host {
    /// Whether a host without a port, in lower case, is one of them.
    pub(super) fn has(&self, host: &str) -> bool {
        let below = |domain: &str| {
            let name = host.strip_suffix(domain)?.strip_suffix('.')?;
            (!name.is_empty()).then_some(name)
        };
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == host,
            Self::Below(domain) => below(domain).is_some(),
            Self::Child(domain) => below(domain).is_some_and(|name| !name.contains('.')),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => f.write_str(host),
            Self::Below(domain) | Self::Child(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// `host/path`, or `host=/path` when the path is exact, and the conditions.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Path::Exact(path) => write!(f, "{}={path}{}", self.host, self.conditions),
            Path::Prefix(path) => write!(f, "{}{path}{}", self.host, self.conditions),
        }
    }
}

/// The host alone: without a port, the brackets of an IPv6 address and one trailing dot.
pub(super) fn bare(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(address, _)| address);
    }
    let name = match host.split_once(':') {
        // More than one colon is an IPv6 address as a config may write it, without brackets and so without a port.
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// The host in lower case. Only a host with capitals costs an allocation, and clients send none.
pub(super) fn folded(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}
