//! Typed reading of a tree: every accessor says what would be right, notes a fault and lets the reader go on.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Faults, Key, Node, Position, Value, units};

/// A value under a key, to be read as what it should be.
#[derive(Debug, Clone, Copy)]
pub struct Item<'n> {
    /// The key it stands under; of a list's items the list's.
    pub key: &'n str,
    /// The value.
    pub node: &'n Node,
    /// Where faults go.
    pub faults: &'n Faults,
}

impl<'n> Item<'n> {
    /// The root of a document.
    #[must_use]
    pub fn root(node: &'n Node, faults: &'n Faults) -> Self {
        Self {
            key: "",
            node,
            faults,
        }
    }

    /// Where the value stands.
    #[must_use]
    pub fn at(&self) -> Position {
        self.node.at
    }

    /// Notes a fault of this value.
    pub fn fault(&self, message: impl Into<String>) {
        self.faults.add(self.node.at, self.key, message);
    }

    /// The text of a scalar; nothing (with a fault) for anything else, null included.
    #[must_use]
    pub fn text(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => Some(text),
            _ => {
                self.fault(format!("is {}, should be a text", self.kind()));
                None
            }
        }
    }

    /// A text that is not empty.
    #[must_use]
    pub fn name(&self) -> Option<&'n str> {
        let text = self.text()?;
        if text.is_empty() {
            self.fault("is empty, should be a name");
            return None;
        }
        Some(text)
    }

    /// One of the words given.
    #[must_use]
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let all = words
            .iter()
            .map(|(word, _)| *word)
            .collect::<Vec<_>>()
            .join(", ");
        let hint = nearest(text, words.iter().map(|(word, _)| *word))
            .map(|word| format!(", did you mean {word}?"));
        self.fault(format!(
            "is {text:?}, should be one of {all}{}",
            hint.unwrap_or_default()
        ));
        None
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if text == "true" => Some(true),
            Value::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => {
                self.fault(format!("is {}, should be true or false", self.kind()));
                None
            }
        }
    }

    /// A whole number within bounds.
    #[must_use]
    pub fn integer(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        if let Value::Scalar { text, plain: true } = &self.node.value
            && let Ok(number) = text.parse::<u64>()
            && bounds.contains(&number)
        {
            return Some(number);
        }
        self.fault(format!(
            "is {}, should be a whole number from {} to {}",
            self.kind(),
            bounds.start(),
            bounds.end()
        ));
        None
    }

    /// A number from 0 to 1.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        if let Value::Scalar { text, plain: true } = &self.node.value
            && let Ok(number) = text.parse::<f64>()
            && (0.0..=1.0).contains(&number)
        {
            return Some(number);
        }
        self.fault(format!(
            "is {}, should be a number from 0.0 to 1.0",
            self.kind()
        ));
        None
    }

    /// A share of a hundred, as `20%`.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let text = self.scalar("a share, as 20%")?;
        units::percent(text)
            .map_err(|wrong| self.fault(format!("is {text:?}: {wrong}")))
            .ok()
    }

    /// A duration with its unit, as `30s`.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let text = self.scalar("a duration, as 250ms, 30s or 5m")?;
        units::duration(text)
            .map_err(|wrong| self.fault(format!("is {text:?}: {wrong}")))
            .ok()
    }

    /// A number of bytes, as `64KiB`.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        let text = self.scalar("a size, as 64KiB")?;
        units::size(text)
            .map_err(|wrong| self.fault(format!("is {text:?}: {wrong}")))
            .ok()
    }

    /// An address and a port, as `127.0.0.1:8080` or `[::1]:8080`.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        let text = self.scalar("an address and a port, as 127.0.0.1:8080 or [::1]:8080")?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        self.fault(match text.rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_err() => {
                format!("is {text:?}: the port should be a number up to 65535")
            }
            Some((host, port)) if port.parse::<u16>().is_ok() && !host.is_empty() => {
                format!("is {text:?}: {host:?} should be an IP address, as 127.0.0.1 or [::1]; names are not looked up here")
            }
            _ => format!("is {text:?}, should be an address and a port, as 127.0.0.1:8080 or [::1]:8080"),
        });
        None
    }

    /// The items of a list. Null counts as an empty one when `null_is_empty`.
    #[must_use]
    pub fn list(&self, null_is_empty: bool) -> Option<Vec<Self>> {
        match &self.node.value {
            Value::Sequence(nodes) => {
                Some(nodes.iter().map(|node| Self { node, ..*self }).collect())
            }
            _ if null_is_empty && self.node.is_null() => Some(Vec::new()),
            _ => {
                self.fault(format!("is {}, should be a list", self.kind()));
                None
            }
        }
    }

    /// The entries of a mapping.
    #[must_use]
    pub fn mapping(&self) -> Option<Mapping<'n>> {
        match &self.node.value {
            Value::Mapping(entries) => Some(Mapping {
                at: self.node.at,
                key: self.key,
                entries,
                faults: self.faults,
                asked: Vec::new(),
                missing: Vec::new(),
            }),
            _ => {
                self.fault(format!(
                    "is {}, should be a mapping of keys to values",
                    self.kind()
                ));
                None
            }
        }
    }

    /// What the value is, in words for a message.
    #[must_use]
    pub fn kind(&self) -> String {
        match &self.node.value {
            _ if self.node.is_null() => "empty".into(),
            Value::Scalar { text, .. } => format!("{text:?}"),
            Value::Sequence(_) => "a list".into(),
            Value::Mapping(_) => "a mapping".into(),
        }
    }

    fn scalar(&self, right: &str) -> Option<&'n str> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => Some(text),
            _ => {
                self.fault(format!("is {}, should be {right}", self.kind()));
                None
            }
        }
    }
}

