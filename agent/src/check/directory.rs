//! `du.bs`: the bytes of a folder, counted as `du -bs` counts them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

/// Files with several names that are remembered; beyond it, further names are counted again.
const LINKS_MAX: usize = 1_000_000;
/// Folders found and not yet walked through.
const PENDING_MAX: usize = 1_000_000;

/// The bytes of everything at and below `path`, files with several names once, links themselves and not what
/// they lead to. What vanishes meanwhile counts nothing.
///
/// # Errors
/// When something cannot be read, or the walk is not done at `deadline`.
pub fn bytes(path: &Path, deadline: Instant) -> io::Result<u64> {
    let top = fs::symlink_metadata(path)?;
    let mut sum = top.len();
    let mut pending = if top.is_dir() { vec![path.to_owned()] } else { Vec::new() };
    let mut links = HashSet::new();
    while let Some(folder) = pending.pop() {
        let Some(entries) = unless_gone(fs::read_dir(&folder))? else { continue };
        for entry in entries {
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the walk took too long"));
            }
            let entry = entry?;
            let Some(found) = unless_gone(entry.metadata())? else { continue };
            let is_counted = found.nlink() > 1
                && !found.is_dir()
                && links.len() < LINKS_MAX
                && !links.insert((found.dev(), found.ino()));
            if is_counted {
                continue;
            }
            sum = sum.saturating_add(found.len());
            if found.is_dir() {
                push(&mut pending, entry.path())?;
            }
        }
    }
    Ok(sum)
}

fn push(pending: &mut Vec<PathBuf>, folder: PathBuf) -> io::Result<()> {
    if pending.len() >= PENDING_MAX {
        return Err(io::Error::other("there are too many folders"));
    }
    pending.push(folder);
    Ok(())
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn the_bytes_are_those_of_du() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "x".repeat(5000)).unwrap();
        fs::write(at("empty"), "").unwrap();
        fs::hard_link(at("a/b/file"), at("again")).unwrap();
        symlink("/usr", at("link")).unwrap();
        fs::File::create(at("sparse")).unwrap().set_len(1 << 20).unwrap();
        let du = Command::new("du").arg("-bs").arg(dir.path()).output().unwrap();
        let du: u64 =
            String::from_utf8(du.stdout).unwrap().split('\t').next().unwrap().parse().unwrap();
        assert_eq!(bytes(dir.path(), soon()).unwrap(), du);
        assert_eq!(bytes(&at("a/b/file"), soon()).unwrap(), 5000);
        assert_eq!(bytes(&at("link"), soon()).unwrap(), 4);
    }

    #[test]
    fn what_is_not_there_or_takes_too_long_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(bytes(&dir.path().join("none"), soon()).is_err());
        fs::write(dir.path().join("file"), "").unwrap();
        let past = Instant::now();
        let error = bytes(dir.path(), past).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
