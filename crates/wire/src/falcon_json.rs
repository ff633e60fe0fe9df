//! Open-Falcon's list of samples as JSON, with the tolerance and the oddities that its clients rely
//! on, and the replies they expect.
//!
//! Kept from the original: keys match without regard to case, `value` may be a number in a string,
//! a timestamp of 0 or in milliseconds becomes the time of arrival, tags are free text. Better than
//! the original: a field of the wrong type costs its own sample, not the whole list, and every
//! refused sample has a reason.

pub(crate) mod loose;

use std::borrow::Cow;

use model::{
    ENDPOINT, Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, Sample, Series, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use self::loose::Item;
use crate::known::KnownLabels;

/// `len(metric) + len(tags)` may not exceed this many bytes, as in the original.
pub const NAME_AND_TAGS_BYTES_MAX: usize = 510;

/// What the agent answers to every list it could read.
pub const AGENT_PUSH_OK: &str = "success";
/// What the agent answers, with status 400, to a body that is no list. The spelling is the
/// original's.
pub const AGENT_PUSH_UNREADABLE: &str = "connot decode body\n";
/// What the agent answers, with status 400, when there is no body.
pub const AGENT_PUSH_BLANK: &str = "body is blank\n";
/// What transfer answers, with status 400, to a body that is no list.
pub const TRANSFER_PUSH_UNREADABLE: &str = "decode error\n";
/// What transfer answers, with status 400, when there is no body.
pub const TRANSFER_PUSH_BLANK: &str = "blank body\n";
/// What transfer answers to `/health`.
pub const HEALTH_OK: &str = "ok\n";

/// Why a body is refused as a whole.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The body is not a JSON list.
    #[error("the body is not a JSON list of samples")]
    NotAList(#[source] serde_json::Error),
    /// There are more samples than the limit.
    #[error("the list has more than {max} samples; send less at once")]
    TooManySamples {
        /// The limit.
        max: usize,
    },
}

/// Why one sample of a list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleFault {
    /// The item is no object, or not valid JSON in itself.
    NotAnObject,
    /// A text field holds something else, or a number field something else than a whole number.
    WrongType,
    /// No `endpoint`.
    NoEndpoint,
    /// No `metric`.
    NoMetric,
    /// The metric `kernel.hostname`, which the original refuses too.
    KernelHostname,
    /// A `counterType` other than GAUGE, COUNTER and DERIVE, which are upper case.
    CounterType,
    /// A `value` that is no number and no text of a number.
    Value,
    /// A `step` that is not positive.
    Step,
    /// Metric and tags together are longer than 510 bytes.
    TooLong,
    /// Two tags that become the same label, as `a-b` and `a.b` do.
    TagCollision,
}

impl SampleFault {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Self; 10] = [
        Self::NotAnObject,
        Self::WrongType,
        Self::NoEndpoint,
        Self::NoMetric,
        Self::KernelHostname,
        Self::CounterType,
        Self::Value,
        Self::Step,
        Self::TooLong,
        Self::TagCollision,
    ];

    /// The word for metrics and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAnObject => "not_an_object",
            Self::WrongType => "wrong_type",
            Self::NoEndpoint => "no_endpoint",
            Self::NoMetric => "no_metric",
            Self::KernelHostname => "kernel_hostname",
            Self::CounterType => "counter_type",
            Self::Value => "value",
            Self::Step => "step",
            Self::TooLong => "too_long",
            Self::TagCollision => "tag_collision",
        }
    }
}

/// How the original calls the kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CounterType {
    /// Goes up and down.
    Gauge,
    /// Only grows; a rate is wanted.
    Counter,
    /// As COUNTER.
    Derive,
}

impl CounterType {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "GAUGE",
            Self::Counter => "COUNTER",
            Self::Derive => "DERIVE",
        }
    }

    const fn kind(self) -> MetricKind {
        match self {
            Self::Gauge => MetricKind::Gauge,
            Self::Counter | Self::Derive => MetricKind::Counter,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Gauge, Self::Counter, Self::Derive].into_iter().find(|one| one.as_str() == text)
    }
}

/// A sample as the client named it, valid by the original's rules.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FalconSample<'a> {
    /// The host.
    pub endpoint: Cow<'a, str>,
    /// The original name, such as `cpu.idle`.
    pub metric: Cow<'a, str>,
    /// The value.
    pub value: f64,
    /// Seconds between two samples, as the client says.
    pub step: i64,
    /// Gauge or counter.
    pub counter_type: CounterType,
    /// `k=v,k2=v2` as sent.
    pub tags: Cow<'a, str>,
    /// The moment, repaired; whole seconds on the wire.
    #[serde(serialize_with = "whole_seconds")]
    pub timestamp: Timestamp,
}

