//! The first thing a stranger runs.

use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::{Process, eventually, get_text};

use crate::stack::repository;

const BUILD_AND_START: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn quickstart_comes_up_refuses_a_second_run_and_ends_cleanly() {
    // It uses the default ports; somebody's own Saker is not disturbed.
    if [6060, 8433, 4444, 6030, 6031, 6081, 9912, 8080, 1988]
        .iter()
        .any(|&port| TcpStream::connect(("127.0.0.1", port)).is_ok())
    {
        assert!(std::env::var_os("CI").is_none(), "a default port is taken");
        eprintln!("skipped: a default port is taken");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let script = repository().join("scripts/quickstart");
    let args = ["--profile", "dev", "--data", data.path().to_str().unwrap()];

    let mut first = Process::start(&script, args);
    eventually("quickstart says that Saker is up", BUILD_AND_START, async || {
        assert!(first.is_running(), "{}", first.output());
        first.output().contains("Saker is up").then_some(())
    })
    .await;
    let http = daemon::http_client().unwrap();
    eventually("cpu_idle answers", SOON, async || {
        let text = get_text(&http, "http://127.0.0.1:8080/api/v1/query?query=cpu_idle").await?;
        text.contains("\"endpoint\"").then_some(())
    })
    .await;

    let mut second = Process::start(&script, args);
    assert_eq!(second.wait(SOON).await.code(), Some(2));
    assert!(second.output().contains("already running"), "{}", second.output());

    first.signal(Signal::SIGINT);
    assert!(first.wait(SOON).await.success(), "{}", first.output());
    eventually("nothing listens any more", SOON, async || {
        [6060, 8080, 1988]
            .iter()
            .all(|&port| TcpStream::connect(("127.0.0.1", port)).is_err())
            .then_some(())
    })
    .await;
}
