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

/// Like [`load_config`], with the settings of a second file over those of the first, key by key. The second may not
/// have the sections named in `protected`.
pub fn load_config_under<T>(
    file: Option<&Path>,
    over: &Path,
    protected: &[&str],
    validate: fn(&T, &mut Faults),
) -> Result<T, StartError>
where
    T: DeserializeOwned + Default,
{
    let read = |path: &Path| -> Result<toml::Table, StartError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let path = path.display();
            StartError::usage(format!("cannot read the configuration {path}: {error}"))
        })?;
        Ok(parse_config(&path.display().to_string(), &text, |_, _| {})?)
    };
    let mut table = file.map(read).transpose()?.unwrap_or_default();
    let upper = read(over)?;
    let mut faults = Faults::default();
    for key in protected.iter().filter(|key| upper.contains_key(**key)) {
        faults.add(key, "may only be set in the host's own configuration");
    }
    let over = over.display().to_string();
    if !faults.0.is_empty() {
        return Err(ConfigError { file: over, faults: faults.0 }.into());
    }
    put_over(&mut table, upper);
    let below = file.map(|file| file.display().to_string()).unwrap_or_default();
    Ok(parse_config(&format!("{over} over {below}"), &table.to_string(), validate)?)
}

fn put_over(table: &mut toml::Table, upper: toml::Table) {
    for (key, value) in upper {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(value)) => put_over(below, value),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
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
            format!("line {number}: {} (in `{source}`)", one_line(error.message())),
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
    fn a_syntax_error_is_told_once() {
        assert_eq!(faults("port = \nname = 3").len(), 1);
        assert_eq!(faults("[inner").len(), 1);
    }

    #[test]
    fn a_second_file_goes_over_the_first_key_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let below = write("below.toml", "port = 5\nname = \"a\"\n[inner]\nsize = 1\n");
        let over = write("over.toml", "name = \"b\"\n");
        let load = |over: &Path, protected: &[&str]| {
            load_config_under::<Config>(Some(&below), over, protected, validate)
        };
        let config = load(&over, &["inner"]).expect("valid");
        assert_eq!((config.port, config.name.as_str(), config.inner.size), (5, "b", 1));
        let over = write("over.toml", "prot = 5\n[inner]\nsize = 2\n");
        let told = load(&over, &["inner"]).expect_err("inner is protected").to_string();
        assert!(told.contains("over.toml") && told.contains("inner: may only be set"), "{told}");
        let told = load(&over, &[]).expect_err("prot is unknown").to_string();
        assert!(told.contains("unknown field `prot`"), "{told}");
    }

    #[test]
    fn a_missing_file_names_the_path() {
        let error = load_config::<Config>(Some(Path::new("/nonexistent/saker.toml")), validate)
            .expect_err("no file");
        assert!(error.to_string().contains("/nonexistent/saker.toml"), "{error}");
    }
}
