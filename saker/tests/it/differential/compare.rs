//! When two answers of the query API are the same.

use std::collections::BTreeMap;

use serde_json::Value;

/// Relative difference that the order of additions may make.
pub(super) const TOLERANCE: f64 = 1e-9;

/// The points of a series by time in milliseconds.
type Points = BTreeMap<i64, String>;

/// What differs between our answer and theirs, if anything does.
pub(super) fn difference(
    expression: &str,
    ours: &Value,
    theirs: &Value,
    tolerance: f64,
) -> Option<String> {
    for field in ["/status", "/errorType", "/data/resultType"] {
        let (a, b) = (ours.pointer(field), theirs.pointer(field));
        if a != b {
            return Some(format!("{field}: ours {}, theirs {}", brief(ours), brief(theirs)));
        }
    }
    let (ours, theirs) = (&ours["data"]["result"], &theirs["data"]["result"]);
    if let Some(fault) = order_difference(expression, ours, theirs, tolerance) {
        return Some(fault);
    }
    let (a, b) = (by_labels(ours), by_labels(theirs));
    let found = difference_by_labels(&a, &b, tolerance)?;
    // Which of several elements with the same value are picked is left open.
    let picks = expression.starts_with("topk") || expression.starts_with("bottomk");
    if picks && same_numbers(&all_values(&a), &all_values(&b), tolerance) {
        None
    } else {
        Some(found)
    }
}

/// How a server refused, for a report; `None` when it did not.
pub(super) fn refusal(answer: &Value) -> Option<String> {
    let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
    (answer["status"] == "error").then(|| format!("{}: {}", text("errorType"), text("error")))
}

fn brief(answer: &Value) -> String {
    refusal(answer).unwrap_or_else(|| {
        let mut text = answer["data"].to_string();
        text.truncate(text.char_indices().nth(300).map_or(text.len(), |(end, _)| end));
        text
    })
}

/// Sorting functions and picks promise an order of values to instant queries.
fn order_difference(
    expression: &str,
    ours: &Value,
    theirs: &Value,
    tolerance: f64,
) -> Option<String> {
    let ordered = ["sort(", "sort_desc(", "topk(", "bottomk("]
        .iter()
        .any(|name| expression.starts_with(name));
    let values = |result: &Value| -> Option<Vec<String>> {
        result
            .as_array()?
            .iter()
            .map(|sample| Some(sample["value"][1].as_str()?.to_owned()))
            .collect()
    };
    let (Some(a), Some(b)) = (values(ours), values(theirs)) else { return None };
    (ordered && !same_numbers(&a, &b, tolerance))
        .then(|| format!("order: ours {a:?}, theirs {b:?}"))
}

fn same_numbers(a: &[String], b: &[String], tolerance: f64) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_number(a, b, tolerance))
}

/// Equal but for the last digits; the same number must be written the same.
fn same_number(a: &str, b: &str, tolerance: f64) -> bool {
    if a == b {
        return true;
    }
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else { return false };
    a != b && (a - b).abs() <= tolerance * a.abs().max(b.abs())
}

fn all_values(series: &BTreeMap<String, Points>) -> Vec<String> {
    let mut all: Vec<(&i64, &String)> = series.values().flatten().collect();
    all.sort_by(|a, b| {
        let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
        a.0.cmp(b.0).then(number(a.1).total_cmp(&number(b.1)))
    });
    all.into_iter().map(|(_, value)| value.to_owned()).collect()
}

/// The points of every series; a scalar or a text is a series without labels.
fn by_labels(result: &Value) -> BTreeMap<String, Points> {
    let point = |point: &Value| {
        let millis = (point[0].as_f64().unwrap_or(f64::NAN) * 1000.0).round() as i64;
        (millis, point[1].as_str().unwrap_or_default().to_owned())
    };
    let series = |series: &Value| {
        let points = match series["values"].as_array() {
            Some(all) => all.iter().map(point).collect(),
            None => Points::from([point(&series["value"])]),
        };
        (series["metric"].to_string(), points)
    };
    match result.as_array() {
        Some(all) if all.first().is_some_and(Value::is_object) => all.iter().map(series).collect(),
        Some(all) if all.is_empty() => BTreeMap::new(),
        _ => BTreeMap::from([(String::new(), Points::from([point(result)]))]),
    }
}

fn difference_by_labels(
    ours: &BTreeMap<String, Points>,
    theirs: &BTreeMap<String, Points>,
    tolerance: f64,
) -> Option<String> {
    if let Some(labels) = ours.keys().find(|labels| !theirs.contains_key(*labels)) {
        return Some(format!("only ours ({} and {} series): {labels}", ours.len(), theirs.len()));
    }
    for (labels, theirs) in theirs {
        let Some(ours) = ours.get(labels) else { return Some(format!("only theirs: {labels}")) };
        let times = ours.keys().chain(theirs.keys());
        for time in times {
            match (ours.get(time), theirs.get(time)) {
                (Some(a), Some(b)) if same_number(a, b, tolerance) => {}
                (a, b) => return Some(format!("{labels} at {time}: ours {a:?}, theirs {b:?}")),
            }
        }
    }
    None
}