/// The entries of a mapping, of which each should be asked for by somebody: what nobody asked for is a fault.
#[derive(Debug)]
pub struct Mapping<'n> {
    /// Where the mapping begins.
    pub at: Position,
    /// The key the mapping stands under.
    pub key: &'n str,
    /// The entries as written.
    pub entries: &'n [(Key, Node)],
    /// Where faults go.
    pub faults: &'n Faults,
    asked: Vec<&'static str>,
    missing: Vec<&'static str>,
}

impl<'n> Mapping<'n> {
    /// The value of a key, null included.
    pub fn find(&mut self, key: &'static str) -> Option<Item<'n>> {
        self.asked.push(key);
        let (key, node) = self.entries.iter().find(|(known, _)| known.text == key)?;
        Some(Item {
            key: &key.text,
            node,
            faults: self.faults,
        })
    }

    /// The value of a key; null counts as absent.
    pub fn optional(&mut self, key: &'static str) -> Option<Item<'n>> {
        self.find(key).filter(|item| !item.node.is_null())
    }

    /// The value of a key that must be there. That it is not is noted when the mapping is finished or dropped.
    pub fn required(&mut self, key: &'static str) -> Option<Item<'n>> {
        let found = self.optional(key);
        if found.is_none() {
            self.missing.push(key);
        }
        found
    }

    /// Where a key stands; the mapping's own place when it is not there.
    #[must_use]
    pub fn place(&self, key: &str) -> Position {
        let found = self.entries.iter().find(|(known, _)| known.text == key);
        found.map_or(self.at, |(known, _)| known.at)
    }

    /// Notes every key that nobody asked for, with the nearest one that would be known.
    pub fn finish(mut self) {
        let mut meant = Vec::new();
        for (key, _) in self.entries {
            if self.asked.contains(&key.text.as_str()) {
                continue;
            }
            let near = nearest(&key.text, self.asked.iter().copied());
            let hint = match near {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            self.faults
                .add(key.at, &key.text, format!("is no known key; {hint}"));
            meant.extend(near);
        }
        // A misspelled key is one mistake, and is not told a second time as a missing one.
        self.missing.retain(|key| !meant.contains(key));
    }
}

impl Drop for Mapping<'_> {
    /// Notes what is missing, also when the reader gave up before the end.
    fn drop(&mut self) {
        for key in &self.missing {
            let what = match self.entries.iter().any(|(known, _)| known.text == *key) {
                true => "is empty, should have a value",
                false => "is missing",
            };
            self.faults.add(self.place(key), key, what);
        }
    }
}

/// The word that was probably meant.
#[must_use]
pub fn nearest<'w>(typed: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    words
        .map(|word| (strsim::damerau_levenshtein(typed, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(typed.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn faults_of(text: &str, read: impl FnOnce(Item<'_>)) -> Vec<String> {
        let documents = parse(text).unwrap();
        let faults = Faults::new();
        read(Item::root(&documents[0], &faults));
        faults
            .into_sorted()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn names_the_nearest_known_key() {
        let said = faults_of("timout: 3s\nother: 1\n", |root| {
            let mut mapping = root.mapping().unwrap();
            assert!(mapping.optional("timeout").is_none());
            mapping.finish();
        });
        assert_eq!(
            said,
            [
                "1:1: timout: is no known key; did you mean timeout?",
                "2:1: other: is no known key; known here: timeout"
            ]
        );
    }

    #[test]
    fn tells_a_misspelled_required_key_once() {
        let said = faults_of("nmae: a\n", |root| {
            let mut mapping = root.mapping().unwrap();
            assert!(mapping.required("name").is_none());
            assert!(mapping.required("address").is_none());
            mapping.finish();
        });
        assert_eq!(
            said,
            [
                "1:1: nmae: is no known key; did you mean name?",
                "1:1: address: is missing"
            ]
        );
        let said = faults_of("a: 1\n", |root| {
            // A reader that gives up half-way loses nothing.
            assert!(root.mapping().unwrap().required("name").is_none());
        });
        assert_eq!(said, ["1:1: name: is missing"]);
    }

    #[test]
    fn says_every_fault_with_what_would_be_right() {
        let said = faults_of(
            "a: 30\nb: \"5\"\nc: 1.2.3.4:99999\nd: fastest\ne: [1]\nf:\n",
            |root| {
                let mut mapping = root.mapping().unwrap();
                assert!(mapping.required("a").unwrap().duration().is_none());
                assert!(mapping.required("b").unwrap().integer(0..=9).is_none());
                assert!(mapping.required("c").unwrap().socket_address().is_none());
                assert!(
                    mapping
                        .required("d")
                        .unwrap()
                        .word(&[("fast", 1), ("slow", 2)])
                        .is_none()
                );
                assert!(mapping.required("e").unwrap().text().is_none());
                assert!(mapping.required("f").is_none());
                mapping.finish();
            },
        );
        assert_eq!(said.len(), 6, "{said:#?}");
        assert_eq!(said[5], "6:1: f: is empty, should have a value");
        assert!(
            said[1].contains("should be a whole number from 0 to 9"),
            "{said:#?}"
        );
        assert!(said[2].contains("99999"), "{said:#?}");
        assert!(said[3].contains("one of fast, slow"), "{said:#?}");
    }
}
