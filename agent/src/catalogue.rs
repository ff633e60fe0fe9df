//! Every metric the agent measures: its Open-Falcon name, kind, unit, labels, group and meaning.
//!
//! The collectors take names from here by the text of the original; a test runs all of them and compares what
//! they send with this list, in both directions. Counters are raw since boot; their rate is taken at query
//! time.

mod list;
pub mod on_demand;
mod shortage;

use std::time::Duration;

use model::{Metadata, MetricKind, canonical_name};
use serde::{Deserialize, Serialize};

/// Metrics that are measured together, at one interval, and can be switched off together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// All processors together.
    Cpu,
    /// Each processor.
    Percore,
    /// Load averages.
    Load,
    /// Memory and swap.
    Memory,
    /// The agent itself.
    Agent,
    /// Block devices.
    Disk,
    /// Network interfaces.
    Network,
    /// TCP and UDP.
    Tcp,
    /// Sockets by state.
    Sockets,
    /// Limits of the kernel.
    Kernel,
    /// Waiting for a resource.
    Pressure,
    /// Page faults, swapping, kills for want of memory.
    Paging,
    /// The limits of a container.
    Cgroup,
    /// Connection tracking of the firewall.
    Conntrack,
    /// File systems.
    Filesystem,
    /// Time since boot.
    Uptime,
    /// The error of the clock.
    Clock,
    /// What hardly ever changes.
    Static,
}

impl Group {
    /// All of them, in the order in which a slot measures them.
    pub const ALL: [Self; 18] = [
        Self::Cpu,
        Self::Percore,
        Self::Load,
        Self::Memory,
        Self::Pressure,
        Self::Cgroup,
        Self::Agent,
        Self::Disk,
        Self::Network,
        Self::Tcp,
        Self::Sockets,
        Self::Kernel,
        Self::Paging,
        Self::Conntrack,
        Self::Uptime,
        Self::Static,
        Self::Filesystem,
        Self::Clock,
    ];

    /// The word for configuration, metrics and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Percore => "percore",
            Self::Load => "load",
            Self::Memory => "memory",
            Self::Agent => "agent",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Tcp => "tcp",
            Self::Sockets => "sockets",
            Self::Kernel => "kernel",
            Self::Pressure => "pressure",
            Self::Paging => "paging",
            Self::Cgroup => "cgroup",
            Self::Conntrack => "conntrack",
            Self::Filesystem => "filesystem",
            Self::Uptime => "uptime",
            Self::Clock => "clock",
            Self::Static => "static",
        }
    }

    /// The group of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.as_str() == name)
    }

    /// How often the group is measured unless the configuration says otherwise: what a person watches in an
    /// incident every 10 s, what explains it every 30 s, what changes slowly every 60 s, what hardly changes
    /// every 120 s.
    pub const fn interval(self) -> Duration {
        Duration::from_secs(match self {
            Self::Cpu | Self::Percore | Self::Load | Self::Memory => 10,
            Self::Pressure | Self::Cgroup | Self::Agent => 10,
            Self::Disk | Self::Network | Self::Tcp | Self::Sockets | Self::Kernel => 30,
            Self::Paging | Self::Conntrack => 30,
            Self::Filesystem | Self::Uptime | Self::Clock => 60,
            Self::Static => 120,
        })
    }

    /// Whether the group is measured unless the configuration says otherwise. Per-core series multiply with
    /// the number of cores and are seldom looked at.
    pub const fn is_default(self) -> bool {
        !matches!(self, Self::Percore)
    }

    /// What a host must have for the group to have any value; empty for what every host has.
    pub const fn needs(self) -> &'static str {
        match self {
            Self::Disk => "a disk of this host's own",
            Self::Network => "a network interface that is not in collect.interfaces_ignored",
            Self::Filesystem => "a mounted file system that collect does not ignore",
            Self::Pressure => "Linux 4.20 or newer with pressure information (boot option psi=1)",
            Self::Cgroup => "to run in a container with control groups of version 2",
            Self::Conntrack => "a firewall that tracks connections (nf_conntrack)",
            _ => "",
        }
    }

    /// The metrics of the group with the labels each has besides `endpoint`.
    pub fn metrics(self) -> impl Iterator<Item = (&'static Metric, &'static [&'static str])> {
        let sections = sections().filter(move |section| section.group == self);
        sections.flat_map(|section| section.metrics.iter().map(|metric| (metric, section.labels)))
    }

    /// Canonical names and metadata of the group measured every `interval`, as remote write carries them.
    pub fn metadata(self, interval: Duration) -> impl Iterator<Item = (String, Metadata)> {
        self.metrics()
            .map(move |(metric, _)| (canonical_name(metric.original), metric.metadata(interval)))
    }
}

