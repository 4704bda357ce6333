//! A YAML text as a tree in which everything knows where it stands.
//!
//! Derived deserializers stop at the first fault and know little of its place. tidegate prints every fault of a file with
//! line and column, so a text is parsed into a [`Node`] tree (by `saphyr-parser`, YAML 1.2, of which JSON is a part) and
//! the tree is then walked by whoever knows what should be in it, collecting [`Faults`] on the way ([`Item`]).

mod fault;
mod read;
mod units;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};

pub use fault::{Fault, Faults, Position};
pub use read::{Item, Mapping, nearest};
pub use units::{duration, percent, size, write_duration, write_percent, write_size};

/// A value and its place in the text.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub value: Value,
}

/// The kinds of value YAML knows, as written: whether `30` is a number is for the reader to decide.
#[derive(Debug, Clone)]
pub enum Value {
    /// A scalar. `plain` is false when it was quoted: `"5"` is a text and no number, `null` nothing and `"null"` a text.
    Scalar {
        /// The text, unquoted.
        text: String,
        /// Written without quotes.
        plain: bool,
    },
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping, in the order of the text, keys unique.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone)]
pub struct Key {
    /// Where it stands.
    pub at: Position,
    /// Its text.
    pub text: String,
}

impl Node {
    /// Whether this says "nothing": `null`, `~` or an empty value.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Parses a text into its documents. An empty text has none.
///
/// # Errors
/// The place and kind of the first error of YAML itself, a repeated key, or a text that is too deep or, by its aliases, too
/// large.
pub fn parse(text: &str) -> Result<Vec<Node>, Fault> {
    // A mark of the byte order is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(text);
    for next in parser {
        let (event, span) = next.map_err(|error| Fault {
            at: position(error.marker()),
            key: String::new(),
            message: format!("is not YAML: {}", error.info()),
        })?;
        builder.event(event, position(&span.start))?;
    }
    Ok(builder.documents)
}

/// Nesting beyond this is an attack or an accident.
const DEPTH_MAX: usize = 64;

/// Keys of one mapping beyond this are an attack or an accident, and comparing all with all would take for ever.
const KEYS_MAX: usize = 4096;

/// Nodes beyond this are an attack or an accident; 100,000 endpoints of a dozen fields are far below.
const NODES_MAX: usize = 10_000_000;

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: Vec<(usize, Node)>,
    nodes: usize,
}

/// A collection that has begun and not ended.
struct Open {
    at: Position,
    anchor: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<(Key, Node)>,
        key: Option<Key>,
    },
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Position) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, _tag) => {
                let value = Value::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                self.node(Node { at, value }, anchor)
            }
            Event::SequenceStart(anchor, _tag) => {
                self.begin(at, anchor, Items::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, _tag) => self.begin(
                at,
                anchor,
                Items::Mapping {
                    entries: Vec::new(),
                    key: None,
                },
            ),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open {
                    at,
                    anchor,
                    items: Items::Sequence(nodes),
                }) => self.node(
                    Node {
                        at,
                        value: Value::Sequence(nodes),
                    },
                    anchor,
                ),
                Some(Open {
                    at,
                    anchor,
                    items: Items::Mapping { entries, .. },
                }) => self.node(
                    Node {
                        at,
                        value: Value::Mapping(entries),
                    },
                    anchor,
                ),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some((_, node)) = self.anchors.iter().rev().find(|(id, _)| *id == anchor)
                else {
                    return Err(fault(at, "is an alias of nothing"));
                };
                let node = node.clone();
                self.nodes += count(&node);
                self.node(node, 0)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, at: Position, anchor: usize, items: Items) -> Result<(), Fault> {
        if self.open.len() == DEPTH_MAX {
            return Err(fault(at, "is nested too deep"));
        }
        self.open.push(Open { at, anchor, items });
        Ok(())
    }

    fn node(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(fault(node.at, "makes the document too large"));
        }
        if anchor != 0 {
            self.nodes += count(&node);
            self.anchors.push((anchor, node.clone()));
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.documents.push(node),
            Some(Items::Sequence(nodes)) => nodes.push(node),
            Some(Items::Mapping { entries, key }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err(fault(node.at, "is not a key: a key is a plain word"));
                    };
                    if entries.len() == KEYS_MAX {
                        return Err(fault(node.at, "makes the mapping too large"));
                    }
                    if entries.iter().any(|(known, _)| known.text == text) {
                        return Err(Fault {
                            at: node.at,
                            key: text,
                            message: "stands here twice: keep one".into(),
                        });
                    }
                    *key = Some(Key { at: node.at, text });
                }
            },
        }
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::Sequence(nodes) => 1 + nodes.iter().map(count).sum::<usize>(),
        Value::Mapping(entries) => 1 + entries.iter().map(|(_, node)| count(node)).sum::<usize>(),
    }
}

fn fault(at: Position, message: &str) -> Fault {
    Fault {
        at,
        key: String::new(),
        message: message.into(),
    }
}

fn position(marker: &Marker) -> Position {
    // The parser counts lines from 1 and columns from 0; editors count both from 1.
    Position {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_where_everything_stands() {
        let documents = parse("a: 1\nb:\n  - { c: \"x\" }\n---\nd: ~\n").unwrap();
        assert_eq!(documents.len(), 2);
        let Value::Mapping(entries) = &documents[0].value else {
            panic!()
        };
        assert_eq!(entries[1].0.at, Position { line: 2, column: 1 });
        let Value::Sequence(items) = &entries[1].1.value else {
            panic!()
        };
        assert_eq!(items[0].at, Position { line: 3, column: 5 });
        let Value::Mapping(second) = &documents[1].value else {
            panic!()
        };
        assert!(second[0].1.is_null());
    }

    #[test]
    fn reads_json() {
        let documents = parse("{\"kind\": \"List\", \"items\": [{\"a\": null}]}").unwrap();
        assert_eq!(documents.len(), 1);
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        assert!(
            parse("a: [1, 2\nb: 3\n")
                .unwrap_err()
                .message
                .contains("not YAML")
        );
        let twice = parse("a: 1\na: 2\n").unwrap_err();
        assert_eq!((twice.at.line, twice.key.as_str()), (2, "a"));
        assert!(parse(&"[".repeat(100)).is_err());
        let keys: String = (0..=KEYS_MAX).map(|key| format!("k{key}: 1\n")).collect();
        assert!(parse(&keys).unwrap_err().message.contains("too large"));
        let laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                      d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                      g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
        assert!(parse(laughs).unwrap_err().message.contains("too large"));
    }

    #[test]
    fn has_no_documents_in_nothing() {
        assert!(parse("").unwrap().is_empty());
        assert!(parse("# only a comment\n").unwrap().is_empty());
    }
}
