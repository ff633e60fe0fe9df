//! One TOML file; every fault of it is told at once.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::StartError;

/// More faults than this are not listed: the file is then something else than a configuration.
const FAULTS_MAX: usize = 20;

/// Collects what is wrong with a configuration, each with its key.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Notes that the value of `key` is wrong and how to mend it.
    pub fn add(&mut self, key: &str, fault: impl fmt::Display) {
        self.0.push(format!("{key}: {fault}"));
    }

    /// The faults so far.
    pub fn list(&self) -> &[String] {
        &self.0
    }
}

/// A configuration that cannot be used, with all its faults.
#[derive(Debug)]
pub struct ConfigError {
    file: String,
    faults: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} in the configuration", self.file, count(self.faults.len()))?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        StartError::usage(error.to_string())
    }
}

/// Reads a configuration file, or takes the defaults when there is none. `validate` notes what single values cannot
/// tell: ranges, and fields that contradict each other.
pub fn load_config<T>(file: Option<&Path>, validate: fn(&T, &mut Faults)) -> Result<T, StartError>
where
    T: DeserializeOwned + Default,
{
    let Some(path) = file else {
        return Ok(T::default());
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        StartError::usage(format!(
            "cannot read the configuration {}: {error}; check the path of --config",
            path.display()
        ))
    })?;
    Ok(parse_config(&path.display().to_string(), &text, validate)?)
}

/// Like [`load_config`] for text that is already at hand; `name` is what errors call it.
pub fn parse_config<T>(
    name: &str,
    text: &str,
    validate: fn(&T, &mut Faults),
) -> Result<T, ConfigError>
where
    T: DeserializeOwned,
{
    let mut faults = Faults::default();
    if let Some(config) = parse_all(text, &mut faults) {
        validate(&config, &mut faults);
        if faults.0.is_empty() {
            return Ok(config);
        }
    }
    Err(ConfigError { file: name.to_owned(), faults: faults.0 })
}

// Serde stops at the first fault. Each line that holds one is blanked and the rest read again, so that an operator
// mends the file once and not once a fault.
fn parse_all<T: DeserializeOwned>(text: &str, faults: &mut Faults) -> Option<T> {
    let mut rest = text.to_owned();
    let mut by_line = Vec::new();
    let config = loop {
        let error = match toml::from_str::<T>(&rest) {
            Ok(config) => break Some(config),
            Err(error) => error,
        };
        let Some(line) = error.span().map(|span| line_around(&rest, span)) else {
            faults.0.push(error.message().to_owned());
            break None;
        };
        let number = rest[..line.start].matches('\n').count() + 1;
        let is_syntax = toml::from_str::<toml::Table>(&rest).is_err();
        let source = rest[line.clone()].trim();
        let is_last = is_syntax || source.is_empty() || by_line.len() + 1 >= FAULTS_MAX;
        by_line.push((
            number,
            format!("line {number}: {}{}", one_line(error.message()), place(source)),
        ));
        if is_last {
            break None;
        }
        rest.replace_range(line.clone(), &" ".repeat(line.len()));
    };
    by_line.sort();
    faults.0.extend(by_line.into_iter().map(|(_, fault)| fault));
    config
}

fn line_around(text: &str, span: Range<usize>) -> Range<usize> {
    let at = span.start.min(text.len());
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    start..end
}

/// What stands on a line, up to the value: that may be a secret, and faults are logged.
fn place(source: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.:\"' ".contains(c);
    match source.split_once('=') {
        Some((name, _)) if name.chars().all(is_name) => format!(" (in `{}`)", name.trim_end()),
        None if source.starts_with('[') && source.ends_with(']') && !source.contains('"') => {
            format!(" (in `{source}`)")
        }
        _ => String::new(),
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn count(faults: usize) -> String {
    if faults == 1 { "1 fault".to_owned() } else { format!("{faults} faults") }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Config {
        port: u16,
        name: String,
        inner: Inner,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        size: usize,
    }

    fn validate(config: &Config, faults: &mut Faults) {
        if config.port == 0 {
            faults.add("port", "must not be 0");
        }
    }

    fn faults(text: &str) -> Vec<String> {
        parse_config::<Config>("saker.toml", text, validate)
            .expect_err("the text has faults")
            .faults
    }

    #[test]
    fn a_good_file_is_read() {
        let config = parse_config("x", "port = 5\n[inner]\nsize = 3", validate).expect("valid");
        assert_eq!((config.port, config.inner.size, config.name.as_str()), (5, 3, ""));
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_line() {
        let faults = faults("prot = 5\nname = 7\n[inner]\nsize = 1\nsizes = 2\n");
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults[0].contains("line 1: unknown field `prot`"), "{faults:?}");
        assert!(faults.iter().any(|f| f.starts_with("line 2: invalid type")), "{faults:?}");
        assert!(
            faults.iter().any(|f| f.starts_with("line 5: unknown field `sizes`")),
            "{faults:?}"
        );
        assert_eq!(faults[3], "port: must not be 0");
    }

    #[test]
    fn no_value_is_repeated_in_a_fault() {
        for text in [
            "[inner]\nkeys = [{ id = 1, key = \"hunter2\" }]",
            "key = \"hunter2",
            "keys = [\n  \"hunter2\",\n  x\n]",
            "  { a = 1, key = \"hunter2\" }",
        ] {
            let faults = faults(text).join("\n");
            assert!(!faults.contains("hunter2"), "{faults}");
        }
        assert!(faults("name = 7")[0].ends_with("(in `name`)"));
    }

    #[test]
    fn a_syntax_error_is_told_once() {
        assert_eq!(faults("port = \nname = 3").len(), 1);
        assert_eq!(faults("[inner").len(), 1);
    }

    #[test]
    fn a_missing_file_names_the_path() {
        let error = load_config::<Config>(Some(Path::new("/nonexistent/saker.toml")), validate)
            .expect_err("no file");
        assert!(error.to_string().contains("/nonexistent/saker.toml"), "{error}");
    }
}
