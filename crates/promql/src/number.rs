//! Numbers: how PromQL writes them, and how it adds them.

/// The words `inf` and `nan` in any case.
pub(crate) fn special(word: &str) -> Option<f64> {
    if word.eq_ignore_ascii_case("inf") {
        Some(f64::INFINITY)
    } else if word.eq_ignore_ascii_case("nan") {
        Some(f64::NAN)
    } else {
        None
    }
}

/// How many bytes at the start of a text look like one number or duration. The sign of an exponent
/// belongs to it.
pub(crate) fn extent(text: &str) -> usize {
    let bytes = text.as_bytes();
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let exponent_sign = matches!(byte, b'+' | b'-')
            && !hex
            && matches!(bytes[at - 1], b'e' | b'E')
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
            && bytes[..at - 1].iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_'));
        if !(byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' || exponent_sign) {
            break;
        }
        at += 1;
    }
    at
}

/// Reads a number without a sign: decimal, hexadecimal, octal with a leading zero, an exponent,
/// underscores between digits. `None` for anything else.
pub(crate) fn parse(word: &str) -> Option<f64> {
    if word.starts_with('_') || word.ends_with('_') || word.contains("__") {
        return None;
    }
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        let digits = digits.replace('_', "");
        return i64::from_str_radix(&digits, 16)
            .ok()
            .filter(|_| !digits.starts_with(['+', '-']))
            .map(|n| n as f64);
    }
    let plain = word
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-' | b'_'));
    if !plain {
        return None;
    }
    let digits = word.replace('_', "");
    if digits.len() > 1
        && digits.starts_with('0')
        && digits.bytes().all(|b| (b'0'..b'8').contains(&b))
    {
        return i64::from_str_radix(&digits, 8).ok().map(|n| n as f64);
    }
    digits.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Why a word that begins with a digit is neither number nor duration: the word is named as far as
/// it looked like one.
pub(crate) fn duration_fault(word: &str) -> String {
    let known = |set: &str, at: usize| {
        at + word[at..].bytes().take_while(|byte| set.as_bytes().contains(byte)).count()
    };
    let hex = word.starts_with("0x") || word.starts_with("0X");
    let mut at = if hex { known("0123456789abcdefABCDEF", 2) } else { known("0123456789", 0) };
    let is_unit = |at: usize| word[at..].starts_with(['y', 'w', 'd', 'h', 'm', 's']);
    while !hex && at > 0 && is_unit(at) {
        at += if word[at..].starts_with("ms") { 2 } else { 1 };
        let digits = known("0123456789", at);
        if digits == at {
            break;
        }
        at = digits;
    }
    let is_whole = at == word.len() && word.ends_with(|c: char| c.is_ascii_lowercase());
    // A point, an exponent or an underscore is part of what was meant to be a number.
    let piece = if word.contains(['.', 'e', 'E', '_']) && !hex { word } else { &word[..at] };
    match is_whole && !hex {
        true if units_fall(word) => "duration out of range".to_owned(),
        true => format!("not a valid duration string: {word:?}"),
        false => format!("bad number or duration syntax: {piece:?}"),
    }
}

/// Whether the units of a duration come in falling order, each once.
fn units_fall(word: &str) -> bool {
    let units: Vec<usize> = word
        .split(|c: char| c.is_ascii_digit())
        .filter(|unit| !unit.is_empty())
        .map(|unit| ["y", "w", "d", "h", "m", "s", "ms"].iter().position(|known| *known == unit))
        .map(|rank| rank.unwrap_or(usize::MAX))
        .collect();
    units.is_sorted_by(|a, b| a < b) && units.last().is_some_and(|rank| *rank != usize::MAX)
}

/// A number as Go writes it with `FormatFloat(v, 'f', -1, 64)`: shortest, never with an exponent.
pub(crate) fn plain(value: f64) -> String {
    match value {
        _ if value == f64::INFINITY => "+Inf".to_owned(),
        _ if value == f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => format!("{value}"),
    }
}

