//! The field names of the last response.
//!
//! An endpoint's responses have the same fields in the same order, nearly always. To compare a name with the one that stood
//! there last costs a quarter of what it costs to parse it.

use http::HeaderName;

/// Names by their place in the head.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Vec<HeaderName>,
}

/// Names behind this many are parsed every time: they are not worth the memory.
const KNOWN_MAX: usize = 24;

impl Names {
    /// The name that `text` is, at this place of the head; none when it is no name.
    pub(super) fn name(&mut self, place: usize, text: &[u8]) -> Option<HeaderName> {
        let known = self.known.get_mut(place);
        if let Some(known) = &known
            && known.as_str().as_bytes().eq_ignore_ascii_case(text)
        {
            return Some((*known).clone());
        }
        let name = HeaderName::from_bytes(text).ok()?;
        match known {
            Some(known) => *known = name.clone(),
            None if place < KNOWN_MAX => self.known.push(name.clone()),
            None => {}
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_there_now_and_not_what_was() {
        let mut names = Names::default();
        for head in [
            &["server", "X-One", "date"][..],
            &["Server", "x-one", "Date"],
            &["x-one", "date"],
            &["server", "x-two", "date", "etag"],
        ] {
            for (place, text) in head.iter().enumerate() {
                let name = names.name(place, text.as_bytes()).unwrap();
                assert_eq!(name.as_str(), text.to_ascii_lowercase());
            }
        }
        assert_eq!(names.name(1, b"x two"), None);
        assert_eq!(names.name(1, b""), None);
        assert_eq!(names.name(1, b"x-two").unwrap().as_str(), "x-two");
    }

    #[test]
    fn remembers_no_more_than_is_worth_it() {
        let mut names = Names::default();
        for place in 0..100 {
            let text = format!("x-{place}");
            assert_eq!(names.name(place, text.as_bytes()).unwrap().as_str(), text);
        }
        assert_eq!(names.known.len(), KNOWN_MAX);
    }
}
