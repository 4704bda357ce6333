//! What a route does: the services it leads to or where it sends the client, and what it changes on the way.

use http::HeaderName;

use crate::document::{Item, Mapping};
use crate::route::{
    Action, Changes, Edits, NewPath, Path, Redirect, RedirectStatus, Scheme, Share, Timeouts, To,
    may_be_changed, may_be_changed_back, may_be_path,
};

use super::conditions::{field_name, fields};
use super::route::{exact_host, read};
use super::service::Names;
use super::values::{Seen, count, take};

/// Reads what a route for `path` does, if that is known.
pub(super) fn action(
    keys: &mut Mapping<'_>,
    names: &Names<'_>,
    path: Option<&Path>,
) -> Option<Action> {
    let to = to(keys, names, path);
    let mut changes = Changes::default();
    let rewrite = keys.optional("rewrite");
    let request = keys.optional("request_headers");
    if let Some(To::Redirect(_)) = to {
        for item in [rewrite, request].iter().flatten() {
            item.fault("changes nothing: a redirect is answered here");
        }
    }
    if let Some(mut keys) = rewrite.and_then(|item| item.mapping()) {
        take(&mut changes.host, keys.optional("host"), |item| {
            read(item, exact_host).map(Some)
        });
        changes.path = new_path(&mut keys, path);
        keys.finish();
    }
    take(&mut changes.request, request, |item| {
        edits(item, may_be_changed)
    });
    take(
        &mut changes.response,
        keys.optional("response_headers"),
        |item| edits(item, may_be_changed_back),
    );
    let own = keys.optional("timeouts");
    if let (Some(To::Redirect(_)), Some(item)) = (&to, &own) {
        item.fault("bounds nothing: a redirect is answered here");
    }
    let mut timeouts = Timeouts::default();
    take(&mut timeouts, own, self::timeouts);
    Some(Action {
        to: to?,
        changes,
        timeouts,
    })
}

fn timeouts(item: &Item<'_>) -> Option<Timeouts> {
    let mut keys = item.mapping()?;
    let mut timeouts = Timeouts::default();
    take(&mut timeouts.request, keys.optional("request"), |item| {
        item.duration().map(Some)
    });
    let attempt = keys.optional("attempt");
    take(&mut timeouts.attempt, attempt, |item| {
        item.duration().map(Some)
    });
    keys.finish();
    if let (Some(item), Err(wrong)) = (attempt, timeouts.check()) {
        item.fault(wrong);
    }
    Some(timeouts)
}

fn to(keys: &mut Mapping<'_>, names: &Names<'_>, path: Option<&Path>) -> Option<To> {
    let (services, redirect) = (keys.optional("services"), keys.optional("redirect"));
    let service = if services.is_none() && redirect.is_none() {
        keys.required("service")
    } else {
        keys.optional("service")
    };
    let ways = [service, services, redirect];
    let mut given = ways.iter().flatten();
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        second.fault(format!(
            "stands beside {}: keep one of service, services, redirect",
            first.key
        ));
    }
    if let Some(item) = redirect {
        return self::redirect(&item, path).map(To::Redirect);
    }
    if let Some(item) = services {
        return shares(&item, names).map(To::Services);
    }
    let service = names.find(&service?)?;
    Some(Action::from(crate::endpoint::ServiceName::from(service)).to)
}

fn shares(list: &Item<'_>, names: &Names<'_>) -> Option<Vec<Share>> {
    let items = list.list(false)?;
    let mut seen = Seen::default();
    let read = |item: &Item<'_>| {
        let mut keys = item.mapping()?;
        let service = keys.required("service");
        let service = service.and_then(|item| {
            let name = names.find(&item)?;
            seen.note(&item, name, &format!("service {name}"));
            Some(name)
        });
        let mut weight = 1;
        take(&mut weight, keys.optional("weight"), |item| {
            count(item, 0..=WEIGHT_MAX)
        });
        keys.finish();
        Some(Share {
            service: Some(service?.into()),
            weight,
        })
    };
    let shares: Vec<Share> = items.iter().filter_map(read).collect();
    if items.is_empty() || (shares.len() == items.len() && shares.iter().all(|it| it.weight == 0)) {
        list.fault("gives nobody a share: one at least should have a weight above 0");
    }
    Some(shares)
}

