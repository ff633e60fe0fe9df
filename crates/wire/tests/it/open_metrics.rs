use model::{MetricKind, Timestamp};
use wire::exposition::parse;

/// A page in the style of the OpenMetrics encoder that every role of Saker uses for `/metrics`.
const PAGE: &str = r#"# HELP transfer_received_samples Samples received, refused ones included.
# TYPE transfer_received_samples counter
transfer_received_samples_total{protocol="remote_write"} 19500
transfer_received_samples_total{protocol="falcon"} 0
# HELP transfer_write_seconds How long the store took.
# TYPE transfer_write_seconds histogram
transfer_write_seconds_sum 0.0575
transfer_write_seconds_count 52
transfer_write_seconds_bucket{le="0.001"} 45 # {trace_id="t"} 0.0009 1760000460.5
transfer_write_seconds_bucket{le="+Inf"} 52
# EOF
"#;

#[test]
fn a_metrics_page_of_a_role_is_read_whole() {
    let page = parse(PAGE, Timestamp(0));
    assert_eq!(page.refused, []);
    assert_eq!(
        page.value("transfer_received_samples_total", &[("protocol", "remote_write")]),
        Some(19_500.0)
    );
    assert_eq!(page.value("transfer_write_seconds_bucket", &[("le", "+Inf")]), Some(52.0));
    assert_eq!(page.value("transfer_write_seconds_bucket", &[("le", "9")]), None);
    assert_eq!(page.metadata["transfer_write_seconds"].kind, MetricKind::Histogram);
}
