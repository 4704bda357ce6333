//! What `/metrics` says.

/// A scrape.
pub(crate) struct Scrape {
    text: String,
}

/// A histogram's buckets: upper bound and count, summed up as Prometheus does.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Vec<(f64, u64)>,
}

impl Scrape {
    /// Of a tidegate, now.
    pub(crate) fn of(admin: &str) -> anyhow::Result<Self> {
        let mut answer = ureq::get(format!("{admin}/metrics")).call()?;
        Ok(Self {
            text: answer.body_mut().read_to_string()?,
        })
    }

    /// Lines, comments included.
    pub(crate) fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// The sum of all series of a counter or gauge.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let value = |line: &str| {
            let labels = line.strip_prefix(name)?;
            let own = labels.starts_with(['{', ' ']);
            own.then(|| line.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        self.text.lines().filter_map(value).sum()
    }

    /// A histogram without labels.
    pub(crate) fn histogram(&self, name: &str) -> Histogram {
        let prefix = format!("{name}_bucket{{le=\"");
        let bucket = |line: &str| {
            let (bound, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
            Some((bound.parse().ok()?, count.parse().ok()?))
        };
        Histogram {
            buckets: self.text.lines().filter_map(bucket).collect(),
        }
    }
}

impl Histogram {
    /// What has come since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let pairs = self.buckets.iter().zip(&before.buckets);
        Self {
            buckets: pairs
                .map(|((bound, now), (_, then))| (*bound, now - then))
                .collect(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// The upper bound of the bucket in which a quantile lies: it is not above that.
    pub(crate) fn quantile_at_most(&self, share: f64) -> f64 {
        let rank = (self.count() as f64 * share).ceil() as u64;
        self.buckets
            .iter()
            .find(|(_, count)| *count >= rank)
            .map_or(f64::NAN, |(bound, _)| *bound)
    }
}
