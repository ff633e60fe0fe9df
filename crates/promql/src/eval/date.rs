//! Parts of the date and time of day, in UTC, that seconds since the epoch stand for.

/// Beyond this many seconds a year no longer fits; the parts are NaN there.
const SECONDS_MAX: f64 = 1e15;

// Whole seconds, cut towards zero as Prometheus does.
fn seconds(value: f64) -> Option<i64> {
    (value.abs() <= SECONDS_MAX).then_some(value as i64)
}

/// Year, month from 1 and day from 1. Years count from March, so that the leap day is the last of
/// its year.
fn civil(value: f64) -> Option<(i64, i64, i64)> {
    let days = seconds(value)?.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some((year, month, of_year - (153 * from_march + 2) / 5 + 1))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn or_nan(part: Option<i64>) -> f64 {
    part.map_or(f64::NAN, |part| part as f64)
}

pub(crate) fn year(value: f64) -> f64 {
    or_nan(civil(value).map(|(year, _, _)| year))
}

pub(crate) fn month(value: f64) -> f64 {
    or_nan(civil(value).map(|(_, month, _)| month))
}

pub(crate) fn day_of_month(value: f64) -> f64 {
    or_nan(civil(value).map(|(_, _, day)| day))
}

pub(crate) fn day_of_year(value: f64) -> f64 {
    let count =
        |(year, month, day)| (1..month).map(|month| days_of(year, month)).sum::<i64>() + day;
    or_nan(civil(value).map(count))
}

pub(crate) fn days_in_month(value: f64) -> f64 {
    or_nan(civil(value).map(|(year, month, _)| days_of(year, month)))
}

/// Sunday is 0. The epoch began on a Thursday.
pub(crate) fn day_of_week(value: f64) -> f64 {
    or_nan(seconds(value).map(|seconds| (seconds.div_euclid(86_400) + 4).rem_euclid(7)))
}

pub(crate) fn hour(value: f64) -> f64 {
    or_nan(seconds(value).map(|seconds| seconds.rem_euclid(86_400) / 3600))
}

pub(crate) fn minute(value: f64) -> f64 {
    or_nan(seconds(value).map(|seconds| seconds.rem_euclid(3600) / 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leap_day_is_known() {
        let leap_day = 1_456_790_399.0;
        assert_eq!(
            (month(leap_day), day_of_month(leap_day), day_of_year(leap_day)),
            (2.0, 29.0, 60.0)
        );
        assert_eq!((year(leap_day), hour(leap_day), minute(leap_day)), (2016.0, 23.0, 59.0));
        assert_eq!(days_in_month(leap_day), 29.0);
    }

    #[test]
    fn times_before_the_epoch_count_too() {
        assert_eq!((year(-1.0), month(-1.0), day_of_month(-1.0)), (1969.0, 12.0, 31.0));
        assert_eq!((day_of_week(-1.0), hour(-1.0)), (3.0, 23.0));
    }

    #[test]
    fn what_is_no_time_has_no_parts() {
        assert!(year(f64::NAN).is_nan() && hour(f64::INFINITY).is_nan());
    }
}
