//! The metrics of checks: only hosts that are asked for them have them.

use model::{Metadata, MetricKind, canonical_name};

use super::Metric;

/// All of them, with the labels each may have besides `endpoint`.
pub const METRICS: &[(Metric, &[&str])] = &[
    (
        gauge("net.port.listen", "", "1 if something listens on the TCP or UDP port, else 0."),
        &["port"],
    ),
    (
        gauge("proc.num", "", "Processes with the name and the part of the command line."),
        &["cmdline", "name"],
    ),
    (
        gauge(
            "proc.cpu",
            "percent",
            "Time of one processor that such processes took, over the whole interval.",
        ),
        &["cmdline", "name"],
    ),
    (
        gauge("proc.mem", "bytes", "Resident memory of such processes together."),
        &["cmdline", "name"],
    ),
    (
        gauge(
            "du.bs",
            "bytes",
            "Bytes in the folder as du -bs counts them; -1 if it cannot be read.",
        ),
        &["path"],
    ),
    (
        gauge("url.check.health", "", "1 if a HEAD request is answered with 200 in time, else 0."),
        &["src", "timeout", "url"],
    ),
];

const fn gauge(original: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { original, kind: MetricKind::Gauge, unit, help, needs: "" }
}

/// Canonical name and metadata of a metric by its Open-Falcon name.
pub fn metadata(original: &str) -> Option<(String, Metadata)> {
    let (metric, _) = METRICS.iter().find(|(metric, _)| metric.original == original)?;
    let help = format!("Open-Falcon metric {original}, GAUGE, step 60 s. {}", metric.help);
    let unit = metric.unit.to_owned();
    Some((canonical_name(original), Metadata { kind: metric.kind, help, unit }))
}

#[cfg(test)]
mod tests {
    use wire::heartbeat::{Check, ProcessMatch};

    use super::*;

    #[test]
    fn every_check_is_in_the_catalogue_with_its_tags() {
        let processes = ProcessMatch { name: "a".into(), cmdline: "b".into() };
        for check in [
            Check::PortListen { port: 1 },
            Check::ProcNum(processes.clone()),
            Check::ProcUsage(processes),
            Check::DirectorySize { path: "/".into() },
            Check::UrlHealth { url: "http://a".into(), timeout: 1 },
        ] {
            for original in check.metrics() {
                let found = METRICS.iter().find(|(metric, _)| metric.original == *original);
                let labels = found.unwrap().1;
                assert!(check.tags().iter().all(|(tag, _)| labels.contains(tag)), "{original}");
                let (_, metadata) = metadata(original).unwrap();
                assert_eq!(wire::falcon_json::original_name(&metadata.help), Some(*original));
            }
        }
    }
}
