//! Serves the files of upgrades, so that `wgeturl` may be `http://hbs:6031/file`.

use std::io::SeekFrom;
use std::path::{Path as FilePath, PathBuf};
use std::time::UNIX_EPOCH;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, Take};

use crate::install::archive_arch;
use crate::rollout::is_version;
use crate::upgrades::Upgrades;

const CHUNK_BYTES: usize = 64 * 1024;

/// A part of a file, its end left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    from: u64,
    to: u64,
}

/// What of the file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    Part(Part),
    /// It begins behind the end.
    Nothing,
}

pub(super) async fn serve(
    State(upgrades): State<Upgrades>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(path) = path_of(&upgrades.config().files, &name) else {
        return (
            StatusCode::NOT_FOUND,
            "files are bin_<version>, cfg_<version> and saker-agent_<arch>.tar.gz\n",
        )
            .into_response();
    };
    let (file, bytes, etag) = match open(&path).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "a file of an upgrade is not there");
            return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
        }
    };
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == etag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // A part of another version of the file would be put behind a part of this one.
    let is_same = headers.get(header::IF_RANGE).is_none_or(|known| *known == etag);
    let range = text(header::RANGE).filter(|_| is_same);
    let (status, part) = match range.map_or(Wanted::All, |range| wanted(range, bytes)) {
        Wanted::All => (StatusCode::OK, Part { from: 0, to: bytes }),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Wanted::Nothing => {
            let all = [(header::CONTENT_RANGE, format!("bytes */{bytes}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, all).into_response();
        }
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        upgrades.count_file();
        match body(file, part).await {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a file cannot be read");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        }
    };
    let mut response = (status, body).into_response();
    let fields = response.headers_mut();
    let number = HeaderValue::from(part.to - part.from);
    fields.insert(header::CONTENT_LENGTH, number);
    fields.insert(header::ETAG, etag);
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let octets = HeaderValue::from_static("application/octet-stream");
    fields.insert(header::CONTENT_TYPE, octets);
    // Said, so that nobody compresses it on the way: lengths and parts are those of the file.
    fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("identity"));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{bytes}", part.from, part.to - 1);
        if let Ok(range) = HeaderValue::from_str(&range) {
            fields.insert(header::CONTENT_RANGE, range);
        }
    }
    response
}

/// Where a file is; nothing for a name that is none of an upgrade.
fn path_of(folder: &FilePath, name: &str) -> Option<PathBuf> {
    let version = || name.strip_prefix("bin_").or_else(|| name.strip_prefix("cfg_"));
    let is_known = version().is_some_and(is_version) || archive_arch(name).is_some();
    let is_served = !folder.as_os_str().is_empty() && is_known;
    is_served.then(|| folder.join(name))
}

async fn open(path: &FilePath) -> std::io::Result<(File, u64, HeaderValue)> {
    let file = File::open(path).await?;
    let found = file.metadata().await?;
    if !found.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let changed = found.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let etag = format!("\"{:x}-{:x}\"", found.len(), changed.as_nanos());
    let etag = HeaderValue::from_str(&etag).map_err(std::io::Error::other)?;
    Ok((file, found.len(), etag))
}

async fn body(mut file: File, part: Part) -> std::io::Result<Body> {
    file.seek(SeekFrom::Start(part.from)).await?;
    let reader = file.take(part.to - part.from);
    Ok(Body::from_stream(stream::try_unfold(reader, next_chunk)))
}

async fn next_chunk(mut reader: Take<File>) -> std::io::Result<Option<(Bytes, Take<File>)>> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    while chunk.len() < CHUNK_BYTES && reader.read_buf(&mut chunk).await? > 0 {}
    Ok((!chunk.is_empty()).then(|| (chunk.into(), reader)))
}

/// Reads a `Range`. Several parts at once, and what is no range of bytes, mean all of it.
fn wanted(range: &str, bytes: u64) -> Wanted {
    let Some(spec) = range.trim().strip_prefix("bytes=") else { return Wanted::All };
    let Some((from, last)) = spec.split_once('-') else { return Wanted::All };
    let part = match (from.trim().parse::<u64>(), last.trim()) {
        (Ok(from), "") => Part { from, to: bytes },
        (Ok(from), last) => match last.parse::<u64>() {
            Ok(last) if last >= from => Part { from, to: last.saturating_add(1).min(bytes) },
            _ => return Wanted::All,
        },
        (Err(_), last) if from.trim().is_empty() => match last.parse::<u64>() {
            Ok(suffix) => Part { from: bytes.saturating_sub(suffix), to: bytes },
            Err(_) => return Wanted::All,
        },
        _ => return Wanted::All,
    };
    if part.from >= part.to { Wanted::Nothing } else { Wanted::Part(part) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_is_a_part_of_the_file() {
        let part = |from, to| Wanted::Part(Part { from, to });
        for (range, expected) in [
            ("bytes=0-", part(0, 100)),
            ("bytes=10-", part(10, 100)),
            ("bytes=10-19", part(10, 20)),
            ("bytes=90-500", part(90, 100)),
            ("bytes=-10", part(90, 100)),
            ("bytes=-500", part(0, 100)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=9-5", Wanted::All),
            ("bytes=0-1,5-6", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("bytes=a-b", Wanted::All),
        ] {
            assert_eq!(wanted(range, 100), expected, "{range}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Nothing);
    }

    #[test]
    fn only_files_of_upgrades_have_a_path() {
        let folder = FilePath::new("/srv/agents");
        let path = |name| path_of(folder, name);
        assert_eq!(path("bin_7.1.0"), Some(PathBuf::from("/srv/agents/bin_7.1.0")));
        assert!(path("cfg_7.1.0-rc1").is_some());
        assert!(path("saker-agent_x86_64.tar.gz").is_some());
        for name in [
            "",
            "7.1",
            "bin_",
            "bin_../../etc/passwd",
            "bin_..",
            "bin_/a",
            "bin_a/b",
            "bin_.a",
            "SHA256SUMS",
        ] {
            assert_eq!(path(name), None, "{name}");
        }
        assert_eq!(path_of(FilePath::new(""), "bin_7.1.0"), None, "no folder is set");
    }

    proptest! {
        #[test]
        fn a_part_is_within_the_file(range in "(bytes=)?[0-9]{0,20}-?[0-9]{0,20}", bytes: u64) {
            if let Wanted::Part(part) = wanted(&range, bytes) {
                prop_assert!(part.from < part.to && part.to <= bytes);
            }
        }
    }
}
