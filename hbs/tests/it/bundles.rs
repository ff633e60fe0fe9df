//! Plugin bundles.

use hbs::Config;
use reqwest::Method;
use serde_json::{Value, json};

use crate::hbs::Hbs;

fn archive(files: &[(&str, u32, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, body) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(body.len() as u64);
        archive.append_data(&mut header, path, body.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

#[tokio::test]
async fn a_bundle_is_uploaded_once_and_its_files_are_fetched_by_their_digests() {
    let hbs = Hbs::start(Config::default()).await;
    let body = archive(&[("ntp/60_ntp.sh", 0o755, "echo"), ("README", 0o644, "read me")]);
    let answer = hbs.request(Method::PUT, "/api/v1/bundles/sys").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let bundle: Value = answer.json().await.unwrap();
    let files = bundle["files"].as_array().unwrap();
    assert_eq!((files.len(), &files[1]["path"]), (2, &json!("ntp/60_ntp.sh")));
    assert_eq!(hbs.json("/api/v1/bundles").await["bundles"], json!([bundle]));
    let sha256 = files[1]["sha256"].as_str().unwrap();
    for _ in ["from the database", "from memory"] {
        assert_eq!(hbs.get(&format!("/v1/plugins/{sha256}")).await, "echo");
    }
    let none = hbs.request(Method::GET, "/v1/plugins/none").send().await.unwrap();
    assert_eq!(none.status(), 404);

    let run = json!({ "bundle": "sys", "path": "ntp/60_ntp.sh", "interval_seconds": 60 });
    hbs.put("/api/v1/groups/all", &json!({ "host_patterns": ["*"], "plugins": [run] })).await;
    let told = hbs.hear(&json!({ "host": "a" })).await;
    assert_eq!(told["desired"]["bundles"], json!([bundle]));
    assert_eq!(hbs.delete("/api/v1/bundles/sys").await, 204);
    let told = hbs.hear(&json!({ "host": "a" })).await;
    assert_eq!(told["desired"]["plugins"], Value::Null, "what cannot be run is not handed out");
    let faults = &hbs.json("/api/v1/hosts/a/desired").await["faults"];
    assert_eq!(faults[0], "all: there is no file ntp/60_ntp.sh in a bundle sys");
}

#[tokio::test]
async fn what_is_no_archive_is_refused() {
    let hbs = Hbs::start(Config { bundle_file_bytes_max: 10, ..Config::default() }).await;
    let put = async |body: Vec<u8>| {
        let answer =
            hbs.request(Method::PUT, "/api/v1/bundles/sys").body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = put(b"nonsense".repeat(100)).await;
    assert!(status == 400 && text.contains("no tar archive"), "{text}");
    let (status, text) = put(archive(&[("a", 0o644, "more than ten bytes")])).await;
    assert!(status == 400 && text.contains("more than 10 bytes"), "{text}");
}
