//! Every metric of the agent about itself, as `/metrics` shows it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};
use wire::falcon_json::SampleFault;

use crate::catalogue::Group;
use crate::plugin::run::RunError;

type Labelled<C> = Family<[(&'static str, &'static str); 1], C>;
type Seconds = Counter<f64, AtomicU64>;

const NO_OFFSET: i64 = i64::MIN;

/// Why samples were lost after they had been accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The spool was full; the oldest made room.
    SpoolFull,
    /// The spool could not be written and what waits in memory was too much.
    MemoryFull,
    /// Transfer refused the request for good.
    Refused,
    /// A part of the spool was damaged, as after a power cut.
    Damaged,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::SpoolFull, Self::MemoryFull, Self::Refused, Self::Damaged];

    const fn as_str(self) -> &'static str {
        match self {
            Self::SpoolFull => "spool_full",
            Self::MemoryFull => "memory_full",
            Self::Refused => "refused",
            Self::Damaged => "damaged",
        }
    }
}

/// Why a collector gave nothing, or not everything, in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectFault {
    /// A table could not be read.
    Error,
    /// It was not back at its deadline.
    Timeout,
    /// It is still away from an earlier round.
    Busy,
}

impl CollectFault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Error, Self::Timeout, Self::Busy];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
        }
    }
}

/// What kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// A check.
    Check,
    /// A plugin.
    Plugin,
    /// A scrape.
    Scrape,
}

impl JobKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Check, Self::Plugin, Self::Scrape];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Plugin => "plugin",
            Self::Scrape => "scrape",
        }
    }

    const fn reasons(self) -> &'static [&'static str] {
        match self {
            Self::Check | Self::Scrape => &["failed"],
            Self::Plugin => &RunError::REASONS,
        }
    }
}

/// The metrics. All counters are there from the start, so that a first increase can be seen.
#[derive(Debug)]
pub struct Metrics {
    collected_samples: Counter,
    collector_rounds: Labelled<Counter>,
    collector_seconds: Labelled<Seconds>,
    collector_faults: Family<[(&'static str, &'static str); 2], Counter>,
    missed_slots: Counter,
    pushed_samples: Counter,
    push_refused_samples: Labelled<Counter>,
    sent_samples: Counter,
    sent_requests: Counter,
    failed_requests: Counter,
    dropped_samples: Labelled<Counter>,
    spool_bytes: Gauge,
    spool_write_failures: Counter,
    heartbeats: Labelled<Counter>,
    job_runs: Labelled<Counter>,
    job_skips: Labelled<Counter>,
    job_failures: Family<[(&'static str, &'static str); 2], Counter>,
    desired_faults: Gauge,
    hbs_clock_offset_millis: AtomicI64,
}

impl Default for Metrics {
    /// Metrics that no `/metrics` shows.
    fn default() -> Self {
        Self::new(&mut Registry::default())
    }
}

