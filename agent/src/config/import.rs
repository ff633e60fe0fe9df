//! An Open-Falcon `cfg.json` as an `agent.toml`. Pure.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The new configuration, and what of the old one is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The text of `agent.toml`.
    pub toml: String,
    /// What is not carried over or means something else now, a line each.
    pub notes: Vec<String>,
}

/// Ports of the original's JSON-RPC and of the HTTP that the agent speaks instead.
const TRANSFER_PORT: &str = "6060";
const HBS_PORT: &str = "6031";

/// Reads a `cfg.json`.
///
/// # Errors
/// When it is no JSON object.
pub fn import(json: &str) -> Result<Imported, String> {
    let config: Map<String, Value> =
        serde_json::from_str(json).map_err(|error| format!("this is no cfg.json: {error}"))?;
    let mut import = Import { out: Imported { toml: String::new(), notes: Vec::new() } };
    import.line("# Made of an Open-Falcon cfg.json by `saker-agent config import`.");
    import.host(&config);
    import.tables(&config);
    for key in config.keys() {
        import.note_key(key);
    }
    Ok(import.out)
}

struct Import {
    out: Imported,
}

impl Import {
    fn line(&mut self, line: &str) {
        self.out.toml.push_str(line);
        self.out.toml.push('\n');
    }

    fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        let _ = writeln!(self.out.toml, "{key} = {}", value.into());
    }

    fn note(&mut self, note: impl Into<String>) {
        self.out.notes.push(note.into());
    }

    fn host(&mut self, config: &Map<String, Value>) {
        if let Some(name) = text(config, "hostname") {
            self.set("endpoint", name);
        }
        let http = table(config, "http");
        match http.and_then(|http| text(http, "listen")) {
            Some(listen) if flag(http, "enabled") => {
                let port = listen.rsplit(':').next().unwrap_or("1988");
                self.set("listen", format!("127.0.0.1:{port}"));
                if !listen.starts_with("127.") {
                    let note =
                        "http.listen: the agent listens on loopback only; set `listen` to open it";
                    self.note(note);
                }
            }
            _ => {
                self.note("http: the local listener cannot be switched off; it is on loopback only")
            }
        }
        if flag(http, "backdoor") {
            self.note("http.backdoor: there is no remote shell");
        }
    }

    fn tables(&mut self, config: &Map<String, Value>) {
        self.labels(config);
        self.transfer(config);
        self.heartbeat(config);
        self.plugins(config);
        self.collectors(config);
    }

    fn labels(&mut self, config: &Map<String, Value>) {
        let Some(tags) = table(config, "default_tags").filter(|tags| !tags.is_empty()) else {
            return;
        };
        self.line("\n[labels]");
        for (tag, value) in tags {
            match value.as_str().filter(|_| model::is_label_name(tag)) {
                Some(value) => self.set(tag, value),
                None => self.note(format!("default_tags.{tag}: is no label (letters, digits, _)")),
            }
        }
    }

    fn transfer(&mut self, config: &Map<String, Value>) {
        let transfer = table(config, "transfer");
        let listed = transfer.and_then(|transfer| transfer.get("addrs")).and_then(Value::as_array);
        let single = transfer.and_then(|transfer| text(transfer, "addr"));
        let addresses = listed.into_iter().flatten().filter_map(Value::as_str).chain(single);
        let addresses: Vec<String> =
            addresses.filter_map(|addr| http_address(addr, TRANSFER_PORT)).collect();
        if addresses.is_empty() {
            self.note("transfer: no address; set transfer.addresses");
            return;
        }
        self.line("\n[transfer]");
        self.set("addresses", addresses);
        self.note(format!(
            "transfer: the agent sends to the HTTP port of transfer, {TRANSFER_PORT}, not to its JSON-RPC"
        ));
        if transfer.and_then(|transfer| transfer.get("interval")).is_some() {
            self.note("transfer.interval: each group of metrics has its own; see [groups]");
        }
    }

    fn heartbeat(&mut self, config: &Map<String, Value>) {
        let heartbeat = table(config, "heartbeat");
        self.line("\n[hbs]");
        let address = heartbeat.and_then(|heartbeat| text(heartbeat, "addr"));
        let address = address.filter(|_| flag(heartbeat, "enabled"));
        let addresses: Vec<String> =
            address.and_then(|addr| http_address(addr, HBS_PORT)).into_iter().collect();
        if !addresses.is_empty() {
            self.note(format!(
                "heartbeat: goes to the HTTP port of hbs, {HBS_PORT}, not to its JSON-RPC"
            ));
        }
        self.set("addresses", addresses);
        let interval = heartbeat.and_then(|heartbeat| heartbeat.get("interval")?.as_u64());
        if let Some(seconds) = interval.filter(|seconds| (1..=3600).contains(seconds)) {
            self.set("interval", format!("{seconds}s"));
        }
    }

    fn plugins(&mut self, config: &Map<String, Value>) {
        let plugin = table(config, "plugin");
        if !flag(plugin, "enabled") {
            return;
        }
        self.line("\n[plugins]");
        self.set("from_hbs", true);
        if let Some(folder) = plugin.and_then(|plugin| text(plugin, "dir")) {
            self.note(format!(
                "plugin.dir: to run the scripts of {folder} without hbs, set plugins.directory and plugins.run"
            ));
        }
        self.note("plugin.git: plugins come as bundles from hbs; git is not used");
    }

    fn collectors(&mut self, config: &Map<String, Value>) {
        let collector = table(config, "collector");
        if collector.is_some_and(|collector| collector.contains_key("ifacePrefix")) {
            self.note(
                "collector.ifacePrefix: all interfaces but collect.interfaces_ignored are measured",
            );
        }
        if collector.is_some_and(|collector| collector.contains_key("mountPoint")) {
            self.note(
                "collector.mountPoint: all file systems but collect.mounts_ignored are measured",
            );
        }
        if table(config, "ignore").is_some_and(|ignore| !ignore.is_empty()) {
            self.note("ignore: everything is sent; drop metrics with transfer.relabel");
        }
        if config.get("cpu_per_core_collect").and_then(Value::as_bool) == Some(true) {
            self.line("\n[groups.percore]");
            self.set("enabled", true);
        }
    }

    // What nothing above looks at.
    fn note_key(&mut self, key: &str) {
        let known = [
            "hostname",
            "http",
            "default_tags",
            "transfer",
            "heartbeat",
            "plugin",
            "collector",
            "ignore",
            "cpu_per_core_collect",
        ];
        if known.contains(&key) {
            return;
        }
        self.note(match key {
            "debug" => "debug: use --log debug".to_owned(),
            "ip" => "ip: the agent reports the address that faces hbs".to_owned(),
            "metric_level_interval" => {
                "metric_level_interval: set intervals by group in [groups], or centrally in hbs"
                    .to_owned()
            }
            other => format!("{other}: is not carried over"),
        });
    }
}

