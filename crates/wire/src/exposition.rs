//! The Prometheus text format, as `/metrics` pages and pushes of text have it. What OpenMetrics
//! adds (`# EOF`, `# UNIT`, exemplars) is understood or skipped; its timestamps, which are seconds,
//! are told by their fraction.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::{
    Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, Sample, Series, Timestamp,
    is_label_name, is_metric_name,
};
use thiserror::Error;

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why a line is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {fault}")]
pub struct LineFault {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: &'static str,
}

/// A text taken apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition {
    /// One series with one sample for every good line.
    pub series: Vec<Series>,
    /// What `# TYPE`, `# HELP` and `# UNIT` say, by metric name.
    pub metadata: BTreeMap<String, Metadata>,
    /// The other lines.
    pub refused: Vec<LineFault>,
}

/// Reads a text. Samples without a timestamp are of `now`. A bad line does not cost the others.
pub fn parse(text: &str, now: Timestamp) -> Exposition {
    let mut exposition = Exposition::default();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            read_comment(comment, &mut exposition.metadata);
        } else if !line.is_empty() {
            match read_sample(line, now) {
                Ok(series) => exposition.series.push(series),
                Err(fault) => exposition.refused.push(LineFault { line: at + 1, fault }),
            }
        }
    }
    exposition
}

impl Exposition {
    /// The value of the first series with this name and these labels among its own. For tests and
    /// small readers.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted = |series: &&Series| {
            series.labels.metric_name() == name
                && labels.iter().all(|(label, value)| series.labels.get(label) == Some(value))
        };
        self.series.iter().find(wanted)?.samples.first().map(|sample| sample.value)
    }
}

fn read_comment(comment: &str, metadata: &mut BTreeMap<String, Metadata>) {
    let mut words = comment.trim_start().splitn(3, [' ', '\t']);
    let (Some(keyword), Some(name)) = (words.next(), words.next()) else {
        return;
    };
    let rest = words.next().unwrap_or("").trim();
    if !matches!(keyword, "TYPE" | "HELP" | "UNIT") {
        return;
    }
    let about = metadata.entry(name.to_owned()).or_default();
    match keyword {
        "TYPE" => about.kind = kind_of(rest),
        "HELP" => about.help = unescape(rest),
        _ => about.unit = rest.to_owned(),
    }
}

fn kind_of(word: &str) -> MetricKind {
    match word {
        "gauge" => MetricKind::Gauge,
        "counter" => MetricKind::Counter,
        "histogram" => MetricKind::Histogram,
        "summary" => MetricKind::Summary,
        _ => MetricKind::Unknown,
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (plain, false) => out.push(plain),
        }
    }
    out
}

fn read_sample(line: &str, now: Timestamp) -> Result<Series, &'static str> {
    let name_ends = line
        .find(['{', ' ', '\t'])
        .ok_or("a sample is a name, labels in braces if any, and a value")?;
    let (name, rest) = line.split_at(name_ends);
    let mut labels = LabelsBuilder::default();
    labels.set(METRIC_NAME, name);
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('{') {
        Some(inside) => read_labels(inside, &mut labels)?,
        None => rest,
    };
    // A name in quotes inside the braces may be any text; one before them may not.
    if !name.is_empty() && !is_metric_name(name) {
        return Err("the metric name has characters outside [a-zA-Z0-9_:]");
    }
    let labels = labels.build();
    if labels.metric_name().is_empty() {
        return Err("there is no metric name");
    }
    let mut words = rest.split_ascii_whitespace().take_while(|word| *word != "#");
    let value = words.next().ok_or("there is no value")?;
    let value: f64 = value.parse().map_err(|_| "the value is not a number")?;
    let timestamp = words.next().map_or(Ok(now), read_timestamp)?;
    if words.next().is_some() {
        return Err("there is text after the timestamp");
    }
    Ok(Series { labels, samples: vec![Sample { timestamp, value }] })
}

