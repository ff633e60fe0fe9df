//! Numbers as Prometheus' template functions write them for humans. Pure.

use model::Timestamp;

const BIG: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const BIG_BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// With SI prefixes: `1.235k`, `12.3m`.
pub fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    if value.abs() >= 1.0 { scaled_down(value, 1000.0, &BIG) } else { scaled_up(value) }
}

/// With binary prefixes: `1.5ki`.
pub fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    scaled_down(value, 1024.0, &BIG_BINARY)
}

/// Seconds as days, hours, minutes and seconds: `1d 2h 3m 4s`; below a second with SI prefixes: `12ms`.
pub fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return four_digits(seconds);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() < 1.0 {
        return format!("{}s", scaled_up(seconds));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let whole = seconds.abs() as u64;
    let (d, h, m, s) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (d, h, m) {
        (1.., _, _) => format!("{sign}{d}d {h}h {m}m {s}s"),
        (0, 1.., _) => format!("{sign}{h}h {m}m {s}s"),
        (0, 0, 1..) => format!("{sign}{m}m {s}s"),
        (0, 0, 0) => format!("{sign}{}s", four_digits(seconds.abs())),
    }
}

/// A ratio as per cent: 0.1234 is `12.34%`.
pub fn humanize_percentage(ratio: f64) -> String {
    format!("{}%", four_digits(ratio * 100.0))
}

/// Unix seconds as Go prints a time in UTC: `2026-01-02 15:04:05.5 +0000 UTC`.
pub fn humanize_timestamp(seconds: f64) -> String {
    if !seconds.is_finite() {
        return four_digits(seconds);
    }
    let text = Timestamp::from_seconds_f64(seconds).rfc3339().replace('T', " ");
    let text = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{text} +0000 UTC")
}

/// C's `%.4g`: four significant digits, an exponent when the number is very small or has more than four
/// digits before the point.
pub fn four_digits(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    // Rounding first decides the exponent: 9999.9 has four digits before the point, rounded it has five.
    let scientific = format!("{value:.3e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..4).contains(&exponent) {
        let decimals = usize::try_from(3 - exponent).unwrap_or(0);
        return without_trailing_zeros(&format!("{value:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.abs())
}

fn scaled_down(mut value: f64, base: f64, prefixes: &[&'static str]) -> String {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < base {
            break;
        }
        prefix = next;
        value /= base;
    }
    format!("{}{prefix}", four_digits(value))
}

fn scaled_up(mut value: f64) -> String {
    let mut prefix = "";
    for next in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    format!("{}{prefix}", four_digits(value))
}

fn without_trailing_zeros(text: &str) -> String {
    if !text.contains('.') {
        return text.to_owned();
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: fn(f64) -> String, cases: &[(f64, &str)]) {
        for (value, text) in cases {
            assert_eq!(write(*value), *text, "{value}");
        }
    }

    #[test]
    fn four_digits_are_those_of_c() {
        check(
            four_digits,
            &[
                (0.0, "0"),
                (1234.5, "1234"),
                (9999.9, "1e+04"),
                (123_456.0, "1.235e+05"),
                (0.000_123_46, "0.0001235"),
                (0.000_012_345, "1.234e-05"),
                (-1.5, "-1.5"),
                (f64::INFINITY, "+Inf"),
                (f64::NAN, "NaN"),
            ],
        );
    }

    #[test]
    fn big_and_small_numbers_get_si_prefixes() {
        check(
            humanize,
            &[
                (0.0, "0"),
                (1.0, "1"),
                (1_234_567.0, "1.235M"),
                (0.12, "120m"),
                (1e-7, "100n"),
                (f64::NEG_INFINITY, "-Inf"),
                (-4500.0, "-4.5k"),
            ],
        );
    }

    #[test]
    fn bytes_get_binary_prefixes() {
        check(
            humanize1024,
            &[(0.5, "0.5"), (1024.0, "1ki"), (1_048_576.0, "1Mi"), (f64::from(u32::MAX), "4Gi")],
        );
    }

    #[test]
    fn a_duration_is_split_into_units() {
        check(
            humanize_duration,
            &[
                (0.0, "0s"),
                (1.5, "1.5s"),
                (60.0, "1m 0s"),
                (3600.0, "1h 0m 0s"),
                (-86_400.0 * 2.0 - 1.0, "-2d 0h 0m 1s"),
                (0.1, "100ms"),
                (0.000_1, "100us"),
            ],
        );
    }

    #[test]
    fn a_ratio_becomes_per_cent_and_a_moment_a_date() {
        check(humanize_percentage, &[(0.123_45, "12.35%"), (1.0, "100%"), (0.0, "0%")]);
        check(
            humanize_timestamp,
            &[
                (1_427_397_845.0, "2015-03-26 19:24:05 +0000 UTC"),
                (1_427_397_840.5, "2015-03-26 19:24:00.5 +0000 UTC"),
                (f64::INFINITY, "+Inf"),
            ],
        );
    }
}
