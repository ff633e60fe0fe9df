//! A metric that code counts with and the registry shows.

use prometheus_client::registry::{Metric, Registry};

/// Shows `metric` on the page of metrics, under `name` and with `help`; who counts keeps it. Counters get the suffix
/// `_total` from the page.
pub fn share_metric(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: &(impl Metric + Clone),
) {
    registry.register(name, help, metric.clone());
}
