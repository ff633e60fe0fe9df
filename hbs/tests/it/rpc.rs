//! Open-Falcon's agents, by JSON-RPC.

use std::net::SocketAddr;
use std::time::Duration;

use hbs::Config;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::hbs::{Hbs, NOW};

/// Sends bytes and reads so many lines.
async fn talk(address: SocketAddr, sent: &str, answers: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while read.iter().filter(|byte| **byte == b'\n').count() < answers {
        if stream.read_buf(&mut read).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8(read).unwrap().lines().map(str::to_owned).collect()
}

/// What an agent of Open-Falcon 0.3 says in its first two minutes, as reference/open-falcon.md 1.7 has it: its status
/// at once, the rest an interval later, and all again.
#[tokio::test]
async fn the_recorded_dialogue_of_an_open_falcon_agent_is_answered() {
    let hbs =
        Hbs::start(Config { trustable_ips: vec!["10.0.0.9".into()], ..Config::default() }).await;
    let checks = json!([
        { "check": "port_listen", "port": 22 },
        { "check": "url_health", "url": "http://127.0.0.1/health", "timeout": 3 },
    ]);
    hbs.put("/api/v1/groups/all", &json!({ "host_patterns": ["pay-*"], "checks": checks })).await;
    let now = NOW.seconds();
    let first = talk(
        hbs.at.rpc,
        concat!(
            r#"{"method":"Agent.ReportStatus","params":[{"Hostname":"pay-api-03","IP":"10.1.2.3","#,
            r#""AgentVersion":"5.1.2","PluginVersion":"plugin not enabled"}],"id":0}"#,
            "\n",
            r#"{"method":"Agent.MinePlugins","params":[{"Hostname":"pay-api-03","Checksum":""}],"id":1}"#,
            "\n",
            r#"{"method":"Agent.BuiltinMetrics","params":[{"Hostname":"pay-api-03","Checksum":"nil"}],"id":2}"#,
            "\n",
            r#"{"method":"Agent.TrustableIps","params":[{}],"id":3}"#,
            "\n",
        ),
        4,
    )
    .await;
    assert_eq!(first[0], r#"{"id":0,"result":{"code":0,"Args":null},"error":null}"#);
    assert_eq!(
        first[1],
        format!(r#"{{"id":1,"result":{{"Plugins":[],"Timestamp":{now}}},"error":null}}"#)
    );
    // md5 of net.port.listen/port=22url.check.health/url=http://127.0.0.1/health,timeout=3
    let checksum = "c41f7120f936c6c6db983930915c6ce5";
    let metrics = concat!(
        r#"[{"Metric":"net.port.listen","Tags":"port=22"},"#,
        r#"{"Metric":"url.check.health","Tags":"url=http://127.0.0.1/health,timeout=3"}]"#
    );
    let answer = |metrics: &str| {
        format!(
            r#"{{"id":2,"result":{{"Metrics":{metrics},"Checksum":"{checksum}","Timestamp":{now}}},"error":null}}"#
        )
    };
    assert_eq!(first[2], answer(metrics));
    assert_eq!(first[3], r#"{"id":3,"result":"10.0.0.9","error":null}"#);

    // The same once more, glued together and without line breaks: nothing new for the agent.
    let again = format!(
        r#"{{"method":"Agent.BuiltinMetrics","params":[{{"Hostname":"pay-api-03","Checksum":"{checksum}"}}],"id":2}}{}"#,
        r#"{"id":"x","params":[{"hostname":"pay-api-03","agentversion":"5.1.2","InUpgrading":false}],"method":"Agent.ReportStatus"}"#
    );
    let second = talk(hbs.at.rpc, &again, 2).await;
    assert_eq!(second[0], answer("[]"));
    assert_eq!(second[1], r#"{"id":"x","result":{"code":0,"Args":null},"error":null}"#);
    let host = hbs.json("/api/v1/hosts/pay-api-03").await;
    assert_eq!((&host["agent_version"], &host["groups"]), (&json!("5.1.2"), &json!(["all"])));
}

#[tokio::test]
async fn judges_and_proxies_get_their_lists() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.beat("web-01").await;
    let sent = concat!(
        r#"{"method":"Hbs.GetAgents","params":[{}],"id":1}"#,
        r#"{"method":"Hbs.GetStrategies","params":[{}],"id":2}"#,
        r#"{"method":"Hbs.GetExpressions","params":[{}],"id":3}"#,
    );
    assert_eq!(
        talk(hbs.at.rpc, sent, 3).await,
        [
            r#"{"id":1,"result":{"Agent":["web-01"]},"error":null}"#,
            r#"{"id":2,"result":{"hostStrategies":[]},"error":null}"#,
            r#"{"id":3,"result":{"expressions":[]},"error":null}"#,
        ]
    );
    // Also with rules in the database: they are evaluated here, and would be told twice.
    assert_eq!(hbs.metric("hbs_rpc_rule_questions_total").await, "2");
}

#[tokio::test]
async fn errors_have_the_words_of_go_and_leave_the_connection_open() {
    let hbs = Hbs::start(Config::default()).await;
    let sent = concat!(
        r#"{"method":"Agent.ReportStatus","params":[{"Hostname":""}],"id":1}"#,
        r#"{"method":"Agent.Nope","params":[{}],"id":2}"#,
        r#"{"method":"Agent.ReportStatus","params":[{"Hostname":5}],"id":3}"#,
        r#"{"method":"Agent.ReportStatus","params":[{"Hostname":"a\nb"}],"id":4}"#,
        r#"{"method":"Agent.TrustableIps","params":[{}],"id":5}"#,
    );
    let answers = talk(hbs.at.rpc, sent, 5).await;
    assert_eq!(answers[0], r#"{"id":1,"result":{"code":1,"Args":null},"error":null}"#);
    for (answer, error) in [
        (&answers[1], "rpc: can't find method Agent.Nope"),
        (&answers[2], "AgentReportRequest.Hostname of type string"),
        (&answers[3], "field host: has control characters"),
    ] {
        assert!(answer.contains(error), "{answer}");
    }
    assert_eq!(answers[4], r#"{"id":5,"result":"","error":null}"#);
    assert_eq!(hbs.json("/api/v1/hosts").await["total"], 0);
}

#[tokio::test]
async fn a_connection_that_sends_something_else_is_closed() {
    let hbs = Hbs::start(Config::default()).await;
    assert_eq!(talk(hbs.at.rpc, "GET / HTTP/1.1\r\n\r\n", 1).await, [""; 0]);
    let long = format!(r#"{{"method":"{}"#, "x".repeat(70_000));
    assert_eq!(talk(hbs.at.rpc, &long, 1).await, [""; 0]);
    assert_eq!(hbs.metric("hbs_rpc_malformed_total").await, "2");
}

#[tokio::test]
async fn a_connection_without_a_call_is_closed_after_its_time() {
    let hbs =
        Hbs::start(Config { rpc_idle_timeout: Duration::from_millis(50), ..Config::default() })
            .await;
    let mut silent = TcpStream::connect(hbs.at.rpc).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "closed by hbs");
}
