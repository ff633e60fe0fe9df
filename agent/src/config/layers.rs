//! Where the configuration comes from: the defaults, `agent.toml`, the files of `agent.d` in the order of their
//! names, the arguments. What comes later wins; lists of tables, such as `[[checks]]`, are put together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use daemon::{Faults, StartError};
use toml::{Table, Value};

use super::Config;

/// What is read when no file is named and this one is there.
pub const DEFAULT_FILE: &str = "/etc/saker/agent.toml";

/// What a value is called whose origin is no file.
const DEFAULT: &str = "default";
const ARGUMENT: &str = "argument or environment";
/// A host that has opted out of upgrades or plugins cannot be opted in by an upgrade.
const PROTECTED: [&str; 2] = ["upgrade", "plugins"];
const MASK: &str = "***";
/// Keys with one of these words in them hold what nobody should see.
const SECRET_WORDS: [&str; 5] = ["password", "passwd", "secret", "token", "credential"];

/// The configuration with the origin of each value.
#[derive(Debug)]
pub struct Layered {
    /// The configuration.
    pub config: Config,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
    origins: BTreeMap<String, String>,
}

/// One value of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its key with those of the tables around it, joined by dots.
    pub key: String,
    /// The value, secrets masked.
    pub value: Value,
    /// Where it is from.
    pub origin: String,
}

impl Layered {
    /// Reads all layers: the files, the `overlay` of an upgrade, and what `change` puts over both.
    ///
    /// # Errors
    /// All faults at once: unknown keys with file and line, then values that do not fit with their key.
    pub fn load(
        main: Option<&Path>,
        overlay: Option<&Path>,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self, StartError> {
        let mut files = files(main)?;
        files.extend(overlay.map(Path::to_owned));
        let mut layered = Self::from_files(files, overlay)?;
        let before = layered.settings();
        change(&mut layered.config);
        let changed: Vec<String> = layered
            .settings()
            .into_iter()
            .filter(|setting| !before.contains(setting))
            .map(|setting| setting.key)
            .collect();
        for key in changed {
            layered.origins.insert(key, ARGUMENT.to_owned());
        }
        layered.validate()?;
        Ok(layered)
    }

    fn from_files(files: Vec<PathBuf>, overlay: Option<&Path>) -> Result<Self, StartError> {
        let (mut merged, mut origins) = (Table::new(), BTreeMap::new());
        let mut faults = Vec::new();
        for file in &files {
            let protected = if overlay == Some(file) { &PROTECTED[..] } else { &[] };
            match read(file, protected) {
                Ok(table) => {
                    merge(&mut merged, table, "", &file.display().to_string(), &mut origins)
                }
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(StartError::usage(faults.join("\n")));
        }
        let config = merged.try_into().map_err(|error: toml::de::Error| {
            StartError::usage(format!("the configuration files do not fit together: {error}"))
        })?;
        Ok(Self { config, files, origins })
    }

    fn validate(&self) -> Result<(), StartError> {
        let mut faults = Faults::default();
        self.config.validate(&mut faults);
        let told: Vec<String> = faults
            .list()
            .iter()
            .map(|fault| {
                let key = fault.split(": ").next().unwrap_or_default();
                format!("{fault} ({})", self.origin(key))
            })
            .collect();
        if told.is_empty() { Ok(()) } else { Err(StartError::usage(told.join("\n"))) }
    }

    /// All values, by key.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        // Text, numbers, lists and tables all have a TOML form.
        let Ok(Value::Table(table)) = Value::try_from(&self.config) else { return settings };
        self.flatten("", table, &mut settings);
        settings
    }

    fn flatten(&self, above: &str, table: Table, settings: &mut Vec<Setting>) {
        for (name, value) in table {
            let key = joined(above, &name);
            match value {
                Value::Table(table) if !table.is_empty() => self.flatten(&key, table, settings),
                value => {
                    let origin = self.origin(&key).to_owned();
                    settings.push(Setting { value: masked(&key, value), key, origin });
                }
            }
        }
    }

    // A list that was put together has the origin of its last part.
    fn origin(&self, key: &str) -> &str {
        let mut key = key.split('[').next().unwrap_or_default();
        loop {
            if let Some(origin) = self.origins.get(key) {
                return origin;
            }
            let Some((above, _)) = key.rsplit_once('.') else { return DEFAULT };
            key = above;
        }
    }
}

/// The files to read: the one that is named, or [`DEFAULT_FILE`] if it is there, then what is beside it in the
/// folder of the same name with `.d`.
fn files(main: Option<&Path>) -> Result<Vec<PathBuf>, StartError> {
    let file = main.unwrap_or(Path::new(DEFAULT_FILE));
    let mut files = Vec::new();
    if main.is_some() || file.exists() {
        files.push(file.to_owned());
    }
    let folder = file.with_extension("d");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(files) };
    let mut parts = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| {
            StartError::usage(format!("cannot list {}: {error}", folder.display()))
        })?;
        parts.extend(Some(entry.path()).filter(|path| path.extension() == Some("toml".as_ref())));
    }
    parts.sort();
    files.extend(parts);
    Ok(files)
}