/// A number as Go writes it with `%g`: shortest, with an exponent below 1e-4 and from 1e6.
pub(crate) fn general(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return plain(value);
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return plain(value);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A sum with Neumaier's compensation: small terms survive beside large ones.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) value: f64,
    pub(crate) rest: f64,
}

impl Sum {
    /// The sum with one more term.
    pub(crate) fn plus(self, term: f64) -> Self {
        let value = self.value + term;
        let rest = if value.is_infinite() {
            0.0
        } else if self.value.abs() >= term.abs() {
            self.rest + ((self.value - value) + term)
        } else {
            self.rest + ((term - value) + self.value)
        };
        Self { value, rest }
    }

    /// What it comes to.
    pub(crate) fn total(self) -> f64 {
        if self.value.is_infinite() { self.value } else { self.value + self.rest }
    }
}

/// A mean that is a plain quotient until the sum overflows, and incremental from there on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Mean {
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// Takes one more value.
    pub(crate) fn push(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum { value, rest: 0.0 };
            return;
        }
        if !self.incremental {
            let next = self.sum.plus(value);
            if !next.value.is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            let before = self.count - 1.0;
            self.sum = Sum { value: self.sum.value / before, rest: self.sum.rest / before };
        }
        let weight = (self.count - 1.0) / self.count;
        let scaled = Sum { value: weight * self.sum.value, rest: weight * self.sum.rest };
        self.sum = scaled.plus(value / self.count);
    }

    /// The mean of what was pushed; NaN when nothing was.
    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            self.sum.value + self.sum.rest
        } else {
            self.sum.value / self.count + self.sum.rest / self.count
        }
    }
}

/// The quantile of values, with linear interpolation between neighbours. NaN counts as the smallest
/// value; the slice is sorted in place.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| {
        b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    });
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// Whether two numbers are the same within a relative tolerance.
pub(crate) fn almost_equal(a: f64, b: f64, tolerance: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, distance) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return distance < tolerance * f64::MIN_POSITIVE;
    }
    distance / sum.min(f64::MAX) < tolerance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_prometheus_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("1.5e3", 1500.0),
            ("2.", 2.0),
            ("0xff", 255.0),
            ("0x_ff", 255.0),
            ("1_000", 1000.0),
            ("010", 8.0),
            ("08", 8.0),
            ("1e-7", 1e-7),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for text in ["1__0", "_1", "1_", "0x", "1e999", "1.2.3", "e5", "0x+1", "5m"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_extent_of_a_number_holds_the_sign_of_its_exponent_only() {
        assert_eq!(extent("1e-3+5"), 4);
        assert_eq!(extent("0xe+5"), 3);
        assert_eq!(extent("1-2"), 1);
        assert_eq!(extent("12.5s "), 5);
    }

    #[test]
    fn go_writes_numbers_this_way() {
        assert_eq!(general(2.0), "2");
        assert_eq!(general(123_456.0), "123456");
        assert_eq!(general(1_234_567.0), "1.234567e+06");
        assert_eq!(general(1.5e-7), "1.5e-07");
        assert_eq!(general(f64::NAN), "NaN");
        assert_eq!(plain(1e21), "1000000000000000000000");
        assert_eq!(plain(f64::INFINITY), "+Inf");
    }

    #[test]
    fn small_terms_survive_beside_large_ones() {
        let sum = [1.0, 1e100, 1.0, -1e100].into_iter().fold(Sum::default(), Sum::plus);
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn a_mean_survives_the_overflow_of_its_sum() {
        let mut mean = Mean::default();
        for _ in 0..4 {
            mean.push(9.988_465_674_311_58e307);
        }
        assert!(almost_equal(mean.value(), 9.988_465_674_311_58e307, 1e-12));
    }

    #[test]
    fn a_quantile_interpolates_and_puts_nan_first() {
        assert_eq!(quantile(0.75, &mut [4.0, 0.0, 1.0]), 2.5);
        assert_eq!(quantile(0.8, &mut [1.0, f64::NAN, 0.0]), 0.6000000000000001);
        assert_eq!(quantile(-1.0, &mut [1.0]), f64::NEG_INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
    }
}
