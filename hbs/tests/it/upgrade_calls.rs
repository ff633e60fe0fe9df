//! Open-Falcon's calls of upgrades byte for byte, and who may make them.

use std::net::UdpSocket;
use std::process::Command;

use hbs::Config;
use serde_json::{Value, json};
use testkit::program;

use crate::rollout::{Hbs, MD5, task};

const IDLE: &str = concat!(
    r#"{"msg":"success","data":"#,
    r#"{"type":0,"wgeturl":"","version":"","binfile_md5":"","cfgfile_md5":""}}"#
);

/// Runs curl as an operator does, with the arguments of a runbook.
async fn curl(line: String) -> String {
    let arguments = line.split_whitespace().map(|word| word.trim_matches('\'').to_owned());
    let mut command = Command::new(program("curl").expect("curl is installed"));
    command.args(["--silent", "--noproxy", "*"]).args(arguments);
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_runbooks_answer_byte_for_byte() {
    if program("curl").is_none() {
        return;
    }
    let hbs = Hbs::start(Config::default()).await;
    let at = hbs.address;
    hbs.beat("n3-021-225", "6.0.1", None).await;
    assert_eq!(curl(format!("http://{at}/agent/upgrade/nowargs")).await, IDLE);
    let body = format!(
        r#"{{"wgeturl":"http://192.0.2.9/falcon","version":"6.0.2","binfile_md5":"{MD5}"}}"#
    );
    let running = format!(
        r#"{{"msg":"success","data":{{"type":0,"wgeturl":"http://192.0.2.9/falcon","version":"6.0.2","binfile_md5":"{MD5}","cfgfile_md5":""}}}}"#
    );
    let posted = curl(format!("-X POST -d '{body}' http://{at}/agent/upgrade")).await;
    assert_eq!(posted, running);
    assert_eq!(curl(format!("http://{at}/agent/upgrade/nowargs")).await, running);
    assert_eq!(
        curl(format!("http://{at}/agentversions")).await,
        r#"{"msg":"success","data":{"n3-021-225":"6.0.1"}}"#
    );
    assert_eq!(
        curl(format!("-X DELETE http://{at}/agent/upgrade")).await,
        r#"{"msg":"success","data":"取消升级成功"}"#
    );
    assert_eq!(curl(format!("http://{at}/agent/upgrade/nowargs")).await, IDLE);
}

#[tokio::test]
async fn both_files_at_once_are_type_two_and_faults_have_the_seeds_texts() {
    let hbs = Hbs::start(Config::default()).await;
    let both = hbs.post(&task("7.1", json!({ "type": 2, "cfgfile_md5": MD5 }))).await;
    let text = both.text().await.unwrap();
    assert!(
        text.contains(r#""type":2"#) && text.ends_with(&format!(r#""cfgfile_md5":"{MD5}"}}}}"#))
    );
    let bad = |body: Value| {
        let hbs = &hbs;
        async move {
            let answer = hbs.post(&body).await;
            (answer.status().as_u16(), answer.text().await.unwrap())
        }
    };
    assert_eq!(bad(json!([])).await, (400, "解析出错".to_owned()));
    assert_eq!(bad(json!({})).await, (400, "参数错误".to_owned()));
    let without = json!({ "wgeturl": "http://a", "version": "1" });
    assert_eq!(bad(without).await, (400, "只升级bin:缺失BinFileMd5参数".to_owned()));
    let (status, text) = bad(task("7.1", json!({ "host": ["a"] }))).await;
    assert!(status == 400 && text.contains("unknown field `host`"), "{text}");
    assert_eq!(hbs.request("PUT", "/agent/upgrade").send().await.unwrap().status(), 405);
}

/// An address of this machine that is not loopback, if it has one.
fn other_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: connecting chooses the address that would be used.
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
}

/// Also fault of the seed: DELETE was not checked at all.
#[tokio::test]
async fn who_comes_by_another_address_may_look_and_not_touch() {
    let Some(address) = other_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let config = Config { listen: "0.0.0.0:0".parse().unwrap(), ..Config::default() };
    let hbs = Hbs::start(config).await;
    hbs.roll_out(json!({})).await;
    let port = hbs.address.port();
    let http = &hbs.context.http;
    let url = |path: &str| format!("http://{address}:{port}{path}");
    let body = task("7.2", json!({ "force": true })).to_string();
    for (method, path) in [
        ("POST", "/agent/upgrade"),
        ("DELETE", "/agent/upgrade"),
        ("POST", "/agent/upgrade/pause"),
        ("POST", "/agent/upgrade/resume"),
    ] {
        let method: reqwest::Method = method.parse().unwrap();
        let request = http.request(method.clone(), url(path)).body(body.clone());
        // What a header claims does not count, whichever it is.
        let forged = request.try_clone().unwrap().header("host", "127.0.0.1:6031");
        for request in [request, forged] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 403, "{method} {path}");
            assert_eq!(answer.text().await.unwrap(), "no privilege");
        }
    }
    for path in ["/agent/upgrade", "/agent/upgrade/nowargs", "/agentversions"] {
        assert_eq!(http.get(url(path)).send().await.unwrap().status(), 200, "{path}");
    }
    assert_eq!(hbs.status().await["task"]["version"], "7.1", "nothing was changed");
}

#[tokio::test]
async fn forged_headers_and_pages_in_browsers_get_no_privilege() {
    let hbs = Hbs::start(Config::default()).await;
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
        ("host", "rebound.evil.example"),
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for method in ["POST", "DELETE"] {
            let request = hbs.request(method, "/agent/upgrade").header(name, value);
            let answer = request.body(task("7.1", json!({})).to_string()).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{method} {name}: {value}");
            assert_eq!(answer.text().await.unwrap(), "no privilege");
        }
    }
    assert_eq!(hbs.status().await["phase"], "idle");
}

#[tokio::test]
async fn the_unix_socket_is_for_its_owner_and_takes_the_same_calls() {
    use std::os::unix::fs::PermissionsExt as _;

    let Some(curl) = program("curl") else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("upgrade.sock");
    let upgrade = hbs::UpgradeConfig { socket: socket.clone(), ..Default::default() };
    let hbs = Hbs::start(Config { upgrade, ..Config::default() }).await;
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut command = Command::new(curl);
    command.args(["--silent", "--unix-socket"]).arg(&socket);
    command.args(["-d", &task("7.1", json!({})).to_string(), "http://hbs/agent/upgrade"]);
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.starts_with(r#"{"msg":"success","data":{"type":0,"#), "{text}");
    hbs.context.stop().await;
    assert!(!socket.exists(), "it is removed at the stop");
}