fn read_timestamp(word: &str) -> Result<Timestamp, &'static str> {
    if let Ok(millis) = word.parse() {
        return Ok(Timestamp(millis));
    }
    let seconds: Option<f64> = word.parse().ok().filter(|seconds: &f64| seconds.is_finite());
    seconds.map(Timestamp::from_seconds_f64).ok_or("the timestamp is not a number")
}

/// Reads `name="value",…}` and returns what follows.
fn read_labels<'a>(mut rest: &'a str, labels: &mut LabelsBuilder) -> Result<&'a str, &'static str> {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let quoted = rest.starts_with('"');
        let (name, after) = if quoted {
            read_quoted(rest)?
        } else {
            let end = rest.find(['=', '}', ',']).ok_or("the braces are not closed")?;
            (rest[..end].trim_end().to_owned(), &rest[end..])
        };
        rest = after.trim_start();
        if let Some(after) = rest.strip_prefix('=') {
            if name.is_empty() || !quoted && !is_label_name(&name) {
                return Err("a label name has characters outside [a-zA-Z0-9_]");
            }
            let (value, after) = read_quoted(after.trim_start())?;
            if labels.get(&name).is_some() {
                return Err("a label is there twice");
            }
            labels.set(&name, &value);
            rest = after.trim_start();
        } else if quoted && labels.get(METRIC_NAME).is_none() {
            labels.set(METRIC_NAME, &name);
        } else {
            return Err("a label has no value");
        }
        rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None if rest.starts_with('}') => rest,
            None => return Err("labels are separated by commas"),
        };
    }
}

fn read_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let inside = text.strip_prefix('"').ok_or("a label value is not in double quotes")?;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            '"' if !escaped => return Ok((unescape(&inside[..at]), &inside[at + 1..])),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    Err("the quotes are not closed")
}

/// Writes series and metadata as text; the samples get their timestamps in milliseconds.
pub fn write(series: &[Series], metadata: &BTreeMap<String, Metadata>) -> String {
    let mut out = String::new();
    let mut last_name = None;
    for one in series {
        let name = one.labels.metric_name();
        if last_name.replace(name) != Some(name)
            && let Some(about) = metadata.get(name)
        {
            let help = about.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = write!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {}\n",
                exposition_kind(about.kind)
            );
        }
        for sample in &one.samples {
            write_name(&mut out, &one.labels);
            out.push(' ');
            crate::prom_api::put_value(&mut out, sample.value);
            let _ = writeln!(out, " {}", sample.timestamp.millis());
        }
    }
    out
}

fn exposition_kind(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Unknown => "untyped",
        known => known.as_str(),
    }
}

