//! What a route asks of a request beyond host and path.

use http::{HeaderName, HeaderValue, Method};

use crate::document::{Item, Mapping, nearest};
use crate::route::{Conditions, may_be_asked};

use super::values::take;

/// Reads the conditions of a route. `listeners` are the names of those that are there, if that is known.
pub(super) fn conditions(keys: &mut Mapping<'_>, listeners: Option<&[&str]>) -> Conditions {
    let mut conditions = Conditions::default();
    take(
        &mut conditions.listeners,
        keys.optional("listeners"),
        |item| {
            let names = item.list(true)?;
            let names = names.iter().filter_map(|item| listener(item, listeners));
            Some(names.map(Into::into).collect())
        },
    );
    take(&mut conditions.method, keys.optional("method"), |item| {
        method(item).map(Some)
    });
    take(&mut conditions.headers, keys.optional("headers"), |item| {
        fields(item, may_be_asked)
    });
    take(&mut conditions.query, keys.optional("query"), query);
    conditions
}

fn listener<'n>(item: &Item<'n>, known: Option<&[&str]>) -> Option<&'n str> {
    let name = item.name()?;
    if let Some(known) = known
        && !known.contains(&name)
    {
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", known.join(", ")),
        };
        item.fault(format!("is {name:?}, which is no listener; {hint}"));
    }
    Some(name)
}

fn method(item: &Item<'_>) -> Option<Method> {
    let text = item.name()?;
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        let upper = text.to_ascii_uppercase();
        item.fault(format!(
            "is {text:?}, should be written as it is sent: {upper}"
        ));
        return None;
    }
    let method = Method::from_bytes(text.as_bytes());
    if method.is_err() {
        item.fault(format!("is {text:?}, should be a method, as GET"));
    }
    method.ok()
}

/// Fields with a value each, whose names `may` be here.
pub(super) fn fields(
    item: &Item<'_>,
    may: fn(&HeaderName) -> Result<(), &'static str>,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mapping = item.mapping()?;
    let mut read: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (key, node) in mapping.entries {
        let item = Item {
            key: &key.text,
            node,
            faults: mapping.faults,
        };
        match field_name(&key.text, may) {
            Ok(name) if read.iter().any(|(known, _)| *known == name) => {
                let wrong = "is there twice, but for capitals: keep one";
                mapping.faults.add(key.at, &key.text, wrong);
            }
            Ok(name) => read.extend(field_value(&item).map(|value| (name, value))),
            Err(wrong) => mapping.faults.add(key.at, &key.text, wrong),
        }
    }
    // Their order means nothing.
    read.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    Some(read)
}

/// The name of a field, if it `may` be here.
pub(super) fn field_name(
    text: &str,
    may: fn(&HeaderName) -> Result<(), &'static str>,
) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes());
    let name = name.map_err(|_| "should be the name of a field, as x-canary".to_owned())?;
    may(&name).map_err(str::to_owned)?;
    Ok(name)
}

fn field_value(item: &Item<'_>) -> Option<HeaderValue> {
    let text = item.text()?;
    let is_right = text.trim() == text && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let value = HeaderValue::from_str(text).ok().filter(|_| is_right);
    if value.is_none() {
        item.fault(format!(
            "is {text:?}, should be printable ASCII without spaces around it"
        ));
    }
    value
}

fn query(item: &Item<'_>) -> Option<Vec<(String, String)>> {
    let mapping = item.mapping()?;
    let entries = mapping.entries.iter();
    let read = entries.filter_map(|(key, node)| {
        let is_sent = |text: &str, also: &[u8]| {
            let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'&' | b'#');
            text.bytes().all(|b| allowed(b) && !also.contains(&b))
        };
        if key.text.is_empty() || !is_sent(&key.text, b"=") {
            let wrong = "should be a name as it is sent: percent-encoded, as %20";
            mapping.faults.add(key.at, &key.text, wrong);
            return None;
        }
        let item = Item {
            key: &key.text,
            node,
            faults: mapping.faults,
        };
        let value = item.text()?;
        if !is_sent(value, b"") {
            item.fault(format!(
                "is {value:?}, should be written as it is sent: percent-encoded, as %20"
            ));
            return None;
        }
        Some((key.text.clone(), value.to_owned()))
    });
    let mut read: Vec<_> = read.collect();
    read.sort();
    Some(read)
}
