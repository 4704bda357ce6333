//! What a route does with a request: where it leads, and what it changes on the way.

use std::fmt;
use std::time::Duration;

use crate::endpoint::ServiceName;

use super::change::{Edits, NewPath};

/// What a route does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Where it leads.
    pub to: To,
    /// What it changes.
    pub changes: Changes,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// How long what a route leads to may take, in place of what its services say. Zero bounds nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's head to the end of the response.
    pub request: Option<Duration>,
    /// From the begin of an attempt to the end of the response.
    pub attempt: Option<Duration>,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// To one of these, by their weights. Without any, and where all weights are 0, a request is answered 500.
    Services(Vec<Share>),
    /// The client is sent elsewhere.
    Redirect(Redirect),
}

/// A service's share of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The service. None is one that cannot be: its share is answered 500.
    pub service: Option<ServiceName>,
    /// Its weight beside the others'. With 0 it gets nothing, and is as one that no route leads to.
    pub weight: u32,
}

/// What a route changes of a request and its response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The host that the endpoint gets.
    pub host: Option<String>,
    /// The path that the endpoint gets.
    pub path: Option<NewPath>,
    /// Fields of the request.
    pub request: Edits,
    /// Fields of the response.
    pub response: Edits,
}

/// Where a client is sent; what is not said is as in the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Scheme>,
    /// The host.
    pub host: Option<String>,
    /// The port. Without one, a scheme that is said has its own.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<NewPath>,
    /// By which status.
    pub status: RedirectStatus,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In clear text.
    Http,
    /// With TLS.
    Https,
}

/// The statuses that send a client elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedirectStatus {
    /// 301.
    MovedPermanently,
    /// 302.
    #[default]
    Found,
    /// 303.
    SeeOther,
    /// 307.
    TemporaryRedirect,
    /// 308.
    PermanentRedirect,
}

impl Action {
    /// The services that get something of it.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        let shares = match &self.to {
            To::Services(shares) => &**shares,
            To::Redirect(_) => &[],
        };
        let shares = shares.iter().filter(|share| share.weight > 0);
        shares.filter_map(|share| share.service.as_ref())
    }
}

/// Where it leads: `web`, `web 90, canary 10`, `redirect 301`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            To::Redirect(redirect) => write!(f, "redirect {}", redirect.status.code()),
            To::Services(shares) if shares.is_empty() => f.write_str("nowhere"),
            To::Services(shares) => {
                for (index, share) in shares.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    let name = share
                        .service
                        .as_ref()
                        .map_or("nowhere", ServiceName::as_str);
                    write!(f, "{comma}{name}")?;
                    if shares.len() > 1 {
                        write!(f, " {}", share.weight)?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl From<ServiceName> for Action {
    /// Everything as it is to one service.
    fn from(service: ServiceName) -> Self {
        Self {
            to: To::Services(vec![Share {
                service: Some(service),
                weight: 1,
            }]),
            changes: Changes::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl Timeouts {
    /// Whether the services' own hold.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether both can be.
    ///
    /// # Errors
    /// What is wrong with the time of an attempt.
    pub fn check(&self) -> Result<(), &'static str> {
        match (self.request, self.attempt) {
            (Some(request), Some(attempt)) if !request.is_zero() && attempt > request => {
                Err("is longer than request: an attempt is over when the request is")
            }
            _ => Ok(()),
        }
    }
}

impl Changes {
    /// Whether everything stays as it is.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the endpoint gets another target than the client's.
    #[must_use]
    pub fn has_target(&self) -> bool {
        self.host.is_some() || self.path.is_some()
    }
}

impl Scheme {
    /// As a URI has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that it has of its own.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl RedirectStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::MovedPermanently,
        Self::Found,
        Self::SeeOther,
        Self::TemporaryRedirect,
        Self::PermanentRedirect,
    ];

    /// Its number.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::SeeOther => 303,
            Self::TemporaryRedirect => 307,
            Self::PermanentRedirect => 308,
        }
    }

    /// The one with this number.
    #[must_use]
    pub fn of(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}
