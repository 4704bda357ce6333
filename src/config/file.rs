//! The whole file: its top level, and what only the parts together can be asked.

use std::path::Path;

use crate::document::{Fault, Faults, Item, Mapping, Position, parse};
use crate::telemetry::log;

use super::addresses::Addresses;
use super::files::{Files, Named};
use super::listener::listeners;
use super::route::routes;
use super::service::{Names, services};
use super::values::take;
use super::{Config, Route, Service, Shutdown, kubernetes, process};

/// What came of a text.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The config, if there is no fault.
    pub(super) config: Option<Config>,
    /// Everything that is wrong, in the order of the text.
    pub(super) faults: Vec<Fault>,
    /// The files that it names.
    pub(super) named: Vec<Named>,
}

/// Walks over a text as the content of the config file at `path`.
pub(super) fn walk(text: &str, path: &Path) -> Outcome {
    let faults = Faults::new();
    let mut files = Files::of(path);
    let config = match parse(text).as_deref() {
        Ok([root, rest @ ..]) if !root.is_null() => {
            if let Some(more) = rest.first() {
                faults.add(
                    more.at,
                    "",
                    "is a second document: a config is one, without ---",
                );
            }
            config(&Item::root(root, &faults), path, &mut files)
        }
        Ok(_) => {
            let message = "the file is empty: it should have listeners, routes and services";
            faults.add(Position { line: 1, column: 1 }, "", message);
            None
        }
        Err(fault) => {
            faults.add(fault.at, &fault.key, &fault.message);
            None
        }
    };
    let faults = faults.into_sorted();
    Outcome {
        config: config.filter(|_| faults.is_empty()),
        faults,
        named: files.named,
    }
}

fn config(root: &Item<'_>, path: &Path, files: &mut Files) -> Option<Config> {
    let mut keys = root.mapping()?;
    let mut addresses = Addresses::default();
    let https = kubernetes::https(root);
    let has_gateway = kubernetes::has_gateway(root);
    let offered = |name: &str| has_gateway || https.is_some_and(|(_, https)| https == name);
    let listeners = keys
        .required("listeners")
        .and_then(|item| listeners(&item, &offered, files, &mut addresses));
    if let Some(listeners) = &listeners {
        kubernetes::judge_https(https, listeners);
    }
    let listener_names: Option<Vec<&str>> = listeners
        .as_ref()
        .map(|listeners| listeners.iter().map(|it| &*it.name).collect());
    let is_there = kubernetes::is_there(root);
    let (routes, services) = routed(&mut keys, is_there, listener_names.as_deref(), files);
    let mut cluster = None;
    take(&mut cluster, keys.optional("kubernetes"), |item| {
        kubernetes::section(item, listeners.as_deref()).map(Some)
    });
    let mut admin = process::admin(keys.optional("admin"), files, &mut addresses);
    addresses.finish(root.faults);
    let mut shutdown = Shutdown::default();
    take(&mut shutdown, keys.optional("shutdown"), process::shutdown);
    let mut access_log_sample = 1.0;
    take(
        &mut access_log_sample,
        keys.optional("access_log"),
        process::access_log,
    );
    let mut log_level = log::LEVEL.to_owned();
    take(&mut log_level, keys.optional("log"), process::log_level);
    let mut reload_on_change = false;
    take(
        &mut reload_on_change,
        keys.optional("reload_on_change"),
        Item::boolean,
    );
    let mut workers = None;
    take(&mut workers, keys.optional("workers"), process::workers);
    let mut state_dir = None;
    take(&mut state_dir, keys.optional("state_dir"), |item| {
        files.path(item).map(Some)
    });
    let mut user = None;
    take(&mut user, keys.optional("user"), |item| {
        item.name().map(|name| Some(name.to_owned()))
    });
    take(&mut admin.peers, keys.optional("peers"), process::peers);
    take(
        &mut admin.webhook,
        keys.optional("webhook"),
        process::webhook,
    );
    keys.finish();
    Some(Config {
        path: path.to_owned(),
        listeners: listeners?,
        routes: routes?,
        services: services?,
        kubernetes: cluster,
        admin,
        shutdown,
        access_log_sample,
        log_level,
        state_dir,
        reload_on_change,
        user,
        workers,
    })
}

/// Routes and services. Where objects of a cluster add their own, the file may have none.
fn routed(
    keys: &mut Mapping<'_>,
    may_be_empty: bool,
    listeners: Option<&[&str]>,
    files: &mut Files,
) -> (Option<Vec<Route>>, Option<Vec<Service>>) {
    let mut list = |key| match (keys.optional(key), may_be_empty) {
        (Some(item), _) => Some(item),
        (None, true) => None,
        (None, false) => keys.required(key),
    };
    let (route_list, service_list) = (list("routes"), list("services"));
    let nothing = may_be_empty && route_list.is_none();
    let (services, names) = match service_list {
        Some(item) => services(&item, may_be_empty, files).unzip(),
        None if may_be_empty => (Some(Vec::new()), Some(Names::none())),
        None => (None, None),
    };
    let names = names.unwrap_or_else(Names::unknown);
    let routes = route_list.and_then(|item| routes(&item, may_be_empty, &names, listeners));
    (routes.or(nothing.then(Vec::new)), services)
}