/// A decoded list.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded<'a> {
    /// The valid samples.
    pub samples: Vec<FalconSample<'a>>,
    /// Position in the list and reason of every other one.
    pub refused: Vec<(usize, SampleFault)>,
}

impl Decoded<'_> {
    /// How many samples were in the list.
    pub fn total(&self) -> usize {
        self.samples.len() + self.refused.len()
    }
}

/// What a sample has that does not say so itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fill<'a> {
    /// Its host; empty for none.
    pub endpoint: &'a str,
    /// Its step in seconds; 0 for none.
    pub step: i64,
}

/// Decodes a list of samples that arrived at `now`. `null` is an empty list, as in the original.
pub fn decode(body: &[u8], now: Timestamp, samples_max: usize) -> Result<Decoded<'_>, DecodeError> {
    decode_filled(body, Fill::default(), now, samples_max)
}

/// As [`decode`] for a list whose samples may lack their host and step: what a plugin prints.
///
/// # Errors
/// As [`decode`].
pub fn decode_filled<'a>(
    body: &'a [u8],
    fill: Fill<'a>,
    now: Timestamp,
    samples_max: usize,
) -> Result<Decoded<'a>, DecodeError> {
    let items = match loose::list(body, samples_max) {
        // One item may hold what the parser refuses, a number out of range for example. Then the
        // list is cut into items first, at the price of a second pass.
        Err(_) => loose::list::<&RawValue>(body, samples_max).map_err(DecodeError::NotAList)?.map(
            |items| {
                items
                    .into_iter()
                    .map(|item| serde_json::from_str(item.get()).unwrap_or(Item::Other))
                    .collect()
            },
        ),
        Ok(items) => items,
    };
    let items = items.ok_or(DecodeError::TooManySamples { max: samples_max })?;
    let mut decoded = Decoded::default();
    for (at, item) in items.into_iter().enumerate() {
        match check(item, fill, now) {
            Ok(sample) => decoded.samples.push(sample),
            Err(fault) => decoded.refused.push((at, fault)),
        }
    }
    Ok(decoded)
}

fn check<'a>(
    item: Item<'a>,
    fill: Fill<'a>,
    now: Timestamp,
) -> Result<FalconSample<'a>, SampleFault> {
    let Item::Object(fields) = item else {
        return Err(SampleFault::NotAnObject);
    };
    let mut unchecked = Unchecked {
        endpoint: fields.endpoint.text()?,
        metric: fields.metric.text()?,
        counter_type: fields.counter_type.text()?,
        tags: fields.tags.text()?,
        step: fields.step.integer()?,
        timestamp: fields.timestamp.integer()?,
        value: fields.value.and_then(loose::read_value),
    };
    if unchecked.endpoint.is_empty() {
        unchecked.endpoint = Cow::Borrowed(fill.endpoint);
    }
    if unchecked.step == 0 {
        unchecked.step = fill.step;
    }
    unchecked.check(now)
}

/// A sample whose fields have the right types and nothing more, whatever text it was read from.
pub(crate) struct Unchecked<'a> {
    pub(crate) endpoint: Cow<'a, str>,
    pub(crate) metric: Cow<'a, str>,
    pub(crate) counter_type: Cow<'a, str>,
    pub(crate) tags: Cow<'a, str>,
    pub(crate) step: i64,
    pub(crate) timestamp: i64,
    pub(crate) value: Option<f64>,
}

impl<'a> Unchecked<'a> {
    /// Applies the original's rules, in its order.
    pub(crate) fn check(self, now: Timestamp) -> Result<FalconSample<'a>, SampleFault> {
        let Self { endpoint, metric, counter_type, tags, step, timestamp, value } = self;
        if endpoint.is_empty() {
            return Err(SampleFault::NoEndpoint);
        }
        if metric.is_empty() {
            return Err(SampleFault::NoMetric);
        }
        if metric == "kernel.hostname" {
            return Err(SampleFault::KernelHostname);
        }
        let counter_type = CounterType::parse(&counter_type).ok_or(SampleFault::CounterType)?;
        let value = value.ok_or(SampleFault::Value)?;
        if step <= 0 {
            return Err(SampleFault::Step);
        }
        if metric.len() + tags.len() > NAME_AND_TAGS_BYTES_MAX {
            return Err(SampleFault::TooLong);
        }
        let repaired = timestamp <= 0 || timestamp > now.seconds().saturating_mul(2);
        let timestamp = if repaired { now } else { Timestamp::from_seconds(timestamp) };
        Ok(FalconSample { endpoint, metric, value, step, counter_type, tags, timestamp })
    }
}

