//! Test files to commands.

use model::Labels;
use regex::Regex;

use super::nhcb;
use super::series::{self, Item};

/// A command of a test file.
#[derive(Debug)]
pub(crate) enum Command {
    Clear,
    Load { step: i64, series: Vec<(Labels, Vec<Item>)>, starts: Vec<(Labels, Vec<Item>)> },
    Eval(Box<Eval>),
}

/// When to evaluate, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum When {
    Instant(i64),
    Range(Times),
}

/// Start, end and step in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Times {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
}

/// An evaluation and what is expected of it.
#[derive(Debug)]
pub(crate) struct Eval {
    pub(crate) line: usize,
    pub(crate) when: When,
    pub(crate) expr: String,
    pub(crate) fail: Option<Text>,
    pub(crate) warn: Vec<Text>,
    pub(crate) info: Vec<Text>,
    pub(crate) no_warn: bool,
    pub(crate) no_info: bool,
    pub(crate) ordered: bool,
    pub(crate) string: Option<String>,
    pub(crate) range_vector: Option<Times>,
    pub(crate) scalar: Option<f64>,
    pub(crate) series: Vec<(Labels, Vec<Item>)>,
}

/// What a message must be.
#[derive(Debug)]
pub(crate) enum Text {
    Any,
    Exactly(String),
    Matching(Regex),
}

impl Text {
    pub(crate) fn accepts(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(text) => text == message,
            Self::Matching(regex) => regex.is_match(message),
        }
    }
}

/// Reads a file; a fault names its line.
pub(crate) fn read(text: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let first = at;
        at += 1;
        if is_blank(line) {
            continue;
        }
        let word = line.split_whitespace().next().unwrap_or("");
        let fault = |reason: String| format!("line {}: {reason}", first + 1);
        if word == "clear" {
            commands.push(Command::Clear);
        } else if word == "load" || word == "load_with_nhcb" {
            let (mut series, mut starts) = (Vec::new(), Vec::new());
            while at < lines.len() && !is_blank(lines[at]) {
                match lines[at].split_once("@st ") {
                    Some((name, offsets)) => {
                        starts
                            .push(series::read_line(&format!("{name} {offsets}")).map_err(fault)?);
                    }
                    None => series.push(series::read_line(lines[at]).map_err(fault)?),
                }
                at += 1;
            }
            let step =
                duration(line[word.len()..].trim()).ok_or_else(|| fault("bad step".to_owned()))?;
            if word == "load_with_nhcb" {
                series.extend(nhcb::convert(&series));
            }
            commands.push(Command::Load { step, series, starts });
        } else if word.starts_with("eval") {
            let mut eval = read_eval(word, line[word.len()..].trim(), first + 1).map_err(fault)?;
            while at < lines.len() && !is_blank(lines[at]) {
                read_expectation(&mut eval, lines[at]).map_err(fault)?;
                at += 1;
                if eval.scalar.is_some() {
                    break;
                }
            }
            commands.push(Command::Eval(Box::new(eval)));
        } else {
            return Err(fault(format!("unknown command {word:?}")));
        }
    }
    Ok(commands)
}

fn is_blank(line: &str) -> bool {
    line.is_empty() || line.starts_with('#')
}

/// Milliseconds of a duration with an optional sign, or of plain seconds.
fn duration(text: &str) -> Option<i64> {
    series::number(text).map(|seconds| (seconds * 1000.0).round() as i64)
}

fn read_eval(word: &str, rest: &str, line: usize) -> Result<Eval, String> {
    let mut words = rest.splitn(2, char::is_whitespace);
    let (kind, rest) = (words.next().unwrap_or(""), words.next().unwrap_or("").trim());
    let mut rest = rest;
    let mut take = |keyword: &str| -> Result<i64, String> {
        let after = rest.strip_prefix(keyword).map(str::trim_start).unwrap_or(rest);
        let (word, tail) = after.split_once(char::is_whitespace).ok_or("no expression")?;
        rest = tail.trim();
        duration(word).ok_or_else(|| format!("bad time {word:?}"))
    };
    let when = match kind {
        "instant" => When::Instant(take("at")?),
        "range" => {
            When::Range(Times { start: take("from")?, end: take("to")?, step: take("step")? })
        }
        _ => return Err(format!("unknown evaluation {kind:?}")),
    };
    let any = |wanted: bool| if wanted { vec![Text::Any] } else { Vec::new() };
    Ok(Eval {
        line,
        when,
        expr: rest.to_owned(),
        fail: (word == "eval_fail").then_some(Text::Any),
        warn: any(word == "eval_warn"),
        info: any(word == "eval_info"),
        no_warn: false,
        no_info: false,
        ordered: word == "eval_ordered",
        string: None,
        range_vector: None,
        scalar: None,
        series: Vec::new(),
    })
}

fn read_expectation(eval: &mut Eval, line: &str) -> Result<(), String> {
    if let Some(rest) = line.strip_prefix("expected_fail_message ") {
        eval.fail = Some(Text::Exactly(rest.trim().to_owned()));
    } else if let Some(rest) = line.strip_prefix("expected_fail_regexp ") {
        eval.fail = Some(regex(rest.trim())?);
    } else if let Some(rest) = line.strip_prefix("expect ") {
        let (kind, rest) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
        let rest = rest.trim();
        match kind {
            "fail" => eval.fail = Some(text(rest)?),
            "warn" => eval.warn.push(text(rest)?),
            "info" => eval.info.push(text(rest)?),
            "no_warn" => eval.no_warn = true,
            "no_info" => eval.no_info = true,
            "ordered" => eval.ordered = true,
            "string" => eval.string = Some(quoted(rest)?),
            "range" => eval.range_vector = Some(range_vector(rest)?),
            _ => return Err(format!("unknown expectation {kind:?}")),
        }
    } else if let Some(value) = series::number(line) {
        eval.scalar = Some(value);
    } else {
        eval.series.push(series::read_line(line)?);
    }
    Ok(())
}

fn text(rest: &str) -> Result<Text, String> {
    if let Some(message) = rest.strip_prefix("msg:") {
        Ok(Text::Exactly(message.trim().to_owned()))
    } else if let Some(pattern) = rest.strip_prefix("regex:") {
        regex(pattern.trim())
    } else {
        Ok(Text::Any)
    }
}

fn regex(pattern: &str) -> Result<Text, String> {
    Regex::new(pattern).map(Text::Matching).map_err(|error| error.to_string())
}

fn quoted(text: &str) -> Result<String, String> {
    match promql::parse(text).map(|expr| expr.kind) {
        Ok(promql::ExprKind::Text(text)) => Ok(text),
        _ => Err(format!("not a quoted text: {text}")),
    }
}

fn range_vector(rest: &str) -> Result<Times, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let ["vector", "from", start, "to", end, "step", step] = words.as_slice() else {
        return Err(format!("bad range vector {rest:?}"));
    };
    let time = |text: &str| duration(text).ok_or_else(|| format!("bad time {text:?}"));
    Ok(Times { start: time(start)?, end: time(end)?, step: time(step)? })
}