fn redirect(item: &Item<'_>, path: Option<&Path>) -> Option<Redirect> {
    let mut keys = item.mapping()?;
    let mut redirect = Redirect::default();
    take(&mut redirect.scheme, keys.optional("scheme"), |item| {
        item.word(&SCHEMES).map(Some)
    });
    take(&mut redirect.host, keys.optional("host"), |item| {
        read(item, exact_host).map(Some)
    });
    take(&mut redirect.port, keys.optional("port"), |item| {
        let port = item.integer(1..=u64::from(u16::MAX))?;
        u16::try_from(port).ok().map(Some)
    });
    redirect.path = new_path(&mut keys, path);
    let changes_nothing = ["scheme", "host", "port", "path", "prefix"]
        .iter()
        .all(|key| keys.entries.iter().all(|(known, _)| known.text != *key));
    take(&mut redirect.status, keys.optional("status"), status);
    keys.finish();
    if changes_nothing {
        item.fault("would send clients to where they are: it should have a scheme, host, port, path or prefix");
    }
    Some(redirect)
}

fn status(item: &Item<'_>) -> Option<RedirectStatus> {
    let known = item.text().and_then(|text| text.parse().ok());
    let known = known.and_then(RedirectStatus::of);
    if known.is_none() {
        let all = RedirectStatus::ALL.map(|status| status.code().to_string());
        item.fault(format!(
            "is {}, should be one of {}",
            item.kind(),
            all.join(", ")
        ));
    }
    known
}

/// `path` for a whole one, or `prefix` in the place of the route's own.
fn new_path(keys: &mut Mapping<'_>, path: Option<&Path>) -> Option<NewPath> {
    let parse = |text: &str| may_be_path(text).map_err(str::to_owned);
    let (whole, prefix) = (keys.optional("path"), keys.optional("prefix"));
    if let (Some(_), Some(prefix)) = (&whole, &prefix) {
        prefix.fault("stands beside path: keep one of path, prefix");
    }
    if let Some(item) = whole {
        read(&item, parse)?;
        return Some(NewPath::Whole(item.text()?.into()));
    }
    let item = prefix?;
    read(&item, parse)?;
    match path? {
        Path::Prefix(from) => Some(NewPath::prefix(from, item.text()?)),
        Path::Exact(_) => {
            item.fault("replaces a prefix, and the route is for an exact path: say path");
            None
        }
    }
}

fn edits(item: &Item<'_>, may: fn(&HeaderName) -> Result<(), &'static str>) -> Option<Edits> {
    let mut keys = item.mapping()?;
    let mut edits = Edits::default();
    take(&mut edits.set, keys.optional("set"), |item| {
        fields(item, may)
    });
    take(&mut edits.add, keys.optional("add"), |item| {
        fields(item, may)
    });
    let remove = keys.optional("remove");
    keys.finish();
    let items = remove.and_then(|item| item.list(true)).unwrap_or_default();
    for item in items {
        let Some(text) = item.name() else { continue };
        match field_name(text, may) {
            Ok(name) => {
                let written = edits.set.iter().chain(&edits.add);
                if written.into_iter().any(|(known, _)| *known == name) {
                    item.fault(format!("is {text:?}, which is also set or added: keep one"));
                }
                edits.remove.push(name);
            }
            Err(wrong) => item.fault(format!("is {text:?}, {}", wrong)),
        }
    }
    Some(edits)
}

/// The words for `scheme`.
pub(super) const SCHEMES: [(&str, Scheme); 2] = [("http", Scheme::Http), ("https", Scheme::Https)];

/// As much as the Gateway API allows.
const WEIGHT_MAX: u32 = 1_000_000;