/// All metrics by group and labels.
pub fn sections() -> impl Iterator<Item = &'static Section> {
    list::SECTIONS.iter().chain(shortage::SECTIONS)
}

/// Metrics of one group that have the same labels.
#[derive(Debug)]
pub struct Section {
    /// Their group.
    pub group: Group,
    /// Labels besides `endpoint`.
    pub labels: &'static [&'static str],
    /// The metrics.
    pub metrics: &'static [Metric],
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name Open-Falcon gave it, or would have given it: `cpu.idle`.
    pub original: &'static str,
    /// Gauge or counter.
    pub kind: MetricKind,
    /// `percent`, `bytes`, `milliseconds`; empty for plain counts.
    pub unit: &'static str,
    /// What it means.
    pub help: &'static str,
    /// What a host must have for it to have a value; empty when nothing more than what its group needs.
    pub needs: &'static str,
}

const fn gauge(original: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { original, kind: MetricKind::Gauge, unit, help, needs: "" }
}

const fn counter(original: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { original, kind: MetricKind::Counter, unit, help, needs: "" }
}

impl Metric {
    const fn needs(self, needs: &'static str) -> Self {
        Self { needs, ..self }
    }

    /// As remote write carries it. The help begins with the original name, type and step in the form that
    /// [`wire::falcon_json::original_name`] reads, so that the Open-Falcon API answers with them.
    pub fn metadata(&self, interval: Duration) -> Metadata {
        let counter_type = if self.kind == MetricKind::Counter { "COUNTER" } else { "GAUGE" };
        let step = interval.as_secs();
        Metadata {
            kind: self.kind,
            help: format!(
                "Open-Falcon metric {}, {counter_type}, step {step} s. {}",
                self.original, self.help
            ),
            unit: self.unit.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> impl Iterator<Item = (&'static Metric, &'static [&'static str])> {
        Group::ALL.into_iter().flat_map(Group::metrics)
    }

    #[test]
    fn no_two_metrics_share_a_canonical_name() {
        let mut seen = BTreeSet::new();
        for (metric, _) in all() {
            assert!(
                seen.insert(canonical_name(metric.original)),
                "{} is there twice",
                metric.original
            );
        }
        assert!(seen.len() > 150, "{}", seen.len());
    }

    #[test]
    fn every_metric_says_what_it_means() {
        for (metric, labels) in all() {
            assert!(metric.help.ends_with('.') && metric.help.len() >= 10, "{}", metric.original);
            assert!(
                matches!(metric.kind, MetricKind::Gauge | MetricKind::Counter),
                "{}",
                metric.original
            );
            assert!(labels.iter().all(|label| model::is_label_name(label)), "{}", metric.original);
        }
    }

    #[test]
    fn every_group_has_metrics_and_a_name_of_its_own() {
        for group in Group::ALL {
            assert!(group.metrics().count() > 0, "{group:?}");
            assert_eq!(Group::named(group.as_str()), Some(group));
        }
        assert_eq!(Group::named("cpus"), None);
        assert_eq!(
            sections().map(|section| section.group).collect::<BTreeSet<_>>().len(),
            Group::ALL.len()
        );
    }

    #[test]
    fn the_original_name_travels_in_the_help() {
        for group in Group::ALL {
            for ((name, metadata), (metric, _)) in
                group.metadata(group.interval()).zip(group.metrics())
            {
                assert_eq!(wire::falcon_json::original_name(&metadata.help), Some(metric.original));
                assert_eq!(name, canonical_name(metric.original));
            }
        }
    }
}
