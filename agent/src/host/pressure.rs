//! `/proc/pressure`: for how long tasks could not go on for want of a resource.

use super::fields::{decimal, fields, lines, number};

/// One line of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Percent of the last 10, 60 and 300 seconds.
    pub averages: [f64; 3],
    /// Microseconds since boot.
    pub micros: u64,
}

/// What the table of one resource says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Option<Stall>,
    /// All tasks that were not idle waited.
    pub full: Option<Stall>,
}

impl Pressure {
    /// Reads the table; lines and columns that are not understood are left out.
    pub fn parse(table: &[u8]) -> Self {
        let mut pressure = Self::default();
        for line in lines(table) {
            let mut columns = fields(line);
            match columns.next() {
                Some(b"some") => pressure.some = stall(columns),
                Some(b"full") => pressure.full = stall(columns),
                _ => {}
            }
        }
        pressure
    }
}

fn stall<'a>(columns: impl Iterator<Item = &'a [u8]>) -> Option<Stall> {
    let mut stall = Stall::default();
    let mut has_total = false;
    for column in columns {
        let at = column.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&column[..at], &column[at + 1..]);
        match key {
            b"avg10" => stall.averages[0] = decimal(value)?,
            b"avg60" => stall.averages[1] = decimal(value)?,
            b"avg300" => stall.averages[2] = decimal(value)?,
            b"total" => {
                stall.micros = number(value)?;
                has_total = true;
            }
            _ => {}
        }
    }
    has_total.then_some(stall)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_lines_are_read() {
        let table = b"some avg10=1.50 avg60=0.25 avg300=0.00 total=123456\n\
            full avg10=0.50 avg60=0.00 avg300=0.00 total=99\n";
        let pressure = Pressure::parse(table);
        assert_eq!(pressure.some, Some(Stall { averages: [1.5, 0.25, 0.0], micros: 123_456 }));
        assert_eq!(pressure.full.map(|stall| stall.micros), Some(99));
    }

    #[test]
    fn a_line_that_is_cut_off_is_left_out() {
        assert_eq!(Pressure::parse(b"some avg10=1.50 avg60=0.25\n"), Pressure::default());
        assert_eq!(
            Pressure::parse(b"full total=x\nnone total=1\nsome total\n"),
            Pressure::default()
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, tail: Vec<u8>) {
            let _ = Pressure::parse(&bytes);
            let _ = Pressure::parse(&[b"some total=".as_slice(), &tail].concat());
        }
    }
}