fn write_name(out: &mut String, labels: &Labels) {
    let name = labels.metric_name();
    let bare = is_metric_name(name);
    let mut parts: Vec<String> = Vec::new();
    if bare {
        out.push_str(name);
    } else {
        parts.push(quote(name));
    }
    for (label, value) in labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
        let label = if is_label_name(label) { label.to_owned() } else { quote(label) };
        parts.push(format!("{label}={}", quote(value)));
    }
    if !parts.is_empty() {
        let _ = write!(out, "{{{}}}", parts.join(","));
    }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(5_000);

    fn check(line: &str, labels: &str, timestamp: i64, value: f64) {
        let parsed = parse(line, NOW);
        assert_eq!(parsed.refused, [], "{line}");
        assert_eq!(parsed.series[0].labels.to_string(), labels, "{line}");
        assert_eq!(parsed.series[0].samples, [Sample::new(timestamp, value)], "{line}");
    }

    fn check_refused(line: &str, fault: &'static str) {
        let parsed = parse(&format!("good 1\n{line}\n"), NOW);
        assert_eq!(parsed.refused, [LineFault { line: 2, fault }], "{line}");
        assert_eq!(parsed.series.len(), 1, "{line}");
    }

    #[test]
    fn lines_of_every_form_are_read() {
        check("up 1", "up", 5_000, 1.0);
        check("up{} 1 1500", "up", 1_500, 1.0);
        check("up{a=\"1\",b=\"x y\",} -3e2 ", "up{a=\"1\", b=\"x y\"}", 5_000, -300.0);
        check("up { a = \"1\" , b = \"2\" } +Inf", "up{a=\"1\", b=\"2\"}", 5_000, f64::INFINITY);
        check(r#"up{a="q\"\\n\n"} 1"#, r#"up{a="q\"\\n\n"}"#, 5_000, 1.0);
        check(
            r#"{"http.server","k.ey"="v"} 2"#,
            r#"{__name__="http.server", k.ey="v"}"#,
            5_000,
            2.0,
        );
        check("x_bucket{le=\"1\"} 3 # {trace=\"t\"} 0.5", "x_bucket{le=\"1\"}", 5_000, 3.0);
        check("om_total 1 1.5", "om_total", 1_500, 1.0);
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        check_refused("up", "a sample is a name, labels in braces if any, and a value");
        check_refused("up{a=\"1\"}", "there is no value");
        check_refused("up x", "the value is not a number");
        check_refused("up 1 x", "the timestamp is not a number");
        check_refused("up 1 2 3", "there is text after the timestamp");
        check_refused("u-p 1", "the metric name has characters outside [a-zA-Z0-9_:]");
        check_refused("{a=\"1\"} 1", "there is no metric name");
        check_refused("up{a=1} 1", "a label value is not in double quotes");
        check_refused("up{a=\"1} 1", "the quotes are not closed");
        check_refused("up{a-b=\"1\"} 1", "a label name has characters outside [a-zA-Z0-9_]");
        check_refused("up{a=\"1\",a=\"2\"} 1", "a label is there twice");
        check_refused("up{a=\"1\" b=\"2\"} 1", "labels are separated by commas");
        check_refused("up{a} 1", "a label has no value");
        check_refused("up{a 1", "the braces are not closed");
    }

    #[test]
    fn comments_become_metadata() {
        let text = "# HELP up Whether it\\nis \\\\ up.\n# TYPE up gauge\n# UNIT up ratio\n# a remark\n#\nup 1\n# EOF\n";
        let parsed = parse(text, NOW);
        let about = &parsed.metadata["up"];
        assert_eq!((about.kind, about.unit.as_str()), (MetricKind::Gauge, "ratio"));
        assert_eq!(about.help, "Whether it\nis \\ up.");
        assert_eq!((parsed.metadata.len(), parsed.value("up", &[])), (1, Some(1.0)));
    }

    #[test]
    fn help_and_type_are_written_once_a_metric() {
        let series = parse("up{a=\"1\"} 1 7\nup{a=\"2\"} 0.5 7\n", NOW).series;
        let about =
            Metadata { kind: MetricKind::Unknown, help: "Is\nit?".into(), unit: String::new() };
        let text = write(&series, &BTreeMap::from([("up".to_owned(), about)]));
        assert_eq!(
            text,
            "# HELP up Is\\nit?\n# TYPE up untyped\nup{a=\"1\"} 1 7\nup{a=\"2\"} 0.5 7\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            name in "[a-z_.]{1,8}", label in "[a-z.\"\\\\]{1,6}", value in "[a-z\"\\\\\n {}=,#主]{1,12}",
            number: f64, at: i64,
        ) {
            let labels = Labels::from_pairs([(METRIC_NAME, name.as_str()), (&format!("x{label}"), &value)]);
            let series = vec![Series { labels, samples: vec![Sample::new(at, number)] }];
            let parsed = parse(&write(&series, &BTreeMap::new()), NOW);
            prop_assert_eq!(&parsed.refused, &[]);
            prop_assert_eq!(&parsed.series[0].labels, &series[0].labels);
            let read = parsed.series[0].samples[0];
            prop_assert!(read == series[0].samples[0] || read.value.is_nan() && number.is_nan());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[ -~\n主\t]{0,80}", more in ".{0,40}") {
            let _ = parse(&text, NOW);
            let _ = parse(&more, NOW);
        }
    }
}