fn table<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    map.get(key)?.as_object()
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

fn flag(map: Option<&Map<String, Value>>, key: &str) -> bool {
    map.and_then(|map| map.get(key)?.as_bool()).unwrap_or(false)
}

// The host stays, the port is that of HTTP.
fn http_address(address: &str, port: &str) -> Option<String> {
    let (host, _) = address.rsplit_once(':')?;
    let url = format!("http://{host}:{port}");
    reqwest::Url::parse(&url).ok().filter(|parsed| parsed.has_host()).map(|_| url)
}

#[cfg(test)]
mod tests {
    use daemon::parse_config;
    use proptest::prelude::*;

    use super::super::Config;
    use super::*;

    const SHIPPED: &str = r#"{
        "debug": true, "hostname": "web-01", "ip": "",
        "plugin": { "enabled": false, "dir": "./plugin", "git": "https://x/plugin.git", "logs": "./logs" },
        "heartbeat": { "enabled": true, "addr": "10.0.0.5:6030", "interval": 60, "timeout": 1000 },
        "transfer": { "enabled": true, "addrs": ["10.0.0.5:8433", "10.0.0.6:8433"], "interval": 60, "timeout": 1000 },
        "http": { "enabled": true, "listen": ":1988", "backdoor": true },
        "collector": { "ifacePrefix": ["eth", "em"], "mountPoint": [] },
        "default_tags": { "idc": "bj", "a-b": "x" },
        "ignore": { "cpu.busy": true }, "cpu_per_core_collect": true
    }"#;

    fn read(imported: &Imported) -> Config {
        parse_config("agent.toml", &imported.toml, Config::validate).expect("it is a configuration")
    }

    #[test]
    fn what_has_a_meaning_here_is_carried_over() {
        let imported = import(SHIPPED).unwrap();
        let config = read(&imported);
        assert_eq!(config.endpoint.as_deref(), Some("web-01"));
        assert_eq!(config.transfer.addresses, ["http://10.0.0.5:6060", "http://10.0.0.6:6060"]);
        assert_eq!(config.hbs.addresses, ["http://10.0.0.5:6031"]);
        assert_eq!(config.hbs.interval.as_secs(), 60);
        assert_eq!(config.listen.to_string(), "127.0.0.1:1988");
        assert_eq!(config.labels["idc"], "bj");
        assert!(
            config.enabled_groups().iter().any(|(g, _)| *g == crate::catalogue::Group::Percore)
        );
    }

    #[test]
    fn what_has_none_is_told() {
        let notes = import(SHIPPED).unwrap().notes.join("\n");
        for key in [
            "debug:",
            "ip:",
            "http.backdoor:",
            "http.listen:",
            "collector.ifacePrefix:",
            "default_tags.a-b:",
            "ignore:",
            "transfer:",
            "heartbeat:",
        ] {
            assert!(notes.contains(key), "{key} in {notes}");
        }
        assert!(import("[]").is_err() && import("{").is_err());
    }

    #[test]
    fn heartbeats_that_were_off_stay_off() {
        let off = SHIPPED.replace(r#""enabled": true, "addr""#, r#""enabled": false, "addr""#);
        assert!(read(&import(&off).unwrap()).hbs.addresses.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_is_imported_is_a_configuration(
            name in "[ -~]{1,20}", addr in "[a-z0-9.:/ ]{0,20}", tag in "[a-z_-]{1,5}", value in "[ -~主\n]{0,8}",
        ) {
            let json = serde_json::json!({
                "hostname": name, "transfer": { "addrs": [addr, "h:1"] },
                "heartbeat": { "enabled": true, "addr": addr, "interval": 5 },
                "default_tags": { tag: value }, "plugin": { "enabled": true, "dir": value },
            });
            let imported = import(&json.to_string()).unwrap();
            let parsed = toml::from_str::<Config>(&imported.toml);
            prop_assert!(parsed.is_ok(), "{:?} in {}", parsed.err(), imported.toml);
        }
    }
}
