//! The head of a response: checked, and rid of what belongs to a connection.

use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{HeaderMap, StatusCode};

use crate::http1::is_hop_by_hop;
use crate::pool::h1::{Head, Length, ReadError};

/// Checks a head. `over`: the stream ended with it.
pub(super) fn check(parts: Parts, to_head: bool, over: bool) -> Result<Head, ReadError> {
    let (status, mut headers) = (parts.status, parts.headers);
    // h2 refuses most of these itself; nothing depends on that.
    while let Some(name) = headers
        .keys()
        .find(|name| is_hop_by_hop(name.as_str()))
        .cloned()
    {
        headers.remove(name);
    }
    let said = content_length(&mut headers)?;
    let none = to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = match said {
        _ if none => Length::None,
        Some(length) if over && length > 0 => {
            return Err(ReadError::Malformed(
                "the response has a length and no body",
            ));
        }
        Some(length) => Length::Sized(length),
        None if over => Length::Sized(0),
        None => Length::Chunked,
    };
    Ok(Head {
        status,
        fields: headers.into(),
        length,
        persistent: true,
        keep_alive: None,
    })
}

/// One length at the most: equal ones are collapsed, anything else is refused.
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, ReadError> {
    const WRONG: ReadError = ReadError::Malformed("the response's length is no length");
    let mut all = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = all.next().cloned() else {
        return Ok(None);
    };
    if all.next().is_some() {
        if headers
            .get_all(CONTENT_LENGTH)
            .iter()
            .any(|it| *it != first)
        {
            return Err(WRONG);
        }
        headers.insert(CONTENT_LENGTH, first.clone());
    }
    let digits = first.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(WRONG);
    }
    let text = first.to_str().map_err(|_| WRONG)?;
    text.parse().map(Some).map_err(|_| WRONG)
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn see(
        status: u16,
        fields: &[(&str, &str)],
        to_head: bool,
        over: bool,
    ) -> Result<(Length, usize), String> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let (parts, ()) = response.body(()).unwrap().into_parts();
        check(parts, to_head, over)
            .map(|head| (head.length, head.fields.into_map().len()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn frames_as_rfc_9113_says() {
        let five = [("content-length", "5"), ("content-length", "5")];
        assert_eq!(see(200, &five, false, false), Ok((Length::Sized(5), 1)));
        assert_eq!(see(200, &five, true, true), Ok((Length::None, 1)));
        assert_eq!(see(304, &five, false, true), Ok((Length::None, 1)));
        assert_eq!(see(200, &[], false, false), Ok((Length::Chunked, 0)));
        assert_eq!(see(200, &[], false, true), Ok((Length::Sized(0), 0)));
        assert!(see(200, &five, false, true).is_err());
        for wrong in ["", "+5", "5, 5", "99999999999999999999", "5 "] {
            assert!(
                see(200, &[("content-length", wrong)], false, false).is_err(),
                "{wrong:?}"
            );
        }
        let two = [("content-length", "5"), ("content-length", "6")];
        assert!(see(200, &two, false, false).is_err());
    }

    #[test]
    fn drops_what_belongs_to_a_connection() {
        let fields = [
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-kept", "1"),
        ];
        assert_eq!(see(200, &fields, false, true), Ok((Length::Sized(0), 1)));
    }
}
