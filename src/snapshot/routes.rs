//! The routes, published.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::Service;
use crate::endpoint::ServiceName;
use crate::route::{Matcher, RouteTable};

/// A route that leads somewhere.
#[derive(Debug)]
pub struct Route {
    /// `host/path`, for logs and reports; `host=/path` when the path is exact.
    pub label: Arc<str>,
    /// Where it leads.
    pub service: Arc<Service>,
}

/// All routes.
pub type Routes = RouteTable<Route>;

/// The writer's end.
#[derive(Debug, Clone)]
pub struct Publisher {
    routes: Arc<ArcSwap<Routes>>,
}

/// A worker's end.
#[derive(Debug, Clone)]
pub struct Reader {
    routes: Cache<Arc<ArcSwap<Routes>>, Arc<Routes>>,
}

impl Publisher {
    /// Nothing is routed yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            routes: Arc::new(ArcSwap::from_pointee(RouteTable::build([]))),
        }
    }

    /// A reader, one for each worker.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            routes: Cache::new(self.routes.clone()),
        }
    }

    /// Replaces all routes at once. A route to a service that `find` does not know is left out.
    pub fn publish(
        &self,
        routes: &[(Matcher, ServiceName)],
        find: impl Fn(&ServiceName) -> Option<Arc<Service>>,
    ) {
        let table = routes.iter().filter_map(|(matcher, name)| {
            let route = Route {
                label: matcher.to_string().into(),
                service: find(name)?,
            };
            Some((matcher.clone(), route))
        });
        self.routes.store(Arc::new(RouteTable::build(table)));
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// The routes as they are now.
    pub fn routes(&mut self) -> &Arc<Routes> {
        self.routes.load()
    }
}
