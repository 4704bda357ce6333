//! How many calls a second are taken: each is work for the one loop that also carries out drains.
//!
//! What watches tidegate is never refused, and whoever floods the API takes nothing from the hooks of pods, nor they from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use super::Admin;
use super::guard::{HOOK, Refusal, WEBHOOK};

/// What is left of each allowance; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Rates(Arc<[Allowance; 2]>);

/// For so many calls a second, and as many at once after a second of rest.
#[derive(Debug, Default)]
struct Allowance {
    /// When all that was taken is earned again.
    even_at: Mutex<Option<Instant>>,
    refused: AtomicU64,
}

impl Rates {
    /// What is called, and how many calls were refused.
    #[must_use]
    pub fn refused(&self) -> [(&'static str, u64); 2] {
        let [api, hook] = &*self.0;
        [("api", api), ("hook", hook)]
            .map(|(name, allowance)| (name, allowance.refused.load(Ordering::Relaxed)))
    }

    fn of(&self, path: &str) -> Option<&Allowance> {
        match path {
            "/healthz" | "/readyz" | "/lbz" | "/metrics" => None,
            HOOK | WEBHOOK => Some(&self.0[1]),
            _ => Some(&self.0[0]),
        }
    }
}

impl Allowance {
    /// Takes one call. False when there is none left.
    fn take(&self, per_second: u32, now: Instant) -> bool {
        let each = Duration::from_secs(1) / per_second;
        // Nobody can panic in between.
        let mut even_at = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = even_at.map_or(now, |at| at.max(now)) + each;
        if next > now + Duration::from_secs(1) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        *even_at = Some(next);
        true
    }
}

/// Refuses what is more than `admin.calls_per_second`.
pub(super) async fn bound(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let per_second = admin.settings.borrow().calls_per_second;
    let allowance = admin.rates.of(request.uri().path());
    if allowance.is_some_and(|it| !it.take(per_second, Instant::now())) {
        return Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("more than {per_second} calls in a second (admin.calls_per_second): ask again"),
        )
        .with(RETRY_AFTER, "1"));
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gives_as_many_as_were_earned() {
        let allowance = Allowance::default();
        let take = |count| {
            let now = Instant::now();
            (0..count).filter(|_| allowance.take(10, now)).count()
        };
        assert_eq!(take(20), 10, "a second's worth at once");
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(take(20), 3);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(take(20), 10, "no more is saved up");
        assert_eq!(allowance.refused.load(Ordering::Relaxed), 37);
    }
}