/// Encodes samples as a client does.
pub fn encode(samples: &[FalconSample<'_>]) -> String {
    serde_json::to_string(samples).expect("texts and numbers always have a JSON form")
}

impl FalconSample<'_> {
    /// The sample as a series in our data model: canonical name, tags as labels, host as label
    /// `endpoint`.
    ///
    /// Characters that a label name cannot have become `_`. A tag that would hide the host or the
    /// name is kept as `exported_…`, as Prometheus does with a scraped label in the same case.
    pub fn to_series(&self) -> Result<Series, SampleFault> {
        Ok(self.series_of(self.labels()?))
    }

    /// As [`FalconSample::to_series`], with labels that were made before from memory.
    pub fn to_known_series(&self, known: &KnownLabels) -> Result<Series, SampleFault> {
        // 0xFF is in no text, so no two samples of different series have the same bytes.
        let parts = [self.endpoint.as_bytes(), self.metric.as_bytes(), self.tags.as_bytes()];
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
        for part in parts {
            bytes.extend_from_slice(part);
            bytes.push(0xff);
        }
        Ok(self.series_of(known.find(&bytes, || self.labels())?))
    }

    fn series_of(&self, labels: Labels) -> Series {
        Series { labels, samples: vec![Sample { timestamp: self.timestamp, value: self.value }] }
    }

    fn labels(&self) -> Result<Labels, SampleFault> {
        let mut labels = LabelsBuilder::default();
        labels.set(METRIC_NAME, &model::canonical_name(&self.metric)).set(ENDPOINT, &self.endpoint);
        let mut seen: Vec<(String, &str)> = Vec::new();
        let tags: String = self.tags.chars().filter(|c| *c != ' ').collect();
        for (key, value) in tags.split(',').filter_map(|piece| piece.split_once('=')) {
            if key.is_empty() {
                continue;
            }
            let name = label_name(key);
            if seen.iter().any(|(other_name, other_key)| *other_name == name && *other_key != key) {
                return Err(SampleFault::TagCollision);
            }
            labels.set(&name, value);
            seen.push((name, key));
        }
        Ok(labels.build())
    }

    /// What is to be remembered of the metric: its kind, and its original name in the help text.
    pub fn metadata(&self) -> Metadata {
        let help = format!(
            "Open-Falcon metric {}, {}, step {} s.",
            self.metric,
            self.counter_type.as_str(),
            self.step
        );
        Metadata { kind: self.counter_type.kind(), help, unit: String::new() }
    }
}

/// What a help text that [`FalconSample::metadata`] wrote says of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original<'a> {
    /// Its name, such as `cpu.idle`.
    pub metric: &'a str,
    /// Gauge or counter.
    pub counter_type: CounterType,
    /// Seconds between two samples.
    pub step: i64,
}

/// Reads a help text that [`FalconSample::metadata`] wrote; `None` for any other text.
pub fn original(help: &str) -> Option<Original<'_>> {
    let rest = help.strip_prefix("Open-Falcon metric ")?;
    let (rest, step) = rest.rsplit_once(", step ")?;
    let (metric, counter_type) = rest.rsplit_once(", ")?;
    let (step, _unit) = step.split_once(' ')?;
    let step = step.parse().ok()?;
    Some(Original { metric, counter_type: CounterType::parse(counter_type)?, step })
}

/// The original name in a help text, as [`original`] reads it.
pub fn original_name(help: &str) -> Option<&str> {
    original(help).map(|original| original.metric)
}

/// The labels of the series that a counter name such as `df.bytes.used/mount=/data` means, but for its
/// host. The value of a tag may hold a slash; a name may not.
pub fn counter_labels(counter: &str) -> Labels {
    let (metric, tags) = counter.split_once('/').unwrap_or((counter, ""));
    let mut labels = LabelsBuilder::default();
    for (key, value) in tags.split(',').filter_map(|piece| piece.split_once('=')) {
        if !key.is_empty() {
            labels.set(&label_name(key), value);
        }
    }
    labels.set(METRIC_NAME, &model::canonical_name(metric)).build()
}

