//! The directory that holds what Saker must not lose.

use std::fs;
use std::path::Path;

use daemon::StartError;

/// Makes the directory when it is missing and proves that it can be written.
pub(crate) fn prepare(dir: &Path) -> Result<(), StartError> {
    let probe = dir.join(".writable");
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&probe, b""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| {
            StartError::environment(format!(
                "cannot write to the data directory {}: {error}; give it to the user that runs saker, or choose \
                 another one with --data-dir or `data_dir`",
                dir.display()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        prepare(&dir).expect("the parent is writable");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::NamedTempFile::new().unwrap();
        let error = prepare(&folder.path().join("data")).expect_err("a file is no directory");
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }
}