fn read(file: &Path, protected: &[&str]) -> Result<Table, String> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| {
        format!("cannot read the configuration {name}: {error}; check the path")
    })?;
    // Values are looked at when all files are put together, and here only to tell all faults at once.
    if daemon::parse_config::<Config>(&name, &text, |_, _| {}).is_err()
        && let Err(error) = daemon::parse_config(&name, &text, Config::validate)
    {
        return Err(error.to_string());
    }
    let table: Table = toml::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
    match protected.iter().find(|key| table.contains_key(**key)) {
        Some(key) => Err(format!("{name}: {key} may only be set in the host's own configuration")),
        None => Ok(table),
    }
}

fn merge(
    into: &mut Table,
    from: Table,
    above: &str,
    origin: &str,
    origins: &mut BTreeMap<String, String>,
) {
    for (name, value) in from {
        let key = joined(above, &name);
        match (into.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(table)) => {
                merge(below, table, &key, origin, origins);
                continue;
            }
            (None, Value::Table(table)) => {
                let mut below = Table::new();
                merge(&mut below, table, &key, origin, origins);
                into.insert(name, Value::Table(below));
                continue;
            }
            (Some(Value::Array(list)), Value::Array(more))
                if !more.is_empty() && more.iter().all(Value::is_table) =>
            {
                list.extend(more);
            }
            (_, value) => {
                into.insert(name, value);
            }
        }
        origins.insert(key, origin.to_owned());
    }
}

fn joined(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") }
}

/// The value without what nobody should see: secrets by the name of their key, what plugins get by their
/// environment, and the users and passwords of addresses.
pub fn masked(key: &str, value: Value) -> Value {
    let last = key.rsplit('.').next().unwrap_or(key).to_lowercase();
    let is_file = last.ends_with("_file");
    let is_secret = SECRET_WORDS.iter().any(|word| last.contains(word)) && !is_file;
    match value {
        Value::String(text) if (is_secret || key.contains("environment.")) && !text.is_empty() => {
            Value::String(MASK.to_owned())
        }
        Value::String(text) => Value::String(without_users(&text)),
        Value::Array(list) => Value::Array(list.into_iter().map(|one| masked(key, one)).collect()),
        Value::Table(table) => {
            let masked = |(name, value): (String, Value)| {
                let value = masked(&joined(key, &name), value);
                (name, value)
            };
            Value::Table(table.into_iter().map(masked).collect())
        }
        plain => plain,
    }
}

