//! `/proc/self/mountinfo` and `statvfs`: the mounted file systems and how full they are.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

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
    /// Whether the file system itself takes no writes. The options of the mount are not asked: a service that
    /// systemd protects sees every mount as read-only, whatever the file system is.
    pub is_read_only: bool,
}

/// The mounts of the table that `keep` wants, in its order. Lines that are cut off are left out.
pub fn parse(table: &[u8], keep: impl Fn(&Mount) -> bool) -> Vec<Mount> {
    lines(table).filter_map(mount).filter(keep).collect()
}

// 36 35 98:0 /root /mount/point options [optional fields] - fstype device options-of-the-superblock
fn mount(line: &[u8]) -> Option<Mount> {
    let mut columns = fields(line);
    let path = unescape(columns.nth(4)?);
    columns.find(|field| *field == b"-")?;
    let fstype = unescape(columns.next()?);
    let device = unescape(columns.next()?);
    // ext4 says `emergency_ro` since Linux 6.15 when it stopped writing after an error.
    let stops_writes = |option: &[u8]| option == b"ro" || option == b"emergency_ro";
    let is_read_only = columns.next()?.split(|byte| *byte == b',').any(stops_writes);
    Some(Mount { device, path, fstype, is_read_only })
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
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(table: &str) -> Vec<Mount> {
        parse(table.as_bytes(), |_| true)
    }

    #[test]
    fn mounts_are_read_with_their_escapes_and_without_their_optional_fields() {
        let mounts = read(
            "36 35 98:0 / /mnt/my\\040disk\\134x rw,noatime master:1 shared:7 - ext4 /dev/sda1 rw,errors=remount-ro\n\
             37 35 0:41 / /net/a rw - nfs4 nas:/a rw,vers=4.2\n\
             38 35 0:42 / /short rw - tmpfs\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].path.as_str(), mounts[0].is_read_only), ("/mnt/my disk\\x", false));
        assert_eq!((mounts[1].device.as_str(), mounts[1].fstype.as_str()), ("nas:/a", "nfs4"));
    }

    #[test]
    fn only_the_superblock_says_whether_a_file_system_takes_writes() {
        let mounts = read(
            "1 0 8:1 / / ro,relatime - ext4 /dev/a rw\n\
             2 0 8:2 / /b rw - ext4 /dev/b ro,data=ordered\n\
             3 0 8:3 / /c rw - ext4 /dev/c rw,emergency_ro\n\
             4 0 8:4 / /d rw - ext4 /dev/d rw,errors=ro\n",
        );
        let flags: Vec<_> = mounts.iter().map(|mount| mount.is_read_only).collect();
        assert_eq!(flags, [false, true, true, false]);
    }

    #[test]
    fn an_escape_that_is_none_stays() {
        assert_eq!(unescape(br"a\04"), r"a\04");
        assert_eq!(unescape(br"a\900\"), r"a\900\");
        assert_eq!(unescape(br"\377"), "\u{fffd}");
    }

    #[test]
    fn the_shortest_path_of_a_device_is_kept() {
        let mounts = read(
            "1 0 8:1 /x /var/x rw - ext4 /dev/a rw\n2 0 8:1 / / rw - ext4 /dev/a rw\n\
             3 0 8:1 /y /y rw - ext4 /dev/a rw\n4 0 8:2 / /b rw - xfs /dev/b rw\n",
        );
        let paths: Vec<_> = one_per_device(mounts).into_iter().map(|mount| mount.path).collect();
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
