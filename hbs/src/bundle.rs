//! A plugin bundle from the archive that it comes in. Pure.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};
use wire::heartbeat::{PluginBundle, PluginFile};

use crate::digest::sha256_hex;
use crate::group::is_relative;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Base64 of the 64 bytes of an Ed25519 signature.
const SIGNATURE_CHARS: usize = 88;

/// How large a bundle may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BundleLimits {
    /// Bytes of one file.
    pub(crate) file_bytes: usize,
    /// Bytes of all files together.
    pub(crate) bytes: usize,
    /// Files.
    pub(crate) files: usize,
}

/// A bundle with the bytes of its files by their digests.
#[derive(Debug, PartialEq)]
pub(crate) struct Unpacked {
    /// What agents are told of it.
    pub(crate) bundle: PluginBundle,
    /// The bytes.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// Reads a tar archive, plain or with gzip. Only plain files count, and folders are passed over; a link or a path that
/// leads out of the bundle refuses all of it.
pub(crate) fn unpack(
    name: &str,
    signature: &str,
    archive: &[u8],
    limits: BundleLimits,
) -> Result<Unpacked, String> {
    if !signature.is_empty() && !is_signature(signature) {
        return Err("the signature must be 64 bytes in base64".to_owned());
    }
    // An archive has a header of 512 bytes a file and as much padding, besides the files.
    let most =
        limits.bytes.saturating_add(limits.files.saturating_mul(1024)).saturating_add(10_240);
    let plain = plain(archive, most)?;
    let mut files = BTreeMap::new();
    let mut list: BTreeMap<String, PluginFile> = BTreeMap::new();
    let mut bytes = 0;
    let broken = |error: std::io::Error| format!("the body is no tar archive: {error}");
    for entry in Archive::new(plain.as_slice()).entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = path_of(&entry)?;
        match entry.header().entry_type() {
            EntryType::Directory => continue,
            EntryType::XGlobalHeader => continue,
            EntryType::Regular | EntryType::Continuous => {}
            _ => {
                return Err(format!(
                    "{path} is no plain file; links and devices cannot be in a bundle"
                ));
            }
        }
        let mut body = Vec::new();
        let most = limits.file_bytes as u64 + 1;
        entry.by_ref().take(most).read_to_end(&mut body).map_err(broken)?;
        bytes += body.len();
        if body.len() > limits.file_bytes {
            return Err(format!("{path} has more than {} bytes", limits.file_bytes));
        }
        if bytes > limits.bytes || list.len() >= limits.files {
            return Err(format!(
                "a bundle has at most {} bytes in {} files",
                limits.bytes, limits.files
            ));
        }
        let mode = entry.header().mode().map_err(broken)?;
        let sha256 = sha256_hex(&body);
        let file = PluginFile {
            path: path.clone(),
            sha256: sha256.clone(),
            bytes: body.len() as u64,
            executable: mode & 0o111 != 0,
        };
        files.insert(sha256, body);
        list.insert(path, file);
    }
    if list.is_empty() {
        return Err("the archive has no files".to_owned());
    }
    let list: Vec<PluginFile> = list.into_values().collect();
    let bundle = PluginBundle {
        name: name.to_owned(),
        digest: digest(&list),
        signature: signature.to_owned(),
        files: list,
    };
    Ok(Unpacked { bundle, files })
}

/// SHA-256 in hex over a line a file, in the order of their paths.
pub(crate) fn digest(files: &[PluginFile]) -> String {
    let line = |file: &PluginFile| {
        let mode = if file.executable { "755" } else { "644" };
        format!("{} {mode} {}\n", file.sha256, file.path)
    };
    sha256_hex(files.iter().map(line).collect::<String>().as_bytes())
}

fn plain(archive: &[u8], most: usize) -> Result<Vec<u8>, String> {
    if !archive.starts_with(&GZIP_MAGIC) {
        return Ok(archive.to_vec());
    }
    let mut plain = Vec::new();
    let mut reader = GzDecoder::new(archive).take(most as u64 + 1);
    reader.read_to_end(&mut plain).map_err(|error| format!("the body is no gzip: {error}"))?;
    if plain.len() > most {
        return Err(format!("the archive has more than {most} bytes when it is unpacked"));
    }
    Ok(plain)
}