/// A text without the users and passwords of the addresses in it.
pub fn without_users(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end =
            part.find(|c: char| c == '/' || c == '"' || c.is_whitespace()).unwrap_or(part.len());
        out.push_str("://");
        match part[..end].rfind('@') {
            Some(at) => {
                out.push_str(MASK);
                out.push_str(&part[at..]);
            }
            None => out.push_str(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("agent.d")).unwrap();
        for (file, text) in files {
            fs::write(dir.path().join(file), text).unwrap();
        }
        dir
    }

    fn load(dir: &tempfile::TempDir) -> Result<Layered, StartError> {
        Layered::load(Some(&dir.path().join("agent.toml")), None, |config| {
            config.endpoint = Some("web-01".to_owned());
        })
    }

    #[test]
    fn later_files_win_and_lists_of_tables_add_up() {
        let check = "[[checks]]\nmetric = 'net.port.listen'\ntags = 'port=1'\n";
        let dir = folder(&[
            ("agent.toml", &format!("labels = {{ a = '1', b = '1' }}\n{check}")),
            ("agent.d/20.toml", "labels = { b = '2' }\n[hbs]\naddresses = []\n"),
            ("agent.d/10.toml", &format!("labels = {{ b = '0' }}\n{check}")),
            ("agent.d/readme.txt", "not read"),
        ]);
        let layered = load(&dir).unwrap();
        assert_eq!(layered.config.labels["b"], "2");
        assert_eq!((layered.config.checks.len(), layered.files.len()), (2, 3));
        let origin = |key: &str| {
            let setting = layered.settings().into_iter().find(|setting| setting.key == key);
            setting.unwrap().origin.rsplit('/').next().unwrap().to_owned()
        };
        assert_eq!(origin("labels.a"), "agent.toml");
        assert_eq!(origin("labels.b"), "20.toml");
        assert_eq!(origin("checks"), "10.toml");
        assert_eq!(origin("hbs.addresses"), "20.toml");
        assert_eq!(origin("spool.bytes_max"), DEFAULT);
        assert_eq!(origin("endpoint"), ARGUMENT);
    }

    #[test]
    fn faults_name_their_file() {
        let dir = folder(&[("agent.toml", "x = 1"), ("agent.d/a.toml", "\n[hbs]\nport = 1")]);
        let told = load(&dir).unwrap_err().to_string();
        assert!(
            told.contains("agent.toml: ") && told.contains("line 1: unknown field `x`"),
            "{told}"
        );
        assert!(
            told.contains("a.toml: ") && told.contains("line 3: unknown field `port`"),
            "{told}"
        );
        let dir =
            folder(&[("agent.toml", ""), ("agent.d/a.toml", "transfer = { addresses = ['x'] }")]);
        let told = load(&dir).unwrap_err().to_string();
        assert!(told.contains("transfer.addresses: ") && told.ends_with("a.toml)"), "{told}");
    }

    #[test]
    fn an_upgrade_may_change_settings_but_not_let_itself_or_plugins_in() {
        let dir = folder(&[("agent.toml", "labels = { a = '1' }")]);
        let with = |text: &str| {
            let overlay = dir.path().join("overlay");
            fs::write(&overlay, text).unwrap();
            Layered::load(Some(&dir.path().join("agent.toml")), Some(&overlay), |_| {})
        };
        let layered = with("labels = { a = '2' }\n[transfer]\ntimeout = '3s'").unwrap();
        assert_eq!(layered.config.labels["a"], "2");
        assert_eq!(layered.config.transfer.timeout.as_secs(), 3);
        for text in ["[upgrade]\nenabled = true", "[plugins]\nfrom_hbs = true"] {
            let told = with(text).unwrap_err().to_string();
            assert!(told.contains("may only be set in the host's own configuration"), "{told}");
        }
    }

    #[test]
    fn secrets_are_masked() {
        let text = |key: &str, value: &str| match masked(key, Value::String(value.to_owned())) {
            Value::String(text) => text,
            other => panic!("{other}"),
        };
        assert_eq!(text("scrape.password", "x"), MASK);
        assert_eq!(text("plugins.environment.DB", "x"), MASK);
        assert_eq!(text("db.password_file", "/etc/x"), "/etc/x");
        assert_eq!(text("plugins.public_key", "abc"), "abc");
        assert_eq!(text("scrape", "http://u:p@h:1/a@b"), "http://***@h:1/a@b");
        let told = "post to http://u:p@h/x: refused; ftp://v@g: no";
        assert_eq!(without_users(told), "post to http://***@h/x: refused; ftp://***@g: no");
        let list = Value::Array(vec![Value::String("http://u@h".to_owned())]);
        assert_eq!(masked("addresses", list).to_string(), r#"["http://***@h"]"#);
    }

    #[test]
    fn a_named_file_must_be_there() {
        assert!(Layered::load(Some(Path::new("/nonexistent/a.toml")), None, |_| {}).is_err());
    }
}
