//! Every metric of upgrades.

use daemon::{Context, share_metric};
use db::HostPhase;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use state::Admitted;

/// What a host that fits was answered, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Answer {
    Offered,
    InFlight,
    Full,
    GroupFull,
    WaveFull,
    Spent,
    Resting,
    Stale,
    Away,
}

impl From<Admitted> for Answer {
    fn from(admitted: Admitted) -> Self {
        match admitted {
            Admitted::Given(_) => Self::Offered,
            Admitted::InFlight => Self::InFlight,
            Admitted::Full => Self::Full,
            Admitted::GroupFull => Self::GroupFull,
            Admitted::WaveFull => Self::WaveFull,
            Admitted::Spent => Self::Spent,
            Admitted::Resting => Self::Resting,
            Admitted::Stale => Self::Stale,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAnswer {
    answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPhase {
    phase: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct Metrics {
    answers: Family<ByAnswer, Counter>,
    phases: Family<ByPhase, Counter>,
    pub(super) hosts_in_flight: Gauge,
    pub(super) state_failures: Counter,
    pub(super) files_served: Counter,
}

impl Metrics {
    pub(super) fn register(context: &Context) -> Self {
        use Answer::{Away, Full, GroupFull, InFlight, Offered, Resting, Spent, Stale, WaveFull};
        let metrics = Self::default();
        for answer in [Offered, InFlight, Full, GroupFull, WaveFull, Spent, Resting, Stale, Away] {
            drop(metrics.answers.get_or_create(&ByAnswer { answer }));
        }
        for phase in HostPhase::ALL {
            drop(metrics.phases.get_or_create(&ByPhase { phase: phase.as_str() }));
        }
        let mut registry = context.registry();
        share_metric(
            &mut registry,
            "hbs_upgrade_answers",
            "Hosts that a rollout is for and that asked, by what they were answered",
            &metrics.answers,
        );
        share_metric(
            &mut registry,
            "hbs_upgrade_reports",
            "News of hosts about their upgrade, by the phase they told",
            &metrics.phases,
        );
        share_metric(
            &mut registry,
            "hbs_upgrade_in_flight_hosts",
            "Hosts that hold a place among those upgraded at once, over all hbs",
            &metrics.hosts_in_flight,
        );
        share_metric(
            &mut registry,
            "hbs_upgrade_state_failures",
            "Questions about upgrades that the shared state did not answer",
            &metrics.state_failures,
        );
        share_metric(
            &mut registry,
            "hbs_upgrade_files_served",
            "Downloads of agents and configurations that were begun",
            &metrics.files_served,
        );
        drop(registry);
        metrics
    }

    pub(super) fn count(&self, answer: Answer) {
        self.answers.get_or_create(&ByAnswer { answer }).inc();
    }

    pub(super) fn reports(&self, phase: HostPhase) {
        self.phases.get_or_create(&ByPhase { phase: phase.as_str() }).inc();
    }
}
