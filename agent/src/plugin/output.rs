//! What a plugin prints: Open-Falcon's JSON list or Prometheus text. Pure.

use std::collections::BTreeMap;

use model::{Metadata, Series, Timestamp};
use wire::exposition;
use wire::falcon_json::{self, Fill};
use wire::heartbeat::MetricsFormat;

use crate::identity::Host;

/// Samples that a plugin printed.
#[derive(Debug, Default, PartialEq)]
pub struct Printed {
    /// The series, with the labels of the host.
    pub series: Vec<Series>,
    /// What is said of the metrics.
    pub metadata: BTreeMap<String, Metadata>,
    /// Samples or lines that could not be used, and why the first of them.
    pub refused: usize,
    /// Why the first of them.
    pub fault: Option<String>,
}

/// Reads what was printed in a run that began at `slot` and is repeated after `step_seconds`. What lacks a
/// host, a step or a time has those of the run.
///
/// # Errors
/// In words, when nothing of it can be used.
pub fn read(
    printed: &[u8],
    format: MetricsFormat,
    host: &Host,
    slot: Timestamp,
    step_seconds: i64,
    samples_max: usize,
) -> Result<Printed, String> {
    let is_list = printed.trim_ascii_start().first() == Some(&b'[');
    match format {
        _ if printed.trim_ascii().is_empty() => Ok(Printed::default()),
        MetricsFormat::Falcon => read_list(printed, host, slot, step_seconds, samples_max),
        MetricsFormat::Detect if is_list => {
            read_list(printed, host, slot, step_seconds, samples_max)
        }
        MetricsFormat::Detect | MetricsFormat::Prometheus => {
            read_text(printed, host, slot, samples_max)
        }
    }
}

fn read_list(
    printed: &[u8],
    host: &Host,
    slot: Timestamp,
    step: i64,
    samples_max: usize,
) -> Result<Printed, String> {
    let fill = Fill { endpoint: &host.endpoint, step };
    let decoded = falcon_json::decode_filled(printed, fill, slot, samples_max)
        .map_err(|error| daemon::error_chain(&error))?;
    let mut out = Printed::default();
    for (at, fault) in decoded.refused {
        out.refuse(|| format!("sample {at}: {}", fault.as_str()));
    }
    for sample in &decoded.samples {
        let series = sample.to_series().map_err(|fault| fault.as_str());
        match series.and_then(|one| if sample.value.is_finite() { Ok(one) } else { Err("value") }) {
            Ok(one) => {
                out.metadata
                    .entry(one.labels.metric_name().to_owned())
                    .or_insert_with(|| sample.metadata());
                out.series.push(Series { labels: host.complete(&one.labels), ..one });
            }
            Err(fault) => out.refuse(|| format!("metric {}: {fault}", sample.metric)),
        }
    }
    Ok(out)
}

fn read_text(
    printed: &[u8],
    host: &Host,
    slot: Timestamp,
    samples_max: usize,
) -> Result<Printed, String> {
    let text = std::str::from_utf8(printed).map_err(|error| format!("it is no text: {error}"))?;
    let parsed = exposition::parse(text, slot);
    if parsed.series.len() > samples_max {
        return Err(format!("it has more than {samples_max} samples"));
    }
    let mut out = Printed { metadata: parsed.metadata, ..Printed::default() };
    for fault in parsed.refused {
        out.refuse(|| fault.to_string());
    }
    let complete = |one: Series| Series { labels: host.complete(&one.labels), ..one };
    out.series = parsed.series.into_iter().map(complete).collect();
    Ok(out)
}

impl Printed {
    fn refuse(&mut self, why: impl FnOnce() -> String) {
        self.refused += 1;
        self.fault.get_or_insert_with(why);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLOT: Timestamp = Timestamp::from_seconds(1_760_000_460);

    fn host() -> Host {
        Host { endpoint: "web-01".into(), labels: BTreeMap::from([("idc".into(), "bj".into())]) }
    }

    fn read_as(format: MetricsFormat, text: &str) -> Result<Printed, String> {
        read(text.as_bytes(), format, &host(), SLOT, 60, 3)
    }

    fn lines(printed: &Printed) -> Vec<String> {
        let line = |one: &Series| format!("{} @{}", one.labels, one.samples[0].timestamp.seconds());
        printed.series.iter().map(line).collect()
    }

    #[test]
    fn what_a_list_leaves_out_is_that_of_the_run() {
        let text = r#" [{"metric":"a.b","value":"3","counterType":"GAUGE","tags":"idc=sh"},
            {"endpoint":"db","metric":"c","value":1,"counterType":"COUNTER","step":5,"timestamp":9}]"#;
        let printed = read_as(MetricsFormat::Detect, text).unwrap();
        assert_eq!(
            lines(&printed),
            [r#"a_b{endpoint="web-01", idc="sh"} @1760000460"#, r#"c{endpoint="db", idc="bj"} @9"#]
        );
        assert!(printed.metadata["a_b"].help.contains("step 60 s"));
    }

    #[test]
    fn prometheus_text_is_told_by_its_first_byte() {
        let text = "# TYPE up gauge\nup{x=\"1\"} 1\nbad\n";
        let printed = read_as(MetricsFormat::Detect, text).unwrap();
        assert_eq!(lines(&printed), [r#"up{endpoint="web-01", idc="bj", x="1"} @1760000460"#]);
        assert_eq!((printed.refused, printed.metadata.len()), (1, 1));
        assert!(printed.fault.unwrap().starts_with("line 3: "));
        assert!(read_as(MetricsFormat::Falcon, text).is_err());
    }

    #[test]
    fn bad_samples_cost_only_themselves_and_too_many_cost_all() {
        let text = r#"[{"metric":"a","value":"NaN","counterType":"GAUGE"},7]"#;
        let printed = read_as(MetricsFormat::Falcon, text).unwrap();
        assert_eq!((printed.series.len(), printed.refused), (0, 2));
        assert!(read_as(MetricsFormat::Detect, "[1,2,3,4]").unwrap_err().contains("more than 3"));
        assert!(read_as(MetricsFormat::Detect, "a 1\nb 1\nc 1\nd 1").is_err());
        assert_eq!(read_as(MetricsFormat::Falcon, " \n"), Ok(Printed::default()));
    }

    proptest! {
        #[test]
        fn no_output_makes_it_panic(printed: Vec<u8>, text in "\\[?[ -~\n]{0,60}") {
            for bytes in [&printed[..], text.as_bytes()] {
                let _ = read(bytes, MetricsFormat::Detect, &host(), SLOT, 60, 100);
                let _ = read(bytes, MetricsFormat::Falcon, &host(), SLOT, 60, 100);
            }
        }
    }
}
