//! The dashboard: one page, its script and its style, from the binary alone.

use axum::http::HeaderName;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};
use axum::response::IntoResponse;

/// The page.
pub(super) async fn page() -> impl IntoResponse {
    (
        head("text/html; charset=utf-8"),
        include_str!("dashboard.html"),
    )
}

/// Its script.
pub(super) async fn script() -> impl IntoResponse {
    (
        head("text/javascript; charset=utf-8"),
        include_str!("dashboard.js"),
    )
}

/// Its style.
pub(super) async fn style() -> impl IntoResponse {
    (
        head("text/css; charset=utf-8"),
        include_str!("dashboard.css"),
    )
}

/// Nothing but its own three parts may be loaded, run or asked; nobody may put it into a frame.
const fn head(kind: &'static str) -> [(HeaderName, &'static str); 4] {
    [
        (CONTENT_TYPE, kind),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ]
}