impl Metrics {
    /// The metrics, visible on the `/metrics` of the registry.
    pub fn new(r: &mut Registry) -> Self {
        let faults = "Rounds in which a collector failed (error), was cut off (timeout) or was still away (busy)";
        let missed = "Slots nobody measured: the host slept or stood still";
        let write_failures =
            "Batches that could not be written to the spool and are in memory only";
        let metrics = Self {
            collected_samples: add(r, "agent_collected_samples", "Samples measured on this host"),
            collector_rounds: add(r, "agent_collector_rounds", "Rounds a collector came back from"),
            collector_seconds: add(r, "agent_collector_seconds", "Time collectors took"),
            collector_faults: add(r, "agent_collector_faults", faults),
            missed_slots: add(r, "agent_missed_slots", missed),
            pushed_samples: add(r, "agent_pushed_samples", "Samples taken from local programs"),
            push_refused_samples: add(
                r,
                "agent_push_refused_samples",
                "Samples of local programs refused",
            ),
            sent_samples: add(r, "agent_sent_samples", "Samples that transfer has taken"),
            sent_requests: add(r, "agent_sent_requests", "Requests that transfer has taken"),
            failed_requests: add(
                r,
                "agent_failed_requests",
                "Requests to transfer that will be tried again",
            ),
            dropped_samples: add(
                r,
                "agent_dropped_samples",
                "Samples lost after they were accepted",
            ),
            spool_bytes: add(
                r,
                "agent_spool_bytes",
                "What waits for transfer, on disk or in memory",
            ),
            spool_write_failures: add(r, "agent_spool_write_failures", write_failures),
            heartbeats: add(r, "agent_heartbeats", "Heartbeats by their outcome"),
            job_runs: add(r, "agent_job_runs", "Checks, plugins and scrapes begun"),
            job_skips: add(r, "agent_job_skipped", "Slots of jobs that still ran from before"),
            job_failures: add(r, "agent_job_failures", "Checks, plugins and scrapes that failed"),
            desired_faults: add(
                r,
                "agent_desired_faults",
                "Parts of the state that hbs wants which cannot be done",
            ),
            hbs_clock_offset_millis: AtomicI64::new(NO_OFFSET),
        };
        metrics.touch();
        metrics
    }

    /// A collector came back with so many samples.
    pub fn collected(&self, group: Group, samples: usize, took: Duration) {
        self.collected_samples.inc_by(samples as u64);
        self.collector_rounds.get_or_create(&of(group)).inc();
        self.collector_seconds.get_or_create(&of(group)).inc_by(took.as_secs_f64());
    }

    /// A collector gave less than it should.
    pub fn collector_fault(&self, group: Group, fault: CollectFault) {
        self.collector_faults
            .get_or_create(&[("group", group.as_str()), ("reason", fault.as_str())])
            .inc();
    }

    /// Slots went by without a round.
    pub fn slots_missed(&self, slots: u64) {
        self.missed_slots.inc_by(slots);
    }

    /// Samples were taken from a local program.
    pub fn pushed(&self, samples: usize) {
        self.pushed_samples.inc_by(samples as u64);
    }

    /// A sample of a local program was refused.
    pub fn push_refused(&self, fault: SampleFault) {
        self.push_refused_samples.get_or_create(&[("reason", fault.as_str())]).inc();
    }

    /// Lines of a pushed Prometheus text were refused.
    pub fn push_lines_refused(&self, lines: usize) {
        self.push_refused_samples.get_or_create(&[("reason", "line")]).inc_by(lines as u64);
    }

    /// Transfer has taken a request.
    pub fn sent(&self, samples: u64) {
        self.sent_samples.inc_by(samples);
        self.sent_requests.inc();
    }

    /// A request failed and will be tried again.
    pub fn request_failed(&self) {
        self.failed_requests.inc();
    }

    /// Samples are lost.
    pub fn dropped(&self, reason: DropReason, samples: u64) {
        self.dropped_samples.get_or_create(&[("reason", reason.as_str())]).inc_by(samples);
    }

    /// Samples lost so far, for any reason.
    pub fn dropped_total(&self) -> u64 {
        let count = |reason: DropReason| {
            self.dropped_samples.get_or_create(&[("reason", reason.as_str())]).get()
        };
        DropReason::ALL.into_iter().map(count).sum()
    }

    /// Samples that transfer has taken so far.
    pub fn sent_total(&self) -> u64 {
        self.sent_samples.get()
    }

    /// A part of what waits for transfer had one size and now has another.
    pub fn spool_bytes_changed(&self, from: u64, to: u64) {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.spool_bytes.inc_by(signed(to) - signed(from));
    }

    /// What waits for transfer.
    pub fn spool_bytes(&self) -> u64 {
        u64::try_from(self.spool_bytes.get()).unwrap_or(0)
    }

    /// A batch could not be written to the spool.
    pub fn spool_write_failed(&self) {
        self.spool_write_failures.inc();
    }

