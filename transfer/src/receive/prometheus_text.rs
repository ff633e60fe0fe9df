//! Prometheus text by push: `POST /api/v1/import/prometheus`.

use model::{Series, Timestamp};
use wire::exposition;

use crate::ingest::Incoming;
use crate::metrics::Protocol;
use crate::reason::Reason;
use crate::receive::{Rejection, text_of};

/// The parameter that adds a label to every series, as in `extra_label=endpoint=web-01`.
const EXTRA_LABEL: &str = "extra_label";

/// A decoded text that arrived at `now`.
pub(crate) fn decode(
    body: &[u8],
    parameters: &[(String, String)],
    now: Timestamp,
    lines_max: usize,
) -> Result<Incoming, Rejection> {
    let extra = extra_labels(parameters)?;
    let text = text_of(body)?;
    if text.lines().take(lines_max + 1).count() > lines_max {
        return Err(Rejection::too_large(format!(
            "the text has more than {lines_max} lines (transfer.samples_per_request_max); send less at once"
        )));
    }
    let parsed = exposition::parse(text, now);
    let mut incoming = Incoming::new(Protocol::PrometheusText);
    for fault in parsed.refused {
        incoming.refusals.add(Reason::PrometheusText, 1, || fault.to_string());
    }
    incoming.series = parsed.series.into_iter().map(|one| with_labels(one, &extra)).collect();
    incoming.metadata = parsed.metadata.into_iter().collect();
    Ok(incoming)
}

fn extra_labels(parameters: &[(String, String)]) -> Result<Vec<(&str, &str)>, Rejection> {
    let given = parameters.iter().filter(|(key, _)| key == EXTRA_LABEL);
    let split = |(_, pair): &'_ (String, String)| -> Rejection {
        Rejection::malformed(format!("extra_label={pair:?} is not NAME=VALUE"))
    };
    given
        .map(|parameter| {
            let pair = parameter.1.split_once('=').filter(|(name, _)| model::is_label_name(name));
            pair.ok_or_else(|| split(parameter))
        })
        .collect()
}

fn with_labels(mut series: Series, extra: &[(&str, &str)]) -> Series {
    for (name, value) in extra {
        series.labels = series.labels.with(name, value);
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_with(body: &str, parameters: &[(&str, &str)]) -> Result<Incoming, Rejection> {
        let owned: Vec<(String, String)> = parameters
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        decode(body.as_bytes(), &owned, Timestamp(5), 3)
    }

    #[test]
    fn extra_labels_go_on_every_series() {
        let parameters =
            [("extra_label", "endpoint=web-01"), ("other", "x"), ("extra_label", "a=b=c")];
        let incoming =
            decode_with("up 1\nup{endpoint=\"x\"} 2\n", &parameters).expect("it is text");
        let labels: Vec<String> =
            incoming.series.iter().map(|one| one.labels.to_string()).collect();
        assert_eq!(labels, ["up{a=\"b=c\", endpoint=\"web-01\"}"; 2]);
        let fault =
            decode_with("up 1", &[("extra_label", "a-b=1")]).expect_err("it is no label").text;
        assert_eq!(fault, "extra_label=\"a-b=1\" is not NAME=VALUE");
    }

    #[test]
    fn lines_are_bounded_and_bad_ones_have_their_number() {
        assert!(decode_with("a 1\nb 1\nc 1\n", &[]).is_ok());
        assert_eq!(decode_with("a 1\nb 1\nc 1\nd 1", &[]).expect_err("too many").status, 413);
        let incoming = decode_with("a 1\nb", &[]).expect("it is text");
        let fault = "line 2: a sample is a name, labels in braces if any, and a value";
        assert_eq!(
            incoming.refusals.to_string(),
            format!("1 prometheus_text_line (such as {fault})")
        );
    }
}