/// The original's name for a series: `metric` or `metric/k1=v1,k2=v2` with the tags sorted.
pub fn counter_name(metric: &str, labels: &Labels) -> String {
    let tags: Vec<String> = labels
        .iter()
        .filter(|(name, _)| !matches!(*name, METRIC_NAME | ENDPOINT))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if tags.is_empty() { metric.to_owned() } else { format!("{metric}/{}", tags.join(",")) }
}

/// The label that a tag of a sample becomes: characters that a label name cannot have become `_`, and a
/// tag that would hide the host or the name of the metric is kept as `exported_…`.
pub fn label_name(key: &str) -> String {
    match key {
        ENDPOINT => format!("exported_{ENDPOINT}"),
        _ => crate::tags::label_name(key),
    }
}

fn whole_seconds<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(at.seconds())
}

/// What transfer answers to a list it could read: `{"msg":"success","data":{"Message":"ok",…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushReply {
    /// `success`, or a sentence that says why nothing was stored.
    pub msg: String,
    /// The counts.
    pub data: TransferReply,
}

/// The counts of a push, also the result of the JSON-RPC method `Transfer.Update`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TransferReply {
    /// Always `ok`, also when every sample was refused.
    pub message: String,
    /// Samples received.
    pub total: usize,
    /// Samples refused.
    pub invalid: usize,
    /// Milliseconds the call took.
    pub latency: u64,
}

