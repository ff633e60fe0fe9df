//! Downloads against a server that misbehaves.

use std::fs;
use std::time::Duration;

use daemon::{Clock, Context};
use saker_agent::upgrade::fetch::{Fetch, FetchError};
use testkit::{Fault, FileServer};

struct Case {
    ctx: Context,
    server: FileServer,
    fetch: Fetch,
    _dir: tempfile::TempDir,
}

impl Case {
    async fn new() -> Self {
        let ctx = Context::new("test", Clock::System).unwrap();
        let server = FileServer::start(&ctx).await;
        let dir = tempfile::tempdir().unwrap();
        let fetch = Fetch {
            url: format!("{}/bin_7.1", server.url()),
            to: dir.path().join("7.1.bin.part"),
            bytes_max: 1 << 20,
            rate_bytes: 0,
            timeout: Duration::from_secs(20),
            jitter: 0.0,
        };
        server.put("bin_7.1", content());
        Self { ctx, server, fetch, _dir: dir }
    }

    async fn run(&self) -> Result<u64, FetchError> {
        self.fetch.run(&self.ctx.http, &mut |_| {}).await
    }

    fn check_whole(&self) {
        assert!(fs::read(&self.fetch.to).unwrap() == content(), "the file is another one");
    }
}

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn a_file_is_fetched_and_its_progress_told() {
    let case = Case::new().await;
    let mut seen = Vec::new();
    let size = case.fetch.run(&case.ctx.http, &mut |bytes| seen.push(bytes)).await.unwrap();
    assert_eq!((size, seen.last(), seen[0]), (300_000, Some(&300_000), 0));
    case.check_whole();
}

#[tokio::test]
async fn a_download_that_was_cut_goes_on_where_it_ended() {
    let case = Case::new().await;
    case.server.fault(Fault::Cut(100_000));
    case.run().await.unwrap();
    case.check_whole();
    let ranges: Vec<_> = case.server.asked().into_iter().map(|(_, range)| range).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".to_owned())]);
}

#[tokio::test]
async fn a_part_of_another_file_is_not_gone_on_with() {
    let case = Case::new().await;
    fs::write(&case.fetch.to, vec![7; 5000]).unwrap();
    fs::write(case.fetch.to.with_extension("etag"), "\"of another file\"").unwrap();
    case.run().await.unwrap();
    case.check_whole();
}

#[tokio::test]
async fn a_part_that_is_too_long_is_thrown_away() {
    let case = Case::new().await;
    case.run().await.unwrap();
    let mut longer = content();
    longer.extend([0; 9]);
    fs::write(&case.fetch.to, longer).unwrap();
    case.run().await.unwrap();
    case.check_whole();
}

#[tokio::test]
async fn what_the_server_does_not_have_is_asked_for_once() {
    let case = Case::new().await;
    case.server.fault(Fault::Status(404));
    let told = case.run().await.unwrap_err();
    assert!(matches!(told, FetchError::Refused { .. }), "{told}");
    assert_eq!(case.server.asked().len(), 1);
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again_and_a_dead_one_given_up() {
    let case = Case::new().await;
    case.server.fault(Fault::Status(503));
    let told = case.run().await.unwrap_err();
    assert!(told.to_string().contains("503"), "{told}");
    assert_eq!(case.server.asked().len(), 3);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_at_the_deadline() {
    let mut case = Case::new().await;
    case.server.fault(Fault::Hang);
    case.fetch.timeout = Duration::from_millis(200);
    assert!(matches!(case.run().await, Err(FetchError::Later { .. })));
}

#[tokio::test]
async fn a_file_beyond_the_limit_is_not_written() {
    let mut case = Case::new().await;
    case.fetch.bytes_max = 299_999;
    let told = case.run().await.unwrap_err().to_string();
    assert!(told.contains("more than 299999 bytes (upgrade.bytes_max)"), "{told}");
    assert!(!case.fetch.to.exists());
}

#[tokio::test]
async fn a_download_keeps_to_its_rate() {
    let mut case = Case::new().await;
    case.fetch.rate_bytes = 400_000;
    let began = tokio::time::Instant::now();
    case.run().await.unwrap();
    // 300 kB at 400 kB/s, less the quarter of a second that may come at once.
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    case.check_whole();
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let mut case = Case::new().await;
    case.fetch.to = "/nonexistent/7.1.part".into();
    let told = case.run().await.unwrap_err();
    assert!(matches!(&told, FetchError::Write { file, .. } if file.contains("/nonexistent/")));
    assert_eq!(case.server.asked().len(), 1);
}
