//! The plugin files that agents fetch, kept in memory within a bound: after a change thousands of agents ask for the
//! same few.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;

/// Files by their digests.
#[derive(Debug)]
pub(crate) struct FileCache {
    bytes_max: usize,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    bytes: usize,
    by_digest: HashMap<String, Bytes>,
}

impl FileCache {
    /// An empty cache for so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, files: Mutex::default() }
    }

    /// A file, if it is kept.
    pub(crate) fn file(&self, sha256: &str) -> Option<Bytes> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.by_digest.get(sha256).cloned()
    }

    /// Keeps a file. When there is no room all others are dropped: those that are asked for come back.
    pub(crate) fn keep(&self, sha256: &str, body: &Bytes) {
        if body.len() > self.bytes_max {
            return;
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.bytes + body.len() > self.bytes_max {
            *files = Files::default();
        }
        if files.by_digest.insert(sha256.to_owned(), body.clone()).is_none() {
            files.bytes += body.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds() {
        let cache = FileCache::new(10);
        let body = Bytes::from_static(b"123456");
        cache.keep("a", &body);
        cache.keep("a", &body);
        assert_eq!(cache.file("a"), Some(body.clone()));
        cache.keep("b", &body);
        assert_eq!((cache.file("a"), cache.file("b")), (None, Some(body)));
        cache.keep("c", &Bytes::from_static(b"12345678901"));
        assert_eq!(cache.file("c"), None);
    }
}
