//! The `Date` of responses (RFC 9110, section 6.6.1), written once a second.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// The date, as of the last time that it was asked for.
#[derive(Debug, Default)]
pub(super) struct Dates {
    last: RefCell<Option<(u64, HeaderValue)>>,
}

impl Dates {
    /// Now.
    pub(super) fn now(&self) -> HeaderValue {
        self.at(SystemTime::now())
    }

    fn at(&self, now: SystemTime) -> HeaderValue {
        // A clock that stands before 1970 is wrong by any date.
        let second = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((known, date)) if *known == second => date.clone(),
            _ => {
                let text = httpdate::fmt_http_date(now.max(UNIX_EPOCH));
                let date = HeaderValue::try_from(text)
                    .unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
                *last = Some((second, date.clone()));
                date
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tells_each_second_once() {
        let dates = Dates::default();
        let at = |ms| dates.at(UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(at(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
