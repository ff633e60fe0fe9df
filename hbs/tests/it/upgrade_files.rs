//! The files of upgrades, from hbs itself.

use hbs::{Config, UpgradeConfig};

use crate::rollout::Hbs;

async fn hbs_with(files: &[(&str, &[u8])]) -> Hbs {
    let folder = tempfile::tempdir().unwrap().keep();
    std::fs::write(folder.join("secret"), "not for agents").unwrap();
    std::fs::create_dir(folder.join("bin_folder")).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let upgrade = UpgradeConfig { files: folder, ..UpgradeConfig::default() };
    Hbs::start(Config { upgrade, ..Config::default() }).await
}

#[tokio::test]
async fn a_file_is_served_whole_with_its_length_and_never_compressed() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 7) as u8).collect();
    let hbs = hbs_with(&[("bin_7.1.0", &bytes)]).await;
    let request = hbs.request("GET", "/file/bin_7.1.0").header("accept-encoding", "gzip");
    let answer = request.send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((answer.status().as_u16(), header("content-length")), (200, "300000".to_owned()));
    assert_eq!(header("accept-ranges"), "bytes");
    assert_eq!(answer.bytes().await.unwrap(), bytes);
    let head = hbs.request("HEAD", "/file/bin_7.1.0").send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "300000");
    assert!(hbs.get("/metrics").await.contains("hbs_upgrade_files_served_total 1"));
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off_unless_the_file_is_another_one() {
    let hbs = hbs_with(&[("cfg_7.1.0", b"0123456789")]).await;
    let whole = hbs.request("GET", "/file/cfg_7.1.0").send().await.unwrap();
    let etag = whole.headers()["etag"].clone();
    let part = |range: &'static str| hbs.request("GET", "/file/cfg_7.1.0").header("range", range);
    let answer = part("bytes=4-").header("if-range", etag.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 206);
    assert_eq!(answer.headers()["content-range"], "bytes 4-9/10");
    assert_eq!(answer.text().await.unwrap(), "456789");
    let other = part("bytes=4-").header("if-range", "\"of yesterday\"").send().await.unwrap();
    assert_eq!((other.status().as_u16(), other.text().await.unwrap()), (200, "0123456789".into()));
    let beyond = part("bytes=10-").send().await.unwrap();
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.headers()["content-range"], "bytes */10");
    let same = hbs.request("GET", "/file/cfg_7.1.0").header("if-none-match", etag);
    assert_eq!(same.send().await.unwrap().status(), 304);
}

#[tokio::test]
async fn no_path_leaves_the_folder() {
    let hbs = hbs_with(&[("bin_7.1.0", b"x")]).await;
    for name in [
        "secret",
        "bin_folder",
        "bin_7.2.0",
        "bin_..%2fsecret",
        "bin_7.1.0%00",
        "..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "bin_..",
    ] {
        let answer = hbs.request("GET", &format!("/file/{name}")).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{name}");
    }
    let off = Hbs::start(Config::default()).await;
    assert_eq!(off.request("GET", "/file/bin_7.1.0").send().await.unwrap().status(), 404);
}
