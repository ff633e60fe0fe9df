//! `/proc/meminfo`: what the memory is used for.

use super::fields::{fields, lines, number};

/// Bytes, as `/proc/meminfo` counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Memory the kernel manages.
    pub total: u64,
    /// Memory nobody uses.
    pub free: u64,
    /// What programs could get without swapping; kernels before 3.14 do not say.
    pub available: Option<u64>,
    /// Cache of block devices.
    pub buffers: u64,
    /// Cache of files; holds `shmem`.
    pub cached: u64,
    /// Shared memory and tmpfs; kernels before 2.6.32 do not say.
    pub shmem: Option<u64>,
    /// Swap space.
    pub swap_total: u64,
    /// Swap space nobody uses.
    pub swap_free: u64,
}

impl Memory {
    /// Reads the table; `None` when it does not say how much memory there is.
    pub fn parse(table: &[u8]) -> Option<Self> {
        let mut memory = Self::default();
        for line in lines(table) {
            let mut columns = fields(line);
            let (Some(key), Some(kibibytes)) = (columns.next(), columns.next().and_then(number))
            else {
                continue;
            };
            let bytes = kibibytes.saturating_mul(1024);
            match key {
                b"MemTotal:" => memory.total = bytes,
                b"MemFree:" => memory.free = bytes,
                b"MemAvailable:" => memory.available = Some(bytes),
                b"Buffers:" => memory.buffers = bytes,
                b"Cached:" => memory.cached = bytes,
                b"Shmem:" => memory.shmem = Some(bytes),
                b"SwapTotal:" => memory.swap_total = bytes,
                b"SwapFree:" => memory.swap_free = bytes,
                _ => {}
            }
        }
        (memory.total > 0).then_some(memory)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kibibytes_become_bytes() {
        let memory =
            Memory::parse(b"MemTotal:  100 kB\nMemFree: 40 kB\nShmem: 3 kB\nHugePages_Total:  0\n")
                .unwrap();
        assert_eq!(
            (memory.total, memory.free, memory.shmem, memory.available),
            (102_400, 40_960, Some(3072), None)
        );
    }

    #[test]
    fn a_table_without_a_total_is_refused() {
        assert_eq!(Memory::parse(b"MemFree: 40 kB\n"), None);
        assert_eq!(Memory::parse(b"MemTotal:\n"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Memory::parse(&bytes);
        }
    }
}
