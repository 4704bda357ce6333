//! Which service a request is for: the most specific host, then the longest path prefix.

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
}

/// What a route asks of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matcher {
    /// The host.
    pub host: Host,
    /// The path's first elements: `/api` matches `/api` and `/api/x`, not `/apis`. `/` matches every path.
    pub path: String,
}