    /// A heartbeat was answered, or not; the answer tells how far the local clock is ahead of that of hbs.
    pub fn heartbeat(&self, clock_offset_millis: Option<i64>) {
        let outcome = if clock_offset_millis.is_some() { "answered" } else { "failed" };
        self.heartbeats.get_or_create(&[("outcome", outcome)]).inc();
        self.hbs_clock_offset_millis
            .store(clock_offset_millis.unwrap_or(NO_OFFSET), Ordering::Relaxed);
    }

    /// Milliseconds that the local clock is ahead of that of hbs; `None` when the last heartbeat had no
    /// answer.
    pub fn hbs_clock_offset_millis(&self) -> Option<f64> {
        let millis = self.hbs_clock_offset_millis.load(Ordering::Relaxed);
        (millis != NO_OFFSET).then_some(millis as f64)
    }

    /// A job has begun.
    pub fn job_began(&self, kind: JobKind) {
        self.job_runs.get_or_create(&[("kind", kind.as_str())]).inc();
    }

    /// A job still ran when its next slot came.
    pub fn job_skipped(&self, kind: JobKind) {
        self.job_skips.get_or_create(&[("kind", kind.as_str())]).inc();
    }

    /// A job failed.
    pub fn job_failed(&self, kind: JobKind, reason: &'static str) {
        self.job_failures.get_or_create(&[("kind", kind.as_str()), ("reason", reason)]).inc();
    }

    /// So many parts of the state that hbs wants cannot be done.
    pub fn set_desired_faults(&self, faults: usize) {
        self.desired_faults.set(i64::try_from(faults).unwrap_or(i64::MAX));
    }

    fn touch(&self) {
        for kind in JobKind::ALL {
            drop(self.job_runs.get_or_create(&[("kind", kind.as_str())]));
            drop(self.job_skips.get_or_create(&[("kind", kind.as_str())]));
            for reason in kind.reasons() {
                let labels = [("kind", kind.as_str()), ("reason", *reason)];
                drop(self.job_failures.get_or_create(&labels));
            }
        }
        for group in Group::ALL {
            drop(self.collector_rounds.get_or_create(&of(group)));
            drop(self.collector_seconds.get_or_create(&of(group)));
            for fault in CollectFault::ALL {
                let labels = [("group", group.as_str()), ("reason", fault.as_str())];
                drop(self.collector_faults.get_or_create(&labels));
            }
        }
        for reason in DropReason::ALL {
            drop(self.dropped_samples.get_or_create(&[("reason", reason.as_str())]));
        }
        for fault in SampleFault::ALL {
            drop(self.push_refused_samples.get_or_create(&[("reason", fault.as_str())]));
        }
        self.push_lines_refused(0);
        for outcome in ["answered", "failed"] {
            drop(self.heartbeats.get_or_create(&[("outcome", outcome)]));
        }
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    daemon::share_metric(registry, name, help, &metric);
    metric
}

fn of(group: Group) -> [(&'static str, &'static str); 1] {
    [("group", group.as_str())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_there_before_anything_happens() {
        let mut registry = Registry::default();
        Metrics::new(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"agent_dropped_samples_total{reason="spool_full"} 0"#,
            r#"agent_collector_faults_total{group="filesystem",reason="timeout"} 0"#,
            r#"agent_push_refused_samples_total{reason="step"} 0"#,
            r#"agent_heartbeats_total{outcome="failed"} 0"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn the_offset_is_forgotten_when_hbs_is_away() {
        let metrics = Metrics::default();
        assert_eq!(metrics.hbs_clock_offset_millis(), None);
        metrics.heartbeat(Some(-12));
        assert_eq!(metrics.hbs_clock_offset_millis(), Some(-12.0));
        metrics.heartbeat(None);
        assert_eq!(metrics.hbs_clock_offset_millis(), None);
    }
}
