//! The script of `/install.sh`, run as an operator would, below a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hbs::{Config, UpgradeConfig};

use crate::rollout::Hbs;

/// An hbs with an archive, and an empty host.
struct Case {
    hbs: Hbs,
    files: PathBuf,
    dir: tempfile::TempDir,
}

impl Case {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files");
        fs::create_dir(&files).unwrap();
        let upgrade = UpgradeConfig { files: files.clone(), ..UpgradeConfig::default() };
        let hbs = Hbs::start(Config { upgrade, ..Config::default() }).await;
        let case = Self { hbs, files, dir };
        case.put_archive("7.0");
        case
    }

    /// Makes an archive as `scripts/package` does, with agents that only have a version.
    fn put_archive(&self, version: &str) {
        let root = self.dir.path().join("archive");
        for file in [
            "usr/lib/saker/saker-launcher",
            "usr/lib/saker/baseline/saker-agent",
            "usr/lib/saker/baseline/version",
            "usr/bin/saker-agent",
            "lib/systemd/system/saker-agent.service",
        ] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, version).unwrap();
        }
        let name = format!("saker-agent_{}.tar.gz", std::env::consts::ARCH);
        let pack = "tar -C archive -czf files/$0 usr lib && cd files && sha256sum $0 > SHA256SUMS";
        let shell = Command::new("sh").args(["-c", pack, &name]).current_dir(&self.dir).output();
        assert!(shell.as_ref().unwrap().status.success(), "{shell:?}");
    }

    async fn script(&self) -> String {
        self.hbs.get("/install.sh").await
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    /// Runs a script with these flags; the test's threads serve hbs meanwhile.
    async fn run(&self, script: &str, flags: &[&str]) -> Output {
        let mut command = Command::new("sh");
        command.args(["-s", "--"]).args(flags).arg("--root").arg(self.root());
        let file = self.dir.path().join("script");
        fs::write(&file, script).unwrap();
        command.stdin(Stdio::from(fs::File::open(file).unwrap()));
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root().join(file)).unwrap()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn check_untouched(root: &Path, told: &str) {
    assert!(!root.exists(), "something was installed: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_installed_once_and_its_configuration_is_never_changed() {
    let case = Case::new().await;
    let script = case.script().await;
    let output = case.run(&script, &["--endpoint", "web-1", "--label", "idc=bj"]).await;
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(case.read("usr/lib/saker/baseline/version"), "7.0");
    let config = case.read("etc/saker/agent.toml");
    assert!(config.contains("endpoint = \"web-1\"") && config.contains("\"idc\" = \"bj\""));
    let table: toml::Table = config.parse().unwrap();
    let hbs = table["hbs"]["addresses"][0].as_str().unwrap();
    assert!(script.contains(&format!("origin='{hbs}'")), "{config}");
    assert_eq!(table["transfer"]["addresses"][0].as_str().unwrap(), "http://127.0.0.1:6060");

    let again = case.run(&script, &[]).await;
    assert!(text(&again).contains("nothing was changed"), "{}", text(&again));

    fs::write(case.root().join("etc/saker/agent.toml"), "# mine\n").unwrap();
    case.put_archive("7.1");
    let newer = case.run(&case.script().await, &[]).await;
    assert!(newer.status.success(), "{}", text(&newer));
    assert_eq!(case.read("usr/lib/saker/baseline/saker-agent"), "7.1");
    assert_eq!(case.read("etc/saker/agent.toml"), "# mine\n");

    let gone = case.run(&script, &["--uninstall"]).await;
    assert!(gone.status.success() && !case.root().join("usr/lib/saker").exists());
    assert_eq!(case.read("etc/saker/agent.toml"), "# mine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_with_another_digest_installs_nothing() {
    let case = Case::new().await;
    let script = case.script().await;
    let name = format!("saker-agent_{}.tar.gz", std::env::consts::ARCH);
    fs::write(case.files.join(name), "something else").unwrap();
    let output = case.run(&script, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("nothing was installed"), "{}", text(&output));
    check_untouched(&case.root(), &text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_was_cut_anywhere_does_nothing() {
    let case = Case::new().await;
    let script = case.script().await;
    let end = script.trim_end().len();
    // Every byte of the beginning and of the end, and steps through the functions between.
    let inside = (200..end - 60).step_by(89);
    for cut in (0..200).step_by(3).chain(inside).chain(end - 60..end) {
        let output = case.run(&script[..cut], &[]).await;
        check_untouched(&case.root(), &format!("cut at {cut}: {}", text(&output)));
    }
    let whole = case.run(&script[..end], &["--dry-run"]).await;
    assert!(text(&whole).contains("would install"), "{}", text(&whole));
    check_untouched(&case.root(), &text(&whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_and_values_that_could_leave_their_quotes_are_refused() {
    let case = Case::new().await;
    let script = case.script().await;
    for flags in [
        &["--frobnicate"][..],
        &["--endpoint", "a\"b"],
        &["--hbs", "http://a b"],
        &["--label", "novalue"],
        &["--transfer", "$(id)"],
    ] {
        let output = case.run(&script, flags).await;
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {}", text(&output));
        check_untouched(&case.root(), &text(&output));
    }
}

#[tokio::test]
async fn a_host_header_that_is_no_address_gets_no_script() {
    let case = Case::new().await;
    for host in ["a;id", "'$(id)'", "a/../b", "a:99999"] {
        let request = case.hbs.request("GET", "/install.sh").header("host", host);
        assert_eq!(request.send().await.unwrap().status(), 400, "{host}");
    }
    let request = case.hbs.request("GET", "/install.sh").header("host", "hbs.example:6031");
    let script = request.send().await.unwrap().text().await.unwrap();
    assert!(script.contains("origin='http://hbs.example:6031'"));
}

#[tokio::test]
async fn an_hbs_without_archives_says_what_to_set() {
    let hbs = Hbs::start(Config::default()).await;
    let answer = hbs.request("GET", "/install.sh").send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert!(answer.text().await.unwrap().contains("set hbs.upgrade.files"));
}
