//! What concerns tidegate itself: `admin`, `shutdown` and the single values of the top level.

use std::time::Duration;

use crate::admin::{self, Peers, SocketFile};
use crate::document::{Item, Value, write_duration};
use crate::net::{Address, UNIX};
use crate::telemetry::log;

use super::Shutdown;
use super::addresses::Addresses;
use super::files::{Files, Need};
use super::route::exact_host;
use super::source::{addresses, kubernetes};
use super::values::take;

/// Reads `admin`, which has an address also when it is not there.
pub(super) fn admin(
    item: Option<Item<'_>>,
    files: &mut Files,
    addresses: &mut Addresses,
) -> admin::Settings {
    let mut admin = admin::Settings::default();
    let by_default = admin.address.tcp();
    let claim = |addresses: &mut Addresses| {
        if let Some(address) = by_default {
            addresses.by_default(address, "admin");
        }
    };
    let Some(item) = item else {
        claim(addresses);
        return admin;
    };
    let Some(mut keys) = item.mapping() else {
        return admin;
    };
    match keys.optional("address") {
        Some(item) => take(&mut admin.address, Some(item), |item| {
            match socket_name(item) {
                Some("") => {
                    item.fault("names no file: should be as unix:/run/tidegate/admin.sock");
                    None
                }
                Some(name) => Some(Address::Unix(files.place(name))),
                None => addresses.read(item, "admin").map(Address::Tcp),
            }
        }),
        None => claim(addresses),
    }
    if let Some(item) = keys.optional("socket") {
        take(&mut admin.socket, Some(item), socket_file);
        if admin.address.tcp().is_some() {
            item.fault("is only for an address that is a file, as unix:/run/tidegate/admin.sock");
        }
    }
    take(&mut admin.token_file, keys.optional("token_file"), |item| {
        files.file(item, Need::AtStart).map(Some)
    });
    let per_endpoint = keys.optional("per_endpoint_metrics");
    take(&mut admin.per_endpoint_metrics, per_endpoint, Item::boolean);
    take(
        &mut admin.probes_address,
        keys.optional("probes_address"),
        |item| addresses.read(item, "the probes").map(Some),
    );
    let rate = keys.optional("calls_per_second");
    take(&mut admin.calls_per_second, rate, |item| {
        let number = item.integer(1..=CALLS_MAX)?;
        u32::try_from(number).ok()
    });
    take(&mut admin.hosts, keys.optional("hosts"), hosts);
    take(
        &mut admin.hook_token_file,
        keys.optional("hook_token_file"),
        |item| files.file(item, Need::AtStart).map(Some),
    );
    keys.finish();
    admin
}

/// The file of an address as unix:/run/tidegate/admin.sock.
fn socket_name<'i>(item: &Item<'i>) -> Option<&'i str> {
    match &item.node.value {
        Value::Scalar { text, .. } => text.strip_prefix(UNIX),
        _ => None,
    }
}

/// Reads `admin.socket`.
fn socket_file(item: &Item<'_>) -> Option<SocketFile> {
    let mut keys = item.mapping()?;
    let mut file = SocketFile::default();
    take(&mut file.mode, keys.optional("mode"), |item| {
        let text = item.name()?;
        let mode = u32::from_str_radix(text, 8);
        let mode = mode.ok().filter(|mode| *mode <= 0o777 && text.len() >= 3);
        if mode.is_none() {
            item.fault(format!(
                "is {text:?}, should be the permissions of a file, as \"0660\""
            ));
        }
        mode
    });
    let name = |item: &Item<'_>| item.name().map(|name| Some(name.to_owned()));
    take(&mut file.owner, keys.optional("owner"), name);
    take(&mut file.group, keys.optional("group"), name);
    keys.finish();
    Some(file)
}

fn hosts(list: &Item<'_>) -> Option<Vec<String>> {
    let read = |item: &Item<'_>| {
        let text = item.name()?;
        exact_host(text)
            .map_err(|wrong| item.fault(format!("is {text:?}, {wrong}")))
            .ok()
    };
    Some(list.list(false)?.iter().filter_map(read).collect())
}

