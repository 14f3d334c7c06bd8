//! Metrics that cost atomics only: every series is there from the start, found by index. The types of the library look a
//! series up in a map behind a lock, and lock a histogram to observe; they write the exposition here as well.

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{
    EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::labels::Labels;

/// One series.
pub(crate) trait Series: Debug + Default + Send + Sync + 'static {
    const TYPE: MetricType;

    /// True before anything was counted.
    fn is_untouched(&self) -> bool;

    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result;
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Series for Count {
    const TYPE: MetricType = MetricType::Counter;

    fn is_untouched(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, u64, u64>(&self.0.load(Relaxed), None)
    }
}

/// A number that goes up and down, or is set when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Level(AtomicU64);

impl Series for Level {
    const TYPE: MetricType = MetricType::Gauge;

    fn is_untouched(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // Ages and what is left of a time may be below zero.
        encoder.encode_gauge(&self.0.load(Relaxed).cast_signed())
    }
}

/// Upper bounds of durations, in nanoseconds: from half a millisecond to a minute.
const BOUNDS: [u64; 16] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// How long things take.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Nanoseconds; enough for centuries.
    sum: AtomicU64,
}

impl Durations {
    fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanos <= *bound);
        if let Some(bucket) = self.buckets.get(bucket.unwrap_or(BOUNDS.len())) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(nanos, Relaxed);
    }
}

impl Series for Durations {
    const TYPE: MetricType = MetricType::Histogram;

    fn is_untouched(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.load(Relaxed) == 0)
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let seconds = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64();
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound));
        let bounds = bounds.chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .zip(self.buckets.iter().map(|bucket| bucket.load(Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.sum.load(Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

/// Every series of one metric. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Table<S, M> {
    cells: Arc<[M]>,
    labels: PhantomData<fn() -> S>,
}

impl<S, M> Clone for Table<S, M> {
    fn clone(&self) -> Self {
        Self {
            cells: Arc::clone(&self.cells),
            labels: PhantomData,
        }
    }
}

impl<S: Labels, M: Series> Default for Table<S, M> {
    fn default() -> Self {
        Self {
            cells: (0..S::SERIES).map(|_| M::default()).collect(),
            labels: PhantomData,
        }
    }
}

impl<S: Labels, M> Table<S, M> {
    fn cell(&self, labels: S) -> Option<&M> {
        self.cells.get(labels.index())
    }
}

impl<S: Labels> Table<S, Count> {
    /// One more.
    pub(crate) fn inc(&self, labels: S) {
        if let Some(count) = self.cell(labels) {
            count.0.fetch_add(1, Relaxed);
        }
    }

    /// How many.
    #[cfg(test)]
    pub(crate) fn value(&self, labels: S) -> u64 {
        self.cell(labels).map_or(0, |count| count.0.load(Relaxed))
    }
}

impl<S: Labels> Table<S, Level> {
    /// As it is now.
    pub(crate) fn set(&self, labels: S, value: i64) {
        if let Some(level) = self.cell(labels) {
            level.0.store(value.cast_unsigned(), Relaxed);
        }
    }
}

impl Table<(), Level> {
    /// One more, until the returned value is dropped.
    pub(crate) fn up(&self) -> Up {
        if let Some(level) = self.cell(()) {
            level.0.fetch_add(1, Relaxed);
        }
        Up(self.clone())
    }
}

/// One of what a level counts.
#[derive(Debug)]
pub(crate) struct Up(Table<(), Level>);

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(level) = self.0.cell(()) {
            level.0.fetch_sub(1, Relaxed);
        }
    }
}

impl<S: Labels> Table<S, Durations> {
    /// Something took so long.
    pub(crate) fn observe(&self, labels: S, duration: Duration) {
        if let Some(durations) = self.cell(labels) {
            durations.observe(duration);
        }
    }

    /// Something begins; as [`Self::begun`] at this moment.
    pub(crate) fn begin(&self, abandoned: S) -> Timing<'_, S> {
        self.begun(Instant::now(), abandoned)
    }

    /// Something began. If the returned value is dropped before its end was told, that is observed as `abandoned`.
    pub(crate) fn begun(&self, started: Instant, abandoned: S) -> Timing<'_, S> {
        Timing {
            table: self,
            started,
            abandoned: Some(abandoned),
        }
    }
}

/// Something under way.
#[derive(Debug)]
pub(crate) struct Timing<'a, S: Labels> {
    table: &'a Table<S, Durations>,
    started: Instant,
    abandoned: Option<S>,
}

impl<S: Labels> Timing<'_, S> {
    /// It has ended like this.
    pub(crate) fn end(mut self, labels: S) {
        self.abandoned = None;
        self.table.observe(labels, self.started.elapsed());
    }
}

impl<S: Labels> Drop for Timing<'_, S> {
    fn drop(&mut self) {
        if let Some(abandoned) = self.abandoned {
            self.table.observe(abandoned, self.started.elapsed());
        }
    }
}

