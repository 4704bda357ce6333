//! Gives back to the system what nobody needs any more.
//!
//! mimalloc keeps a page that has become free for a second, in case it is needed again, and looks at what it has kept when
//! the next page becomes free. After a burst, when a thousand connections come to rest at once, there is no next one: their
//! memory would stay until somebody has use for it. So a page is taken and given back now and then. (`mi_collect` would do
//! the same, but can only be called by unsafe code.)

use std::hint::black_box;
use std::time::Duration;

/// How often: twice the time that mimalloc keeps a page.
const PAUSE: Duration = Duration::from_secs(2);

/// Large enough to be a page of its own, which is given back at once. It is never written to, so it costs address space.
const PAGE: usize = 1 << 20;

/// Does so for as long as it is polled.
pub(super) async fn give_back() {
    loop {
        tokio::time::sleep(PAUSE).await;
        drop(black_box(Vec::<u8>::with_capacity(PAGE)));
    }
}