impl PushReply {
    /// The reply to a list that was read.
    pub fn success(total: usize, invalid: usize, latency_millis: u64) -> Self {
        let data =
            TransferReply { message: "ok".to_owned(), total, invalid, latency: latency_millis };
        Self { msg: "success".to_owned(), data }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

    fn sample_with(field: &str, value: &str) -> String {
        let mut fields = vec![
            ("endpoint", "\"a\""),
            ("metric", "\"m\""),
            ("timestamp", "1760000400"),
            ("step", "60"),
            ("value", "1"),
            ("counterType", "\"GAUGE\""),
            ("tags", "\"\""),
        ];
        fields.retain(|(name, _)| *name != field);
        if !value.is_empty() {
            fields.push((field, value));
        }
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }

    fn check_fault(field: &str, value: &str, fault: SampleFault) {
        let body = format!("[{},{}]", sample_with(field, value), sample_with("", ""));
        let decoded = decode(body.as_bytes(), NOW, 10).expect("the list is whole");
        assert_eq!(decoded.refused, [(0, fault)], "{body}");
        assert_eq!(decoded.samples.len(), 1, "{body}");
    }

    fn check_value(text: &str, value: f64) {
        let body = format!("[{}]", sample_with("value", text));
        let decoded = decode(body.as_bytes(), NOW, 10).expect("the list is whole");
        assert_eq!(decoded.samples[0].value.to_bits(), value.to_bits(), "{text}");
    }

    fn check_timestamp(text: &str, at: Timestamp) {
        let body = format!("[{}]", sample_with("timestamp", text));
        assert_eq!(
            decode(body.as_bytes(), NOW, 10).expect("the list is whole").samples[0].timestamp,
            at,
            "{text}"
        );
    }

    #[test]
    fn a_help_text_says_name_type_and_step() {
        let help = "Open-Falcon metric net.if.in.bytes, COUNTER, step 60 s. Bytes, all of them.";
        let expected =
            Original { metric: "net.if.in.bytes", counter_type: CounterType::Counter, step: 60 };
        assert_eq!(original(help), Some(expected));
        assert_eq!(original("Open-Falcon metric a, HISTOGRAM, step 60 s."), None);
    }

    #[test]
    fn a_counter_name_and_the_series_it_was_made_from_have_the_same_labels() {
        let labels = counter_labels("df.bytes.used/fstype=ext4,mount=/data");
        let pairs = [("__name__", "df_bytes_used"), ("fstype", "ext4"), ("mount", "/data")];
        assert_eq!(labels, Labels::from_pairs(pairs));
        assert_eq!(counter_name("df.bytes.used", &labels), "df.bytes.used/fstype=ext4,mount=/data");
        assert_eq!(counter_labels("load.1min"), Labels::from_pairs([("__name__", "load_1min")]));
    }

    fn series_with_tags(tags: &str) -> Result<Labels, SampleFault> {
        let sample = FalconSample {
            endpoint: "h".into(),
            metric: "cpu.idle".into(),
            value: 1.0,
            step: 60,
            counter_type: CounterType::Gauge,
            tags: tags.into(),
            timestamp: NOW,
        };
        sample.to_series().map(|series| series.labels)
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let own = [(METRIC_NAME, "cpu_idle"), (ENDPOINT, "h")];
        Labels::from_pairs(own.iter().chain(pairs).copied())
    }

    #[test]
    fn the_documented_example_becomes_a_series() {
        let body =
            br#"[{"endpoint":"pay-api-03","metric":"order.latency.p99","timestamp":1760000460,"step":60,
          "value":83.5,"counterType":"GAUGE","tags":"idc=bj,api=/checkout"}]"#;
        let decoded = decode(body, NOW, 10).expect("it is a list");
        let series = decoded.samples[0].to_series().expect("its tags are fine");
        assert_eq!(
            series.labels.to_string(),
            r#"order_latency_p99{api="/checkout", endpoint="pay-api-03", idc="bj"}"#
        );
        assert_eq!(series.samples, [Sample::new(1_760_000_460_000, 83.5)]);
        let metadata = decoded.samples[0].metadata();
        assert_eq!(metadata.kind, MetricKind::Gauge);
        assert_eq!(original_name(&metadata.help), Some("order.latency.p99"));
    }

    #[test]
    fn keys_match_without_regard_to_case() {
        let body = br#"[{"Endpoint":"a","METRIC":"m","Value":"2","step":1,"countertype":"DERIVE","extra":{"x":[1]}}]"#;
        let decoded = decode(body, NOW, 10).expect("it is a list");
        assert_eq!(decoded.samples[0].counter_type, CounterType::Derive);
        assert_eq!((decoded.samples[0].value, decoded.samples[0].timestamp), (2.0, NOW));
    }

    #[test]
    fn values_are_numbers_or_text_of_numbers() {
        check_value("-3", -3.0);
        check_value("1e3", 1000.0);
        check_value("\"0.5\"", 0.5);
        check_value("\"Inf\"", f64::INFINITY);
        check_value("18446744073709551615", 18_446_744_073_709_551_615.0);
        let body = format!("[{}]", sample_with("value", "\"NaN\""));
        assert!(
            decode(body.as_bytes(), NOW, 10).expect("the list is whole").samples[0].value.is_nan()
        );
        for text in
            ["", "null", "\"\"", "\"1,5\"", "\" 1\"", "true", "[1]", "{\"metric\":1}", "1e999"]
        {
            check_fault("value", text, SampleFault::Value);
        }
    }

    #[test]
    fn a_number_that_no_parser_takes_costs_only_its_sample() {
        check_fault("timestamp", "1e999", SampleFault::NotAnObject);
    }

    #[test]
    fn every_rule_has_its_own_reason() {
        check_fault("endpoint", "", SampleFault::NoEndpoint);
        check_fault("endpoint", "7", SampleFault::WrongType);
        check_fault("metric", "\"\"", SampleFault::NoMetric);
        check_fault("metric", "\"kernel.hostname\"", SampleFault::KernelHostname);
        check_fault("counterType", "\"gauge\"", SampleFault::CounterType);
        check_fault("counterType", "", SampleFault::CounterType);
        check_fault("step", "0", SampleFault::Step);
        check_fault("step", "1.5", SampleFault::WrongType);
        check_fault("timestamp", "\"1760000400\"", SampleFault::WrongType);
        check_fault("tags", &format!("\"k={}\"", "v".repeat(510)), SampleFault::TooLong);
    }

    #[test]
    fn an_item_that_is_no_object_costs_only_itself() {
        let body = format!("[1,null,[],\"x\",{}]", sample_with("", ""));
        let decoded = decode(body.as_bytes(), NOW, 10).expect("the list is whole");
        assert_eq!((decoded.total(), decoded.refused.len()), (5, 4));
        assert_eq!(decoded.refused[3], (3, SampleFault::NotAnObject));
    }

    #[test]
    fn a_useless_timestamp_becomes_the_time_of_arrival() {
        check_timestamp("1760000400", Timestamp::from_seconds(1_760_000_400));
        check_timestamp("1", Timestamp::from_seconds(1));
        check_timestamp("0", NOW);
        check_timestamp("-5", NOW);
        check_timestamp("null", NOW);
        check_timestamp("1760000460000", NOW);
    }

    #[test]
    fn tags_follow_the_originals_rules() {
        assert_eq!(
            series_with_tags("a = 1 , b=x=y,,novalue,c="),
            Ok(labels(&[("a", "1"), ("b", "x=y")]))
        );
        assert_eq!(series_with_tags("a=1,a=2,=3"), Ok(labels(&[("a", "2")])));
        assert_eq!(
            series_with_tags("mount.point=/,9=n"),
            Ok(labels(&[("mount_point", "/"), ("_9", "n")]))
        );
        assert_eq!(series_with_tags("endpoint=x"), Ok(labels(&[("exported_endpoint", "x")])));
        assert_eq!(series_with_tags("a-b=1,a.b=1"), Err(SampleFault::TagCollision));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for body in ["", "{}", "[", "[{]", "1", "[{}] [{}]", "\u{feff}[]"] {
            assert!(
                matches!(decode(body.as_bytes(), NOW, 10), Err(DecodeError::NotAList(_))),
                "{body}"
            );
        }
        assert_eq!(decode(b"null", NOW, 10).expect("null is an empty list").total(), 0);
        assert!(matches!(decode(b"[1,2]", NOW, 1), Err(DecodeError::TooManySamples { max: 1 })));
    }

    #[test]
    fn the_reply_is_the_originals_to_the_byte() {
        let reply = serde_json::to_string(&PushReply::success(2, 1, 0)).expect("it is plain");
        assert_eq!(
            reply,
            r#"{"msg":"success","data":{"Message":"ok","Total":2,"Invalid":1,"Latency":0}}"#
        );
    }

    #[test]
    fn an_original_name_with_commas_is_found_again() {
        assert_eq!(
            original_name("Open-Falcon metric a, step b, GAUGE, step 60 s."),
            Some("a, step b")
        );
        assert_eq!(original_name("Idle time."), None);
    }

    #[test]
    fn a_counter_name_has_its_tags_sorted() {
        assert_eq!(
            counter_name("cpu.idle", &labels(&[("b", "2"), ("a", "1")])),
            "cpu.idle/a=1,b=2"
        );
        assert_eq!(counter_name("cpu.idle", &labels(&[])), "cpu.idle");
    }

    #[test]
    fn known_series_are_those_of_their_own_text() {
        let known = KnownLabels::new(100, 1);
        let sample =
            |endpoint: &'static str, metric: &'static str, tags: &'static str| FalconSample {
                endpoint: endpoint.into(),
                metric: metric.into(),
                value: 1.0,
                step: 60,
                counter_type: CounterType::Gauge,
                tags: tags.into(),
                timestamp: NOW,
            };
        for one in [
            sample("a", "bc", "d=1"),
            sample("ab", "c", "d=1"),
            sample("a", "bc", "d=2"),
            sample("a", "b", ""),
        ] {
            for _ in 0..2 {
                assert_eq!(one.to_known_series(&known), one.to_series());
            }
        }
        assert_eq!(
            sample("a", "b", "a-b=1,a.b=2").to_known_series(&known),
            Err(SampleFault::TagCollision)
        );
        assert_eq!(known.len(), 4);
    }

    #[test]
    fn what_a_plugin_leaves_out_is_filled_in() {
        let body = br#"[{"metric":"m","value":1,"counterType":"GAUGE"},
            {"endpoint":"b","metric":"m","value":1,"counterType":"GAUGE","step":5,"timestamp":9}]"#;
        let fill = Fill { endpoint: "a", step: 60 };
        let decoded = decode_filled(body, fill, NOW, 10).expect("it is a list");
        let told = |at: usize| {
            let sample: &FalconSample<'_> = &decoded.samples[at];
            (sample.endpoint.as_ref(), sample.step, sample.timestamp)
        };
        assert_eq!(told(0), ("a", 60, NOW));
        assert_eq!(told(1), ("b", 5, Timestamp::from_seconds(9)));
        assert_eq!(decode(body, NOW, 10).expect("it is a list").refused.len(), 1);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            metric in "[a-z.]{1,20}", tags in "[a-z=,]{0,20}", value in -1e300f64..1e300, step in 1i64..3600,
        ) {
            let sample = FalconSample {
                endpoint: "主机 \"1\"".into(), metric: metric.into(), value, step,
                counter_type: CounterType::Counter, tags: tags.into(), timestamp: NOW,
            };
            let body = encode(std::slice::from_ref(&sample));
            let decoded = decode(body.as_bytes(), NOW, 1).expect("we wrote it");
            prop_assert_eq!(&decoded.samples, std::slice::from_ref(&sample));
        }

        #[test]
        fn no_body_makes_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..200), tags in ".{0,40}") {
            let _ = decode(&body, NOW, 100);
            let _ = series_with_tags(&tags);
        }
    }
}
