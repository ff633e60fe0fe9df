//! `/sys/fs/cgroup`: what a container may use and what it uses (control groups, version 2).

use super::fields::{fields, lines, number};

/// A limit: a number, or `None` for the word `max`.
pub fn parse_limit(table: &[u8]) -> Option<u64> {
    fields(table.trim_ascii()).next().and_then(number)
}

/// Processors that `cpu.max` allows: `50000 100000` is half a one. `None` without a limit.
pub fn parse_cpu_limit(table: &[u8]) -> Option<f64> {
    let mut columns = fields(table.trim_ascii()).map(number);
    let (quota, period) = (columns.next()??, columns.next()??);
    (period > 0).then(|| quota as f64 / period as f64)
}

/// The value behind a name in a table such as `memory.stat`, `memory.events` and `cpu.stat`.
pub fn parse_value(table: &[u8], name: &str) -> Option<u64> {
    let wanted = name.as_bytes();
    let line = lines(table).find(|line| fields(line).next() == Some(wanted))?;
    fields(line).nth(1).and_then(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_are_numbers_or_none() {
        assert_eq!((parse_limit(b"max\n"), parse_limit(b"1048576\n")), (None, Some(1 << 20)));
        assert_eq!(parse_cpu_limit(b"50000 100000\n"), Some(0.5));
        assert_eq!(parse_cpu_limit(b"max 100000\n"), None);
        assert_eq!(
            (parse_cpu_limit(b"1 0"), parse_cpu_limit(b"1"), parse_limit(b"")),
            (None, None, None)
        );
    }

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let table = b"oom_kill_x 4\noom 2\noom_kill 1\n";
        assert_eq!(parse_value(table, "oom_kill"), Some(1));
        assert_eq!((parse_value(table, "oom"), parse_value(table, "o")), (Some(2), None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (parse_limit(&bytes), parse_cpu_limit(&bytes), parse_value(&bytes, "a"));
        }
    }
}