/// The labels of one series, to be written.
struct At<S>(usize, PhantomData<S>);

impl<S: Labels> EncodeLabelSet for At<S> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        S::write(self.0, encoder)
    }
}

/// Few series are all written, so that the first event is a growth; of many, those that were touched.
const WRITTEN_ANYWAY: usize = 24;

impl<S: Labels, M: Series> Table<S, M> {
    fn is_written(cell: &M) -> bool {
        let few = S::SERIES <= WRITTEN_ANYWAY && M::TYPE.as_str() != "histogram";
        few || !cell.is_untouched()
    }
}

impl<S: Labels, M: Series> EncodeMetric for Table<S, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        if let ([only], true) = (&*self.cells, S::names().is_empty()) {
            return only.encode(encoder);
        }
        for (index, cell) in self.cells.iter().enumerate() {
            if Self::is_written(cell) {
                let at = At::<S>(index, PhantomData);
                cell.encode(encoder.encode_family(&at)?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        !self.cells.iter().any(Self::is_written)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::{Registry, Unit};

    use super::super::labels::{QuarantineKind, ReloadOutcome, label};
    use super::*;

    label! {
        /// Many values.
        #[expect(dead_code, reason = "only how many there are counts")]
        Wide = "wide" {
            A = "a", B = "b", C = "c", D = "d", E = "e", F = "f", G = "g", H = "h", I = "i", J = "j", K = "k", L = "l",
            M = "m", N = "n", O = "o", P = "p", Q = "q", R = "r", S = "s", T = "t", U = "u", V = "v", W = "w", X = "x",
            Y = "y", Z = "z",
        }
    }

    fn shown(register: impl FnOnce(&mut Registry)) -> String {
        let mut registry = Registry::with_prefix("v");
        register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn few_series_are_written_from_the_start_and_many_when_they_are_touched() {
        let few = Table::<(ReloadOutcome,), Count>::default();
        few.inc((ReloadOutcome::Taken,));
        let many = Table::<(Wide,), Count>::default();
        many.inc((Wide::Y,));
        let text = shown(|registry| {
            registry.register("few", "Few", few.clone());
            registry.register("many", "Many", many.clone());
            registry.register("none", "None", Table::<(Wide,), Count>::default());
        });
        let expected = "# HELP v_few Few.\n# TYPE v_few counter\nv_few_total{outcome=\"taken\"} 1\n\
                        v_few_total{outcome=\"refused\"} 0\n# HELP v_many Many.\n# TYPE v_many counter\n\
                        v_many_total{wide=\"y\"} 1\n# EOF\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_duration_is_in_one_bucket_and_in_the_sum() {
        let table = Table::<(QuarantineKind,), Durations>::default();
        table.observe((QuarantineKind::User,), Duration::from_millis(1));
        table.observe((QuarantineKind::User,), Duration::from_micros(1001));
        table.observe((QuarantineKind::User,), Duration::from_secs(90));
        let text = shown(|registry| {
            registry.register_with_unit("d", "D", Unit::Seconds, table.clone());
        });
        for line in [
            "v_d_seconds_bucket{le=\"0.0005\",kind=\"user\"} 0",
            "v_d_seconds_bucket{le=\"0.001\",kind=\"user\"} 1",
            "v_d_seconds_bucket{le=\"0.0025\",kind=\"user\"} 2",
            "v_d_seconds_bucket{le=\"60.0\",kind=\"user\"} 2",
            "v_d_seconds_bucket{le=\"+Inf\",kind=\"user\"} 3",
            "v_d_seconds_sum{kind=\"user\"} 90.002001",
            "v_d_seconds_count{kind=\"user\"} 3",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_is_dropped_before_its_end_is_abandoned() {
        let table = Table::<(QuarantineKind,), Durations>::default();
        table
            .begin((QuarantineKind::Client,))
            .end((QuarantineKind::User,));
        let touched = |use_| table.cell((use_,)).is_some_and(|cell| !cell.is_untouched());
        assert!(touched(QuarantineKind::User) && !touched(QuarantineKind::Client));
        drop(table.begin((QuarantineKind::Client,)));
        assert!(touched(QuarantineKind::Client));
    }

    #[test]
    fn a_level_may_be_below_zero() {
        let table = Table::<(QuarantineKind,), Level>::default();
        table.set((QuarantineKind::User,), -3);
        let text = shown(|registry| registry.register("l", "L", table.clone()));
        assert!(text.contains("v_l{kind=\"user\"} -3\n"), "{text}");
        let gauge = Table::<(), Level>::default();
        let first = gauge.up();
        let second = gauge.up();
        drop(first);
        let text = shown(|registry| registry.register("g", "G", gauge.clone()));
        assert!(text.contains("\nv_g 1\n"), "{text}");
        drop(second);
        let text = shown(|registry| registry.register("g", "G", gauge.clone()));
        assert!(text.contains("\nv_g 0\n"), "{text}");
    }
}
