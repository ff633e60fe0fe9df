//! The version of this agent.

use std::hint::black_box;

const STAMP_BYTES: usize = 128;
const MARK_BYTES: usize = 27;

// The version stands in the file with a mark before it and zeros behind it, so that a build can be given another
// version without building it again: `scripts/package --version`, and tests that need two agents. The mark stands
// nowhere else.
static STAMP: [u8; STAMP_BYTES] = stamp();

const fn stamp() -> [u8; STAMP_BYTES] {
    let mark = b"saker-agent version stamp: ";
    assert!(mark.len() == MARK_BYTES);
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let mut stamp = [0; STAMP_BYTES];
    let mut at = 0;
    while at < MARK_BYTES + version.len() {
        stamp[at] = if at < MARK_BYTES { mark[at] } else { version[at - MARK_BYTES] };
        at += 1;
    }
    stamp
}

/// The version, such as `7.1.0`.
pub fn version() -> &'static str {
    // The optimiser must not believe that it knows what stands there.
    let stamp = &black_box(&STAMP)[MARK_BYTES..];
    let end = stamp.iter().position(|byte| *byte == 0).unwrap_or(stamp.len());
    std::str::from_utf8(&stamp[..end]).unwrap_or(env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_stamp_it_is_the_version_of_the_package() {
        assert_eq!(version(), env!("CARGO_PKG_VERSION"));
    }
}
