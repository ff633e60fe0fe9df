//! What runs short before a host fails: pressure, paging, the limits of a container, connection tracking.

use super::{Group, Section, counter, gauge};

/// Metrics by group and labels.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        group: Group::Pressure,
        labels: &["resource"],
        metrics: &[
            gauge(
                "pressure.some.avg10",
                "percent",
                "Share of the last 10 s in which a task waited.",
            ),
            gauge(
                "pressure.some.avg60",
                "percent",
                "Share of the last 60 s in which a task waited.",
            ),
            gauge(
                "pressure.some.avg300",
                "percent",
                "Share of the last 300 s in which a task waited.",
            ),
            counter("pressure.some.usec", "microseconds", "Time in which a task waited."),
            gauge(
                "pressure.full.avg10",
                "percent",
                "Share of the last 10 s in which nothing went on.",
            ),
            gauge(
                "pressure.full.avg60",
                "percent",
                "Share of the last 60 s in which nothing went on.",
            ),
            gauge(
                "pressure.full.avg300",
                "percent",
                "Share of the last 300 s in which nothing went on.",
            ),
            counter("pressure.full.usec", "microseconds", "Time in which all tasks waited."),
        ],
    },
    Section {
        group: Group::Paging,
        labels: &[],
        metrics: &[
            counter("vmstat.oom_kill", "", "Processes killed for want of memory.")
                .needs("Linux 4.13 or newer"),
            counter("vmstat.pgfault", "", "Pages that were not mapped when they were touched."),
            counter("vmstat.pgmajfault", "", "Pages that had to be read from a disk when touched."),
            counter("vmstat.pswpin", "", "Pages read from swap space.").needs("a kernel with swap"),
            counter("vmstat.pswpout", "", "Pages written to swap space.")
                .needs("a kernel with swap"),
            counter(
                "vmstat.pgscan_direct",
                "",
                "Pages looked at by tasks that had to find free memory themselves.",
            ),
        ],
    },
    Section {
        group: Group::Cgroup,
        labels: &[],
        metrics: &[
            gauge(
                "cgroup.memory.used",
                "bytes",
                "Memory of the container, caches of files included.",
            ),
            gauge(
                "cgroup.memory.workingset",
                "bytes",
                "cgroup.memory.used without caches that are easily given up.",
            ),
            gauge("cgroup.memory.limit", "bytes", "Memory the container may use.")
                .needs("a container with a memory limit"),
            gauge(
                "cgroup.memory.used.percent",
                "percent",
                "Share of cgroup.memory.limit that is cgroup.memory.workingset.",
            )
            .needs("a container with a memory limit"),
            counter("cgroup.memory.oom", "", "Times that the memory limit could not be kept."),
            counter(
                "cgroup.memory.oom_kills",
                "",
                "Processes of the container killed at its limit.",
            ),
            gauge("cgroup.cpu.limit", "", "Processors the container may use.")
                .needs("a container with a processor limit"),
            gauge(
                "cgroup.cpu.used.percent",
                "percent",
                "Processor time used, of cgroup.cpu.limit, over the whole interval.",
            )
            .needs("a container with a processor limit"),
            counter("cgroup.cpu.usec", "microseconds", "Processor time of the container."),
            counter("cgroup.cpu.periods", "", "Periods in which the processor limit applied.")
                .needs("a container with a processor limit"),
            counter("cgroup.cpu.throttled.periods", "", "Periods in which it was reached.")
                .needs("a container with a processor limit"),
            counter(
                "cgroup.cpu.throttled.usec",
                "microseconds",
                "Time tasks waited for the next period.",
            )
            .needs("a container with a processor limit"),
            gauge("cgroup.pids.used", "", "Threads of the container."),
            gauge("cgroup.pids.limit", "", "Threads the container may have.")
                .needs("a container with a limit of threads"),
        ],
    },
    Section {
        group: Group::Conntrack,
        labels: &[],
        metrics: &[
            gauge("conntrack.entries", "", "Connections that the firewall keeps in mind."),
            gauge("conntrack.limit", "", "Connections it can keep in mind."),
            gauge(
                "conntrack.used.percent",
                "percent",
                "Share of conntrack.limit that is in use; at 100 new connections are dropped.",
            ),
        ],
    },
];
