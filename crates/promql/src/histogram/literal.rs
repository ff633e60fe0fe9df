//! Native histograms as test files write them.

use super::{CUSTOM_SCHEMA, Histogram, ResetHint};
use crate::number;

/// Buckets beyond this index lie outside of what a float can tell apart in any schema.
const INDEX_MAX: i32 = 1 << 20;

impl Histogram {
    /// Reads `{{schema:0 count:4 sum:5 buckets:[1 2 1]}}`, the form of Prometheus' test files. Fields that are left
    /// out are zero, and buckets begin at `offset`. The error says what is wrong with which field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        let inner = inner.ok_or("a histogram stands between {{ and }}")?;
        let mut histogram = Self::default();
        let (mut positive, mut negative) = (Vec::new(), Vec::new());
        let (mut offset, mut negative_offset) = (0, 0);
        let mut rest = inner.trim();
        while !rest.is_empty() {
            let (key, value, tail) = field(rest).ok_or(format!("{rest:?} is no field:value"))?;
            rest = tail;
            let fault = || format!("{key}: {value:?} is not what it may be");
            let one = || signed(value).ok_or_else(fault);
            let list = || value.split_whitespace().map(signed).collect::<Option<Vec<f64>>>();
            match key {
                "schema" => histogram.schema = schema(value).ok_or_else(fault)?,
                "sum" => histogram.sum = one()?,
                "count" => histogram.count = one()?,
                "z_bucket" => histogram.zero_count = one()?,
                "z_bucket_w" => histogram.zero_threshold = one()?,
                "buckets" => positive = list().ok_or_else(fault)?,
                "n_buckets" => negative = list().ok_or_else(fault)?,
                "offset" => offset = index(value).ok_or_else(fault)?,
                "n_offset" => negative_offset = index(value).ok_or_else(fault)?,
                "custom_values" => histogram.bounds = list().ok_or_else(fault)?,
                "counter_reset_hint" => histogram.reset = hint(value).ok_or_else(fault)?,
                _ => return Err(format!("histograms have no field {key:?}")),
            }
        }
        if histogram.is_custom() && !(negative.is_empty() && histogram.zero_count == 0.0) {
            return Err("with custom_values there are no n_buckets and no z_bucket".to_owned());
        }
        histogram.positive = numbered(positive, offset)?;
        histogram.negative = numbered(negative, negative_offset)?;
        Ok(histogram)
    }
}

/// The first field of a text: its name, its value without brackets, and what comes after it.
fn field(text: &str) -> Option<(&str, &str, &str)> {
    let (key, tail) = text.split_once(':')?;
    let (value, tail) = match tail.strip_prefix('[') {
        Some(list) => list.split_once(']')?,
        None => tail.split_once(' ').unwrap_or((tail, "")),
    };
    Some((key, value, tail.trim_start()))
}

fn signed(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    number::special(digits).or_else(|| number::parse(digits)).map(|value| sign * value)
}

fn schema(text: &str) -> Option<i32> {
    text.parse().ok().filter(|schema| (-4..=8).contains(schema) || *schema == CUSTOM_SCHEMA)
}

fn index(text: &str) -> Option<i32> {
    text.parse().ok().filter(|index| (-INDEX_MAX..=INDEX_MAX).contains(index))
}

fn hint(text: &str) -> Option<ResetHint> {
    Some(match text {
        "unknown" => ResetHint::Unknown,
        "reset" => ResetHint::Reset,
        "not_reset" => ResetHint::NotReset,
        "gauge" => ResetHint::Gauge,
        _ => return None,
    })
}

fn numbered(counts: Vec<f64>, offset: i32) -> Result<Vec<(i32, f64)>, String> {
    if counts.len() > INDEX_MAX as usize {
        return Err(format!("more than {INDEX_MAX} buckets"));
    }
    Ok((offset..).zip(counts).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_fields_are_read() {
        let text = "{{schema:1 sum:-5.5 count:9 z_bucket:2 z_bucket_w:0.01 buckets:[1 0 3] offset:-1 \
                    n_buckets:[3] n_offset:4 counter_reset_hint:gauge}}";
        let expected = Histogram {
            schema: 1,
            zero_threshold: 0.01,
            zero_count: 2.0,
            count: 9.0,
            sum: -5.5,
            positive: vec![(-1, 1.0), (0, 0.0), (1, 3.0)],
            negative: vec![(4, 3.0)],
            bounds: Vec::new(),
            reset: ResetHint::Gauge,
        };
        assert_eq!(Histogram::parse(text), Ok(expected));
        assert_eq!(Histogram::parse("{{}}"), Ok(Histogram::default()));
        let custom = Histogram::parse("{{schema:-53 custom_values:[5 10] buckets:[1 2 4]}}");
        assert_eq!(custom.map(|read| read.bounds), Ok(vec![5.0, 10.0]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("{schema:1}", "between {{ and }}"),
            ("{{schema:9}}", "schema: \"9\""),
            ("{{sum:much}}", "sum: \"much\""),
            ("{{buckets:[1 x]}}", "buckets: \"1 x\""),
            ("{{offset:9999999}}", "offset: \"9999999\""),
            ("{{width:1}}", "no field \"width\""),
            ("{{sum}}", "no field:value"),
            ("{{schema:-53 n_buckets:[1]}}", "no n_buckets"),
        ] {
            let fault = Histogram::parse(text).expect_err(text);
            assert!(fault.contains(expected), "{text}: {fault}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}", near in "[a-z_:\\[\\] 0-9.-]{0,60}") {
            let _ = Histogram::parse(&text);
            let _ = Histogram::parse(&format!("{{{{{near}}}}}"));
            let _ = Histogram::parse(&format!("{{{{buckets:[{near}] offset:{near}}}}}"));
        }
    }
}
