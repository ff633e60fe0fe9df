//! The data that the load driver `bench` sends, computed the same way: a hundred series a host, named and
//! labelled as a host agent would, with the same value for the same host, series and round. One host in 97 starts again
//! at round 30, and one in 89 is away from round 20 to 25. And the expressions for it: those for the other data with
//! names and hosts of this one.

use model::{Labels, METRIC_NAME, Sample, Series, Timestamp};

/// Among them are hosts that start again (13) and that have a gap (7).
const HOSTS: u64 = 24;
const ROUNDS: u64 = 60;
/// Distance of two rounds in milliseconds.
const ROUND: i64 = 10_000;

/// How the values of a series come about; the last number is the unit they are rounded down to.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Constant(f64),
    /// Grows by about this much a second.
    Counter(f64, f64),
    /// As a counter, in step with the others of its host: a histogram.
    Joint(f64, f64),
    /// Moves between two bounds.
    Gauge(f64, f64, f64),
}

use Kind::{Constant, Counter, Gauge, Joint};

type Shape = (String, Vec<(&'static str, &'static str)>, Kind);

/// All series with the samples of all rounds, the last one at `last`.
pub(super) fn series(last: Timestamp) -> Vec<Series> {
    series_of(HOSTS, last)
}

/// As [`series`], of so many hosts.
pub(super) fn series_of(hosts: u64, last: Timestamp) -> Vec<Series> {
    let first = last.millis() - (ROUNDS as i64 - 1) * ROUND;
    let shapes = catalogue();
    (0..hosts).flat_map(|host| host_series(host, &shapes, first)).collect()
}

fn host_series(host: u64, shapes: &[Shape], first: i64) -> Vec<Series> {
    let (endpoint, group) = (format!("host-{host:05}"), format!("g{:02}", host % 100));
    let whole = |(index, (name, extra, kind)): (usize, &Shape)| {
        let own = [(METRIC_NAME, name.as_str()), ("endpoint", &endpoint), ("group", &group)];
        let is_there = |round: &u64| host % 89 != 7 || !(20..26).contains(round);
        let sample = |round: u64| Sample {
            timestamp: Timestamp(first + round as i64 * ROUND),
            value: value(*kind, host, index as u64, round),
        };
        Series {
            labels: Labels::from_pairs(own.into_iter().chain(extra.iter().copied())),
            samples: (0..ROUNDS).filter(is_there).map(sample).collect(),
        }
    };
    shapes.iter().enumerate().map(whole).collect()
}

fn catalogue() -> Vec<Shape> {
    let percent = Gauge(0.0, 100.0, 0.01);
    let mut all: Vec<Shape> = Vec::new();
    let mut add = |name: &str, extra: &[(&'static str, &'static str)], kind| {
        all.push((name.to_owned(), extra.to_vec(), kind));
    };
    for name in ["idle", "busy", "user", "system", "iowait", "steal"] {
        add(&format!("cpu_{name}"), &[], percent);
    }
    for cpu in ["0", "1", "2", "3"] {
        for (mode, rate) in [("idle", 0.7), ("user", 0.2), ("system", 0.08), ("iowait", 0.02)] {
            let labels = [("cpu", cpu), ("mode", mode)];
            add("node_cpu_seconds_total", &labels, Counter(rate, 0.01));
        }
    }
    for span in ["1min", "5min", "15min"] {
        add(&format!("load_{span}"), &[], Gauge(0.0, 16.0, 0.01));
    }
    add("mem_total_bytes", &[], Constant(68_719_476_736.0));
    add("mem_swap_total_bytes", &[], Constant(0.0));
    for part in ["free", "available", "cached", "buffers", "active"] {
        add(&format!("mem_{part}_bytes"), &[], Gauge(1e9, 6e10, 4096.0));
    }
    add("mem_used_percent", &[], percent);
    add_disks(&mut add, percent);
    add_network(&mut add);
    let histogram = "api_request_duration_seconds";
    let bounds = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
    for (le, count) in bounds.into_iter().zip(1..) {
        add(&format!("{histogram}_bucket"), &[("le", le)], Joint(5.0 * f64::from(count), 1.0));
    }
    add(&format!("{histogram}_sum"), &[], Joint(12.0, 0.001));
    add(&format!("{histogram}_count"), &[], Joint(50.0, 1.0));
    assert_eq!(all.len(), 100, "as many as the driver sends");
    all
}

type Add<'a> = dyn FnMut(&str, &[(&'static str, &'static str)], Kind) + 'a;

