//! Files of `/proc` and `/sys` that are read again and again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use thiserror::Error;

/// `/proc/stat` of a host with thousands of interrupts has some hundred KiB; beyond this it is no table of
/// the kernel.
const FILE_BYTES_MAX: usize = 4 << 20;
const BUFFER_START: usize = 1 << 10;

/// A table of the kernel that cannot be read or understood.
#[derive(Debug, Error)]
pub enum HostError {
    /// The file cannot be opened or read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file lacks what every kernel writes there.
    #[error("{path} has no {lacking}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        lacking: &'static str,
    },
}

/// A file that stays open and is read from its start each time, into a buffer that stays allocated: opening
/// and allocating cost more than reading does.
#[derive(Debug)]
pub struct KeptFile {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl KeptFile {
    /// The file at `relative` below `root`; it is opened at the first read.
    pub fn new(root: &Path, relative: &str) -> Self {
        Self { path: root.join(relative), file: None, buffer: Vec::new() }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole content as it is now. A failed read closes the file, so that the next one opens it afresh.
    ///
    /// # Errors
    /// [`HostError::Read`] when it cannot be opened or read, or has more than 4 MiB.
    pub fn read(&mut self) -> Result<&[u8], HostError> {
        match self.fill() {
            Ok(length) => Ok(&self.buffer[..length]),
            Err(source) => {
                self.file = None;
                Err(HostError::Read { path: self.path.clone(), source })
            }
        }
    }

    /// The whole content, or `None` on a kernel without this table: it was built without it, or booted with it
    /// switched off.
    ///
    /// # Errors
    /// As [`KeptFile::read`], when the table is there.
    pub fn read_if_there(&mut self) -> Result<Option<&[u8]>, HostError> {
        match self.fill() {
            Ok(length) => Ok(Some(&self.buffer[..length])),
            Err(source) => {
                self.file = None;
                if is_absent(&source) {
                    return Ok(None);
                }
                Err(HostError::Read { path: self.path.clone(), source })
            }
        }
    }

    /// That the content just read lacks something.
    pub fn lacks(&self, lacking: &'static str) -> HostError {
        HostError::Malformed { path: self.path.clone(), lacking }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            closed => closed.insert(File::open(&self.path)?),
        };
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                if length >= FILE_BYTES_MAX {
                    return Err(io::Error::new(
                        io::ErrorKind::FileTooLarge,
                        "the file has more than 4 MiB",
                    ));
                }
                self.buffer.resize((length * 2).max(BUFFER_START), 0);
            }
            // The kernel may stop short of the end at a line or page border: only 0 is the end.
            match file.read_at(&mut self.buffer[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

// Pressure that is switched off at boot answers EOPNOTSUPP; a control group that just went away ENODEV.
fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::ENOENT, Errno::ENOTDIR, Errno::EOPNOTSUPP, Errno::ENODEV];
    error.raw_os_error().is_some_and(|code| absent.contains(&Errno::from_raw(code)))
}

/// Reads a small file once: for what is asked rarely.
///
/// # Errors
/// [`HostError::Read`] as [`KeptFile::read`].
pub fn read_once(root: &Path, relative: &str) -> Result<Vec<u8>, HostError> {
    let mut file = KeptFile::new(root, relative);
    let length = file.read()?.len();
    file.buffer.truncate(length);
    Ok(file.buffer)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_kept_file_shows_each_time_what_is_there_now() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = KeptFile::new(dir.path(), "table");
        assert!(matches!(file.read(), Err(HostError::Read { .. })));
        fs::write(dir.path().join("table"), "x".repeat(5000)).unwrap();
        assert_eq!(file.read().unwrap().len(), 5000);
        fs::write(dir.path().join("table"), "short").unwrap();
        assert_eq!(file.read().unwrap(), b"short");
    }

    #[test]
    fn a_table_that_the_kernel_does_not_have_is_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = KeptFile::new(dir.path(), "pressure/cpu");
        assert!(file.read_if_there().unwrap().is_none());
        fs::create_dir_all(dir.path().join("pressure/cpu")).unwrap();
        assert!(file.read_if_there().is_err(), "a folder is no table");
        fs::remove_dir(dir.path().join("pressure/cpu")).unwrap();
        fs::write(dir.path().join("pressure/cpu"), "some").unwrap();
        assert_eq!(file.read_if_there().unwrap(), Some(b"some".as_slice()));
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let mut file = KeptFile::new(Path::new("/dev"), "zero");
        let error = file.read().expect_err("zero never ends");
        assert!(error.to_string().contains("/dev/zero"), "{error}");
    }

    #[test]
    fn a_file_read_once_has_no_padding() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("boot_id"), "ab\n").unwrap();
        assert_eq!(read_once(dir.path(), "boot_id").unwrap(), b"ab\n");
    }
}
