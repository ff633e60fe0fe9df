//! The data both servers hold: hosts with counters that are reset, gauges, constants and a classic histogram,
//! some with gaps, staleness markers, NaN and infinite values. Every value is a function of host, series and
//! round.

use model::{Labels, METRIC_NAME, Sample, Series, Timestamp};

pub(super) const HOSTS: u64 = 40;
pub(super) const ROUNDS: u64 = 60;
/// Distance of two rounds in milliseconds.
pub(super) const ROUND: i64 = 15_000;

/// Upper bounds of the buckets, and how many of a hundred requests are below them.
const BUCKETS: [(&str, f64); 4] = [("0.1", 20.0), ("0.5", 65.0), ("1", 90.0), ("+Inf", 100.0)];

/// How the values of a series come about.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Grows by about this much a round; back to zero when its host restarts.
    Counter(f64),
    /// Grows by this share of what all requests of a host are.
    Requests(f64),
    /// Two decimals, between zero and this.
    Gauge(f64),
    /// Whole degrees; at times NaN, infinite or missing.
    Temperature,
    Constant(f64),
    /// One or zero; ends with a staleness marker on some hosts, and comes back on some of them.
    Up,
    /// A sample now and then.
    Sparse,
}

/// A series of every host.
struct Shape {
    name: &'static str,
    extra: Vec<(&'static str, &'static str)>,
    kind: Kind,
}

/// All series with the samples of all rounds, the last one at `last`.
pub(super) fn series(last: Timestamp) -> Vec<Series> {
    let first = last.millis() - (ROUNDS as i64 - 1) * ROUND;
    (0..HOSTS).flat_map(|host| host_series(host, first)).collect()
}

fn host_series(host: u64, first: i64) -> Vec<Series> {
    let endpoint = format!("host-{host:02}");
    let group = format!("g{}", host % 4);
    let whole = |(index, shape): (usize, Shape)| {
        let own = [(METRIC_NAME, shape.name), ("endpoint", &endpoint), ("group", &group)];
        let sample = |round: u64| {
            let timestamp = Timestamp(first + round as i64 * ROUND);
            Some(Sample { timestamp, value: value(shape.kind, host, index as u64, round)? })
        };
        Series {
            labels: Labels::from_pairs(own.into_iter().chain(shape.extra)),
            samples: (0..ROUNDS).filter_map(sample).collect(),
        }
    };
    catalogue(host).into_iter().enumerate().map(whole).collect()
}

fn catalogue(host: u64) -> Vec<Shape> {
    let mut all = Vec::new();
    let mut add = |name, extra, kind| all.push(Shape { name, extra, kind });
    for cpu in ["0", "1"] {
        for (mode, rate) in [("idle", 11.0), ("user", 3.0), ("system", 0.7)] {
            add("cpu_seconds_total", vec![("cpu", cpu), ("mode", mode)], Kind::Counter(rate));
        }
    }
    for (le, share) in BUCKETS {
        add("request_seconds_bucket", vec![("le", le)], Kind::Requests(share));
    }
    let version = if host.is_multiple_of(3) { "1.0" } else { "1.1" };
    let plain = [
        ("request_seconds_count", Kind::Requests(100.0)),
        ("request_seconds_sum", Kind::Requests(41.3)),
        ("disk_io_total", Kind::Counter(250.0)),
        ("load1", Kind::Gauge(10.0)),
        ("load5", Kind::Gauge(6.0)),
        ("mem_used_percent", Kind::Gauge(100.0)),
        ("mem_total_bytes", Kind::Constant((host % 3 + 1) as f64 * 8_589_934_592.0)),
        ("temperature", Kind::Temperature),
        ("node_up", Kind::Up),
        ("sparse", Kind::Sparse),
    ];
    plain.into_iter().for_each(|(name, kind)| add(name, Vec::new(), kind));
    add("build_info", vec![("version", version)], Kind::Constant(1.0));
    for mount in ["/", "/data"] {
        add("disk_used_percent", vec![("mount", mount)], Kind::Gauge(100.0));
    }
    for iface in ["eth0", "eth1"] {
        add("net_bytes_total", vec![("iface", iface)], Kind::Counter(40_000.0));
    }
    all
}

/// The value of a series in a round, if it has one.
fn value(kind: Kind, host: u64, index: u64, round: u64) -> Option<f64> {
    let noise = unit(host, index, round);
    let restart = 10 + host;
    let rounds = |noise: f64| {
        let round =
            if host.is_multiple_of(7) && round >= restart { round - restart } else { round };
        round as f64 + 0.9 * noise
    };
    match kind {
        // One host in five misses every ninth round.
        _ if host % 5 == 4 && round % 9 == 5 => None,
        Kind::Counter(rate) => Some((rate * rounds(noise) * 100.0).floor() / 100.0),
        Kind::Requests(share) => Some((share * rounds(unit(host, u64::MAX, round))).floor()),
        Kind::Gauge(most) => {
            let slow = (round as f64 / 11.0 + unit(host, index, u64::MAX) * 6.3).sin();
            Some((most * (0.5 + 0.3 * slow + 0.4 * (noise - 0.5)) * 100.0).floor() / 100.0)
        }
        Kind::Temperature => match (host % 8, round % 20) {
            (1, 3) => Some(f64::NAN),
            (2, 4) => Some(f64::INFINITY),
            (3, 5) => Some(f64::NEG_INFINITY),
            (5, 0..15) => None,
            (6, _) if round + 2 == ROUNDS => Some(f64::NAN),
            (7, _) if round + 1 == ROUNDS => Some(f64::INFINITY),
            _ => Some((20.0 + 30.0 * noise).floor()),
        },
        Kind::Constant(value) => Some(value),
        Kind::Up if host == 11 => match round {
            0..50 => Some(1.0),
            50 => Some(model::stale_nan()),
            _ => None,
        },
        Kind::Up if host % 10 == 2 => match round {
            20 | 40 => Some(model::stale_nan()),
            21..30 => None,
            _ => Some(1.0),
        },
        Kind::Up => Some(if noise < 0.1 { 0.0 } else { 1.0 }),
        Kind::Sparse => (noise < 0.08).then_some((noise * 1000.0).floor()),
    }
}

/// A number in [0, 1) that is the same for the same three.
fn unit(a: u64, b: u64, c: u64) -> f64 {
    let mut state = super::random::Random::new(
        a.wrapping_mul(0x9E37_79B9) ^ b.rotate_left(20) ^ c.rotate_left(40),
    );
    state.unit()
}
