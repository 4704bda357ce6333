//! How a route changes paths and fields.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Another path in the place of a request's. The query stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewPath {
    /// This one.
    Whole(String),
    /// This one in the place of the route's prefix, and the rest as it is.
    Prefix {
        /// The route's own, without a slash at its end.
        from: String,
        /// What is put there, without a slash at its end.
        to: String,
    },
}

/// What is done to the fields of a message, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// In the place of every field of that name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Beside those that are there.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Every field of that name.
    pub remove: Vec<HeaderName>,
}

impl NewPath {
    /// `to` in the place of a prefix.
    #[must_use]
    pub fn prefix(from: &str, to: &str) -> Self {
        Self::Prefix {
            from: from.trim_end_matches('/').into(),
            to: to.trim_end_matches('/').into(),
        }
    }

    /// The new path of a request; none when it has to stay, being none that the route is for (`*`).
    #[must_use]
    pub fn of(&self, path: &str) -> Option<String> {
        if !path.starts_with('/') {
            return None;
        }
        match self {
            Self::Whole(whole) => Some(whole.clone()),
            Self::Prefix { from, to } => {
                let rest = path.strip_prefix(from.as_str())?;
                if !(rest.is_empty() || rest.starts_with('/')) {
                    return None;
                }
                if !to.is_empty() {
                    return Some(format!("{to}{rest}"));
                }
                // Two slashes at the beginning would be a host to some.
                Some(format!("/{}", rest.trim_start_matches('/')))
            }
        }
    }
}

impl Edits {
    /// Whether nothing is done.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Does it.
    pub fn apply(&self, fields: &mut HeaderMap) {
        for (name, value) in &self.set {
            fields.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            fields.append(name, value.clone());
        }
        for name in &self.remove {
            fields.remove(name);
        }
    }
}

/// Whether a path may be put in the place of a request's: one that every reader takes for the same.
///
/// # Errors
/// What would be right.
pub fn may_be_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("should begin with /, as /api");
    }
    if path.contains(['?', '#']) {
        return Err("should be a path alone: the query stays as it is");
    }
    let bytes = path.as_bytes();
    let is_allowed = |at: usize| match bytes[at] {
        b'%' => {
            let digits = bytes.get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        }
        byte => byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte),
    };
    if !(0..bytes.len()).all(is_allowed) {
        return Err("should be written as it is sent: percent-encoded, as %20");
    }
    let inner = path[1..].trim_end_matches('/');
    let is_odd = |element: &str| {
        let decoded = element.to_ascii_lowercase().replace("%2e", ".");
        decoded.is_empty() || decoded == "." || decoded == ".."
    };
    if path.ends_with("//") || (!inner.is_empty() && inner.split('/').any(is_odd)) {
        return Err("should have no empty elements, `.` or `..`: endpoints read them differently");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_by_whole_elements() {
        for (from, to, path, new) in [
            ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
            ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
            ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
            ("/foo/", "/xyz/", "/foo/bar", "/xyz/bar"),
            ("/foo", "/xyz", "/foo", "/xyz"),
            ("/foo", "/xyz", "/foo/", "/xyz/"),
            ("/foo", "", "/foo/bar", "/bar"),
            ("/foo", "", "/foo/", "/"),
            ("/foo", "", "/foo", "/"),
            ("/foo", "/", "/foo/", "/"),
            ("/foo", "/", "/foo", "/"),
            ("/foo", "/", "/foo//evil.test/x", "/evil.test/x"),
            ("/foo", "/xyz", "/foo//x", "/xyz//x"),
            ("/", "/xyz", "/", "/xyz/"),
            ("/", "/xyz", "/bar", "/xyz/bar"),
        ] {
            let found = NewPath::prefix(from, to).of(path);
            assert_eq!(found.as_deref(), Some(new), "{path}: {from} by {to}");
        }
        assert_eq!(NewPath::prefix("/foo", "/x").of("/foobar"), None);
        assert_eq!(NewPath::prefix("/", "/x").of("*"), None);
        assert_eq!(NewPath::Whole("/x".into()).of("*"), None);
        assert_eq!(NewPath::Whole("/x".into()).of("/a").as_deref(), Some("/x"));
    }

    #[test]
    fn fields_are_set_then_added_then_removed() {
        let field = |name: &'static str, value: &'static str| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let edits = Edits {
            set: vec![field("a", "new"), field("b", "set")],
            add: vec![field("b", "added"), field("c", "added")],
            remove: vec![HeaderName::from_static("gone")],
        };
        let mut fields =
            HeaderMap::from_iter([field("a", "1"), field("c", "1"), field("gone", "1")]);
        fields.append("a", HeaderValue::from_static("2"));
        edits.apply(&mut fields);
        let all = |name: &str| fields.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(all("a"), ["new"]);
        assert_eq!(all("b"), ["set", "added"]);
        assert_eq!(all("c"), ["1", "added"]);
        assert!(all("gone").is_empty());
    }

    #[test]
    fn a_new_path_is_read_by_everybody_alike() {
        for right in [
            "/",
            "/a",
            "/a/",
            "/a/b-._~/%20",
            "/...",
            "/a.b/..c",
            "/a;b=c:@",
        ] {
            assert_eq!(may_be_path(right), Ok(()), "{right}");
        }
        for wrong in [
            "", "a", "//", "//a", "/a//", "/a//b", "/.", "/a/..", "/../a", "/%2e%2E", "/.%2e/a",
            "/a?b", "/a#b", "/a b", "/a\r\n", "/%", "/%2", "/%zz", "/é", "/a\\b", "/<a>", "/{a}",
            "/a|b", "/a^",
        ] {
            assert!(may_be_path(wrong).is_err(), "{wrong}");
        }
    }
}
