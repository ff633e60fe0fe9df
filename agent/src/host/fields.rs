//! Cutting the kernel's tables into fields, in place.

/// The lines of a table, without their ends.
pub(super) fn lines(table: &[u8]) -> impl Iterator<Item = &[u8]> {
    table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// What stands between blanks on a line.
pub(super) fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty())
}

/// A decimal number without sign; what does not fit is the largest number. `None` when anything else is in
/// the field.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    if field.is_empty() {
        return None;
    }
    field.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

/// A decimal number that may have a sign and a fraction; `None` when it is something else or not finite.
pub(super) fn decimal(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

/// The next numbers of an iterator over fields, as many as `into` has; the ones that are missing stay 0,
/// because older kernels have fewer columns. Returns how many there were.
pub(super) fn numbers<'a>(from: impl Iterator<Item = &'a [u8]>, into: &mut [u64]) -> usize {
    let mut count = 0;
    for (slot, field) in into.iter_mut().zip(from) {
        let Some(value) = number(field) else { break };
        *slot = value;
        count += 1;
    }
    count
}

/// A name from a table; bytes that are no UTF-8 are replaced.
pub(super) fn name(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_in_place_and_saturate() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"99999999999999999999"), Some(u64::MAX));
        assert_eq!(
            (number(b""), number(b"-1"), number(b"1k"), number(b" 1")),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_short_line_leaves_the_later_columns_at_zero() {
        let mut columns = [7, 7, 0, 0];
        assert_eq!(numbers(fields(b" 1\t 2  x 9"), &mut columns), 2);
        assert_eq!(columns, [1, 2, 0, 0]);
    }

    proptest! {
        #[test]
        fn every_number_is_read_as_it_was_written(value: u64) {
            prop_assert_eq!(number(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            for line in lines(&bytes) {
                for field in fields(line) {
                    let _ = (number(field), decimal(field), name(field));
                }
            }
        }
    }
}
