//! `/proc/net/snmp`, `/proc/net/netstat` and `/proc/net/sockstat`: counters of the network protocols.

use super::fields::{fields, lines, number};

/// Hands every counter of one protocol of a table in `snmp` or `netstat` form to `each`: two lines that begin
/// with `Tcp:`, the first with the names, the second with the values. A value that is no number without sign
/// (`MaxConn` is -1) is left out.
pub fn counters(table: &[u8], protocol: &str, mut each: impl FnMut(&str, u64)) {
    let mut names: Option<&[u8]> = None;
    for line in lines(table) {
        let rest = line.strip_prefix(protocol.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
        let Some(rest) = rest else { continue };
        let Some(names) = names.take() else {
            names = Some(rest);
            continue;
        };
        for (name, value) in fields(names).zip(fields(rest)) {
            if let (Ok(name), Some(value)) = (std::str::from_utf8(name), number(value)) {
                each(name, value);
            }
        }
    }
}

/// One number of a table in `sockstat` form: lines such as `TCP: inuse 5 orphan 0 tw 2`.
pub fn socket_count(table: &[u8], protocol: &str, wanted: &str) -> Option<u64> {
    let line =
        lines(table).find_map(|line| line.strip_prefix(protocol.as_bytes())?.strip_prefix(b":"))?;
    let mut columns = fields(line);
    while let Some(name) = columns.next() {
        let value = columns.next().and_then(number);
        if name == wanted.as_bytes() {
            return value;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(table: &str, protocol: &str) -> Vec<(String, u64)> {
        let mut counted = Vec::new();
        counters(table.as_bytes(), protocol, |name, value| counted.push((name.to_owned(), value)));
        counted
    }

    #[test]
    fn names_and_values_are_paired() {
        let table =
            "Ip: A B\nIp: 1 2\nTcp: MaxConn InSegs\nTcp: -1 7\nUdpLite: InSegs\nUdpLite: 9\n";
        assert_eq!(read(table, "Tcp"), [("InSegs".to_owned(), 7)]);
        assert_eq!(read(table, "Udp"), []);
    }

    #[test]
    fn names_without_values_are_nothing() {
        assert_eq!(read("Tcp: A B\n", "Tcp"), []);
        assert_eq!(read("Tcp: A B\nTcp: 1\n", "Tcp"), [("A".to_owned(), 1)]);
    }

    #[test]
    fn socket_counts_are_found_by_name() {
        let table = b"sockets: used 15\nTCP: inuse 4 orphan 1 tw 2 alloc 9 mem 186\nUDP: inuse 3\n";
        assert_eq!(socket_count(table, "TCP", "tw"), Some(2));
        assert_eq!(socket_count(table, "TCP", "alloc"), Some(9));
        assert_eq!(socket_count(table, "TCP", "none"), None);
        assert_eq!(socket_count(table, "TCP6", "inuse"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, tail: Vec<u8>) {
            let mut table = b"Tcp: a b\nTcp: ".to_vec();
            table.extend_from_slice(&tail);
            for table in [&bytes, &table] {
                counters(table, "Tcp", |_, _| {});
                let _ = socket_count(table, "Tcp", "a");
            }
        }
    }
}
