//! Downloads a file: in pieces, with limits, and where the last try ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Client, Response, StatusCode};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::upgrade::bucket::Bucket;

/// How often a download is tried.
pub const TRIES: u32 = 3;
/// How long nothing may come before the connection counts as dead.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The pause after the first failed try; each further one is four times as long.
const PAUSE: Duration = Duration::from_secs(1);
/// Free space that a download of a size needs: itself, the release made of it, and as much again for the spool.
const ROOM_FACTOR: u64 = 3;

/// What is fetched, and within what limits.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The address.
    pub url: String,
    /// Where it goes; what is there of an earlier try is gone on with.
    pub to: PathBuf,
    /// Bytes, at most.
    pub bytes_max: u64,
    /// Bytes a second; 0 for no limit.
    pub rate_bytes: u64,
    /// How long all tries together may take.
    pub timeout: Duration,
    /// This host's share, 0 to 1, by which pauses are stretched, so that a fleet does not come back at once.
    pub jitter: f64,
}

/// Why there is no file.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The server does not have it or does not give it: another try would not help.
    #[error("{url} answered {status}")]
    Refused {
        /// The address.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// It is larger than allowed.
    #[error("{url} has more than {bytes_max} bytes (upgrade.bytes_max)")]
    TooLarge {
        /// The address.
        url: String,
        /// The limit.
        bytes_max: u64,
    },
    /// There is not enough free space.
    #[error("{free} bytes are free, and {needed} are needed")]
    NoRoom {
        /// Free bytes.
        free: u64,
        /// Needed bytes.
        needed: u64,
    },
    /// The disk does not take it.
    #[error("cannot write {file}")]
    Write {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The connection failed, or the server is overloaded.
    #[error("{url}: {why}")]
    Later {
        /// The address.
        url: String,
        /// Why.
        why: String,
    },
}

impl Fetch {
    /// Fetches the file and returns its size. `progress` hears how many bytes there are.
    ///
    /// # Errors
    /// After [`TRIES`] tries, or at once when another try would not help.
    pub async fn run(
        &self,
        http: &Client,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<u64, FetchError> {
        let end = Instant::now() + self.timeout;
        let mut pause = PAUSE.mul_f64(1.0 + self.jitter);
        for last in [false, false, true] {
            let error = match timeout_at(end, self.once(http, progress)).await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(error)) => error,
                Err(_) => return Err(self.later(format!("not done within {:?}", self.timeout))),
            };
            if last || !matches!(error, FetchError::Later { .. }) {
                return Err(error);
            }
            tracing::warn!(pause_ms = pause.as_millis(), "a download is tried again: {error}");
            sleep(pause).await;
            pause *= 4;
        }
        Err(self.later("no try succeeded".to_owned()))
    }

    async fn once(
        &self,
        http: &Client,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<u64, FetchError> {
        let mut response = self.ask(http).await?;
        let (mut file, mut size) = self.open(&response)?;
        self.check_room(&response, size)?;
        let began = Instant::now();
        let mut bucket = Bucket::new(self.rate_bytes, Duration::ZERO);
        loop {
            progress(size);
            let piece = match timeout(IDLE_MAX, response.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(self.later(daemon::error_chain(&error.without_url()))),
                Err(_) => return Err(self.later(format!("nothing came for {IDLE_MAX:?}"))),
            };
            size += piece.len() as u64;
            if size > self.bytes_max {
                self.forget();
                return Err(self.too_large());
            }
            file.write_all(&piece).map_err(|source| self.write_error(source))?;
            let wait = bucket.take(piece.len(), began.elapsed());
            if !wait.is_zero() {
                sleep(wait).await;
            }
        }
        file.sync_all().map_err(|source| self.write_error(source))?;
        Ok(size)
    }

    // The part of an earlier try is gone on with only when the server says that the file is still the same.
    async fn ask(&self, http: &Client) -> Result<Response, FetchError> {
        let part = fs::metadata(&self.to).map_or(0, |metadata| metadata.len());
        let validator = fs::read_to_string(self.validator()).unwrap_or_default();
        let mut request =
            http.get(&self.url).timeout(self.timeout).header(ACCEPT_ENCODING, "identity");
        if part > 0 && !validator.is_empty() {
            request = request.header(RANGE, format!("bytes={part}-")).header(IF_RANGE, validator);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.later(daemon::error_chain(&error.without_url()))),
        };
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.forget();
                Err(self.later("the part of an earlier try does not fit".to_owned()))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(self.later(status.to_string()))
            }
            _ if status.is_server_error() => Err(self.later(status.to_string())),
            _ => Err(FetchError::Refused { url: self.url.clone(), status }),
        }
    }

    // The file to write to and how much of it is there.
    fn open(&self, response: &Response) -> Result<(File, u64), FetchError> {
        let part = fs::metadata(&self.to).map_or(0, |metadata| metadata.len());
        let goes_on = response.status() == StatusCode::PARTIAL_CONTENT;
        if goes_on && range_start(response.headers()) != Some(part) {
            self.forget();
            return Err(self.later("the answer is another part than asked for".to_owned()));
        }
        let mut options = OpenOptions::new();
        let options = if goes_on {
            options.append(true)
        } else {
            options.create(true).write(true).truncate(true)
        };
        let file = options.open(&self.to).map_err(|source| self.write_error(source))?;
        if !goes_on {
            let validator = validator_of(response.headers()).unwrap_or_default();
            // Without it the next try begins anew, and that is all.
            let _ = fs::write(self.validator(), validator);
        }
        Ok((file, if goes_on { part } else { 0 }))
    }

    fn check_room(&self, response: &Response, part: u64) -> Result<(), FetchError> {
        let Some(rest) = response.content_length() else { return Ok(()) };
        if rest.saturating_add(part) > self.bytes_max {
            self.forget();
            return Err(self.too_large());
        }
        let folder = self.to.parent().unwrap_or(Path::new("/"));
        let needed = rest.saturating_add(part).saturating_mul(ROOM_FACTOR);
        match nix::sys::statvfs::statvfs(folder) {
            Ok(stat) => {
                let free = stat.blocks_available().saturating_mul(stat.fragment_size());
                if free < needed { Err(FetchError::NoRoom { free, needed }) } else { Ok(()) }
            }
            Err(error) => Err(self.write_error(error.into())),
        }
    }

    fn validator(&self) -> PathBuf {
        self.to.with_extension("etag")
    }

    /// Removes what was fetched.
    pub fn forget(&self) {
        let _ = fs::remove_file(&self.to);
        let _ = fs::remove_file(self.validator());
    }

    fn later(&self, why: String) -> FetchError {
        FetchError::Later { url: self.url.clone(), why }
    }

    fn too_large(&self) -> FetchError {
        FetchError::TooLarge { url: self.url.clone(), bytes_max: self.bytes_max }
    }

    fn write_error(&self, source: io::Error) -> FetchError {
        FetchError::Write { file: self.to.display().to_string(), source }
    }
}

// A weak ETag does not promise equal bytes.
fn validator_of(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    text(ETAG).filter(|etag| !etag.starts_with("W/")).or_else(|| text(LAST_MODIFIED))
}

fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_promises_equal_bytes_is_asked_for() {
        let mut headers = HeaderMap::new();
        headers.insert(ETAG, "W/\"a\"".parse().unwrap());
        assert_eq!(validator_of(&headers), None);
        headers.insert(LAST_MODIFIED, "Sun, 22 Nov 2026 00:00:00 GMT".parse().unwrap());
        assert_eq!(validator_of(&headers).as_deref(), Some("Sun, 22 Nov 2026 00:00:00 GMT"));
        headers.insert(ETAG, "\"b\"".parse().unwrap());
        assert_eq!(validator_of(&headers).as_deref(), Some("\"b\""));
    }

    #[test]
    fn the_start_of_a_part_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(range_start(&headers), None);
        headers.insert(CONTENT_RANGE, "bytes 5-9/10".parse().unwrap());
        assert_eq!(range_start(&headers), Some(5));
        headers.insert(CONTENT_RANGE, "bytes */10".parse().unwrap());
        assert_eq!(range_start(&headers), None);
    }
}