fn path_of<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String, String> {
    let path = entry.path_bytes();
    let path = std::str::from_utf8(&path).map_err(|_| "a path is no UTF-8 text".to_owned())?;
    // As `tar -C folder .` writes them.
    let path = path.trim_start_matches("./").trim_end_matches('/');
    if path.is_empty() || path == "." {
        return Ok(String::new());
    }
    if !is_relative(path) {
        return Err(format!("the path {path:?} leads out of the bundle, or is too long"));
    }
    Ok(path.to_owned())
}

fn is_signature(text: &str) -> bool {
    let (body, end) = text.split_at_checked(SIGNATURE_CHARS - 2).unwrap_or(("", ""));
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    end == "==" && body.chars().all(is_letter)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: BundleLimits = BundleLimits { file_bytes: 100, bytes: 150, files: 3 };

    fn tar(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, mode, body) in files {
            let mut header = tar::Header::new_gnu();
            // The crate's own setter refuses what an attacker would write.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_mode(*mode);
            header.set_size(body.len() as u64);
            header.set_cksum();
            archive.append(&header, *body).expect("memory takes it");
        }
        archive.into_inner().expect("memory takes it")
    }

    fn refused(files: &[(&str, u32, &[u8])]) -> String {
        unpack("sys", "", &tar(files), LIMITS).expect_err("refused")
    }

    #[test]
    fn the_files_of_an_archive_become_a_bundle_in_the_order_of_their_paths() {
        let files: [(&str, u32, &[u8]); 2] =
            [("./ntp/60_ntp.py", 0o755, b"print"), ("./README", 0o644, b"")];
        let unpacked = unpack("sys", "", &tar(&files), LIMITS).expect("an archive");
        let list: Vec<(&str, u64, bool)> = unpacked
            .bundle
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.bytes, file.executable))
            .collect();
        assert_eq!(list, [("README", 0, false), ("ntp/60_ntp.py", 5, true)]);
        assert_eq!(unpacked.files[&sha256_hex(b"print")], b"print");
        let lines =
            format!("{} 644 README\n{} 755 ntp/60_ntp.py\n", sha256_hex(b""), sha256_hex(b"print"));
        assert_eq!(unpacked.bundle.digest, sha256_hex(lines.as_bytes()));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar(&files)).expect("memory takes it");
        let gzip = gzip.finish().expect("memory takes it");
        assert_eq!(unpack("sys", "", &gzip, LIMITS).expect("an archive"), unpacked);
    }

    #[test]
    fn a_path_that_leads_out_refuses_the_bundle() {
        for path in ["../x", "/etc/passwd", "a/../../x", "a//b"] {
            assert!(refused(&[(path, 0o644, b"")]).contains("leads out"), "{path}");
        }
    }

    #[test]
    fn what_is_too_much_or_nothing_is_refused_by_name() {
        assert!(refused(&[("a", 0o644, &[0; 101])]).contains("more than 100 bytes"));
        let many = [("a", 0o644, &[1_u8; 80][..]), ("b", 0o644, &[2; 80])];
        assert!(refused(&many).contains("at most 150 bytes"));
        assert!(refused(&[]).contains("no files"));
        let bomb = {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&vec![0; 1 << 20]).expect("memory takes it");
            gzip.finish().expect("memory takes it")
        };
        assert!(
            unpack("sys", "", &bomb, LIMITS).expect_err("refused").contains("when it is unpacked")
        );
        assert!(unpack("sys", "short", b"", LIMITS).expect_err("refused").contains("signature"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, gzip: bool) {
            let bytes = if gzip { [&GZIP_MAGIC[..], &bytes].concat() } else { bytes };
            let _ = unpack("sys", "", &bytes, LIMITS);
        }

        #[test]
        fn no_broken_archive_makes_it_panic(at in 0_usize..1024, byte: u8) {
            let mut archive = tar(&[("a/b", 0o755, b"body"), ("c", 0o644, b"more")]);
            archive[at] = byte;
            let _ = unpack("sys", "", &archive, LIMITS);
        }
    }
}