fn add_disks(add: &mut Add<'_>, percent: Kind) {
    for (mount, fstype) in [("/", "ext4"), ("/boot", "ext4"), ("/data1", "xfs"), ("/data2", "xfs")]
    {
        let labels = [("fstype", fstype), ("mount", mount)];
        add("df_bytes_total", &labels, Constant(2e12));
        add("df_bytes_free", &labels, Gauge(1e11, 1.9e12, 4096.0));
        add("df_used_percent", &labels, percent);
        add("df_inodes_used_percent", &labels, Gauge(10.0, 12.0, 0.01));
    }
    for device in ["sda", "sdb", "nvme0n1"] {
        let labels = [("device", device)];
        add("disk_read_requests_total", &labels, Counter(40.0, 1.0));
        add("disk_write_requests_total", &labels, Counter(120.0, 1.0));
        add("disk_read_bytes_total", &labels, Counter(8e6, 512.0));
        add("disk_write_bytes_total", &labels, Counter(2e7, 512.0));
        add("disk_io_util_percent", &labels, percent);
    }
}

fn add_network(add: &mut Add<'_>) {
    for iface in ["eth0", "eth1"] {
        for (name, kind) in [
            ("in_bytes", Counter(3e7, 1.0)),
            ("out_bytes", Counter(5e7, 1.0)),
            ("in_packets", Counter(3e4, 1.0)),
            ("out_packets", Counter(4e4, 1.0)),
            ("in_errors", Constant(0.0)),
            ("in_dropped", Counter(0.05, 1.0)),
            ("out_dropped", Constant(12.0)),
        ] {
            add(&format!("net_if_{name}_total"), &[("iface", iface)], kind);
        }
    }
    for (name, kind) in [
        ("tcp_established", Gauge(200.0, 900.0, 1.0)),
        ("tcp_time_wait", Gauge(0.0, 5000.0, 1.0)),
        ("tcp_retransmits_total", Counter(2.0, 1.0)),
        ("tcp_listen_overflows_total", Constant(3.0)),
        ("uptime_seconds", Counter(1.0, 1.0)),
        ("procs_running", Gauge(0.0, 12.0, 1.0)),
        ("procs_blocked", Gauge(0.0, 3.0, 1.0)),
        ("context_switches_total", Counter(9e4, 1.0)),
        ("interrupts_total", Counter(5e4, 1.0)),
        ("forks_total", Counter(15.0, 1.0)),
    ] {
        add(name, &[], kind);
    }
}

fn value(kind: Kind, host: u64, index: u64, round: u64) -> f64 {
    let (own, noise) = (unit(host, index, u64::MAX), unit(host, index, round));
    let counter = |rate: f64, before: f64, noise: f64| {
        let again = host % 97 == 13 && round >= 30;
        let (before, rounds) = if again { (0.0, round - 30) } else { (before, round) };
        before + rate * 10.0 * (rounds as f64 + 0.9 * noise)
    };
    let (exact, step) = match kind {
        Constant(value) => return value,
        Counter(rate, step) => (counter(rate * (0.5 + own), own * rate * 1e6, noise), step),
        Joint(rate, step) => (counter(rate, 0.0, unit(host, u64::MAX, round)), step),
        Gauge(low, high, step) => {
            let slow = (round as f64 / 20.0 + own * 6.3).sin();
            (low + (high - low) * (0.5 + 0.3 * slow + 0.4 * (noise - 0.5)), step)
        }
    };
    let units = (exact / step).floor();
    if step < 1.0 { units / (1.0 / step).round() } else { units * step }
}

/// A number in [0, 1) that is the same for the same three, as the driver computes it.
fn unit(host: u64, index: u64, round: u64) -> f64 {
    let mut mixed = host.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ index.wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
        ^ round.wrapping_mul(0x1656_67B1_9E37_79F9);
    for factor in [0xFF51_AFD7_ED55_8CCD, 0xC4CE_B9FE_1A85_EC53] {
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(factor);
    }
    ((mixed ^ (mixed >> 33)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Names, hosts and groups of the other data, and what stands for them here.
const WORDS: [(&str, &str); 19] = [
    ("node_cpu_seconds_total", "node_cpu_seconds_total"),
    ("cpu_seconds_total", "node_cpu_seconds_total"),
    ("net_bytes_total", "net_if_in_bytes_total"),
    ("disk_io_total", "disk_read_requests_total"),
    ("request_seconds", "api_request_duration_seconds"),
    ("disk_used_percent", "df_used_percent"),
    ("temperature", "procs_running"),
    ("node_up", "procs_blocked"),
    ("sparse", "net_if_in_dropped_total"),
    ("build_info", "uptime_seconds"),
    ("load1", "load_1min"),
    ("load5", "load_5min"),
    ("(version)", "(group)"),
    ("/data", "/data1"),
    ("host-", "host-000"),
    ("\"g0", "\"g00"),
    ("\"g1", "\"g01"),
    ("|g", "|g0"),
    ("\"g9", "\"g99"),
];

/// The expression for this data.
pub(super) fn expression(other: &str) -> String {
    let mut text = String::new();
    let mut rest = other;
    while let Some(first) = rest.chars().next() {
        let (from, to) =
            WORDS.iter().copied().find(|(from, _)| rest.starts_with(from)).unwrap_or_else(|| {
                let (one, _) = rest.split_at(first.len_utf8());
                (one, one)
            });
        text.push_str(to);
        rest = &rest[from.len()..];
    }
    text
}