/// Reads `peers`: a list of addresses, or a service in Kubernetes that has them.
pub(super) fn peers(item: &Item<'_>) -> Option<Peers> {
    if matches!(item.node.value, Value::Mapping(_)) {
        let mut keys = item.mapping()?;
        let service = keys.required("kubernetes");
        let service = service.and_then(|item| kubernetes(&item, false));
        keys.finish();
        return service.map(Peers::Kubernetes);
    }
    addresses(item).map(Peers::List)
}

/// Reads `webhook`.
pub(super) fn webhook(item: &Item<'_>) -> Option<Option<Duration>> {
    let mut keys = item.mapping()?;
    let mut limit = WEBHOOK_LIMIT;
    take(&mut limit, keys.optional("limit"), Item::duration);
    keys.finish();
    Some(Some(limit))
}

/// Reads `shutdown`.
pub(super) fn shutdown(item: &Item<'_>) -> Option<Shutdown> {
    let mut keys = item.mapping()?;
    let mut shutdown = Shutdown::default();
    let (wait, grace) = (keys.optional("wait_period"), keys.optional("grace_period"));
    let read = put(&mut shutdown.wait_period, wait) & put(&mut shutdown.grace_period, grace);
    if let Some(item) = wait.or(grace)
        && read
        && shutdown.wait_period >= shutdown.grace_period
    {
        let said = |item: Option<_>| if item.is_some() { "" } else { " by default" };
        item.fault(format!(
            "the wait_period ({}{}) should be shorter than the grace_period ({}{}), of which it is a part",
            write_duration(shutdown.wait_period),
            said(wait),
            write_duration(shutdown.grace_period),
            said(grace),
        ));
    }
    if let Some(item) = keys.optional("upgrade_timeout")
        && put(&mut shutdown.upgrade_timeout, Some(item))
        && shutdown.upgrade_timeout.is_zero()
    {
        item.fault("should be longer than 0s: no new process is ready at once");
    }
    keys.finish();
    Some(shutdown)
}

/// Whether there was nothing to read or it could be read.
fn put(place: &mut Duration, item: Option<Item<'_>>) -> bool {
    let read = item.map(|item| item.duration());
    if let Some(Some(duration)) = read {
        *place = duration;
    }
    read != Some(None)
}

/// Reads `access_log`.
pub(super) fn access_log(item: &Item<'_>) -> Option<f64> {
    let mut keys = item.mapping()?;
    let mut sample = 1.0;
    take(&mut sample, keys.optional("sample"), Item::fraction);
    keys.finish();
    Some(sample)
}

/// Reads `log`.
pub(super) fn log_level(item: &Item<'_>) -> Option<String> {
    let mut keys = item.mapping()?;
    let mut level = log::LEVEL.to_owned();
    take(&mut level, keys.optional("level"), |item| {
        let text = item.name()?;
        let judged = log::judge(text).map_err(|wrong| {
            item.fault(format!(
                "is {text:?}, should be error, warn, info, debug, trace, off or a filter as \
                 info,tidegate::pool=debug: {wrong}"
            ));
        });
        judged.is_ok().then(|| text.to_owned())
    });
    keys.finish();
    Some(level)
}

/// Reads `workers`: a number of threads, or `auto`, which is one for each core.
pub(super) fn workers(item: &Item<'_>) -> Option<Option<usize>> {
    if matches!(&item.node.value, Value::Scalar { text, .. } if text == "auto") {
        return Some(None);
    }
    if let Value::Scalar { text, plain: true } = &item.node.value
        && let Ok(number @ 1..=WORKERS_MAX) = text.parse()
    {
        return Some(Some(number));
    }
    item.fault(format!(
        "is {}, should be auto or a number from 1 to {WORKERS_MAX}",
        item.kind()
    ));
    None
}

/// As long as a drain may take, and the pod is not yet told.
const WEBHOOK_LIMIT: Duration = Duration::from_secs(30);
const WORKERS_MAX: usize = 512;
const CALLS_MAX: u64 = 1_000_000;
