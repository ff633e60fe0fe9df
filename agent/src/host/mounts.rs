//! `/proc/mounts` and `statvfs`: the mounted file systems and how full they are.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

use super::fields::{fields, lines};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted: `/dev/vda`, `nas:/export`.
    pub device: String,
    /// Where.
    pub path: String,
    /// `ext4`, `nfs4`.
    pub fstype: String,
    /// The kernel stopped writing after an error, while the superblock's flag still says otherwise (ext4
    /// since Linux 6.15).
    pub emergency_read_only: bool,
}

/// The mounts of the table that `keep` wants, in its order. Lines with fewer than four fields are left out.
pub fn parse(table: &[u8], keep: impl Fn(&Mount) -> bool) -> Vec<Mount> {
    lines(table).filter_map(mount).filter(keep).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut columns = fields(line);
    let device = unescape(columns.next()?);
    let path = unescape(columns.next()?);
    let fstype = unescape(columns.next()?);
    let emergency_read_only =
        columns.next()?.split(|byte| *byte == b',').any(|option| option == b"emergency_ro");
    Some(Mount { device, path, fstype, emergency_read_only })
}

/// One mount a device: the one with the shortest path, so that bind mounts do not count a disk many times.
pub fn one_per_device(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut shortest: BTreeMap<String, Mount> = BTreeMap::new();
    for mount in mounts {
        match shortest.get(&mount.device) {
            Some(kept) if kept.path.len() <= mount.path.len() => {}
            _ => {
                shortest.insert(mount.device.clone(), mount);
            }
        }
    }
    shortest.into_values().collect()
}

// The kernel writes blanks, tabs, newlines, backslashes and `#` as a backslash and three octal digits.
fn unescape(field: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How full a file system is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes it can hold.
    pub bytes_total: u64,
    /// Bytes nobody uses, those kept for root included.
    pub bytes_free: u64,
    /// Bytes that users may still write.
    pub bytes_available: u64,
    /// Files it can hold; 0 when it has no such limit.
    pub inodes_total: u64,
    /// Files that can still be made.
    pub inodes_free: u64,
    /// Whether it can only be read, by the flag of the superblock or of the mount.
    pub is_read_only: bool,
}

impl Usage {
    /// Asks the kernel. May block for ever when the file system's server is gone: call it where that does no
    /// harm.
    ///
    /// # Errors
    /// What `statvfs` answers.
    #[expect(
        clippy::useless_conversion,
        reason = "the widths of these C types differ between platforms"
    )]
    pub fn of(path: &Path) -> io::Result<Self> {
        let stat = statvfs(path)?;
        let block = u64::from(stat.fragment_size());
        let bytes = |blocks: u64| blocks.saturating_mul(block);
        Ok(Self {
            bytes_total: bytes(u64::from(stat.blocks())),
            bytes_free: bytes(u64::from(stat.blocks_free())),
            bytes_available: bytes(u64::from(stat.blocks_available())),
            inodes_total: u64::from(stat.files()),
            inodes_free: u64::from(stat.files_free()),
            is_read_only: stat.flags().contains(FsFlags::ST_RDONLY),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mounts_are_read_with_their_escapes() {
        let table = br"/dev/sda1 /mnt/my\040disk\134x ext4 rw,relatime,emergency_ro 0 0
nas:/a /net/a nfs4 rw 0 0
short /x
";
        let mounts = parse(table, |_| true);
        assert_eq!(mounts.len(), 2);
        assert_eq!(
            (mounts[0].path.as_str(), mounts[0].emergency_read_only),
            ("/mnt/my disk\\x", true)
        );
        assert_eq!((mounts[1].device.as_str(), mounts[1].emergency_read_only), ("nas:/a", false));
    }

    #[test]
    fn an_escape_that_is_none_stays() {
        assert_eq!(unescape(br"a\04"), r"a\04");
        assert_eq!(unescape(br"a\900\"), r"a\900\");
        assert_eq!(unescape(br"\377"), "\u{fffd}");
    }

    #[test]
    fn the_shortest_path_of_a_device_is_kept() {
        let table =
            b"/dev/a /var/x ext4 rw 0 0\n/dev/a / ext4 rw 0 0\n/dev/a /y ext4 rw 0 0\n/dev/b /b xfs rw 0 0\n";
        let paths: Vec<_> =
            one_per_device(parse(table, |_| true)).into_iter().map(|mount| mount.path).collect();
        assert_eq!(paths, ["/", "/b"]);
    }

    #[test]
    fn the_root_file_system_has_a_size() {
        let usage = Usage::of(Path::new("/")).unwrap();
        assert!(
            usage.bytes_total >= usage.bytes_free && usage.bytes_free >= usage.bytes_available,
            "{usage:?}"
        );
        assert!(Usage::of(Path::new("/nonexistent")).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = one_per_device(parse(&bytes, |_| true));
            let _ = unescape(&bytes);
        }
    }
}
