//! The commands that talk to a running agent, and those about its configuration.

use std::fs;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use testkit::{eventually, free_port};

use crate::stand_in::{PATIENCE, StandIn};

fn command(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_saker-agent")).args(args).output().unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = command(args);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A running agent with its configuration file; killed when dropped.
struct Running {
    child: Child,
    file: String,
    dir: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    async fn start(neighbour: &StandIn) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.toml");
        let text = format!(
            "endpoint = 'h'\nlisten = '127.0.0.1:{}'\ndata_dir = '{}'\n[transfer]\naddresses = ['{}']\n\
             spread = '0s'\n[hbs]\naddresses = ['{}']\n[plugins.environment]\nDB_PASSWORD = 'hush-hush'\n",
            free_port(),
            dir.path().join("data").display(),
            neighbour.url,
            neighbour.url.replace("http://", "http://user:hush-hush@"),
        );
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let mut run = Command::new(env!("CARGO_BIN_EXE_saker-agent"));
        let child = run.args(["--config", &file]).stderr(Stdio::null()).spawn().unwrap();
        let running = Self { child, file, dir };
        let is_up = async || {
            // The first heartbeat may still be on its way.
            let args = ["status", "--config", running.file.as_str()];
            command(&args).status.success().then_some(())
        };
        eventually("a status without a lack", PATIENCE, is_up).await;
        running
    }
}

#[tokio::test]
async fn status_push_and_diagnose_ask_the_running_agent() {
    let neighbour = StandIn::start().await;
    let agent = Running::start(&neighbour).await;
    let status = json(&["status", "--json", "--config", &agent.file]);
    assert_eq!(status["pid"], agent.child.id());
    assert_eq!((&status["endpoint"], &status["lacks"]), (&"h".into(), &serde_json::json!({})));
    let text = command(&["status", "--config", &agent.file]);
    assert!(
        String::from_utf8_lossy(&text.stdout).contains("\ntransfer   ok (http://127"),
        "{text:?}"
    );

    let push =
        ["push", "-m", "queue.length", "-v", "-1.5", "-t", "q=mail", "--config", &agent.file];
    let output = command(&push);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"taken\n"[..]));
    let arrived = async || neighbour.value(r#"queue_length{q="mail"}"#);
    assert_eq!(eventually("the sample", PATIENCE, arrived).await, -1.5);
    let refused =
        command(&["push", "-m", "a", "-v", "1", "--type", "gauge", "--config", &agent.file]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(refused.stdout, b"refused: counter_type\n");

    let out = agent.dir.path().join("diagnosis");
    let args = ["diagnose", "--out", out.to_str().unwrap(), "--config", &agent.file];
    assert!(command(&args).status.success());
    assert!(!command(&args).status.success(), "an existing folder is left alone");
    for (file, holds) in [
        ("config.toml", "transfer.addresses"),
        ("host.json", "kernel"),
        ("metrics.txt", "agent_heartbeats_total"),
        ("status.json", "queue_bytes"),
        ("collectors.txt", "filesystem"),
    ] {
        let text = fs::read_to_string(out.join(file)).unwrap();
        assert!(text.contains(holds), "{file}: {text}");
    }
    for file in fs::read_dir(&out).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains("hush-hush"), "{text}");
    }
}

#[test]
fn without_an_agent_the_address_that_was_asked_is_told() {
    let listen = format!("127.0.0.1:{}", free_port());
    for args in [["status"].as_slice(), &["push", "-m", "a", "-v", "1", "--endpoint", "h"]] {
        let output = command(&[args, &["--listen", &listen]].concat());
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(&listen) && told.contains("is it running"), "{told}");
    }
}

#[test]
fn every_value_is_shown_with_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    fs::write(&file, "[transfer]\ntimeout = '3s'\n").unwrap();
    let file = file.to_str().unwrap();
    let shown = json(&["config", "show", "--json", "--config", file, "--endpoint", "web-01"]);
    assert_eq!(shown["transfer.timeout"], serde_json::json!({ "value": "3s", "origin": file }));
    assert_eq!(shown["hbs.timeout"]["origin"], "default");
    assert_eq!(shown["endpoint"]["origin"], "argument or environment");
    let text = command(&["config", "show", "--config", file]).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(&format!("transfer.timeout = \"3s\"  # {file}")), "{text}");
    // What is shown can be used as it is.
    let again = dir.path().join("again.toml");
    fs::write(&again, &text).unwrap();
    let valid = command(&["config", "validate", "--config", again.to_str().unwrap()]);
    assert_eq!(valid.status.code(), Some(0), "{valid:?}");
}

#[test]
fn a_cfg_json_becomes_a_configuration_that_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("cfg.json"), dir.path().join("agent.toml"));
    fs::write(&old, r#"{"hostname":"a","transfer":{"addrs":["t:8433"]},"debug":true}"#).unwrap();
    let args = ["config", "import", old.to_str().unwrap(), "--out", new.to_str().unwrap()];
    let output = command(&args);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("note: debug: "), "{output:?}");
    assert!(command(&["config", "validate", "--config", new.to_str().unwrap()]).status.success());
    assert!(!command(&args).status.success(), "an existing file is left alone");
}

#[test]
fn the_preflight_needs_a_data_directory_that_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let check = |data: &str| {
        json(&["check", "--preflight", "--json", "--endpoint", "h", "--data-dir", data])
    };
    let good = check(data.to_str().unwrap());
    assert_eq!((&good["is_ok"], &good["data_dir"]), (&true.into(), &"ok".into()), "{good}");
    fs::write(dir.path().join("file"), "").unwrap();
    let bad = check(dir.path().join("file").to_str().unwrap());
    assert_eq!(bad["is_ok"], false);
    assert!(bad["data_dir"].as_str().unwrap().starts_with("cannot write in "), "{bad}");
}
