//! Where each endpoint of a service stands among its members, found by its token.
//!
//! The writer asks when an endpoint changes, and workers when a request brings the token of its session's home. Versions
//! share what has not changed, as they do with members: what an endpoint's change costs is the bucket that it is in.

use std::sync::Arc;

use super::Tier;

/// Places by token. A clone shares them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// A power of two of them; a token's last bits say which is its own. Each is in the order of tokens.
    buckets: Vec<Arc<Vec<Place>>>,
    len: usize,
}

/// Where an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The endpoint's token. Two may have the same, were it once in the life of the universe.
    pub(super) token: u64,
    pub(super) tier: Tier,
    pub(super) index: u32,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            buckets: vec![Arc::default()],
            len: 0,
        }
    }
}

impl Places {
    /// Those of a token.
    pub(super) fn of(&self, token: u64) -> &[Place] {
        let bucket = &self.buckets[self.bucket(token)];
        let from = bucket.partition_point(|place| place.token < token);
        let found = bucket[from..].partition_point(|place| place.token == token);
        &bucket[from..from + found]
    }

    /// Another one.
    pub(super) fn insert(&mut self, place: Place) {
        if self.len == self.buckets.len() * BUCKET {
            self.grow();
        }
        let bucket = self.bucket_mut(place.token);
        let at = bucket.partition_point(|other| other.token < place.token);
        bucket.insert(at, place);
        self.len += 1;
    }

    /// One is no longer there.
    pub(super) fn remove(&mut self, place: Place) {
        let bucket = self.bucket_mut(place.token);
        if let Some(at) = bucket.iter().position(|other| *other == place) {
            bucket.remove(at);
            self.len -= 1;
        }
    }

    fn bucket(&self, token: u64) -> usize {
        token as usize & (self.buckets.len() - 1)
    }

    fn bucket_mut(&mut self, token: u64) -> &mut Vec<Place> {
        let bucket = self.bucket(token);
        Arc::make_mut(&mut self.buckets[bucket])
    }

    /// Twice as many buckets. That they have been filled since the last time pays for it.
    fn grow(&mut self) {
        let mut buckets = vec![Vec::new(); self.buckets.len() * 2];
        let mask = buckets.len() - 1;
        for place in self.buckets.iter().flat_map(|bucket| bucket.iter()) {
            buckets[place.token as usize & mask].push(*place);
        }
        self.buckets = buckets.into_iter().map(Arc::new).collect();
    }
}

/// So many in a bucket, on average before there are more buckets.
const BUCKET: usize = 256;
