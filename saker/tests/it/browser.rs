//! Headless Chromium.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use testkit::{Process, program};

const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Browser {
    chromium: PathBuf,
    profile: TempDir,
}

impl Browser {
    /// Chromium, if it is installed.
    pub(crate) fn find() -> Option<Self> {
        let chromium = program("chromium")?;
        Some(Self { chromium, profile: tempfile::tempdir().unwrap() })
    }

    /// Renders a page into a PNG file.
    pub(crate) async fn screenshot(&self, url: &str, (width, height): (u32, u32), file: &Path) {
        let args = [
            format!("--screenshot={}", file.display()),
            format!("--window-size={width},{height}"),
            url.to_owned(),
        ];
        self.run(args).await;
    }

    /// The page as it stands after loading.
    pub(crate) async fn dom(&self, url: &str) -> String {
        self.run(["--dump-dom".to_owned(), url.to_owned()]).await
    }

    async fn run(&self, args: impl IntoIterator<Item = String>) -> String {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        // Everything that would talk to the outside is off.
        let quiet = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ];
        let args = quiet.into_iter().map(str::to_owned).chain([profile]).chain(args);
        let mut process = Process::start(&self.chromium, args);
        let status = process.wait(DEADLINE).await;
        assert!(status.success(), "{}", process.output());
        process.output()
    }
}
